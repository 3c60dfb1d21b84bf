//! The numbers of a few functions and events among the kernel's types: what the library needs
//! to attach to them. In: parsed BTF. Out: a BTF in which these functions have the same
//! numbers and everything else is a placeholder, for a library that can only be asked to
//! look a function up. (Parsing all types of a kernel its way takes 60 ms and 20 MiB.)

use aya::{Btf, Endianness};

use super::btf;

/// Functions that programs are attached to, the iterator's, and events with typed arguments.
pub const FUNCTIONS: &[&str] = &[
    "security_sock_graft",
    "tcp_cleanup_rbuf",
    "bpf_iter_task_file",
    "btf_trace_inet_sock_set_state",
    "btf_trace_sock_recv_length",
];

/// What the kernel puts before an event's name to call the type of it.
const EVENT: &str = "btf_trace_";

/// Bytes of the header, and of a type that has nothing behind it.
const HEADER: u32 = 24;
const TYPE: u32 = 12;
const KIND_FWD: u32 = 7 << 24;
const KIND_TYPEDEF: u32 = 8 << 24;
const KIND_FUNC: u32 = 12 << 24;

/// Functions and their numbers, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions(Vec<(u32, &'static str)>);

impl Functions {
    /// Those of [`FUNCTIONS`] that this kernel has.
    pub fn of(btf: &btf::Btf) -> Self {
        let mut found: Vec<_> =
            FUNCTIONS.iter().filter_map(|name| Some((btf.function(name)?, *name))).collect();
        found.sort_unstable();
        Self(found)
    }

    /// As the library wants them.
    pub fn as_btf(&self) -> Result<Btf, String> {
        Btf::parse(&self.bytes(), Endianness::default()).map_err(|error| format!("BTF: {error}"))
    }

    fn bytes(&self) -> Vec<u8> {
        // An empty string comes first: it is the name of the placeholders.
        let (mut types, mut strings) = (Vec::<u8>::new(), vec![0_u8]);
        let mut next = 1;
        for &(id, name) in &self.0 {
            for _ in next..id {
                words(&mut types, &[0, KIND_FWD, 0]);
            }
            let kind = if name.starts_with(EVENT) { KIND_TYPEDEF } else { KIND_FUNC };
            words(&mut types, &[u32::try_from(strings.len()).unwrap_or(0), kind, 0]);
            strings.extend(name.as_bytes());
            strings.push(0);
            next = id.saturating_add(1);
        }
        let (types_len, strings_len) = (types.len(), strings.len());
        debug_assert_eq!(types_len % TYPE as usize, 0, "types without a tail");
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        words(&mut bytes, &[HEADER, 0, length(types_len), length(types_len), length(strings_len)]);
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }
}

fn words(bytes: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        bytes.extend(word.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfKind;

    use super::*;

    #[test]
    fn the_library_finds_each_function_under_its_number() {
        let functions = Functions(vec![
            (3, "a_function"),
            (4, "next_to_it"),
            (9, "btf_trace_an_event"),
            (70_001, "far_away"),
        ]);
        let btf = functions.as_btf().unwrap();
        for (id, name) in functions.0 {
            assert_eq!(btf.id_by_type_name_kind(name, kind(name)).unwrap(), id, "{name}");
        }
        assert!(btf.id_by_type_name_kind("absent", BtfKind::Func).is_err());
        let none = Functions::default().as_btf().unwrap();
        assert!(none.id_by_type_name_kind("a_function", BtfKind::Func).is_err());
    }

    #[test]
    fn this_kernels_numbers_are_those_that_the_library_finds() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let ours = Functions::of(&btf::Btf::parse(&bytes, &[], FUNCTIONS).unwrap());
        let theirs = Btf::from_sys_fs().unwrap();
        assert_eq!(ours.0.len(), FUNCTIONS.len());
        for (id, name) in ours.0 {
            assert_eq!(theirs.id_by_type_name_kind(name, kind(name)).unwrap(), id, "{name}");
        }
    }

    fn kind(name: &str) -> BtfKind {
        if name.starts_with(EVENT) { BtfKind::Typedef } else { BtfKind::Func }
    }
}
