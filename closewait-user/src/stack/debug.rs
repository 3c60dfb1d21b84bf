//! What debug information makes of a parser: its sections in, whether one bears it out. Pure.
//!
//! The parser of symbols follows calls that are inlined into each other by calling itself, and
//! such an entry can be a single byte: a file of a megabyte can use up any stack, which ends the
//! process, and no panic tells of it. It keeps some fifty bytes of each such call of a function, and
//! of each part that their code is in, a list of which may belong to many; and of each row of lines,
//! which is a byte: a file of thirty megabytes, or of thirty kilobytes packed, took two gigabytes.

use gimli::{
    AbbreviationsCacheStrategy, AttributeValue, Dwarf, EndianSlice, EntriesRaw, NativeEndian, Unit,
    UnitHeader,
};

/// Deepest nesting of entries of any kind. Real programs stay below a hundred; the parser takes
/// less than a kilobyte a level.
pub(super) const MOST: isize = 256;

/// Most functions, calls inlined into them, and parts of code of these, of one unit. The parser
/// has one unit at a time for each address.
const MOST_ENTRIES: usize = 1_000_000;

/// Most units, of each of which the parser keeps some hundreds of bytes: the largest programs have
/// some ten thousand.
const MOST_UNITS: usize = 200_000;

/// Most parts of code that units themselves are in, of all of them: a part may be a function.
const MOST_PARTS: usize = 4_000_000;

/// Most bytes of `.debug_abbrev`, of five of which the parser makes over a hundred; for 50 MB of
/// entries there are 0.6.
const MOST_ABBREV: usize = 8 << 20;

/// Longest program that makes the lines of a unit: of real ones a row takes some four bytes.
const MOST_LINES: usize = 8 << 20;

/// Longest header of such a program: a parser makes room for as many files, of a hundred bytes each,
/// as it has bytes, and where there is no such room its process ends.
const MOST_HEADER: u64 = 1 << 20;

type Bytes<'a> = EndianSlice<'a, NativeEndian>;

/// Why looking ends.
enum Stop {
    /// It is too much.
    TooMuch,
    /// It cannot be parsed from here on; others get no further.
    Broken,
}

impl From<gimli::Error> for Stop {
    fn from(_: gimli::Error) -> Self {
        Self::Broken
    }
}

/// Whether a parser bears out what is in these sections, each of which `section` gives by name.
pub(super) fn is_bearable<'a>(section: impl Fn(&str) -> &'a [u8]) -> bool {
    let load = |id: gimli::SectionId| Ok::<_, Stop>(EndianSlice::new(section(id.name()), NativeEndian));
    if section(".debug_abbrev").len() > MOST_ABBREV {
        return false;
    }
    let Ok(mut dwarf) = Dwarf::load(load) else { return true };
    dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
    let mut look = Look { dwarf: &dwarf, of_units: 0 };
    let (mut units, mut count) = (dwarf.units(), 0);
    while let Ok(Some(header)) = units.next() {
        count += 1;
        if count > MOST_UNITS {
            return false;
        }
        if lines_of(&dwarf, &header).is_ok_and(|at| lines_header(section(".debug_line"), at) > MOST_HEADER) {
            return false;
        }
        let looked = match dwarf.unit(header) {
            Ok(unit) => look.unit(&unit),
            // Its entries may be parsed all the same.
            Err(_) => dwarf
                .abbreviations(&header)
                .map_err(Stop::from)
                .and_then(|abbreviations| look.entries(header.entries_raw(&abbreviations, None)?, None)),
        };
        if matches!(looked, Err(Stop::TooMuch)) {
            return false;
        }
    }
    true
}

/// Where the lines of a unit begin, as its first entry says.
fn lines_of(dwarf: &Dwarf<Bytes<'_>>, header: &UnitHeader<Bytes<'_>>) -> Result<usize, Stop> {
    let abbreviations = dwarf.abbreviations(header)?;
    let mut entries = header.entries_raw(&abbreviations, None)?;
    let mut lines = Err(Stop::Broken);
    // Of two the parser takes the latter.
    for attribute in entries.read_abbreviation()?.ok_or(Stop::Broken)?.attributes() {
        if let AttributeValue::DebugLineRef(at) = entries.read_attribute(*attribute)?.value() {
            lines = Ok(at.0);
        }
    }
    lines
}

