//! `tcp_destroy_sock`: the true end of a socket. Forgets its opener, and tells
//! userspace when the socket had closed with a file on it (until then it may have
//! been a ghost: closed for TCP, open for the application).

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_ktime_get_ns,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use closewait_ebpf::{Destroy, counter, flags, kind};

use crate::{family, maps::SOCKETS, memory::read, ring::send, tunables::offset, user_stack};

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
fn destroy_raw(ctx: RawTracePointContext) -> i32 {
    destroyed(ctx.arg(0))
}

#[tracepoint(category = "tcp", name = "tcp_destroy_sock")]
fn destroy_tp(ctx: TracePointContext) -> i32 {
    // SAFETY: an integer.
    destroyed(unsafe { read(ctx.as_ptr() as u64 + u64::from(offset!(tp_destroy_skaddr))) })
}

#[inline(always)]
fn destroyed(sk: u64) -> i32 {
    let Some(entry) = SOCKETS.get_ptr(sk) else {
        return 0;
    };
    // SAFETY: the entry lives at least until this program ends (RCU).
    let closed_with_file = unsafe { (*entry).flags } & flags::CLOSED_WITH_FILE != 0;
    if closed_with_file {
        // SAFETY: no precondition.
        let at_ns = unsafe { bpf_ktime_get_ns() };
        family::ended(sk, at_ns, true);
        send::<Destroy>(counter::LOST_DESTROY, |record| {
            // SAFETY: room for a Destroy; every member is written.
            unsafe {
                (*record).kind = kind::DESTROY;
                (*record).about = u32::from(user_stack::exiting());
                (*record).at_ns = at_ns;
                (*record).skaddr = sk;
            }
        });
    }
    let _ = SOCKETS.remove(sk);
    0
}
