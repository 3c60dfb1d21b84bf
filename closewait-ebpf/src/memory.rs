//! Reading kernel memory without branches.
//!
//! `bpf_probe_read_kernel` zeroes the destination when it fails, so the result
//! needs no test. A test per read doubles the verifier's paths each time: fifteen
//! of them exceeded its limit of a million instructions on 5.10 and 6.1.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// Reads a `T` at kernel address `addr`; zero when it cannot be read.
///
/// # Safety
/// `T` must be valid for any bit pattern.
#[inline(always)]
pub(crate) unsafe fn read<T: Copy>(addr: u64) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination has room for a T; the helper checks the source and
    // initialises the whole destination whether it succeeds or not.
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, addr as *const _);
        value.assume_init()
    }
}

/// Reads `N` bytes at kernel address `addr` into `dst`.
///
/// # Safety
/// `dst` must be valid for writes of `N` bytes.
#[inline(always)]
pub(crate) unsafe fn read_to<const N: usize>(dst: *mut u8, addr: u64) {
    // SAFETY: as the caller promises; the helper checks the source.
    unsafe { bpf_probe_read_kernel(dst.cast(), N as u32, addr as *const _) };
}

/// The number of a pointer whose type the verifier knows, and with which it refuses to
/// calculate: as it is on the stack. For what is logged.
#[inline(always)]
pub(crate) fn plain(pointer: u64) -> u64 {
    // SAFETY: an integer.
    unsafe { read(&raw const pointer as u64) }
}
