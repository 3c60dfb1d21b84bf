//! Call instructions of the machines that are supported. In: the eight bytes before an
//! address, the first of them lowest; out: whether they end in a call. Pure.

/// The programs run on x86-64.
pub const X86_64: u8 = 0;
/// The programs run on aarch64.
pub const AARCH64: u8 = 1;

/// `call rel32`, or `call` through a register or memory in any of its lengths.
#[inline]
pub const fn ends_in_call_x86_64(before: u64) -> bool {
    // Opcode FF with 2 in the middle of the byte after it; prefixes do not matter.
    const fn indirect(before: u64, back: u32) -> bool {
        before >> (64 - 8 * back) & 0x38ff == 0x10ff
    }
    before >> 24 & 0xff == 0xe8
        || indirect(before, 2)
        || indirect(before, 3)
        || indirect(before, 4)
        || indirect(before, 6)
        || indirect(before, 7)
}

/// `bl` or `blr`, also those that authenticate pointers.
#[inline]
pub const fn ends_in_call_aarch64(before: u64) -> bool {
    let last = (before >> 32) as u32;
    last & 0xfc00_0000 == 0x9400_0000 || last & 0xfeff_f000 == 0xd63f_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_every_length_are_known() {
        let x86_64: [(&[u8], bool); 9] = [
            (&[0xe8, 1, 2, 3, 4], true),
            (&[0xff, 0xd0], true),
            (&[0x41, 0xff, 0xd4], true),
            (&[0xff, 0x50, 0x18], true),
            (&[0xff, 0x54, 0x24, 0x08], true),
            (&[0xff, 0x15, 1, 2, 3, 4], true),
            (&[0xff, 0x94, 0x24, 1, 2, 3, 4], true),
            // jmp *%rax; add
            (&[0xff, 0xe0], false),
            (&[0x48, 0x83, 0xc4, 0x08], false),
        ];
        for (code, want) in x86_64 {
            let mut bytes = [0x90; 8];
            bytes[8 - code.len()..].copy_from_slice(code);
            assert_eq!(ends_in_call_x86_64(u64::from_le_bytes(bytes)), want, "{code:x?}");
        }
        // bl, blr x8, blraa x8 x9; b, ret, br x8
        let aarch64 = [0x9400_0001, 0xd63f_0100, 0xd73f_0909, 0x1400_0001, 0xd65f_03c0, 0xd61f_0100];
        let told = aarch64.map(|code: u32| ends_in_call_aarch64(u64::from(code) << 32));
        assert_eq!(told, [true, true, true, false, false, false]);
        assert!(!ends_in_call_x86_64(0) && !ends_in_call_aarch64(0), "what could not be read");
    }
}
