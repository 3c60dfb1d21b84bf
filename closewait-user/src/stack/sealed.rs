//! Copies of users' files for a parser that maps what it reads: an open ELF file in,
//! a sealed file in memory out. Whoever may write to the original can then neither
//! end this process (a mapped file that is truncated raises SIGBUS) nor change what
//! was read. Only what symbols need is copied; code and data are holes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags};

use super::elf::{Elf, Section};
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
    /// Debug information was left out, being too large.
    pub(super) without_debug: bool,
}

impl SealedCopy {
    /// Copies what is known of `file`, whose headers are `elf`. An error says why not.
    pub(super) fn of(file: &HeldFile, elf: &Elf) -> Result<Self, String> {
        let wanted: Vec<&Section> = elf.sections().filter(|section| section.is_about_code).collect();
        let size = |sections: &[&Section]| sections.iter().fold(0_u64, |sum, s| sum.saturating_add(s.size));
        let names: Vec<&Section> = wanted.iter().copied().filter(|section| !section.is_debug()).collect();
        let without_debug = size(&wanted) > MAX_BYTES;
        let sections = if without_debug { names } else { wanted };
        let total = size(&sections);
        if total > MAX_BYTES {
            return Err(format!("its symbols are larger than {} MiB", MAX_BYTES >> 20));
        }
        let copy = || -> std::io::Result<File> {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let copy = File::from(rustix::fs::memfd_create("closewait-symbols", flags)?);
            // Offsets stay as they are, so the whole length is there; what is not written takes no memory.
            copy.set_len(file.stamp.size)?;
            for (offset, len) in elf.headers().chain(sections.iter().map(|s| (s.offset, s.size))) {
                copy_range(file, &copy, offset, len)?;
            }
            let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
            rustix::fs::fcntl_add_seals(&copy, seals)?;
            Ok(copy)
        };
        let file = copy().map_err(|err| format!("it cannot be copied: {err}"))?;
        Ok(Self { file, size: total, without_debug })
    }

    /// A name by which this process can open it while `self` lives.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
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
