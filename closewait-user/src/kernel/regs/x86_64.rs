//! x86-64: arch/x86/include/asm/ptrace.h.

use closewait_ebpf::{ABSENT, calls};

use super::{Btf, Register};

/// What calls look like.
pub(in super::super) const CALLS: u8 = calls::X86_64;

pub(in super::super) const IP: Register = Register { member: "ip", within: 0 };
pub(in super::super) const SP: Register = Register { member: "sp", within: 0 };
pub(in super::super) const FP: Register = Register { member: "bp", within: 0 };
/// Second and third argument of a system call (`syscall` leaves both as they are).
pub(in super::super) const BUF: Register = Register { member: "si", within: 0 };
pub(in super::super) const BUF_LEN: Register = Register { member: "dx", within: 0 };
/// Return addresses are on the stack.
pub(in super::super) const LR: Option<Register> = None;

/// `fs`, by which code finds what is its thread's own: in `task_struct.thread`.
pub(in super::super) const THREAD_POINTER: Option<&str> = Some("fsbase");

/// `THREAD_SIZE` of a kernel without KASAN; the registers end where the stack does
/// (`task_pt_regs`, with a `TOP_OF_KERNEL_STACK_PADDING` of 0 in all kernels that have
/// no helper to ask).
const KERNEL_STACK: u32 = 16 << 10;

/// From the start of a kernel stack to the user registers.
pub(in super::super) fn on_stack(btf: &Btf) -> u16 {
    let offset = btf.size("pt_regs").and_then(|size| KERNEL_STACK.checked_sub(size));
    offset.and_then(|offset| u16::try_from(offset).ok()).unwrap_or(ABSENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_are_where_the_system_call_entry_pushes_them() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("this test needs a kernel with BTF");
        let btf = Btf::parse(&bytes, &["pt_regs"], &[]).unwrap();
        // arch/x86/entry/calling.h, PUSH_REGS.
        let offsets = [IP, SP, FP, BUF, BUF_LEN].map(|register| register.offset(&btf));
        assert_eq!(offsets, [128, 152, 32, 104, 96]);
        assert_eq!(on_stack(&btf), (16 << 10) - 168);
    }
}
