//! The headers of an ELF file: file offset in, virtual address out, and where its
//! sections are. Any bytes, no panic; nothing is read that the caller did not ask for.

use std::fmt::Write;
use std::io::Read;

use super::file::HeldFile;

/// More program headers than any linker writes; a file may claim 65,535.
const MAX_HEADERS: u16 = 256;

/// More sections than any linked file has (compilers' object files have more).
const MAX_SECTIONS: u16 = 1024;

/// elf(5): the bytes in the file are compressed.
const SHF_COMPRESSED: u64 = 1 << 11;

/// Most bytes of section names that are read.
const MAX_NAMES: u64 = 64 << 10;

/// The headers of a 64-bit ELF file of this machine's byte order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Elf {
    /// Where the headers of the file and of its segments are: offset and length.
    headers: Vec<(u64, u64)>,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

/// A part of the file that is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    offset: u64,
    vaddr: u64,
    size: u64,
    is_code: bool,
}

/// A section, as its header tells of it: any of it may be a lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Section {
    /// Its name.
    pub(super) name: Vec<u8>,
    /// Its virtual address; 0 when it is not loaded.
    pub(super) vaddr: u64,
    /// Where it lies in the file.
    pub(super) offset: u64,
    /// Its bytes in the file; 0 when it has none there.
    pub(super) size: u64,
    /// Whether what lies in the file is compressed.
    pub(super) compressed: bool,
    /// Whether it tells of the program and is no part of it: symbols, notes, debug information.
    pub(super) is_about_code: bool,
    /// Its header as it is in the file.
    header: [u8; HEADER],
}

/// Bytes of a section's header (`Elf64_Shdr`).
pub(super) const HEADER: usize = 64;

impl Section {
    /// Whether it is debug information.
    pub(super) fn is_debug(&self) -> bool {
        [&b".debug"[..], b".zdebug"].iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Whether it names another file in which the rest of the debug information is.
    pub(super) fn is_link(&self) -> bool {
        [&b".gnu_debuglink"[..], b".gnu_debugaltlink", b".debug_sup"].contains(&&self.name[..])
    }

    /// Its header for a copy in which its bytes lie unpacked at `offset`.
    pub(super) fn header_at(&self, offset: u64, size: u64) -> [u8; HEADER] {
        let mut header = self.header;
        header[24..32].copy_from_slice(&offset.to_ne_bytes());
        header[32..40].copy_from_slice(&size.to_ne_bytes());
        let flags = word(&header, 8).unwrap_or(0) & !SHF_COMPRESSED;
        header[8..16].copy_from_slice(&flags.to_ne_bytes());
        header
    }
}

/// The bytes of a compressed section, unpacked; `None` when they are more than `limit`, or
/// not compressed in a way known here.
pub(super) fn unpacked(bytes: &[u8], limit: u64) -> Option<Vec<u8>> {
    // elf(5), `Elf64_Chdr`: type (1 = zlib), reserved, size, alignment: 24 bytes. Go packs its tables so.
    if u32_at(bytes, 0)? != 1 {
        return None;
    }
    let mut unpacked = Vec::new();
    let mut packed = flate2::bufread::ZlibDecoder::new(bytes.get(24..)?).take(limit.saturating_add(1));
    packed.read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 <= limit).then_some(unpacked)
}

/// Reads bytes at an offset into a buffer; `false` when they are not all there.
type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> bool;

impl Elf {
    /// Reads the headers; empty when the file is not a 64-bit ELF file of this byte order.
    pub(super) fn of(file: &HeldFile) -> Self {
        Self::read(&|buf, offset| file.read_at(buf, offset)).unwrap_or_default()
    }

