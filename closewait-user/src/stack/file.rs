//! Open files of other processes: code they have mapped, maps their JIT wrote.
//! In: a process and a path as that process sees it; out: an open regular file
//! with its identity. Never opens anything but a regular file for reading (a
//! FIFO would block, a device could act), and never follows a symlink out of
//! the process's own root.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::answers;
use super::maps::{Backing, Mapping};

/// Which file, while somebody holds it open: an inode number is not reused before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Its inode number.
    pub(super) const fn inode(self) -> u64 {
        self.inode
    }
}

/// Changes when the file is written to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) size: u64,
    /// Seconds and nanoseconds; wide enough for what every architecture's `stat` has.
    modified: (i128, i128),
}

/// So many bytes at a file's beginning are compared where only its time has changed: a page,
/// in which linkers put the build id.
pub(super) const START: usize = 4096;

/// A regular file held open, so that it can still be read when its process or
/// its name is gone.
#[derive(Debug)]
pub struct HeldFile {
    file: File,
    /// Which file it is.
    pub(super) id: FileId,
    /// As it was when it was opened.
    pub(super) stamp: Stamp,
    /// Hash of its first [`START`] bytes then; `None` where they cannot be read.
    first: Option<u64>,
}

impl HeldFile {
    /// Opens what the `O_PATH` descriptor `path` leads to for reading, if it is a regular file
    /// that comes when it is read.
    fn open(path: &OwnedFd) -> Result<(Self, Stat), Errno> {
        answers::comes(path)?;
        let stat = rustix::fs::fstat(path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::NOTSUP);
        }
        let file = File::from(rustix::fs::open(
            format!("/proc/self/fd/{}", path.as_raw_fd()),
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        )?);
        let id = FileId { device: stat.st_dev, inode: stat.st_ino };
        let first = first(&file);
        Ok((Self { file, id, stamp: stamp(&stat), first }, stat))
    }

    /// Opens a file of this machine's own, by a path of ours.
    pub fn of_path(path: &Path) -> Result<Self, Errno> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let (held, _) = Self::open(&fd)?;
        Ok(held)
    }

    /// A name by which this process can open the file again while `self` lives.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Its stamp now; as it was opened when the file system no longer answers.
    pub(super) fn stamp_now(&self) -> Stamp {
        rustix::fs::fstat(&self.file).map_or(self.stamp, |now| stamp(&now))
    }

    /// Whether the file was written to since it was opened, or was given another time only
    /// (touch(1); `go test -o` does it to the program that it runs).
    pub(super) fn changed(&self) -> bool {
        self.stamp_now() != self.stamp
    }

    /// Whether it is as long as it was when it was opened, and begins as it did.
    pub(super) fn begins_as_it_did(&self) -> bool {
        self.stamp_now().size == self.stamp.size && self.first.is_some() && first(&self.file) == self.first
    }

    /// Fills `buf` from `offset`; `false` when the file is too short or cannot be read.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> bool {
        self.file.read_exact_at(buf, offset).is_ok()
    }

    /// The whole file, but at most `limit` bytes of it.
    pub(super) fn contents(&self, limit: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Opened anew: the position of a shared description is not ours to move.
        File::open(self.path())?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn first(file: &File) -> Option<u64> {
    let mut bytes = [0; START];
    let len = file.read_at(&mut bytes, 0).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes.get(..len)?);
    Some(hasher.finish())
}

fn stamp(stat: &Stat) -> Stamp {
    let modified = (i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec));
    Stamp { size: u64::try_from(stat.st_size).unwrap_or(0), modified }
}

/// Opens the file behind `mapping` of the process whose directory is
/// `/proc/<pid>`: by `map_files`, which leads to the mapped file itself whatever
/// became of its name; where that is refused (it takes `CAP_SYS_ADMIN` or
/// `CAP_CHECKPOINT_RESTORE`), by its name, if that still leads to the same inode.
pub(super) fn open_mapped(pid: u32, mapping: &Mapping) -> Result<HeldFile, String> {
    let Backing::File { path, .. } = &mapping.backing else {
        return Err("not a file".to_owned());
    };
    let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::open(link, flags, Mode::empty()) {
        // What does not come so does not by its name either, on the way to which nobody would answer.
        return HeldFile::open(&fd).map(|(held, _)| held).map_err(|errno| match errno {
            Errno::TIMEDOUT => "its file system does not answer".to_owned(),
            errno => errno.to_string(),
        });
    }
    // The kernel prints paths from the root of the mount namespace; the process
    // may have changed its root below that.
    let root = || std::fs::read_link(format!("/proc/{pid}/root"));
    match open_in_root(pid, path.strip_prefix(root().unwrap_or_default()).unwrap_or(path)) {
        Ok((_, stat)) if stat.st_ino != mapping.inode => Err("replaced on disk".to_owned()),
        Ok((held, _)) => Ok(held),
        // One that is ending has no root before its entry goes.
        Err(Errno::NOENT | Errno::SRCH) if root().is_err() => {
            Err(format!("process {pid} exited before it could be opened"))
        }
        Err(Errno::NOENT) => Err("deleted".to_owned()),
        Err(Errno::TIMEDOUT) => Err("its file system does not answer".to_owned()),
        Err(errno) => Err(errno.to_string()),
    }
}

/// Opens `path` as process `pid` would see it, but never through a symlink in
/// the last place, nor through a link into some other process.
pub(super) fn open_in_root(pid: u32, path: &Path) -> Result<(HeldFile, Stat), Errno> {
    let root = rustix::fs::open(
        format!("/proc/{pid}/root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    open_under(&root, path)
}

fn open_under(root: &OwnedFd, path: &Path) -> Result<(HeldFile, Stat), Errno> {
    // IN_ROOT: an absolute symlink, or "..", of a hostile container stays in it.
    let fd = rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    HeldFile::open(&fd)
}
