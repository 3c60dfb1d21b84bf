//! A reader of kernel BTF for the few questions asked here: where is a member of a
//! struct, how large is it, and which number has a function. In: the bytes of
//! `/sys/kernel/btf/vmlinux`. Out: byte offsets, numbers. It never panics on any bytes.
//!
//! Format: Documentation/bpf/btf.rst. One pass notes where each type starts and
//! which of the wanted names it is; members are then read on demand, so that the
//! 150,000 types of a kernel cost milliseconds.

use std::collections::HashMap;

/// Why BTF could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The header is not that of little-endian BTF.
    #[error("not BTF of this machine's byte order (no magic number 0xeb9f)")]
    NotBtf,
    /// The file ends inside something.
    #[error("BTF ends early, in {0}")]
    Truncated(&'static str),
    /// A type kind newer than this reader: its length is unknown, so nothing after it can be found.
    #[error("BTF type kind {0} is newer than this reader")]
    UnknownKind(u32),
}

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_CONST: u32 = 10;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;

/// Anonymous members nest this deep at most; the kernel's nest 3 deep.
const MAX_DEPTH: u32 = 8;

/// Members looked at for one question: a struct may have itself as an anonymous member, many
/// times over. The kernel's largest have some hundreds.
const MAX_LOOKED_AT: u32 = 1 << 13;

/// BTF with the wanted names found.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    starts: Vec<u32>,
    structs: HashMap<&'static str, u32>,
    functions: HashMap<&'static str, u32>,
}

impl<'a> Btf<'a> {
    /// Reads `bytes` and finds `structs` and `functions` by name.
    pub fn parse(
        bytes: &'a [u8],
        structs: &[&'static str],
        functions: &[&'static str],
    ) -> Result<Self, BtfError> {
        let word = |at: usize| read_u32(bytes, at).ok_or(BtfError::Truncated("the header"));
        if bytes.get(..2) != Some(&[0x9f, 0xeb]) {
            return Err(BtfError::NotBtf);
        }
        let header = word(4)? as usize;
        let section = |off: u32, len: u32, what| {
            let start = header.checked_add(off as usize).ok_or(BtfError::Truncated(what))?;
            let end = start.checked_add(len as usize).ok_or(BtfError::Truncated(what))?;
            bytes.get(start..end).ok_or(BtfError::Truncated(what))
        };
        let types = section(word(8)?, word(12)?, "the type section")?;
        let strings = section(word(16)?, word(20)?, "the string section")?;
        let (starts, none) = (vec![u32::MAX], HashMap::new());
        let mut btf = Self { types, strings, starts, structs: none.clone(), functions: none };
        btf.index(structs, functions)?;
        Ok(btf)
    }

    fn index(&mut self, structs: &[&'static str], functions: &[&'static str]) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let id = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
            let (Some(name), Some(info)) = (read_u32(self.types, at), read_u32(self.types, at + 4)) else {
                return Err(BtfError::Truncated("a type"));
            };
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            let kind = kind_of(info);
            let (wanted, found) = match kind {
                KIND_STRUCT => (structs, &mut self.structs),
                KIND_FUNC => (functions, &mut self.functions),
                // The events are typedefs; no name is one of each.
                KIND_TYPEDEF => (functions, &mut self.functions),
                _ => (&[][..], &mut self.structs),
            };
            for &want in wanted {
                if name_is(self.strings, name, want) {
                    found.entry(want).or_insert(id);
                }
            }
            at += 12 + tail_len(kind, info).ok_or(BtfError::UnknownKind(kind))?;
        }
        Ok(())
    }

    /// Byte offset of a member given as a path: `["net", "ns", "inum"]` is
    /// `net.ns.inum`. `None` when a part does not exist or is a bit field.
    pub fn offset(&self, path: &[&'static str]) -> Option<u16> {
        let (first, members) = path.split_first()?;
        let mut id = *self.structs.get(first)?;
        let (mut bits, mut effort) = (0_u32, MAX_LOOKED_AT);
        for member in members {
            let (member_bits, member_type) = self.member(id, member, MAX_DEPTH, &mut effort)?;
            bits = bits.checked_add(member_bits)?;
            id = self.resolve(member_type);
        }
        (bits % 8 == 0).then(|| u16::try_from(bits / 8).ok()).flatten()
    }

    /// The number of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name).copied()
    }

    /// Bytes of a struct.
    pub fn size(&self, name: &'static str) -> Option<u32> {
        read_u32(self.types, self.at(*self.structs.get(name)?)? + 8)
    }

