//! `/proc/PID/maps`: bytes in, executable mappings out. Pure, any bytes, no
//! panic. Mappings without execute permission are dropped at once: no frame can
//! lie in them, and a large process has thousands.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One executable mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset of `start` in the file; 0 where there is none.
    pub offset: u64,
    /// The file's inode number; 0 where there is none.
    pub inode: u64,
    /// What is mapped.
    pub backing: Backing,
}

/// What a mapping shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backing {
    /// A file, by its path in the process's own mount namespace.
    File {
        /// Path, with the kernel's ` (deleted)` taken off and `\012` turned back into a newline.
        path: PathBuf,
        /// The path no longer leads to this file.
        deleted: bool,
    },
    /// Memory made at run time: no name, or a name such as `[anon:v8]` or `[heap]`.
    Anonymous(String),
    /// Code the kernel put there, such as `[vdso]`.
    Kernel(String),
}

impl Mapping {
    /// What a reader calls the mapped thing: the path, or the name in brackets.
    pub fn module(&self) -> String {
        match &self.backing {
            Backing::File { path, .. } => path.to_string_lossy().into_owned(),
            Backing::Anonymous(name) if name.is_empty() => "[anon]".to_owned(),
            Backing::Anonymous(name) | Backing::Kernel(name) => name.clone(),
        }
    }

    /// Whether a JIT compiler may have written the code in it. A memfd counts:
    /// some runtimes map their code twice through one.
    pub fn may_be_jit(&self) -> bool {
        match &self.backing {
            Backing::File { path, .. } => path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"),
            Backing::Anonymous(_) => true,
            Backing::Kernel(_) => false,
        }
    }

    /// The offset in the mapped file of `addr`, which must lie in this mapping.
    pub fn file_offset(&self, addr: u64) -> u64 {
        addr.wrapping_sub(self.start).wrapping_add(self.offset)
    }
}

/// The executable mappings of a process, in order of address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maps {
    code: Vec<Mapping>,
    /// Lines that are not what the kernel writes.
    pub malformed: usize,
}

impl Maps {
    /// Reads the text of a maps file (fs/proc/task_mmu.c, `show_map_vma`).
    pub fn parse(text: &[u8]) -> Self {
        let mut maps = Self::default();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match parse_line(line) {
                Some(Line::Code(mapping)) => maps.code.push(mapping),
                Some(Line::NotCode) => {}
                None => maps.malformed += 1,
            }
        }
        // The kernel writes them in order; anything else must still be searchable.
        maps.code.sort_by_key(|mapping| mapping.start);
        maps
    }

    /// The executable mapping that `addr` lies in.
    pub fn find(&self, addr: u64) -> Option<&Mapping> {
        let after = self.code.partition_point(|mapping| mapping.start <= addr);
        self.code[..after].last().filter(|mapping| addr < mapping.end)
    }

    /// Whether a Java virtual machine is among them.
    pub(super) fn runs_java(&self) -> bool {
        let is_jvm = |path: &PathBuf| path.file_name().is_some_and(|name| name == "libjvm.so");
        self.code.iter().any(|mapping| matches!(&mapping.backing, Backing::File { path, .. } if is_jvm(path)))
    }

    /// All executable mappings, in order of address.
    pub fn code(&self) -> &[Mapping] {
        &self.code
    }
}

enum Line {
    Code(Mapping),
    NotCode,
}

/// `55d0-55e0 r-xp 00001000 fe:01 4711    /usr/bin/name`
fn parse_line(line: &[u8]) -> Option<Line> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (range, perms, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let (_device, inode) = (fields.next()?, fields.next()?);
    let name = fields.next().unwrap_or_default();
    let name = &name[name.iter().take_while(|&&byte| byte == b' ').count()..];

    let dash = range.iter().position(|&byte| byte == b'-')?;
    let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
    let (offset, inode) = (hex(offset)?, decimal(inode)?);
    if start >= end || perms.len() != 4 {
        return None;
    }
    if perms[2] != b'x' {
        return Some(Line::NotCode);
    }
    Some(Line::Code(Mapping { start, end, offset, inode, backing: backing(name, inode) }))
}

fn backing(name: &[u8], inode: u64) -> Backing {
    let text = || String::from_utf8_lossy(name).into_owned();
    match name {
        b"[vdso]" | b"[vsyscall]" | b"[uprobes]" | b"[sigpage]" => Backing::Kernel(text()),
        // Shared anonymous memory has a path and an inode of the kernel's own tmpfs.
        [b'/', ..] if inode != 0 && !name.starts_with(b"/dev/zero") => {
            let (path, deleted) = match name.strip_suffix(b" (deleted)") {
                Some(path) => (path, true),
                None => (name, false),
            };
            Backing::File { path: PathBuf::from(OsString::from_vec(newlines(path))), deleted }
        }
        _ => Backing::Anonymous(text()),
    }
}

