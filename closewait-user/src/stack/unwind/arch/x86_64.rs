//! x86-64 (System V ABI, figure 3.36 for the numbers of registers).

use super::{Call, Prologue, STUB};
use crate::stack::call_site::WINDOW;

/// `%rbp`
pub(in super::super) const FRAME_POINTER: u16 = 6;
/// `%rsp`
pub(in super::super) const STACK_POINTER: u16 = 7;
/// The column of the return address.
pub(in super::super) const RETURN_ADDRESS: u16 = 16;
/// What a function gives back as it got it: `%rbx`, `%rbp`, `%r12` to `%r15`.
pub(in super::super) const PRESERVED: [u16; 6] = [3, FRAME_POINTER, 12, 13, 14, 15];
/// Whether the return address is in a register at first: calls push it here.
pub(in super::super) const RETURNS_BY_REGISTER: bool = false;

/// What a signal handler returns to: `mov $__NR_rt_sigreturn,%rax; syscall`. Nothing
/// calls it, and what stands before it is padding.
pub(in super::super) const SIGNAL_RETURN: &[u8; 9] = &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];

/// Whether a word of the stack that is a return address tells where the caller's
/// frame begins: right above it.
pub(in super::super) const CAN_SCAN: bool = true;

/// The address in a return address, which is all of it. `highest`: of all code.
pub(in super::super) fn without_signature(addr: u64, _highest: u64) -> u64 {
    addr
}

/// Reads the first instructions of a function made at run time. The patterns are
/// those of `MacroAssembler::enter` and `verified_entry` of HotSpot, of V8's frames
/// and of the trampolines of CPython (Python/asm_trampoline.S).
pub(in super::super) fn prologue(code: &[u8]) -> Prologue {
    for (at, rest) in (0..code.len()).map(|at| (at, &code[at..])) {
        match rest {
            // push %rbp; mov %rsp,%rbp, in both encodings
            [0x55, 0x48, 0x89, 0xe5, ..] | [0x55, 0x48, 0x8b, 0xec, ..] => return Prologue::FramePointer,
            // sub $bytes,%rsp
            [0x48, 0x83, 0xec, bytes @ 0..=0x7f, after @ ..] => {
                return Prologue::Size { bytes: u64::from(*bytes), saves: saves(&code[..at], after) };
            }
            [0x48, 0x81, 0xec, a, b, c, d @ 0..=0x7f, after @ ..] => {
                let bytes = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                return Prologue::Size { bytes, saves: saves(&code[..at], after) };
            }
            _ => {}
        }
    }
    Prologue::Unknown
}

/// Whether `push %rbp` came just before, or `mov %rbp,bytes(%rsp)` comes after.
fn saves(before: &[u8], after: &[u8]) -> bool {
    before.last() == Some(&0x55) || matches!(after, [0x48, 0x89, 0x6c | 0xac, 0x24, ..])
}

/// What the call that ends right before `addr` calls, if that is a constant.
pub(in super::super) fn call(before: [u8; WINDOW], addr: u64) -> Option<Call> {
    // Intel SDM 2A, CALL: E8 rel32, and FF /2 with a displacement from the next instruction.
    match before {
        [_, _, 0xff, 0x15, rest @ ..] => Some(Call::Through(relative(rest, addr))),
        [_, _, _, 0xe8, rest @ ..] => Some(Call::To(relative(rest, addr))),
        _ => None,
    }
}

/// Where the pointer is that the stub `code` at `addr` jumps through, if it is one:
/// `endbr64`, `bnd`, both optional, and `jmp *displacement(%rip)`.
pub(in super::super) fn stub(code: [u8; STUB], addr: u64) -> Option<u64> {
    let at = if code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
    let at = if code[at] == 0xf2 { at + 1 } else { at };
    let [0xff, 0x25, a, b, c, d] = code[at..at + 6] else { return None };
    Some(relative([a, b, c, d], addr.wrapping_add(at as u64 + 6)))
}

fn relative(displacement: [u8; 4], next: u64) -> u64 {
    next.wrapping_add_signed(i64::from(i32::from_le_bytes(displacement)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prologues_of_runtimes_are_told_apart() {
        let c2 = [0x89, 0x84, 0x24, 0, 0xc0, 0xfe, 0xff, 0x55, 0x48, 0x83, 0xec, 0x30, 0x90];
        assert_eq!(prologue(&c2), Prologue::Size { bytes: 0x30, saves: true });
        let small = [0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0x6c, 0x24, 0x10];
        assert_eq!(prologue(&small), Prologue::Size { bytes: 0x18, saves: true });
        let large = [0x55, 0x48, 0x81, 0xec, 0, 1, 0, 0];
        assert_eq!(prologue(&large), Prologue::Size { bytes: 0x100, saves: true });
        let python = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 8, 0xff, 0xd1];
        assert_eq!(prologue(&python), Prologue::Size { bytes: 8, saves: false });
        let enter = [0x89, 0x84, 0x24, 0, 0xc0, 0xfe, 0xff, 0x55, 0x48, 0x8b, 0xec, 0x48, 0x83, 0xec, 0x30];
        assert_eq!(prologue(&enter), Prologue::FramePointer);
        assert_eq!(prologue(&[0x55, 0x48, 0x89, 0xe5]), Prologue::FramePointer);
        for other in [&[][..], &[0x48, 0x83, 0xec], &[0x48, 0x81, 0xec, 0, 0, 0, 0x80], &[0x55, 0x48]] {
            assert_eq!(prologue(other), Prologue::Unknown);
        }
    }

    #[test]
    fn constant_calls_and_stubs_are_followed() {
        let direct = |rel: i32| {
            let [a, b, c, d] = rel.to_le_bytes();
            [0, 0, 0, 0xe8, a, b, c, d]
        };
        assert_eq!(call(direct(-0x10), 0x1000), Some(Call::To(0xff0)));
        assert_eq!(call(direct(i32::MIN), 0), Some(Call::To(0xffff_ffff_8000_0000)));
        assert_eq!(call([0, 0, 0xff, 0x15, 0x20, 0, 0, 0], 0x1000), Some(Call::Through(0x1020)));
        assert_eq!(call([0xff; WINDOW], 0x1000), None);
        let stubs: [(&[u8], Option<u64>); 4] = [
            (&[0xff, 0x25, 0x10, 0, 0, 0], Some(0x2016)),
            (&[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0x10, 0, 0, 0], Some(0x201a)),
            (&[0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0], Some(0x201b)),
            (&[0x55, 0x48, 0x89, 0xe5], None),
        ];
        for (bytes, want) in stubs {
            let mut code = [0; STUB];
            code[..bytes.len()].copy_from_slice(bytes);
            assert_eq!(stub(code, 0x2000), want);
        }
    }
}