    /// Offset in bits and type of a member, looked for inside anonymous members too.
    fn member(&self, id: u32, name: &str, depth: u32, effort: &mut u32) -> Option<(u32, u32)> {
        let start = self.at(id)?;
        let info = read_u32(self.types, start + 4)?;
        if !matches!(kind_of(info), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let has_bit_fields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            *effort = effort.checked_sub(1)?;
            let at = start + 12 + index * 12;
            let member_name = read_u32(self.types, at)?;
            let member_type = read_u32(self.types, at + 4)?;
            let raw = read_u32(self.types, at + 8)?;
            let (bits, width) = if has_bit_fields { (raw & 0x00ff_ffff, raw >> 24) } else { (raw, 0) };
            if name_is(self.strings, member_name, name) {
                return (width == 0).then_some((bits, member_type));
            }
            if member_name == 0
                && depth > 0
                && let Some((inner, inner_type)) =
                    self.member(self.resolve(member_type), name, depth - 1, effort)
            {
                return Some((bits.checked_add(inner)?, inner_type));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers to the type itself.
    fn resolve(&self, mut id: u32) -> u32 {
        for _ in 0..MAX_DEPTH {
            let Some(start) = self.at(id) else { return id };
            match (read_u32(self.types, start + 4).map(kind_of), read_u32(self.types, start + 8)) {
                // typedef, volatile, const and restrict, type tag
                (Some(KIND_TYPEDEF | 9 | KIND_CONST | 11 | 18), Some(next)) => id = next,
                _ => return id,
            }
        }
        id
    }

    fn at(&self, id: u32) -> Option<usize> {
        self.starts.get(id as usize).filter(|&&start| start != u32::MAX).map(|&start| start as usize)
    }
}

const fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow the 12 of every type; `None` for a kind not known.
const fn tail_len(kind: u32, info: u32) -> Option<usize> {
    let vlen = (info & 0xffff) as usize;
    Some(match kind {
        // int, var, declaration tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        KIND_STRUCT | KIND_UNION => vlen * 12,
        // enum, function prototype
        6 | KIND_FUNC_PROTO => vlen * 8,
        // data section, 64-bit enum
        15 | 19 => vlen * 12,
        // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// Whether the NUL-terminated string at `at` is `name`.
fn name_is(strings: &[u8], at: u32, name: &str) -> bool {
    let at = at as usize;
    strings.get(at..at + name.len()) == Some(name.as_bytes()) && strings.get(at + name.len()) == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds BTF bytes from words, so that the cases below read like the format's documentation.
    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let type_len = u32::try_from(types.len() * 4).unwrap();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, type_len, type_len, u32::try_from(strings.len()).unwrap()] {
            bytes.extend(word.to_le_bytes());
        }
        for word in types {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    const fn info(kind: u32, vlen: u32) -> u32 {
        kind << 24 | vlen
    }

    /// `struct outer { int a; union { struct inner { int x; int y; } in; int flat; }; int bit: 3; }`
    fn sample() -> Vec<u8> {
        //              0    5       11  13  15      21  24   29    33
        let strings = b"\0int\0outer\0a\0inner\0x\0y\0in\0flat\0bit\0f\0";
        let name = |wanted: &str| {
            let with_nul = [b"\0", wanted.as_bytes(), b"\0"].concat();
            u32::try_from(strings.windows(with_nul.len()).position(|w| w == with_nul).unwrap() + 1).unwrap()
        };
        let types = [
            // 1: int
            name("int"),
            info(1, 0),
            4,
            32,
            // 2: struct inner
            name("inner"),
            info(KIND_STRUCT, 2),
            8,
            name("x"),
            1,
            0,
            name("y"),
            1,
            32,
            // 3: anonymous union
            0,
            info(KIND_UNION, 2),
            8,
            name("in"),
            2,
            0,
            name("flat"),
            1,
            0,
            // 4: struct outer, with a bit field
            name("outer"),
            info(KIND_STRUCT, 3) | 1 << 31,
            16,
            name("a"),
            1,
            0,
            0,
            3,
            32,
            name("bit"),
            1,
            0x60 | 3 << 24,
            // 5: function prototype with 2 parameters, 6: function
            0,
            info(KIND_FUNC_PROTO, 2),
            1,
            name("x"),
            1,
            name("y"),
            1,
            name("f"),
            info(12, 0),
            5,
        ];
        btf(&types, strings)
    }

    #[test]
    fn members_are_found_directly_and_inside_anonymous_ones_and_bit_fields_are_refused() {
        let bytes = sample();
        let btf = Btf::parse(&bytes, &["outer"], &["f"]).unwrap();
        assert_eq!(btf.offset(&["outer", "a"]), Some(0));
        assert_eq!(btf.offset(&["outer", "flat"]), Some(4));
        assert_eq!(btf.offset(&["outer", "in", "y"]), Some(8));
        assert_eq!(btf.offset(&["outer", "bit"]), None);
        assert_eq!(btf.offset(&["outer", "nothing"]), None);
        assert_eq!(btf.offset(&["absent", "a"]), None);
        assert_eq!((btf.size("outer"), btf.size("absent")), (Some(16), None));
        assert_eq!((btf.function("f"), btf.function("outer")), (Some(6), None));
    }

    #[test]
    fn cut_anywhere_it_says_so_or_answers_but_never_panics() {
        let bytes = sample();
        for len in 0..bytes.len() {
            if let Ok(btf) = Btf::parse(&bytes[..len], &["outer"], &["f"]) {
                let _ = btf.offset(&["outer", "in", "y"]);
            }
        }
        assert_eq!(Btf::parse(b"\x7fELF", &[], &[]).err(), Some(BtfError::NotBtf));
    }

    proptest::proptest! {
        #[test]
        fn any_change_of_any_byte_is_survived(at in 0_usize..300, value: u8) {
            let mut bytes = sample();
            let len = bytes.len();
            bytes[at % len] = value;
            if let Ok(btf) = Btf::parse(&bytes, &["outer"], &["f"]) {
                let _ = btf.offset(&["outer", "in", "y"]);
            }
        }
    }
}