/// Undoes `seq_path(.., "\n")`: a newline in a path is written as `\012`, and
/// nothing else is escaped, so a path that really holds those four characters
/// cannot be told from one with a newline.
fn newlines(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// Digits only: `from_str_radix` would take a sign too.
pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    number(digits, 16)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"\
55d0a0000000-55d0a0001000 r--p 00000000 fe:01 4711                       /usr/bin/server
55d0a0001000-55d0a0003000 r-xp 00001000 fe:01 4711                       /usr/bin/server
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000001000-7f0000002000 r-xp 00000000 00:00 0                          [anon:v8]
7f0000002000-7f0000003000 r-xp 00003000 fe:01 4712                       /tmp/my app (deleted) (deleted)
7f0000003000-7f0000004000 r-xp 00000000 fe:01 4713                       /tmp/two\\012lines
7f0000004000-7f0000005000 rwxs 00000000 00:01 1025                       /memfd:doublemapper (deleted)
7f0000005000-7f0000006000 rwxs 00000000 00:01 1026                       /dev/zero (deleted)
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn each_kind_of_mapping_is_told_apart() {
        let maps = Maps::parse(TEXT);
        assert_eq!(maps.malformed, 0);
        let names: Vec<_> = maps.code().iter().map(|m| (m.module(), m.may_be_jit())).collect();
        let want = [
            ("/usr/bin/server", false),
            ("[anon]", true),
            ("[anon:v8]", true),
            ("/tmp/my app (deleted)", false),
            ("/tmp/two\nlines", false),
            ("/memfd:doublemapper", true),
            ("/dev/zero (deleted)", true),
            ("[vdso]", false),
            ("[vsyscall]", false),
        ];
        assert_eq!(names, want.map(|(name, jit)| (name.to_owned(), jit)));
        assert!(matches!(maps.code()[3].backing, Backing::File { deleted: true, .. }));
        assert!(matches!(maps.code()[4].backing, Backing::File { deleted: false, .. }));
    }

    #[test]
    fn an_address_is_found_in_executable_mappings_only() {
        let maps = Maps::parse(TEXT);
        let at = |addr| maps.find(addr).map(|m| m.file_offset(addr));
        assert_eq!(at(0x55d0_a000_0fff), None, "read-only");
        assert_eq!(at(0x55d0_a000_1000), Some(0x1000));
        assert_eq!(at(0x55d0_a000_2fff), Some(0x2fff));
        assert_eq!(at(0x55d0_a000_3000), None, "one past the end");
        assert_eq!(at(0x7f00_0000_2004), Some(0x3004));
        assert_eq!((at(0), at(u64::MAX)), (None, None));
    }

    #[test]
    fn a_line_the_kernel_would_not_write_is_counted() {
        for line in [
            "nonsense",
            "1-2 r-xp 0",
            "2-1 r-xp 0 0:0 0",
            "1-2 r-x 0 0:0 0",
            "+1-2 r-xp 0 0:0 0",
            "1-2 r-xp 0 0:0 x",
            "1_2 r-xp 0 0:0 0",
            "10000000000000000-2 r-xp 0 0:0 0",
        ] {
            let maps = Maps::parse(line.as_bytes());
            assert_eq!((maps.code().len(), maps.malformed), (0, 1), "{line}");
        }
    }

    #[test]
    fn this_process_finds_its_own_code() {
        let maps = Maps::parse(&std::fs::read("/proc/self/maps").unwrap());
        assert_eq!(maps.malformed, 0);
        let mapping = maps.find(this_process_finds_its_own_code as *const () as u64).unwrap();
        assert_eq!(mapping.module(), std::env::current_exe().unwrap().to_string_lossy());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..400), addr: u64) {
            let maps = Maps::parse(&text);
            prop_assert!(maps.find(addr).is_none_or(|m| (m.start..m.end).contains(&addr)));
        }

        #[test]
        fn near_misses_are_survived(lines in proptest::collection::vec("[0-9a-f]{0,17}-[0-9a-f]{0,17} r-xp [0-9a-f]{1,17} 0:0 [0-9]{1,21} ?.{0,9}", 0..9), addr: u64) {
            let maps = Maps::parse(lines.join("\n").as_bytes());
            if let Some(found) = maps.find(addr) {
                prop_assert!((found.start..found.end).contains(&addr));
                found.file_offset(addr);
            }
        }
    }
}
