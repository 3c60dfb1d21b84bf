//! TCP state numbers as the kernel uses them (include/net/tcp_states.h) and the
//! in-kernel predicates that decide which edges are worth a record.

/// `TCP_ESTABLISHED`
pub const ESTABLISHED: u8 = 1;
/// `TCP_SYN_SENT`
pub const SYN_SENT: u8 = 2;
/// `TCP_SYN_RECV`
pub const SYN_RECV: u8 = 3;
/// `TCP_CLOSE`
pub const CLOSE: u8 = 7;
/// `TCP_CLOSE_WAIT`
pub const CLOSE_WAIT: u8 = 8;
/// `TCP_LAST_ACK`
pub const LAST_ACK: u8 = 9;

/// `IPPROTO_TCP`; an MPTCP socket reports 262 (`IPPROTO_MPTCP`) on the same tracepoint.
pub const IPPROTO_TCP: u16 = 6;
/// `IPPROTO_MPTCP`
pub const IPPROTO_MPTCP: u16 = 262;

/// What is done with an edge that does not lead into CLOSE_WAIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgeUse {
    /// Nobody needs it: no record, no map access.
    Ignore,
    /// `connect()`: remember the running task as the opener.
    Connect,
    /// The socket leaves CLOSE_WAIT: send a record with the running task.
    Leave,
    /// The socket reaches CLOSE after CLOSE_WAIT was left by a shutdown; of
    /// interest only while a file still refers to it (a ghost in the making).
    Close,
}

/// Classifies an edge, for both transitions programs.
///
/// The edge *into* CLOSE_WAIT is not here. It is the work of the first program, these edges are
/// that of the second, and each does what the kernel's recursion guard (which is per
/// program) skips the other for, when a softirq arrives while that one runs on the CPU.
#[allow(clippy::inline_always, reason = "a call costs a BPF program a stack frame")]
#[inline(always)]
pub const fn edge_use(oldstate: u8, newstate: u8) -> EdgeUse {
    match (oldstate, newstate) {
        (CLOSE, SYN_SENT) => EdgeUse::Connect,
        (CLOSE_WAIT, CLOSE_WAIT) => EdgeUse::Ignore,
        (CLOSE_WAIT, _) => EdgeUse::Leave,
        (LAST_ACK, CLOSE) => EdgeUse::Close,
        _ => EdgeUse::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_has_the_use_the_table_says() {
        for old in 0..=12 {
            for new in 0..=12 {
                let want = match (old, new) {
                    (7, 2) => EdgeUse::Connect,
                    (8, 8) => EdgeUse::Ignore,
                    (8, _) => EdgeUse::Leave,
                    (9, 7) => EdgeUse::Close,
                    _ => EdgeUse::Ignore,
                };
                assert_eq!(edge_use(old, new), want, "{old} -> {new}");
            }
        }
    }
}
