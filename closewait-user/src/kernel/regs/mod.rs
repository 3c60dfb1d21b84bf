//! Where a kernel keeps the registers of user code, for the machine this is built for.
//! The programs are the same for all machines: they are told offsets. In: BTF; out:
//! offsets, [`ABSENT`] where there is none. A machine more is a file more.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{BUF, BUF_LEN, CALLS, FP, IP, LR, SP, THREAD_POINTER, on_stack};
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{BUF, BUF_LEN, CALLS, FP, IP, LR, SP, THREAD_POINTER, on_stack};

use closewait_ebpf::ABSENT;

use super::btf::Btf;

/// A register in `struct pt_regs`.
#[derive(Clone, Copy)]
pub(super) struct Register {
    /// The member, or the array it is in.
    member: &'static str,
    /// Its bytes within that member.
    within: u16,
}

impl Register {
    /// Its offset in `struct pt_regs`.
    pub(super) fn offset(self, btf: &Btf) -> u16 {
        btf.offset(&["pt_regs", self.member]).map_or(ABSENT, |offset| offset + self.within)
    }
}
