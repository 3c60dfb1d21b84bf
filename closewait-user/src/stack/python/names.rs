//! What the functions of a stack are called: frames and the memory of their process in,
//! names, files and lines out. Read as soon as the frames came, while the process lives.
//!
//! Code objects live long, but may be gone: nothing is believed that is not a code object
//! by its type, or in whose code the frame cannot be. Memory may be hostile: everything
//! that is read is bounded, and nothing in it can do harm.

use super::interpreter::Interpreter;
use super::interpreters::Interpreters;
use super::layout::Role;
use super::{Walk, lines};
use closewait_ebpf::PythonFrame;

/// Most characters of a name that are kept; of a path.
const MAX_TEXT: u64 = 512;

/// Most bytes of a table of lines: some 10,000 lines of one function.
const MAX_LINES: u64 = 64 << 10;

/// Most instructions that a function can be believed to have.
const MAX_CODE: u64 = 16 << 20;

/// Where the members that are read of a code object end.
const CODE_OBJECT: usize = 256;

/// Reads memory of the process; `false` when it is not there.
pub(in super::super) type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// A Python function on a stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Where it is in its code.
    pub addr: u64,
    /// The same, from where the code begins.
    pub offset: u64,
    /// Its name, with those of the class or function around it.
    pub name: String,
    /// Its source.
    pub file: Option<String>,
    /// The line it is at.
    pub line: Option<u32>,
}

/// The Python functions of a stack, innermost first; in groups: those of one are on the
/// stack as one frame of the interpreter's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Functions {
    /// The groups.
    pub groups: Vec<Vec<Function>>,
    /// What is missing, and why.
    pub note: Option<String>,
}

/// Names the frames of a walk; an error says why there is nothing.
pub(in super::super) fn name(
    interpreters: &Interpreters,
    walk: &Walk,
    read: Read<'_>,
) -> Result<Functions, String> {
    let interpreter = interpreters.of(walk).ok_or("its interpreter is not known any more")?;
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let mut note = walk.more.then(|| format!("more than {} Python functions", walk.frames.len()));
    for frame in &walk.frames {
        let role = interpreter.layout.role(frame.about);
        if role != Role::Shim {
            match function(interpreter, walk.runtime, *frame, read) {
                Ok(function) => group.push(function),
                Err(why) => {
                    note = Some(format!("a Python function could not be named: {why}"));
                    break;
                }
            }
        }
        if role != Role::Called {
            groups.push(std::mem::take(&mut group));
        }
    }
    groups.push(group);
    groups.retain(|group| !group.is_empty());
    if groups.is_empty() {
        return Err(note.unwrap_or_else(|| "the interpreter has no frame for this thread".into()));
    }
    Ok(Functions { groups, note })
}

fn function(
    interpreter: &Interpreter,
    runtime: u64,
    frame: PythonFrame,
    read: Read<'_>,
) -> Result<Function, &'static str> {
    let layout = &interpreter.layout;
    let mut object = [0; CODE_OBJECT];
    if frame.code == 0 || !read(frame.code, &mut object) {
        return Err("its process ended first, or its memory cannot be read");
    }
    let word = |at: usize| {
        let word = object.get(at..at + 8).and_then(|word| word.try_into().ok());
        word.map_or(0, u64::from_ne_bytes)
    };
    // `PyVarObject`: references, type, size; that of code counts units of two bytes.
    if word(8) != runtime.wrapping_add(interpreter.code_type) {
        return Err("what its frame refers to is no code any more");
    }
    let first = frame.code.wrapping_add(layout.code as u64);
    // A frame that has not begun is one unit before it.
    let offset = frame.instr.wrapping_sub(first);
    let begins = offset.wrapping_add(2) < 2;
    if word(16) > MAX_CODE || (!begins && offset >= 2 * word(16)) {
        return Err("its frame is not in the code it refers to");
    }
    let name = text(interpreter, word(layout.qualname), read).ok_or("its name is no text")?;
    let file = text(interpreter, word(layout.filename), read);
    let first_line =
        object.get(layout.first_line..layout.first_line + 4).and_then(|line| line.try_into().ok());
    let first_line = first_line.map_or(0, u32::from_ne_bytes);
    let offset = if begins { 0 } else { offset };
    let table = bytes(word(layout.linetable), read).unwrap_or_default();
    let line = lines::line(&table, first_line, offset);
    Ok(Function { addr: frame.instr, offset, name, file, line })
}

/// The bytes of a `bytes` object: size, hash, bytes.
fn bytes(object: u64, read: Read<'_>) -> Option<Vec<u8>> {
    let mut header = [0; 32];
    if !read(object, &mut header) {
        return None;
    }
    let size = u64::from_ne_bytes(header[16..24].try_into().ok()?);
    let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= MAX_LINES)?];
    read(object.wrapping_add(32), &mut bytes).then_some(bytes)
}

