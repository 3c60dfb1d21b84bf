//! Where CPython keeps what, by its version: a version and what it tells of itself in,
//! offsets out. Pure.
//!
//! Nothing here is a public interface of CPython, and each minor version has its own.
//! The numbers are those of its headers (`Include/internal/pycore_frame.h`,
//! `pycore_runtime.h`, `Include/cpython/{code,pystate,unicodeobject}.h`), as a compiler
//! lays them out for 64 bits. From 3.13 on the interpreter carries most of them itself
//! (`_Py_DebugOffsets`, at the start of `_PyRuntime`), and what it says is taken.

use closewait_ebpf::{PYTHON_FRAME_READ, PYTHON_STATE_READ, Python};

/// Bytes of `_Py_DebugOffsets` that are looked at.
pub(super) const DEBUG_OFFSETS: usize = 8 * 71;

/// From the thread pointer to the value of a thread's first key: `specific_1stblock` of
/// glibc's `struct pthread` on x86-64 (nptl/descr.h), then the value beside its sequence
/// number. The same in all releases since 2.12.
const SPECIFIC: u32 = 0x310 + 8;

/// How a frame shows that the interpreter called itself through C to get to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Boundary {
    /// The first frame of each call has this byte of its word set: 3.11, `is_entry`.
    Entry(u32),
    /// A frame of no function, whose owner is the C stack, stands before it: this byte of
    /// the word tells the owner.
    Shim(u32),
}

/// `FRAME_OWNED_BY_CSTACK`.
const OWNED_BY_C_STACK: u8 = 3;

/// Offsets of what userspace reads, and those for the kernel side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Of frames; without anchors.
    pub(super) kernel: Python,
    pub(super) boundary: Boundary,
    /// Members of a code object.
    pub(super) filename: usize,
    pub(super) qualname: usize,
    pub(super) linetable: usize,
    pub(super) first_line: usize,
    pub(super) code: usize,
    /// Sizes of the two headers of text: before characters that are all ASCII, and others.
    pub(super) ascii: u64,
    pub(super) compact: u64,
}

/// The layout of a version, `Py_Version` or `PY_VERSION_HEX`: 0x030b02f0 is 3.11.2. An
/// error says why there is none.
pub(super) fn of(version: u64, debug_offsets: &[u8]) -> Result<Layout, String> {
    let (major, minor) = (version >> 24, version >> 16 & 0xff);
    match (major, minor) {
        (3, 11) => Ok(Layout {
            kernel: kernel(Keys { key: 592 + 4, thread_id: 152 }, (56, Some(8)), (32, 48, 56), 64),
            boundary: Boundary::Entry(4),
            filename: 112,
            qualname: 128,
            linetable: 136,
            first_line: 72,
            code: 184,
            ascii: 48,
            compact: 72,
        }),
        (3, 12) => Ok(Layout {
            kernel: kernel(Keys { key: 1544 + 4, thread_id: 136 }, (56, Some(0)), (0, 8, 56), 64),
            boundary: Boundary::Shim(6),
            filename: 112,
            qualname: 128,
            linetable: 136,
            first_line: 68,
            code: 192,
            ascii: 40,
            compact: 56,
        }),
        (3, 13) => told(debug_offsets, version, 2160 + 4),
        _ => Err(format!("where CPython {major}.{minor} keeps its frames is not known here")),
    }
}

#[derive(Clone, Copy)]
struct Keys {
    /// `_PyRuntimeState.autoTSSkey._key`.
    key: u32,
    /// `PyThreadState.thread_id`.
    thread_id: u32,
}

fn kernel(
    keys: Keys,
    (frame, current_frame): (u32, Option<u32>),
    (code, previous, instr): (u32, u32, u32),
    about: u32,
) -> Python {
    Python {
        anchor: 0,
        from_word: 0,
        delta: 0,
        layout: 0,
        key: keys.key,
        specific: SPECIFIC,
        thread_id: keys.thread_id,
        frame,
        cframe: if current_frame.is_some() { 8 } else { 0 },
        current_frame: current_frame.unwrap_or(0),
        code,
        previous,
        instr,
        about,
        reserved: 0,
    }
}

