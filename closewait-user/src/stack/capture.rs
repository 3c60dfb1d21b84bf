//! A user stack as the kernel side copied it: registers and raw bytes, of which
//! nothing is known yet. Unwinding makes addresses of it.

use bytes::Bytes;

/// User registers at kernel entry, as far as an unwinder starts from them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Regs {
    /// Instruction pointer: the instruction after the system call.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer: `rbp`, `x29`. Any value, in code that uses it for something else.
    pub fp: u64,
    /// Return address, on machines that keep it in a register (`x30`).
    pub lr: Option<u64>,
}

/// A copied user stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    /// Where the copy begins.
    pub regs: Regs,
    /// The bytes from `regs.sp` upward, towards the callers.
    pub stack: Bytes,
    /// Whether the stack went on, as far as is known: the copy ends where the limit of
    /// its size was, not where memory ended.
    pub truncated: bool,
}

impl Capture {
    /// The first address above what was copied.
    pub fn end(&self) -> u64 {
        self.regs.sp.saturating_add(self.stack.len() as u64)
    }

    /// The word at `addr`; `None` when it was not copied.
    pub fn word(&self, addr: u64) -> Option<u64> {
        let at = usize::try_from(addr.checked_sub(self.regs.sp)?).ok()?;
        let bytes = self.stack.get(at..at.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_only_where_all_of_it_was_copied() {
        let words: Vec<u8> = [1_u64, 2, u64::MAX].into_iter().flat_map(u64::to_ne_bytes).collect();
        let regs = Regs { sp: 0x7ffc_0000_1000, ..Regs::default() };
        let capture = Capture { regs, stack: words.into(), truncated: false };
        let table = [(0, Some(1)), (8, Some(2)), (16, Some(u64::MAX)), (17, None), (24, None)];
        for (offset, want) in table {
            assert_eq!(capture.word(regs.sp + offset), want, "{offset}");
        }
        assert_eq!(capture.word(regs.sp - 8), None);
        assert_eq!(capture.word(u64::MAX), None);
    }
}