    /// The same of a file that is in memory.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self::read(&|buf, offset| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(part) = from.checked_add(buf.len()).and_then(|to| bytes.get(from..to)) else {
                return false;
            };
            buf.copy_from_slice(part);
            true
        })
        .unwrap_or_default()
    }

    /// Layout: elf(5), `Elf64_Ehdr`, `Elf64_Phdr` and `Elf64_Shdr`.
    fn read(read_at: ReadAt<'_>) -> Option<Self> {
        const DATA: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
        const PT_LOAD: [u8; 4] = 1_u32.to_ne_bytes();
        const PF_X: u32 = 1;
        let mut header = [0_u8; 64];
        if !read_at(&mut header, 0) || header[..6] != [0x7f, b'E', b'L', b'F', 2, DATA] {
            return None;
        }
        let mut segments = Vec::new();
        let (at, size, count) = (word(&header, 32)?, half(&header, 54)?, half(&header, 56)?.min(MAX_HEADERS));
        for index in 0..count {
            let entry: [u8; 56] = nth(read_at, at, size, index)?;
            if entry[..4] == PT_LOAD {
                let (offset, vaddr, size) = (word(&entry, 8)?, word(&entry, 16)?, word(&entry, 32)?);
                let is_code = u32_at(&entry, 4)? & PF_X != 0;
                segments.push(Segment { offset, vaddr, size, is_code });
            }
        }
        // Sections may be stripped; what is loaded can be placed without them.
        let sections = sections(read_at, &header).unwrap_or_default();
        let headers = vec![(0, 64), (at, u64::from(size) * u64::from(count))];
        Some(Self { headers, segments, sections })
    }

    /// The virtual address of what lies at `offset` in the file.
    pub(super) fn virtual_address(&self, offset: u64) -> Option<u64> {
        let inside = |s: &&Segment| offset.checked_sub(s.offset).is_some_and(|into| into < s.size);
        let segment = self.segments.iter().find(inside)?;
        segment.vaddr.checked_add(offset - segment.offset)
    }

    /// Where in the file lies what is loaded at a virtual address.
    pub(super) fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let inside = |s: &&Segment| vaddr.checked_sub(s.vaddr).is_some_and(|into| into < s.size);
        let segment = self.segments.iter().find(inside)?;
        segment.offset.checked_add(vaddr - segment.vaddr)
    }

    /// The lowest virtual address of code: what the kernel calls `start_code`.
    pub(super) fn code_start(&self) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.is_code).map(|segment| segment.vaddr).min()
    }

    /// The build id in hex, which a symbol server can be asked for.
    pub(super) fn build_id(&self, file: &HeldFile) -> Option<String> {
        const NT_GNU_BUILD_ID: u32 = 3;
        let section = self.section(".note.gnu.build-id").filter(|section| section.size <= 256)?;
        let mut note = vec![0; usize::try_from(section.size).ok()?];
        // elf(5), `Elf64_Nhdr`: length of the name, of the id, type; then the name, `GNU`.
        let is_one = file.read_at(&mut note, section.offset)
            && u32_at(&note, 8)? == NT_GNU_BUILD_ID
            && note.get(12..16)? == b"GNU\0";
        let len = usize::try_from(u32_at(&note, 4)?).ok()?;
        let id = note.get(16..16_usize.checked_add(len)?)?;
        (is_one && !id.is_empty()).then(|| hex(id))
    }

    /// Whether a build id, of GNU's form or Go's, lies within so many bytes of the file's beginning.
    pub(super) fn has_build_id_within(&self, bytes: usize) -> bool {
        let names = [".note.gnu.build-id", ".note.go.buildid"];
        let mut notes = names.iter().filter_map(|name| self.section(name));
        notes.any(|note| {
            note.size > 0 && note.offset.checked_add(note.size).is_some_and(|end| end <= bytes as u64)
        })
    }

    /// Where the headers of the file and of its segments are: offset and length of each.
    pub(super) fn headers(&self) -> impl Iterator<Item = (u64, u64)> {
        self.headers.iter().copied()
    }

    /// Whether it has debug information.
    pub(super) fn has_debug(&self) -> bool {
        [".debug_info", ".zdebug_info"].iter().any(|name| self.section(name).is_some())
    }

    /// All sections, in the order of their headers.
    pub(super) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    /// The section of that name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name.as_bytes())
    }
}

