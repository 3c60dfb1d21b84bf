//! Copies of users' files for a parser that maps what it reads: an open ELF file in,
//! a sealed file in memory out. Whoever may write to the original can then neither
//! end this process (a mapped file that is truncated raises SIGBUS) nor change what
//! was read. Only what symbols need is copied; code and data are holes.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags};

use super::debug;
use super::elf::{Elf, HEADER, Section, unpacked};
use super::file::HeldFile;

/// Most bytes of one file that are copied. Without debug information libjvm has 2 MB
/// of symbols, node 20 MB; with it, a large Rust or C++ program has 100 MB.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// Bytes copied at a time.
const CHUNK: usize = 256 << 10;

/// A copy that nobody can change.
#[derive(Debug)]
pub(super) struct SealedCopy {
    file: File,
    /// Bytes it takes.
    pub(super) size: u64,
    /// Its debug information is not to be used: it was left out, being too large, or is of a kind
    /// that no parser bears out.
    pub(super) without_debug: bool,
}

impl SealedCopy {
    /// Copies what is known of `file`, whose headers are `elf`. With `links`, also where more
    /// of it is kept: the parser opens that, so it has to be a file of this machine's own. An
    /// error says why there is no copy.
    pub(super) fn of(file: &HeldFile, elf: &Elf, links: bool) -> Result<Self, String> {
        let wanted = |section: &Section| section.is_about_code && (links || !section.is_link());
        let size = |with: &dyn Fn(&Section) -> bool| {
            elf.sections().filter(|section| with(section)).fold(0_u64, |sum, s| sum.saturating_add(s.size))
        };
        let mut without_debug = size(&wanted) > MAX_BYTES;
        let wanted = |section: &Section| wanted(section) && !(without_debug && section.is_debug());
        let total = size(&wanted);
        if total > MAX_BYTES {
            return Err(format!("its symbols are larger than {} MiB", MAX_BYTES >> 20));
        }
        let copy = || -> std::io::Result<(File, u64, bool)> {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let copy = File::from(rustix::fs::memfd_create("closewait-symbols", flags)?);
            // Offsets stay as they are, so the whole length is there; what is not written takes no memory.
            copy.set_len(file.stamp.size)?;
            for (offset, len) in elf.headers() {
                copy_range(file, &copy, offset, len)?;
            }
            // What is unpacked, and the headers of sections, lie behind.
            let mut end = aligned(file.stamp.size);
            let (mut headers, mut room, mut broken) = (Vec::new(), MAX_BYTES - total, false);
            let mut unpack = true;
            for section in elf.sections() {
                headers.extend_from_slice(&if !wanted(section) {
                    [0; HEADER]
                } else if section.compressed {
                    // The parser would believe the size that it claims to have.
                    let bytes = section_of(file, section).filter(|_| unpack);
                    let bytes = bytes.and_then(|bytes| unpacked(&bytes, room));
                    // One that does not fit has cost as much as all that does: a thousand sections
                    // can be the same quarter of a megabyte, each of which is too much.
                    unpack &= bytes.is_some();
                    broken |= bytes.is_none() && section.is_debug();
                    let bytes = bytes.unwrap_or_default();
                    copy.write_all_at(&bytes, end)?;
                    let header = section.header_at(end, bytes.len() as u64);
                    room -= bytes.len() as u64;
                    end = aligned(end + bytes.len() as u64);
                    header
                } else {
                    copy_range(file, &copy, section.offset, section.size)?;
                    section.header_at(section.offset, section.size)
                });
            }
            write_headers(&copy, headers, end)?;
            broken |= !is_bearable(&copy)?;
            let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
            rustix::fs::fcntl_add_seals(&copy, seals)?;
            Ok((copy, MAX_BYTES - room, broken))
        };
        let (file, size, broken) = copy().map_err(|err| format!("it cannot be copied: {err}"))?;
        without_debug |= broken;
        Ok(Self { file, size, without_debug })
    }

    /// A name by which this process can open it while `self` lives.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// Whether a parser bears out the debug information of a copy: what it will find there, not what
/// was found in the file, which may have changed since.
fn is_bearable(copy: &File) -> std::io::Result<bool> {
    // SAFETY: the file is in memory, and nobody else has it, to make it shorter or to write to it.
    let bytes = unsafe { memmap2::Mmap::map(copy)? };
    let elf = Elf::of_bytes(&bytes);
    let part = |section: &Section| {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        &bytes[place(section.offset)..place(section.offset.saturating_add(section.size))]
    };
    // One whose name cannot be read here may have any; and of two the parser may take either.
    let mut names = HashSet::new();
    let is_plain = elf.sections().all(|section| {
        let is_named = !section.name.is_empty() || section.size == 0;
        is_named && (!section.is_debug() || names.insert(&section.name))
    });
    Ok(is_plain && debug::is_bearable(|name| elf.section(name).map(part).unwrap_or_default()))
}

/// The next place where a table may lie.
fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(16)
}

/// The bytes of a section; `None` when they are not all there.
fn section_of(file: &HeldFile, section: &Section) -> Option<Vec<u8>> {
    let end = section.offset.checked_add(section.size)?;
    let mut bytes = vec![0; usize::try_from(section.size).ok().filter(|_| end <= file.stamp.size)?];
    file.read_at(&mut bytes, section.offset).then_some(bytes)
}

/// Writes the headers of sections and says in that of the file where they are: `e_shoff`,
/// `e_shentsize` and `e_shnum` of elf(5).
fn write_headers(copy: &File, mut headers: Vec<u8>, at: u64) -> std::io::Result<()> {
    // None at all would mean that their number is in the first.
    headers.resize(headers.len().max(HEADER), 0);
    copy.write_all_at(&headers, at)?;
    let half = |number: usize| u16::try_from(number).unwrap_or(1).to_ne_bytes();
    copy.write_all_at(&at.to_ne_bytes(), 40)?;
    copy.write_all_at(&half(HEADER), 58)?;
    copy.write_all_at(&half(headers.len() / HEADER), 60)
}

/// Copies what there is of a range: a header may claim more than the file has.
fn copy_range(from: &HeldFile, to: &File, offset: u64, len: u64) -> std::io::Result<()> {
    let end = offset.saturating_add(len).min(from.stamp.size);
    let mut buf = vec![0; CHUNK.min(usize::try_from(len).unwrap_or(CHUNK))];
    let mut at = offset;
    while at < end {
        let part = usize::try_from(end - at).unwrap_or(CHUNK).min(buf.len());
        if !from.read_at(&mut buf[..part], at) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(&buf[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the largest programs that there are here: tens of megabytes of debug information.
    #[test]
    fn this_program_keeps_its_debug_information() {
        let file = HeldFile::of_path("/proc/self/exe".as_ref()).unwrap();
        let elf = Elf::of(&file);
        let copy = SealedCopy::of(&file, &elf, false).unwrap();
        assert!(is_bearable(&copy.file).unwrap());
        let bytes: u64 = elf.sections().filter(|section| section.is_debug()).map(|it| it.size).sum();
        assert!(!copy.without_debug || bytes > MAX_BYTES / 2, "{bytes} bytes");
    }
}
