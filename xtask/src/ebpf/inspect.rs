//! What is in a BPF object: its programs with their sizes, and its maps.
//! Reads bytes, touches nothing.

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use serde::{Deserialize, Serialize};

/// Bytes of one BPF instruction.
const INSTRUCTION: u64 = 8;

/// A function that is a program of its own, or one in `.text` that programs call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) instructions: u64,
}

/// One map: aya's `bpf_map_def` as the loader reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Map {
    pub(crate) name: String,
    /// `enum bpf_map_type`
    pub(crate) kind: u32,
    /// Bytes of a key
    pub(crate) key_size: u32,
    /// Bytes of a value
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// All functions, in the order of sections and names.
///
/// # Errors
/// When the bytes are no ELF object.
pub(crate) fn programs(object: &[u8]) -> Result<Vec<Program>> {
    let file = parse(object)?;
    let mut programs = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let Some(index) = symbol.section_index() else { continue };
        programs.push(Program {
            section: file.section_by_index(index)?.name()?.to_owned(),
            name: symbol.name()?.to_owned(),
            instructions: symbol.size() / INSTRUCTION,
        });
    }
    programs.sort_by(|a, b| (&a.section, &a.name).cmp(&(&b.section, &b.name)));
    ensure!(!programs.is_empty(), "no program in the BPF object");
    Ok(programs)
}

/// All maps by name.
///
/// # Errors
/// When the bytes are no ELF object, or a map's definition is cut short.
pub(crate) fn maps(object: &[u8]) -> Result<Vec<Map>> {
    let file = parse(object)?;
    let Some(section) = file.section_by_name("maps") else { bail!("no `maps` section in the BPF object") };
    let bytes = section.data()?;
    let mut maps = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
        if symbol.size() == 0 {
            continue; // the section's own symbol
        }
        let start = usize::try_from(symbol.address())?;
        let word = |index: usize| -> Result<u32> {
            let at = start + 4 * index;
            let word = bytes.get(at..at + 4).context("a map's definition is cut short")?;
            Ok(u32::from_le_bytes(word.try_into()?))
        };
        maps.push(Map {
            name: symbol.name()?.to_owned(),
            kind: word(0)?,
            key_size: word(1)?,
            value_size: word(2)?,
            max_entries: word(3)?,
            flags: word(4)?,
        });
    }
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(maps)
}

/// The bytes of the section called `name`.
///
/// # Errors
/// When the bytes are no ELF object or have no such section.
pub(crate) fn section<'a>(object: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let file = parse(object)?;
    let section =
        file.section_by_name(name).with_context(|| format!("no section {name} in the BPF object"))?;
    Ok(section.data()?)
}

fn parse(object: &[u8]) -> Result<object::File<'_>> {
    object::File::parse(object).context("not a BPF object")
}
