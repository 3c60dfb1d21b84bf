//! Whether a call stands before an address: then it may be where that call returns to.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use closewait_ebpf::calls;

use crate::tunables::CALLS;

/// Whether the code before the user address `addr` is a call (0 or 1).
///
/// Global, so that the verifier looks at it once, and not for every word of a stack.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn is_return_address(addr: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: there is room for eight bytes; the helper checks the source, and leaves
    // zeroes, which are no call, where it cannot read.
    unsafe { bpf_probe_read_user((&raw mut before).cast(), 8, (addr - 8) as *const _) };
    u64::from(match CALLS.load() {
        calls::AARCH64 => calls::ends_in_call_aarch64(before),
        _ => calls::ends_in_call_x86_64(before),
    })
}
