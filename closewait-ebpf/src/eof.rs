//! Who was told EOF: a read on a socket in CLOSE_WAIT that returned 0 after everything,
//! the FIN included, had been taken off the queue. That filter is exact: a MSG_PEEK or
//! a read of length 0 leaves the FIN unread.
//!
//! The cheapest hook sees every receive of the host, so the return value is tested
//! before anything is read. Only the first such read of a socket takes a stack.
//!
//! Where programs may be preempted, another task's read on the same CPU is skipped
//! meanwhile. When that has happened once, userspace attaches the same program again.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_ktime_get_ns, bpf_skc_to_tcp_sock},
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use aya_log_ebpf::debug;
use closewait_ebpf::{
    EofRead, counter,
    tcp_state::{CLOSE_WAIT, IPPROTO_TCP},
};

use crate::{
    maps::{self, desk},
    memory::{plain, read},
    sock::{Number, Sock, Typed},
    tunables::{ONLY_NETNS, offset},
    user_stack,
};

/// `sock_recv_length(sk, ret, flags)`: read, recv, recvmsg, readv, recvmmsg, io_uring.
#[btf_tracepoint(function = "sock_recv_length")]
fn eof_btf(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = Typed(ctx.arg(0));
    received_nothing(&ctx, sk, has_read_all_typed, true)
}

/// The same, where the kernel has no types of its own.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn eof_raw(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = Number(ctx.arg(0));
    received_nothing(&ctx, sk, has_read_all, true)
}

/// The same, for the reads that the first was skipped for.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn eof_again_raw(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = Number(ctx.arg(0));
    received_nothing(&ctx, sk, has_read_all, false)
}

/// `tcp_cleanup_rbuf(sk, copied)`, with which a receive ends. It does not sleep; the
/// receive itself does, and a task that sleeps in a function when a program is
/// attached returns past it.
#[fentry(function = "tcp_cleanup_rbuf")]
fn eof_fentry(ctx: FEntryContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = Typed(ctx.arg(0));
    received_nothing(&ctx, sk, has_read_all, true)
}

#[kprobe]
fn eof_kprobe(ctx: ProbeContext) -> i32 {
    if ctx.arg::<i32>(1) != Some(0) {
        return 0;
    }
    let sk = Number(ctx.arg(0).unwrap_or(0));
    received_nothing(&ctx, sk, has_read_all, true)
}

/// A receive on `sk`, of any family, returned 0. The one that `counts` comes first, if it
/// comes at all: what it has remembered is done.
#[inline(always)]
fn received_nothing<S: Sock>(
    ctx: &impl EbpfContext,
    socket: S,
    has_read_all: impl FnOnce(S) -> bool,
    counts: bool,
) -> i32 {
    let (sk, place) = (socket.address(), socket.place());
    if place.state() != CLOSE_WAIT || !has_read_all(socket) {
        return 0;
    }
    let only = ONLY_NETNS.load();
    if only != 0 && only != place.netns() {
        return 0;
    }
    let Some(entry) = maps::remembered(sk) else {
        return 0;
    };
    // SAFETY: the entry lives at least until this program ends (RCU). Two threads that
    // read the same EOF at once may both take themselves for the first; either is true.
    let first = unsafe { (*entry).eof.at_ns == 0 };
    if counts || first {
        maps::count(counter::EOF_READS);
        // SAFETY: as above.
        unsafe { (*entry).eof.reads += 1 };
    }
    if !first {
        return 0;
    }
    let task = user_stack::task();
    let stack_id = user_stack::take(ctx, &task, if counts { desk::EOF } else { desk::EOF_AGAIN });
    // SAFETY: no precondition.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: as above.
    unsafe { (*entry).eof = EofRead { at_ns, task, stack_id, reads: 1 } };
    debug!(ctx, "sk {:x}: pid {} was told EOF", plain(sk), task.tgid);
    0
}

/// Whether a TCP socket's queue has been read to its end.
#[inline(always)]
fn has_read_all(sk: impl Sock) -> bool {
    // SAFETY: integers; of a socket that is not TCP these are other integers, and the
    // protocol is tested with them.
    let (copied_seq, rcv_nxt) = unsafe {
        (
            read::<u32>(sk.address() + u64::from(offset!(tcp_copied_seq))),
            read::<u32>(sk.address() + u64::from(offset!(tcp_rcv_nxt))),
        )
    };
    copied_seq == rcv_nxt && sk.protocol() == IPPROTO_TCP
}

/// The same without a read: where the event is, the kernel has the helper (since 5.9).
#[inline(always)]
fn has_read_all_typed(sk: Typed) -> bool {
    // SAFETY: a socket, as the verifier knows; of another protocol there comes null.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.0 as *mut _) } as u64;
    if tcp == 0 {
        return false;
    }
    // SAFETY: integers of a `struct tcp_sock`.
    let (copied_seq, rcv_nxt): (u32, u32) =
        unsafe { (sk.load(tcp, offset!(tcp_copied_seq)), sk.load(tcp, offset!(tcp_rcv_nxt))) };
    copied_seq == rcv_nxt
}
