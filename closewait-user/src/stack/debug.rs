//! How deep debug information is nested: its bytes in, whether a parser bears that out. Pure.
//!
//! The parser of symbols follows calls that are inlined into each other by calling itself, and an
//! entry of that kind can be a single byte: a file of a megabyte can use up any stack, which ends
//! the process, and no panic tells of it.

use gimli::{DebugAbbrev, DebugInfo, NativeEndian, UnitHeader};

/// Deepest nesting of entries of any kind. Real programs stay below a hundred; the parser takes
/// less than a kilobyte a level.
pub(super) const MOST: isize = 256;

type Bytes<'a> = gimli::EndianSlice<'a, NativeEndian>;

/// Whether no unit of `.debug_info` is nested deeper than [`MOST`], as far as it can be parsed.
pub(super) fn is_bearable(info: &[u8], abbrev: &[u8]) -> bool {
    let abbrev = DebugAbbrev::new(abbrev, NativeEndian);
    let mut units = DebugInfo::new(info, NativeEndian).units();
    // What follows one that cannot be parsed is not parsed by others either.
    while let Ok(Some(unit)) = units.next() {
        if !is_shallow(&unit, &abbrev).unwrap_or(true) {
            return false;
        }
    }
    true
}

fn is_shallow(unit: &UnitHeader<Bytes<'_>>, abbrev: &DebugAbbrev<Bytes<'_>>) -> gimli::Result<bool> {
    let abbreviations = unit.abbreviations(abbrev)?;
    let mut entries = unit.entries_raw(&abbreviations, None)?;
    while !entries.is_empty() {
        if entries.next_depth() > MOST {
            return Ok(false);
        }
        if let Some(kind) = entries.read_abbreviation()? {
            entries.skip_attributes(kind.attributes())?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Abbreviations: 1 is a unit, 2 a function, 3 a call inlined into it; all have children.
    const ABBREV: &[u8] = &[1, 0x11, 1, 0, 0, 2, 0x2e, 1, 0, 0, 3, 0x1d, 1, 0, 0, 0];

    /// A unit of version 4 with such a function, in which calls are nested so deep.
    fn unit(depth: usize) -> Vec<u8> {
        let entries = [&[1, 2][..], &vec![3; depth], &vec![0; depth + 2]].concat();
        let mut unit = u32::try_from(entries.len() + 7).unwrap().to_ne_bytes().to_vec();
        unit.extend(4_u16.to_ne_bytes());
        unit.extend([0, 0, 0, 0, 8]);
        unit.extend(entries);
        unit
    }

    #[test]
    fn what_is_nested_too_deep_is_told() {
        let most = usize::try_from(MOST).unwrap();
        for (info, bearable) in [
            (Vec::new(), true),
            (unit(0), true),
            (unit(most - 1), true),
            (unit(most), false),
            (unit(1_000_000), false),
            ([unit(3), unit(1_000_000)].concat(), false),
            // No unit begins there.
            ([&[0xf0, 0xff, 0xff, 0xff][..], &unit(1_000_000)].concat(), true),
        ] {
            assert_eq!(is_bearable(&info, ABBREV), bearable, "{} bytes", info.len());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(info: Vec<u8>, abbrev: Vec<u8>) {
            is_bearable(&info, &abbrev);
            is_bearable(&[unit(3), info].concat(), ABBREV);
        }
    }
}