/// `header_length` of the lines that begin there (DWARF 5, section 6.2.4; a length of all ones says
/// that lengths have eight bytes); 0 where it is not whole.
fn lines_header(section: &[u8], at: usize) -> u64 {
    let number = |at: usize, len: usize| {
        let bytes = section.get(at..at.checked_add(len)?)?;
        let mut word = [0; 8];
        let place = if cfg!(target_endian = "little") { 0 } else { 8 - len };
        word.get_mut(place..place + len)?.copy_from_slice(bytes);
        Some(u64::from_ne_bytes(word))
    };
    let length = || {
        let (before, size) = if number(at, 4)? == 0xffff_ffff { (12, 8) } else { (4, 4) };
        // Since version 5 two bytes more stand before it.
        let more = if number(at.checked_add(before)?, 2)? >= 5 { 2 } else { 0 };
        number(at.checked_add(before + 2 + more)?, size)
    };
    length().unwrap_or(0)
}

/// A look at all units.
struct Look<'a, 'b> {
    dwarf: &'b Dwarf<Bytes<'a>>,
    /// Parts of code that units themselves are in, of all of them.
    of_units: usize,
}

impl<'a> Look<'a, '_> {
    fn unit(&mut self, unit: &Unit<Bytes<'a>>) -> Result<(), Stop> {
        let lines = unit.line_program.as_ref().map_or(0, |lines| lines.header().raw_program_buf().len());
        if lines > MOST_LINES {
            return Err(Stop::TooMuch);
        }
        self.entries(unit.entries_raw(None)?, Some(unit))
    }

    fn entries(
        &mut self,
        mut entries: EntriesRaw<'_, Bytes<'a>>,
        unit: Option<&Unit<Bytes<'a>>>,
    ) -> Result<(), Stop> {
        let mut kept = 0;
        while !entries.is_empty() {
            if entries.next_depth() > MOST {
                return Err(Stop::TooMuch);
            }
            let Some(kind) = entries.read_abbreviation()? else { continue };
            let (counter, most) = match kind.tag() {
                gimli::DW_TAG_compile_unit => (&mut self.of_units, MOST_PARTS),
                gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine => (&mut kept, MOST_ENTRIES),
                _ => {
                    entries.skip_attributes(kind.attributes())?;
                    continue;
                }
            };
            *counter += 1;
            for attribute in kind.attributes() {
                let attribute = entries.read_attribute(*attribute)?;
                if let Some(unit) = unit.filter(|_| attribute.name() == gimli::DW_AT_ranges)
                    && let Ok(Some(list)) = self.dwarf.attr_ranges_offset(unit, attribute.value())
                    && let Ok(mut parts) = self.dwarf.raw_ranges(unit, list)
                {
                    while *counter <= most && matches!(parts.next(), Ok(Some(_))) {
                        *counter += 1;
                    }
                }
            }
            if *counter > most {
                return Err(Stop::TooMuch);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Abbreviations: 1 is a unit, 2 a function, 3 a call inlined into it; all have children.
    const ABBREV: &[u8] = &[1, 0x11, 1, 0, 0, 2, 0x2e, 1, 0, 0, 3, 0x1d, 1, 0, 0, 0];

    /// A unit of version 4 with such a function, in which calls are nested so deep.
    fn unit(depth: usize) -> Vec<u8> {
        unit_of(&[&[1, 2][..], &vec![3; depth], &vec![0; depth + 2]].concat())
    }

    #[test]
    fn what_is_nested_too_deep_is_told() {
        let most = usize::try_from(MOST).unwrap();
        for (info, bearable) in [
            (Vec::new(), true),
            (unit(0), true),
            (unit(most - 2), true),
            (unit(most - 1), false),
            (unit(1_000_000), false),
            ([unit(3), unit(1_000_000)].concat(), false),
            // No unit begins there.
            ([&[0xf0, 0xff, 0xff, 0xff][..], &unit(1_000_000)].concat(), true),
        ] {
            assert_eq!(judged(&info, ABBREV, &[]), bearable, "{} bytes", info.len());
        }
    }

    fn judged(info: &[u8], abbrev: &[u8], ranges: &[u8]) -> bool {
        is_bearable(|name| match name {
            ".debug_info" => info,
            ".debug_abbrev" => abbrev,
            ".debug_ranges" => ranges,
            _ => &[],
        })
    }

    /// A unit of version 4 with these entries.
    fn unit_of(entries: &[u8]) -> Vec<u8> {
        let mut unit = u32::try_from(entries.len() + 7).unwrap().to_ne_bytes().to_vec();
        unit.extend(4_u16.to_ne_bytes());
        unit.extend([0, 0, 0, 0, 8]);
        unit.extend(entries);
        unit
    }

    #[test]
    fn what_makes_too_many_of_a_few_bytes_is_told() {
        // 1 is a unit with children, 2 and 3 a function and an inlined call without; 4 and 5 a
        // function and a unit with a list of the parts of their code (DW_AT_ranges, DW_FORM_sec_offset).
        let abbrev = [
            &[1, 0x11, 1, 0, 0, 2, 0x2e, 0, 0, 0, 3, 0x1d, 0, 0, 0][..],
            &[4, 0x2e, 0, 0x55, 0x17, 0, 0, 5, 0x11, 0, 0x55, 0x17, 0, 0, 0],
        ]
        .concat();
        let all = |entry: &[u8], times: usize| unit_of(&[&[1][..], &entry.repeat(times), &[0]].concat());
        // A thousand parts, and the end of the list.
        let ranges = [[1_u64, 2].map(u64::to_ne_bytes).concat().repeat(1000), vec![0; 16]].concat();
        let half = MOST_ENTRIES / 2 + 1;
        for (what, info, bearable) in [
            ("calls", all(&[3], MOST_ENTRIES), true),
            ("more calls", all(&[3], MOST_ENTRIES + 1), false),
            ("functions and calls", all(&[2, 3], half), false),
            ("of two units", [all(&[3], half), all(&[3], half)].concat(), true),
            ("parts", all(&[4, 0, 0, 0, 0], MOST_ENTRIES / 1001), true),
            ("more parts", all(&[4, 0, 0, 0, 0], MOST_ENTRIES / 1001 + 1), false),
            ("of units", unit_of(&[5, 0, 0, 0, 0]).repeat(MOST_PARTS / 1001 + 1), false),
            ("units", unit_of(&[1, 0]).repeat(MOST_UNITS), true),
            ("more units", unit_of(&[1, 0]).repeat(MOST_UNITS + 1), false),
        ] {
            assert_eq!(judged(&info, &abbrev, &ranges), bearable, "{what}");
        }
        assert!(!judged(&unit_of(&[1, 0]), &[&abbrev[..], &vec![0; MOST_ABBREV]].concat(), &ranges));
    }

    #[test]
    fn lines_with_a_header_for_too_many_files_are_told() {
        // A unit that says where its lines are (DW_AT_stmt_list, DW_FORM_sec_offset).
        let (info, abbrev) = (unit_of(&[1, 9, 0, 0, 0]), [1, 0x11, 0, 0x10, 0x17, 0, 0, 0]);
        let most = u32::try_from(MOST_HEADER).unwrap();
        for (header, bearable) in [(16, true), (most, true), (most + 1, false), (u32::MAX, false)] {
            for (version, more) in [(4_u16, &[][..]), (5, &[8, 0])] {
                let small = [&[0; 9][..], &u32::MAX.wrapping_sub(16).to_ne_bytes()].concat();
                let small = [&small, &version.to_ne_bytes()[..], more, &header.to_ne_bytes()].concat();
                let large = [&[0; 9][..], &[0xff; 4], &[0xff; 8], &version.to_ne_bytes(), more].concat();
                let large = [&large, &u64::from(header).to_ne_bytes()[..]].concat();
                for lines in [small, large] {
                    let judged = is_bearable(|name| match name {
                        ".debug_info" => &info,
                        ".debug_abbrev" => &abbrev,
                        ".debug_line" => &lines,
                        _ => &[],
                    });
                    assert_eq!(judged, bearable, "{header} {version}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(info: Vec<u8>, abbrev: Vec<u8>) {
            judged(&info, &abbrev, &info);
            judged(&[unit(3), info].concat(), ABBREV, &abbrev);
        }
    }
}
