//! The program headers of an ELF file: file offset in, virtual address out, so
//! that a frame without a symbol still has a number that `addr2line` takes.
//! Any bytes, no panic.

use super::file::HeldFile;

/// More program headers than any linker writes; a file may claim 65,535.
const MAX_HEADERS: u16 = 256;

/// A part of the file that is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    offset: u64,
    vaddr: u64,
    size: u64,
}

/// The loaded parts of an ELF file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Segments(Vec<Segment>);

impl Segments {
    /// Reads them; empty when the file is not a 64-bit ELF file of this byte order.
    pub(super) fn of(file: &HeldFile) -> Self {
        Self::read(|buf, offset| file.read_at(buf, offset)).unwrap_or_default()
    }

    /// Layout: elf(5), `Elf64_Ehdr` and `Elf64_Phdr`.
    fn read(read_at: impl Fn(&mut [u8], u64) -> bool) -> Option<Self> {
        const DATA: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
        const PT_LOAD: [u8; 4] = 1_u32.to_ne_bytes();
        let mut header = [0_u8; 64];
        if !read_at(&mut header, 0) || header[..6] != [0x7f, b'E', b'L', b'F', 2, DATA] {
            return None;
        }
        let at = word(&header, 32)?;
        let (entry_size, count) = (half(&header, 54)?, half(&header, 56)?.min(MAX_HEADERS));
        let mut segments = Vec::new();
        for index in 0..count {
            let mut entry = [0_u8; 56];
            let offset = at.checked_add(u64::from(index) * u64::from(entry_size))?;
            if entry_size < 56 || !read_at(&mut entry, offset) {
                return None;
            }
            if entry[..4] == PT_LOAD {
                let (offset, vaddr, size) = (word(&entry, 8)?, word(&entry, 16)?, word(&entry, 32)?);
                segments.push(Segment { offset, vaddr, size });
            }
        }
        Some(Self(segments))
    }

    /// The virtual address of what lies at `offset` in the file.
    pub(super) fn virtual_address(&self, offset: u64) -> Option<u64> {
        let inside = |s: &&Segment| offset.checked_sub(s.offset).is_some_and(|into| into < s.size);
        let segment = self.0.iter().find(inside)?;
        segment.vaddr.checked_add(offset - segment.offset)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Option<Segments> {
        Segments::read(|buf, offset| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(part) = from.checked_add(buf.len()).and_then(|to| bytes.get(from..to)) else {
                return false;
            };
            buf.copy_from_slice(part);
            true
        })
    }

    #[test]
    fn this_program_has_its_own_function_where_its_header_says() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let maps = crate::stack::maps::Maps::parse(&std::fs::read("/proc/self/maps").unwrap());
        let here = this_program_has_its_own_function_where_its_header_says as *const () as u64;
        let mapping = maps.find(here).unwrap();
        let segments = parse(&bytes).unwrap();
        let vaddr = segments.virtual_address(mapping.file_offset(here)).unwrap();
        // A position-independent program is moved by whole pages.
        assert_eq!(here.wrapping_sub(vaddr) % 4096, 0);
        assert_eq!(segments.virtual_address(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn any_bytes_after_the_magic_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..300), offset: u64) {
            let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1];
            bytes.extend(tail);
            if let Some(segments) = parse(&bytes) {
                segments.virtual_address(offset);
            }
        }
    }
}
