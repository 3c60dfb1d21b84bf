//! aarch64 (AADWARF64 section 4.1 for the numbers of registers).

use super::{Call, Prologue, STUB};
use crate::stack::call_site::WINDOW;

/// `x29`
pub(in super::super) const FRAME_POINTER: u16 = 29;
/// `sp`
pub(in super::super) const STACK_POINTER: u16 = 31;
/// `x30`, the link register.
pub(in super::super) const RETURN_ADDRESS: u16 = 30;
/// What a function gives back as it got it: `x19` to `x29`.
pub(in super::super) const PRESERVED: [u16; 11] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28, FRAME_POINTER];
/// Whether the return address is in a register at first.
pub(in super::super) const RETURNS_BY_REGISTER: bool = true;

/// What a signal handler returns to, in the vDSO: `mov x8, #__NR_rt_sigreturn; svc #0`.
pub(in super::super) const SIGNAL_RETURN: &[u8; 8] = &[0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];

/// Whether a word of the stack that is a return address tells where the caller's
/// frame begins. Here it does not: a function may store it anywhere in its frame.
pub(in super::super) const CAN_SCAN: bool = false;

/// The address in a return address, whose upper bits may be its signature (pointer
/// authentication). `highest`: of all code; no bit above its topmost is an address's.
pub(in super::super) fn without_signature(addr: u64, highest: u64) -> u64 {
    addr & (u64::MAX >> highest.max(1).leading_zeros())
}

/// Runtimes keep frame records on this machine.
pub(in super::super) fn prologue(_code: &[u8]) -> Prologue {
    Prologue::FramePointer
}

/// What the call that ends right before `addr` calls: not asked where nothing is scanned.
pub(in super::super) fn call(_before: [u8; WINDOW], _addr: u64) -> Option<Call> {
    None
}

/// Where the pointer is that a stub jumps through: not asked either.
pub(in super::super) fn stub(_code: [u8; STUB], _addr: u64) -> Option<u64> {
    None
}
