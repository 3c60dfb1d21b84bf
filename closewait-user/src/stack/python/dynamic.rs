//! What an ELF file shows to the dynamic linker: an open file in, the addresses of its
//! symbols, the symbols of others that it uses, and the libraries it names out. These
//! tables are there in stripped files too. Any bytes, no panic, bounded.

use super::super::elf::{Elf, Section, half, u32_at, word};
use super::super::file::HeldFile;

/// Most bytes of a table that are read; those of an interpreter have some 200 KB.
const MAX_TABLE: u64 = 4 << 20;

/// Longest name or list of paths that is read whole.
const MAX_TEXT: usize = 1024;

/// elf(5): bytes of `Elf64_Sym`, `Elf64_Rela`, `Elf64_Dyn`.
const SYMBOL: usize = 24;
const RELOCATION: usize = 24;
const TAG: usize = 16;

/// Words that the linker fills with the address of a symbol (x86-64 ABI).
const R_GLOB_DAT: u32 = 6;
const R_JUMP_SLOT: u32 = 7;

const DT_NEEDED: u64 = 1;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// The tables of one file.
#[derive(Debug)]
pub(super) struct Dynamic {
    strings: Vec<u8>,
    symbols: Vec<u8>,
    relocations: Vec<u8>,
    tags: Vec<u8>,
}

impl Dynamic {
    /// Reads the tables; `None` when there are none.
    pub(super) fn of(file: &HeldFile, elf: &Elf) -> Option<Self> {
        let table = |name: &str| elf.section(name).and_then(|section| read(file, section));
        let mut relocations = table(".rela.plt").unwrap_or_default();
        // Whole ones only: another table follows.
        relocations.truncate(relocations.len() / RELOCATION * RELOCATION);
        relocations.extend(table(".rela.dyn").unwrap_or_default());
        Some(Self {
            strings: table(".dynstr")?,
            symbols: table(".dynsym")?,
            relocations,
            tags: table(".dynamic").unwrap_or_default(),
        })
    }

    /// The address of a symbol that this file defines.
    pub(super) fn defined(&self, name: &str) -> Option<u64> {
        let is_it = |symbol: &&[u8]| {
            half(symbol, 6) != Some(0) && self.text(u32_at(symbol, 0)) == Some(name.as_bytes())
        };
        word(self.symbols.chunks_exact(SYMBOL).find(is_it)?, 8)
    }

    /// The words that hold addresses of other files' symbols, and those symbols.
    pub(super) fn imported(&self) -> impl Iterator<Item = (u64, &str)> {
        self.relocations.chunks_exact(RELOCATION).filter_map(|relocation| {
            let (address, info) = (word(relocation, 0)?, word(relocation, 8)?);
            #[expect(clippy::cast_possible_truncation, reason = "its halves are two numbers")]
            let (kind, index) = (info as u32, usize::try_from(info >> 32).ok()?);
            let symbol = self.symbols.get(index.checked_mul(SYMBOL)?..)?.get(..SYMBOL)?;
            let name = std::str::from_utf8(self.text(u32_at(symbol, 0))?).ok()?;
            let is_import = matches!(kind, R_GLOB_DAT | R_JUMP_SLOT) && half(symbol, 6) == Some(0);
            is_import.then_some((address, name))
        })
    }

    /// The libraries it needs.
    pub(super) fn needed(&self) -> impl Iterator<Item = &str> {
        self.tagged(&[DT_NEEDED])
    }

    /// Where they are to be looked for first.
    pub(super) fn run_paths(&self) -> impl Iterator<Item = &str> {
        self.tagged(&[DT_RUNPATH, DT_RPATH]).flat_map(|paths| paths.split(':'))
    }

    fn tagged<'a>(&'a self, tags: &'a [u64]) -> impl Iterator<Item = &'a str> {
        let of =
            self.tags.chunks_exact(TAG).filter(|entry| word(entry, 0).is_some_and(|tag| tags.contains(&tag)));
        of.filter_map(|entry| std::str::from_utf8(self.text(word(entry, 8)?.try_into().ok())?).ok())
    }

    /// A text without an end costs no more than the longest that is believed.
    fn text(&self, at: Option<u32>) -> Option<&[u8]> {
        let text = self.strings.get(at? as usize..)?;
        text[..text.len().min(MAX_TEXT)].split(|&byte| byte == 0).next()
    }
}

fn read(file: &HeldFile, section: &Section) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(section.size).ok().filter(|_| section.size <= MAX_TABLE)?];
    file.read_at(&mut bytes, section.offset).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn symbols_are_told_by_who_defines_them() {
        let symbol = |name: u32, section: u16, value: u64| {
            let mut bytes = [0; SYMBOL];
            bytes[..4].copy_from_slice(&name.to_ne_bytes());
            bytes[6..8].copy_from_slice(&section.to_ne_bytes());
            bytes[8..16].copy_from_slice(&value.to_ne_bytes());
            bytes
        };
        let relocation = |at: u64, index: u64, kind: u64| {
            [at, index << 32 | kind, 0].into_iter().flat_map(u64::to_ne_bytes).collect::<Vec<_>>()
        };
        let tables = Dynamic {
            strings: b"\0Py_BytesMain\0_PyRuntime\0libpython3.11.so.1.0\0$ORIGIN/../lib:/opt/lib\0".to_vec(),
            symbols: [symbol(0, 0, 0), symbol(1, 0, 0), symbol(14, 9, 0x1000)].concat(),
            relocations: [relocation(0x4000, 1, 7), relocation(0x4008, 2, 6), relocation(0x4010, 1, 8)]
                .concat(),
            tags: [DT_NEEDED, 25, DT_RUNPATH, 46, 0, 0].into_iter().flat_map(u64::to_ne_bytes).collect(),
        };
        assert_eq!((tables.defined("_PyRuntime"), tables.defined("Py_BytesMain")), (Some(0x1000), None));
        assert_eq!(tables.imported().collect::<Vec<_>>(), [(0x4000, "Py_BytesMain")]);
        assert_eq!(tables.needed().collect::<Vec<_>>(), ["libpython3.11.so.1.0"]);
        assert_eq!(tables.run_paths().collect::<Vec<_>>(), ["$ORIGIN/../lib", "/opt/lib"]);
    }

    #[test]
    fn names_without_an_end_cost_a_bounded_time() {
        let mut tables = Dynamic {
            strings: vec![b'a'; 4 << 20],
            symbols: vec![1; 40_000 * SYMBOL],
            relocations: Vec::new(),
            tags: Vec::new(),
        };
        // Read to their ends these would be 160 GB.
        assert_eq!(tables.defined("_PyRuntime"), None);
        tables.strings.truncate(1);
        assert_eq!(tables.defined("_PyRuntime"), None);
    }

    proptest! {
        #[test]
        fn any_tables_are_survived(strings: Vec<u8>, symbols: Vec<u8>, relocations: Vec<u8>, tags: Vec<u8>) {
            let tables = Dynamic { strings, symbols, relocations, tags };
            let _ = (tables.defined("_PyRuntime"), tables.imported().count(), tables.run_paths().count());
        }
    }
}
