//! How much stack a program and what it calls take, as 5.10 and 6.1 count it: there is room
//! for 512 bytes of all frames together, and each is rounded up to 32 (`check_max_stack_depth` in
//! kernel/bpf/verifier.c). Newer kernels give programs stacks of their own and say nothing.
//! Reads bytes, touches nothing.
//!
//! A frame is what the instructions show: the place furthest below r10 that one of them names.

use anyhow::{Context, Result, bail, ensure};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind,
    read::elf::ElfFile64 as File,
};
use std::collections::{BTreeMap, HashMap};

/// Bytes of one BPF instruction.
const INSTRUCTION: i64 = 8;
/// `MAX_BPF_STACK` (include/linux/filter.h).
pub(crate) const MOST: u64 = 512;
/// What each frame is rounded up to.
const ROUNDED: u64 = 32;
/// Frames that may be on each other (`MAX_CALL_FRAMES`).
const FRAMES: usize = 8;

/// The deepest stack of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) bytes: u64,
    /// The functions with the bytes of each frame, the program first.
    pub(crate) chain: Vec<(String, u64)>,
}

impl Depth {
    /// `edge_raw 312 > copied_stack 96`
    pub(crate) fn shown(&self) -> String {
        self.chain.iter().map(|(name, frame)| format!("{name} {frame}")).collect::<Vec<_>>().join(" > ")
    }
}

/// Where a function begins.
type Place = (SectionIndex, u64);

struct Function {
    name: String,
    frame: u64,
    calls: Vec<Place>,
}

/// That of each program, by its name.
///
/// # Errors
/// When the bytes are no BPF object, or a call leads to no function.
pub(crate) fn depths(object: &[u8]) -> Result<BTreeMap<String, Depth>> {
    let file: File<'_> = File::parse(object).context("not a BPF object")?;
    let mut functions = HashMap::new();
    let mut programs = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        let place = (index, symbol.address());
        let from = usize::try_from(symbol.address())?;
        let code = section.data()?.get(from..from + usize::try_from(symbol.size())?);
        let code = code.with_context(|| format!("{} is cut short", symbol.name().unwrap_or("?")))?;
        let calls = called(&file, index, symbol.address(), code)?;
        let function = Function { name: symbol.name()?.to_owned(), frame: frame(code), calls };
        if section.name()? != ".text" {
            programs.push(place);
        }
        functions.insert(place, function);
    }
    programs
        .iter()
        .map(|place| Ok((functions[place].name.clone(), deepest(&functions, *place, 1)?)))
        .collect()
}

/// The deepest chain of calls that begins at a function.
fn deepest(functions: &HashMap<Place, Function>, at: Place, frames: usize) -> Result<Depth> {
    let function = functions.get(&at).context("a call leads to no function")?;
    ensure!(frames <= FRAMES, "{} is called in a chain of more than {FRAMES} functions", function.name);
    let mut below = Depth { bytes: 0, chain: Vec::new() };
    for &call in &function.calls {
        let depth = deepest(functions, call, frames + 1)?;
        if depth.bytes > below.bytes {
            below = depth;
        }
    }
    let frame = function.frame.max(1).next_multiple_of(ROUNDED);
    let mut chain = vec![(function.name.clone(), frame)];
    chain.append(&mut below.chain);
    Ok(Depth { bytes: frame + below.bytes, chain })
}

