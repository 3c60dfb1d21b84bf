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
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, kprobe, raw_tracepoint},
    programs::{FEntryContext, ProbeContext, RawTracePointContext},
};
use aya_log_ebpf::debug;
use closewait_ebpf::{
    EofRead, counter,
    tcp_state::{CLOSE_WAIT, IPPROTO_TCP},
};

use crate::{
    maps::{self, desk},
    memory::read,
    sock::{Place, protocol},
    tunables::{ONLY_NETNS, offset},
    user_stack,
};

/// `sock_recv_length(sk, ret, flags)`: read, recv, recvmsg, readv, recvmmsg, io_uring.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn eof_raw(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = ctx.arg(0);
    received_nothing(&ctx, sk, Place::of(sk), true)
}

/// The same, for the reads that the first was skipped for.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn eof_again_raw(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = ctx.arg(0);
    received_nothing(&ctx, sk, Place::of(sk), false)
}

/// `tcp_cleanup_rbuf(sk, copied)`, with which a receive ends. It does not sleep; the
/// receive itself does, and a task that sleeps in a function when a program is
/// attached returns past it.
#[fentry(function = "tcp_cleanup_rbuf")]
fn eof_fentry(ctx: FEntryContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 {
        return 0;
    }
    let sk = ctx.arg(0);
    received_nothing(&ctx, sk, Place::of_typed(sk), true)
}

#[kprobe]
fn eof_kprobe(ctx: ProbeContext) -> i32 {
    if ctx.arg::<i32>(1) != Some(0) {
        return 0;
    }
    let sk = ctx.arg(0).unwrap_or(0);
    received_nothing(&ctx, sk, Place::of(sk), true)
}

/// A receive on `sk`, of any family, returned 0. The one that `counts` comes first, if it
/// comes at all: what it has remembered is done.
#[inline(always)]
fn received_nothing(ctx: &impl EbpfContext, sk: u64, place: Place, counts: bool) -> i32 {
    if place.state() != CLOSE_WAIT {
        return 0;
    }
    // SAFETY: integers; of a socket that is not TCP these are other integers, and the
    // protocol is tested with them.
    let (copied_seq, rcv_nxt) = unsafe {
        (
            read::<u32>(sk + u64::from(offset!(tcp_copied_seq))),
            read::<u32>(sk + u64::from(offset!(tcp_rcv_nxt))),
        )
    };
    if copied_seq != rcv_nxt || protocol(sk) != IPPROTO_TCP {
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
    debug!(ctx, "sk {:x}: pid {} was told EOF", sk, task.tgid);
    0
}