/// The characters of a `str` object: length and hash, then how they are kept.
fn text(interpreter: &Interpreter, object: u64, read: Read<'_>) -> Option<String> {
    let mut header = [0; 40];
    if !read(object, &mut header) {
        return None;
    }
    let length = u64::from_ne_bytes(header[16..24].try_into().ok()?).min(MAX_TEXT);
    let state = u32::from_ne_bytes(header[32..36].try_into().ok()?);
    let (kind, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 != 0, state >> 6 & 1 != 0);
    let size = match kind {
        1 | 2 | 4 if is_compact => u64::from(kind) * length,
        _ => return None,
    };
    let at = if is_ascii { interpreter.layout.ascii } else { interpreter.layout.compact };
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    if !read(object.wrapping_add(at), &mut bytes) {
        return None;
    }
    let character = |unit: &[u8]| {
        let mut code = [0; 4];
        code[..unit.len()].copy_from_slice(unit);
        char::from_u32(u32::from_le_bytes(code)).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    Some(bytes.chunks_exact(usize::try_from(kind).ok()?).map(character).collect())
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::*;
    use proptest::prelude::*;

    const RUNTIME: u64 = 0x7f00_0000_0000;
    const CODE: u64 = 0x10_0000;

    fn interpreter() -> Interpreter {
        Interpreter { layout: layout::of(0x030c_01f0, &[]).unwrap(), code_type: 0x500 }
    }

    /// Memory from address 0 on, in which a function is called as told.
    struct Memory(Vec<u8>);

    impl Memory {
        fn with(kind: u32, is_ascii: bool, characters: &[u8], length: u64) -> Self {
            let mut memory = Self(vec![0; 0x20_0000]);
            memory.word(CODE + 8, RUNTIME + 0x500);
            memory.word(CODE + 16, 10);
            memory.word(CODE + 128, 0x1000);
            memory.word(CODE + 112, 0x1000);
            memory.word(CODE + 136, 0x3000);
            memory.word(CODE + 68, 7);
            memory.word(0x1000 + 16, length);
            memory.word(0x1000 + 32, u64::from(kind << 2 | 1 << 5 | u32::from(is_ascii) << 6));
            let at = if is_ascii { 0x1028 } else { 0x1038 };
            memory.0[at..at + characters.len()].copy_from_slice(characters);
            // Eight units at one line further, then no place.
            memory.word(0x3000 + 16, 4);
            memory.0[0x3020..0x3024].copy_from_slice(&[0x80 | 11 << 3 | 7, 0, 0, 0x80 | 15 << 3 | 7]);
            memory
        }

        fn word(&mut self, at: u64, word: u64) {
            let at = usize::try_from(at).unwrap();
            self.0[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }

        fn read(&self, at: u64, buf: &mut [u8]) -> bool {
            let from = usize::try_from(at).unwrap();
            let Some(bytes) = from.checked_add(buf.len()).and_then(|to| self.0.get(from..to)) else {
                return false;
            };
            buf.copy_from_slice(bytes);
            true
        }

        fn function(&self, instr: u64) -> Result<Function, &'static str> {
            let frame = PythonFrame { code: CODE, instr, about: 0 };
            function(&interpreter(), RUNTIME, frame, &|addr, buf| self.read(addr, buf))
        }
    }

    #[test]
    fn names_of_any_characters_are_read_with_the_line() {
        let wide: Vec<u8> = "λ€".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let widest: Vec<u8> = ['𝕏', 'a'].iter().flat_map(|&c| u32::from(c).to_le_bytes()).collect();
        let cases: [(u32, bool, &[u8], u64, &str); 4] = [
            (1, true, b"Pool.lease", 10, "Pool.lease"),
            (1, false, &[b'c', 0xe9], 2, "cé"),
            (2, false, &wide, 2, "λ€"),
            (4, false, &widest, 2, "𝕏a"),
        ];
        for (kind, is_ascii, characters, length, want) in cases {
            let function = Memory::with(kind, is_ascii, characters, length).function(CODE + 192 + 4).unwrap();
            assert_eq!((function.name.as_str(), function.line, function.offset), (want, Some(8), 4));
        }
        let memory = Memory::with(1, true, b"f", 1);
        assert_eq!(memory.function(CODE + 192 + 18).unwrap().line, None, "there is no line");
        assert_eq!(memory.function(CODE + 192 - 2).unwrap().line, Some(8), "it has not begun");
    }

    #[test]
    fn what_is_no_code_object_any_more_is_not_believed() {
        let spoilt = |spoil: fn(&mut Memory)| {
            let mut memory = Memory::with(1, true, b"f", 1);
            spoil(&mut memory);
            memory.function(CODE + 192).unwrap_err()
        };
        assert_eq!(spoilt(|memory| memory.word(CODE + 8, 0)), "what its frame refers to is no code any more");
        assert_eq!(
            spoilt(|memory| memory.0.truncate(0x1000)),
            "its process ended first, or its memory cannot be read"
        );
        assert_eq!(spoilt(|memory| memory.word(0x1000 + 32, 0)), "its name is no text");
        assert_eq!(spoilt(|memory| memory.word(CODE + 128, u64::MAX - 8)), "its name is no text");
        let memory = Memory::with(1, true, b"f", 1);
        let outside = "its frame is not in the code it refers to";
        assert_eq!(memory.function(CODE + 192 + 20).unwrap_err(), outside);
        assert_eq!(memory.function(CODE).unwrap_err(), outside);
        // A length of any size costs no more than is kept.
        let long = Memory::with(1, true, &[b'x'; 600], u64::MAX).function(CODE + 192).unwrap();
        assert_eq!(long.name.len(), 512);
    }

    proptest! {
        #[test]
        fn any_memory_is_survived(bytes in proptest::collection::vec(any::<u8>(), 512), instr: u64) {
            let read = |addr: u64, buf: &mut [u8]| {
                let repeated = bytes.iter().cycle().skip((addr % 512) as usize);
                buf.iter_mut().zip(repeated).for_each(|(to, from)| *to = *from);
                true
            };
            let interpreter = interpreter();
            let runtime = u64::from_ne_bytes(bytes[8..16].try_into().unwrap()).wrapping_sub(interpreter.code_type);
            for instr in [instr, 512 + 192] {
                let _ = function(&interpreter, runtime, PythonFrame { code: 512, instr, about: 0 }, &read);
            }
        }
    }
}