/// Where the calls of the function at `start` lead.
fn called(file: &File<'_>, section: SectionIndex, start: u64, code: &[u8]) -> Result<Vec<Place>> {
    /// `BPF_JMP | BPF_CALL`, of a function and not of a helper (`BPF_PSEUDO_CALL`).
    const CALL: u8 = 0x85;
    let mut relocated = HashMap::new();
    for (at, relocation) in file.section_by_index(section)?.relocations() {
        relocated.insert(at, relocation.target());
    }
    let mut calls = Vec::new();
    for (at, word) in (start..).step_by(8).zip(code.chunks_exact(8)) {
        if word[0] != CALL || word[1] >> 4 != 1 {
            continue;
        }
        // In instructions: from the next one, or, beside a symbol, from that less one.
        let further = i64::from(i32::from_le_bytes([word[4], word[5], word[6], word[7]])) + 1;
        let further = further * INSTRUCTION;
        let (section, base) = match relocated.get(&at) {
            None => (section, at),
            Some(RelocationTarget::Symbol(index)) => {
                let symbol = file.symbol_by_index(*index)?;
                (symbol.section_index().context("a call leads out of the object")?, symbol.address())
            }
            Some(other) => bail!("a call is relocated by {other:?}"),
        };
        calls.push((section, base.checked_add_signed(further).context("a call leads nowhere")?));
    }
    calls.sort_unstable_by_key(|(section, at)| (section.0, *at));
    calls.dedup();
    Ok(calls)
}

/// Bytes of a frame, by the instructions of the function.
fn frame(code: &[u8]) -> u64 {
    /// The frame pointer.
    const FP: u8 = 10;
    /// `BPF_ALU64 | BPF_MOV | BPF_X` and `BPF_ALU64 | BPF_ADD | BPF_K`.
    const MOV: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let mut lowest = 0_i64;
    // Registers that have just been made the frame pointer.
    let mut copies = [false; 16];
    for word in code.chunks_exact(8) {
        let (opcode, dst, src) = (word[0], word[1] & 15, word[1] >> 4);
        let offset = i64::from(i16::from_le_bytes([word[2], word[3]]));
        let number = i64::from(i32::from_le_bytes([word[4], word[5], word[6], word[7]]));
        // Loads by src; stores by dst, of a register or of a number; atomics are stores.
        let reached = match opcode & 7 {
            1 if src == FP => offset,
            2 | 3 if dst == FP => offset,
            _ if opcode == ADD && copies[usize::from(dst)] => number,
            _ => 0,
        };
        lowest = lowest.min(reached);
        if opcode & 7 == 7 || opcode & 7 == 4 || opcode & 7 == 1 {
            copies[usize::from(dst)] = opcode == MOV && src == FP;
        }
    }
    lowest.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_large_as_its_furthest_place() {
        let code = [
            // *(u64 *)(r10 - 24) = r1; r2 = r10; r2 += -96; r0 = *(u8 *)(r10 - 8); r3 += -512; exit
            [0x7b, 0x1a, 0xe8, 0xff, 0, 0, 0, 0],
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xa0, 0xff, 0xff, 0xff],
            [0x71, 0xa0, 0xf8, 0xff, 0, 0, 0, 0],
            [0x07, 0x03, 0, 0, 0, 0xfe, 0xff, 0xff],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(frame(&code.concat()), 96);
        assert_eq!(frame(&code[..2].concat()), 24);
        assert_eq!(frame(&code[5..].concat()), 0);
    }

    #[test]
    fn the_deepest_of_the_ways_counts_rounded_up() {
        let place = |at| (SectionIndex(1), at);
        let function = |name: &str, frame, calls: &[u64]| Function {
            name: name.to_owned(),
            frame,
            calls: calls.iter().map(|at| place(*at)).collect(),
        };
        let mut functions = HashMap::from([
            (place(0), function("program", 100, &[8, 16])),
            (place(8), function("wide", 200, &[])),
            (place(16), function("narrow", 0, &[24])),
            (place(24), function("below", 193, &[])),
        ]);
        let depth = deepest(&functions, place(0), 1).unwrap();
        assert_eq!(depth.shown(), "program 128 > narrow 32 > below 224");
        assert_eq!(depth.bytes, 384);
        functions.insert(place(24), function("below", 0, &[0]));
        assert!(deepest(&functions, place(0), 1).unwrap_err().to_string().contains("chain of more than 8"));
        functions.remove(&place(24));
        assert!(deepest(&functions, place(0), 1).is_err());
    }
}
