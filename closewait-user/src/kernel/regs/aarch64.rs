//! aarch64: arch/arm64/include/asm/ptrace.h.

use closewait_ebpf::{ABSENT, calls};

use super::{Btf, Register};

/// What calls look like.
pub(in super::super) const CALLS: u8 = calls::AARCH64;

pub(in super::super) const IP: Register = Register { member: "pc", within: 0 };
pub(in super::super) const SP: Register = Register { member: "sp", within: 0 };
/// x1 and x2 of `regs[31]`: second and third argument of a system call.
pub(in super::super) const BUF: Register = Register { member: "regs", within: 8 };
pub(in super::super) const BUF_LEN: Register = Register { member: "regs", within: 2 * 8 };
/// x29 of `regs[31]`.
pub(in super::super) const FP: Register = Register { member: "regs", within: 29 * 8 };
/// x30.
pub(in super::super) const LR: Option<Register> = Some(Register { member: "regs", within: 30 * 8 });

/// Not taken: a C library here counts from another place than threads are named by.
pub(in super::super) const THREAD_POINTER: Option<&str> = None;

/// Not known: the size of a kernel stack depends on the size of pages. Kernels since
/// 5.15 have a helper to ask.
pub(in super::super) const fn on_stack(_: &Btf) -> u16 {
    ABSENT
}
