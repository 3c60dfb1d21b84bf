//! Tables of values by address in `.gopclntab`: a run of pairs of variable-length
//! numbers, how much the value changes and for how many bytes of code it holds
//! (runtime/symtab.go, `pcvalue`). Pure.

/// What one look at an address may still cost: the longest functions that compilers
/// were seen to make have some ten thousand bytes in each of their tables.
pub(super) struct Effort(u32);

impl Default for Effort {
    fn default() -> Self {
        Self(512 << 10)
    }
}

/// Bytes read at a time: few functions have more.
const CHUNK: usize = 256;

/// The value at `pc` from the function's start. `read` fills a buffer from an offset in the
/// table and says with how many bytes.
pub(super) fn at(
    mut read: impl FnMut(u64, &mut [u8]) -> Option<usize>,
    quantum: u64,
    pc: u64,
    effort: &mut Effort,
) -> Option<i32> {
    let mut chunk = [0; CHUNK];
    let (mut offset, mut at, mut len) = (0, 0, 0);
    let mut byte = || {
        if at == len {
            effort.0 = effort.0.checked_sub(1)?;
            offset += len as u64;
            (at, len) = (0, read(offset, &mut chunk)?);
        }
        effort.0 = effort.0.checked_sub(1)?;
        let byte = *chunk[..len].get(at)?;
        at += 1;
        Some(byte)
    };
    let mut number = || {
        let mut number = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = byte()?;
            number |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    };
    let (mut value, mut end) = (-1_i32, 0_u64);
    loop {
        let change = number()?;
        // No change ends the table, but for the first.
        if change == 0 && end != 0 {
            return None;
        }
        // Zigzag: the lowest bit is the sign.
        let change = (change >> 1) ^ (change & 1).wrapping_neg();
        value = value.wrapping_add(change.cast_signed());
        end += u64::from(number()?) * quantum;
        if pc < end {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8], quantum: u64, pc: u64) -> Option<i32> {
        let read = |at: u64, buf: &mut [u8]| {
            let rest = bytes.get(usize::try_from(at).unwrap()..)?;
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            Some(len)
        };
        at(read, quantum, pc, &mut Effort::default())
    }

    #[test]
    fn each_value_holds_for_its_bytes() {
        // +11 for 4 bytes (10), -3 for 300 bytes (7), end.
        let bytes = [22, 4, 5, 0xac, 2, 0, 9, 9];
        let cases = [(0, Some(10)), (3, Some(10)), (4, Some(7)), (303, Some(7)), (304, None)];
        for (pc, want) in cases {
            assert_eq!(of(&bytes, 1, pc), want, "{pc}");
        }
        assert_eq!(of(&bytes, 4, 15), Some(10), "counted in instructions of four bytes");
        assert_eq!(of(&bytes[..3], 1, 100), None, "cut off");
        assert_eq!(of(&[0, 8], 1, 0), Some(-1), "the first may change nothing");
    }

    #[test]
    fn a_table_that_does_not_end_is_left() {
        let endless = [2, 0].repeat(1 << 20);
        assert_eq!(of(&endless, 1, 1), None);
        assert_eq!(of(&[0xff; 64], 1, 1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), pc: u64) {
            of(&bytes, 4, pc);
        }
    }
}