fn sections(read_at: ReadAt<'_>, header: &[u8; 64]) -> Option<Vec<Section>> {
    const SHT_NOBITS: u32 = 8;
    const SHF_ALLOC: u64 = 1 << 1;
    // SHT_STRTAB, SHT_HASH, SHT_NOTE, SHT_DYNSYM, SHT_GNU_HASH: loaded, and no code.
    const SYMBOLS: [u32; 5] = [3, 5, 7, 11, 0x6fff_fff6];
    let (at, size, count) = (word(header, 40)?, half(header, 58)?, half(header, 60)?.min(MAX_SECTIONS));
    let names: [u8; 64] = nth(read_at, at, size, half(header, 62)?)?;
    let mut text = vec![0; usize::try_from(word(&names, 32)?.min(MAX_NAMES)).ok()?];
    if !read_at(&mut text, word(&names, 24)?) {
        return None;
    }
    let mut sections = Vec::with_capacity(usize::from(count));
    for index in 0..count {
        let entry: [u8; 64] = nth(read_at, at, size, index)?;
        let kind = u32_at(&entry, 4)?;
        let flags = word(&entry, 8)?;
        let name = text.get(usize::try_from(u32_at(&entry, 0)?).ok()?..).unwrap_or_default();
        sections.push(Section {
            name: name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
            vaddr: word(&entry, 16)?,
            offset: word(&entry, 24)?,
            size: if kind == SHT_NOBITS { 0 } else { word(&entry, 32)? },
            compressed: flags & SHF_COMPRESSED != 0,
            is_about_code: flags & SHF_ALLOC == 0 || SYMBOLS.contains(&kind),
            header: entry,
        });
    }
    Some(sections)
}

/// Entry `index` of a table at `at` whose entries are `size` bytes apart.
fn nth<const N: usize>(read_at: ReadAt<'_>, at: u64, size: u16, index: u16) -> Option<[u8; N]> {
    let mut entry = [0; N];
    let offset = at.checked_add(u64::from(index) * u64::from(size))?;
    (usize::from(size) >= N && read_at(&mut entry, offset)).then_some(entry)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_program_has_its_own_function_where_its_header_says() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let maps = crate::stack::maps::Maps::parse(&std::fs::read("/proc/self/maps").unwrap());
        let here = this_program_has_its_own_function_where_its_header_says as *const () as u64;
        let mapping = maps.find(here).unwrap();
        let elf = Elf::of_bytes(&bytes);
        let vaddr = elf.virtual_address(mapping.file_offset(here)).unwrap();
        // A position-independent program is moved by whole pages.
        assert_eq!(here.wrapping_sub(vaddr) % 4096, 0);
        assert_eq!(elf.virtual_address(u64::MAX), None);
        // The function lies in the section of code.
        let text = elf.section(".text").unwrap();
        assert!((text.vaddr..text.vaddr + text.size).contains(&vaddr) && !text.compressed);
        assert_eq!(elf.section(".bss").unwrap().size, 0, "it has no bytes in the file");
        assert_eq!(elf.section(".nonsense"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_after_the_magic_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..300), offset: u64) {
            let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1];
            bytes.extend(tail);
            Elf::of_bytes(&bytes).virtual_address(offset);
        }

        #[test]
        fn a_broken_header_of_a_real_file_is_survived(at in 0_usize..64, with: u8) {
            // Only the first bytes: reading the whole of a test binary each time is slow.
            let mut bytes = vec![0; 8192];
            Read::read_exact(&mut std::fs::File::open("/proc/self/exe").unwrap(), &mut bytes).unwrap();
            bytes[at] = with;
            let elf = Elf::of_bytes(&bytes);
            prop_assert!(elf.sections.len() <= usize::from(MAX_SECTIONS));
        }
    }
}