/// As the interpreter itself tells (3.13, `Include/internal/pycore_runtime.h`). What is
/// not told there is where a thread keeps its state.
fn told(offsets: &[u8], version: u64, key: u32) -> Result<Layout, String> {
    let word = |index: usize| {
        let word = offsets.get(index * 8..index * 8 + 8).and_then(|word| word.try_into().ok());
        word.map_or(u64::MAX, u64::from_ne_bytes)
    };
    if offsets.get(..8) != Some(b"xdebugpy") || word(1) != version {
        return Err("the interpreter does not tell its layout".into());
    }
    if word(2) != 0 {
        return Err("an interpreter without a global lock (free-threaded) keeps its frames otherwise".into());
    }
    let small = |index: usize, limit: usize| {
        let offset = u32::try_from(word(index)).ok().filter(|&offset| (offset as usize) < limit);
        offset.ok_or_else(|| format!("the interpreter tells offset {} of its own as {}", index, word(index)))
    };
    // Words: thread_state from 19 on, interpreter_frame from 28, code_object from 34,
    // unicode_object from 67.
    let in_state = |index| small(index, PYTHON_STATE_READ - 7);
    let in_frame = |index| small(index, PYTHON_FRAME_READ - 7);
    let owner = small(33, PYTHON_FRAME_READ)?;
    let keys = Keys { key, thread_id: in_state(24)? };
    let frame = (in_frame(30)?, in_frame(29)?, in_frame(31)?);
    let in_code = |index| small(index, 256).map(|offset| offset as usize);
    Ok(Layout {
        kernel: kernel(keys, (in_state(23)?, None), frame, owner & !7),
        boundary: Boundary::Shim(owner & 7),
        filename: in_code(35)?,
        qualname: in_code(37)?,
        linetable: in_code(38)?,
        first_line: in_code(39)?,
        code: in_code(43)?,
        ascii: small(70, 256)?.into(),
        // Two more words (`PyCompactUnicodeObject`).
        compact: u64::from(small(70, 256)?) + 16,
    })
}

/// What a frame is to the calls through C around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A function that another Python function called.
    Called,
    /// A function that C code called.
    Entered,
    /// No function: what stands between a function that C code called and the one around.
    Shim,
}

impl Layout {
    /// What a frame is, by the word that tells of it.
    pub(super) fn role(&self, about: u64) -> Role {
        match self.boundary {
            Boundary::Entry(byte) if about.to_ne_bytes()[byte as usize & 7] != 0 => Role::Entered,
            Boundary::Shim(byte) if about.to_ne_bytes()[byte as usize & 7] == OWNED_BY_C_STACK => Role::Shim,
            _ => Role::Called,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that an interpreter of this version tells.
    fn told_by(version: u64, change: impl FnOnce(&mut [u64])) -> Vec<u8> {
        let mut words = [0_u64; DEBUG_OFFSETS / 8];
        words[0] = u64::from_ne_bytes(*b"xdebugpy");
        words[1] = version;
        for (index, offset) in
            [(23, 72), (24, 152), (29, 8), (30, 0), (31, 56), (33, 70), (35, 112), (37, 128)]
        {
            words[index] = offset;
        }
        for (index, offset) in [(38, 136), (39, 68), (43, 200), (70, 40)] {
            words[index] = offset;
        }
        change(&mut words);
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn what_is_not_known_is_said_and_what_is_told_is_taken() {
        let of_3_13 = |change: fn(&mut [u64])| of(0x030d_00f0, &told_by(0x030d_00f0, change));
        let layout = of_3_13(|_| ()).unwrap();
        assert_eq!((layout.kernel.frame, layout.kernel.about, layout.boundary), (72, 64, Boundary::Shim(6)));
        assert_eq!((layout.ascii, layout.compact, layout.kernel.cframe), (40, 56, 0));
        let refused: [(Result<Layout, String>, &str); 6] = [
            (of(0x030a_0df0, &[]), "CPython 3.10"),
            (of(0x030e_00f0, &[]), "CPython 3.14"),
            (of(0x030d_00f0, &[]), "does not tell its layout"),
            (of(0x030d_05f0, &told_by(0x030d_00f0, |_| ())), "does not tell its layout"),
            (of_3_13(|words| words[2] = 1), "free-threaded"),
            // What lies outside of what is read of a frame.
            (of_3_13(|words| words[30] = 80), "offset 30 of its own as 80"),
        ];
        for (got, why) in refused {
            assert!(got.as_ref().is_err_and(|said| said.contains(why)), "{got:?}: {why}");
        }
        assert_eq!(
            of(u64::MAX, &[]).unwrap_err(),
            "where CPython 1099511627775.255 keeps its frames is not known here"
        );
    }

    #[test]
    fn the_call_through_c_is_told_by_one_byte_of_a_frame() {
        let word = |at: usize, byte: u8| {
            let mut bytes = [0; 8];
            bytes[at] = byte;
            u64::from_ne_bytes(bytes)
        };
        let layouts = [of(0x030b_02f0, &[]).unwrap(), of(0x030c_01f0, &[]).unwrap()];
        let table = [
            (0, word(4, 1), Role::Entered),
            (0, word(5, 2), Role::Called),
            (1, word(6, 3), Role::Shim),
            (1, word(6, 1), Role::Called),
            (1, word(4, 1), Role::Called),
        ];
        for (layout, about, role) in table {
            assert_eq!(layouts[layout].role(about), role, "{layout} {about:x}");
        }
    }
}
