//! Whether an address can be a return address: the bytes before it in, yes or no
//! out. Pure. Frame pointers of code that keeps none lead the kernel to any word
//! of the stack; when that word is a pointer to a function it lies in code, but
//! no call stands before it.

/// Bytes before the address that decide.
pub(super) const WINDOW: usize = 8;

/// Whether control can return to the address right after `before`.
///
/// A no-op counts too: the places where a thread of Go (`runtime.goexit`) or a
/// signal handler (`__restore_rt`) returns to are entered by no call, and are
/// preceded by one so that unwinders which subtract one find them.
#[cfg(target_arch = "x86_64")]
pub(super) fn can_return_after(before: [u8; WINDOW]) -> bool {
    const NOP: u8 = 0x90;
    // Intel SDM 2A, CALL: E8 rel32; FF /2 with each form of its operand.
    let near = before[3] == 0xe8;
    let indirect = (2..=7).any(|len| {
        let [0xff, modrm] = before[WINDOW - len..][..2] else { return false };
        let (mode, digit, operand) = (modrm >> 6, (modrm >> 3) & 7, modrm & 7);
        let sib = usize::from(mode != 3 && operand == 4);
        let displacement = match (mode, operand) {
            (0, 5) | (2, _) => 4,
            // Without a base register the SIB form has a displacement of its own.
            (0, 4) if before.get(WINDOW - len + 2).is_some_and(|sib| sib & 7 == 5) => 4,
            (1, _) => 1,
            _ => 0,
        };
        digit == 2 && len == 2 + sib + displacement
    });
    near || indirect || before[WINDOW - 1] == NOP
}

/// Whether control can return to the address right after `before`.
///
/// A no-op counts too: see `runtime.goexit` and the vDSO's signal return.
#[cfg(target_arch = "aarch64")]
pub(super) fn can_return_after(before: [u8; WINDOW]) -> bool {
    const NOP: u32 = 0xd503_201f;
    let [_, _, _, _, a, b, c, d] = before;
    let instruction = u32::from_le_bytes([a, b, c, d]);
    // Arm ARM C6.2: BL; BLR and its authenticated forms (BLRAA, BLRAB, and with zero modifier).
    let bl = instruction >> 26 == 0b10_0101;
    let blr = instruction & 0xfeff_f000 == 0xd63f_0000;
    bl || blr || instruction == NOP
}

/// Nothing is known of the instructions of other machines.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn can_return_after(_: [u8; WINDOW]) -> bool {
    true
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn after(instruction: &[u8]) -> bool {
        let mut before = [0x0f; WINDOW];
        before[WINDOW - instruction.len()..].copy_from_slice(instruction);
        can_return_after(before)
    }

    #[test]
    fn every_form_of_call_is_known() {
        let calls: [(&str, &[u8]); 10] = [
            ("call rel32", &[0xe8, 1, 2, 3, 4]),
            ("call *%rax", &[0xff, 0xd0]),
            ("call *%r11", &[0x41, 0xff, 0xd3]),
            ("call *(%rax)", &[0xff, 0x10]),
            ("call *(%rsp)", &[0xff, 0x14, 0x24]),
            ("call *8(%rax)", &[0xff, 0x50, 8]),
            ("call *8(%rsp)", &[0xff, 0x54, 0x24, 8]),
            ("call *0x100(%rax)", &[0xff, 0x90, 0, 1, 0, 0]),
            ("call *0x1234(%rip)", &[0xff, 0x15, 0x34, 0x12, 0, 0]),
            ("call *table(,%rax,8)", &[0xff, 0x14, 0xc5, 0, 0, 0x40, 0]),
        ];
        for (text, bytes) in calls {
            assert!(after(bytes), "{text}");
        }
        assert!(after(&[0x90]), "nop");
    }

    #[test]
    fn what_ends_a_function_is_no_call() {
        let others: [(&str, &[u8]); 7] = [
            ("ret", &[0xc3]),
            ("jmp *%rax", &[0xff, 0xe0]),
            ("jmp rel32", &[0xe9, 1, 2, 3, 4]),
            ("int3 padding", &[0xcc, 0xcc]),
            ("nopw padding", &[0x66, 0x0f, 0x1f, 0x44, 0, 0]),
            ("push (%rax)", &[0xff, 0x30]),
            ("syscall", &[0x0f, 0x05]),
        ];
        for (text, bytes) in others {
            assert!(!after(bytes), "{text}");
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut before = [0; WINDOW];
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for at in 0..WINDOW - 1 {
                    before[at..at + 2].copy_from_slice(&[first, second]);
                    can_return_after(before);
                }
            }
        }
    }
}
