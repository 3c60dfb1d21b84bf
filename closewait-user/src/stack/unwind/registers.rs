//! The registers of one frame that matter for unwinding, by their DWARF numbers.
//! Those that nobody copied and no table has restored are unknown, not zero.

use crate::stack::capture::Regs;

use super::arch;

/// Register values of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Registers {
    /// Those of [`arch::PRESERVED`].
    preserved: [Option<u64>; arch::PRESERVED.len()],
    /// Stack pointer: above all that the frame's callees use.
    pub(super) sp: u64,
    /// Where the frame returns to, while that is in a register; of the innermost
    /// frame on other machines, where it is.
    return_address: Option<u64>,
}

impl Registers {
    /// As they were copied.
    pub(super) fn copied(regs: &Regs) -> Self {
        let return_address = regs.lr.or(Some(regs.ip));
        Self { return_address, ..Self::of_caller(regs.sp, Some(regs.fp)) }
    }

    /// Those of a caller whose stack begins at `sp`, of whose registers only the
    /// frame pointer is known, and that only perhaps.
    pub(super) fn of_caller(sp: u64, fp: Option<u64>) -> Self {
        let preserved = [None; arch::PRESERVED.len()];
        let mut registers = Self { preserved, sp, return_address: None };
        registers.set(arch::FRAME_POINTER, fp);
        registers
    }

    /// The value of register `number`, when it is known.
    pub(super) fn get(&self, number: u16) -> Option<u64> {
        match number {
            arch::STACK_POINTER => Some(self.sp),
            arch::RETURN_ADDRESS => self.return_address,
            _ => self.preserved[position(number)?],
        }
    }

    /// Sets one of [`arch::PRESERVED`].
    pub(super) fn set(&mut self, number: u16, value: Option<u64>) {
        if let Some(at) = position(number) {
            self.preserved[at] = value;
        }
    }

    /// The frame pointer, when it is known.
    pub(super) fn fp(&self) -> Option<u64> {
        self.get(arch::FRAME_POINTER)
    }
}

fn position(number: u16) -> Option<usize> {
    arch::PRESERVED.iter().position(|&preserved| preserved == number)
}
