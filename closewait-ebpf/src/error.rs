//! Why a connection ended by itself: the error the kernel reports for the socket
//! (32 a reset, 110 a timeout, 103 destroyed from outside).

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{maps::SOCKETS, memory::read, tunables::offset};

/// `inet_sk_error_report(sk)`, 5.14 and later. Remembered for sockets that are known
/// already: of the others nothing would be asked.
#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
fn error_raw(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(entry) = SOCKETS.get_ptr_mut(sk) else {
        return 0;
    };
    // SAFETY: an integer; the entry lives at least until this program ends (RCU).
    unsafe { (*entry).error = read(sk + u64::from(offset!(sk_err))) };
    0
}
