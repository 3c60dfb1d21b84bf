//! Network namespaces of the host: which there are and how to get into one.
//!
//! In: /proc/PID/ns/net of every process, nsfs bind mounts, the `--netns` option.
//! Out: [`NetnsRef`]s that can be opened and are checked by inode when they are.
//! It never holds a namespace open: that would keep a dead container's alive.

mod filter;
mod visitor;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::item::Netns;

pub use filter::{NetnsArg, NetnsFilter};
use visitor::NotThere;

/// Why a network namespace could not be found or entered.
#[derive(thiserror::Error, Debug)]
pub enum NetnsError {
    /// Its file cannot be opened; a process or mount that ended gives this too.
    #[error("cannot open the network namespace at {path}: {source}")]
    Open {
        /// Where it was.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there but is another namespace, or none.
    #[error("{path} is not network namespace {wanted} any more")]
    Other {
        /// Where it was.
        path: PathBuf,
        /// The inode number it had.
        wanted: u32,
    },
    /// The file is not a network namespace.
    #[error("{path} is not a network namespace")]
    NotOne {
        /// The file.
        path: PathBuf,
    },
    /// `setns` was refused (it needs CAP_SYS_ADMIN).
    #[error("cannot enter the network namespace at {path}: {source}")]
    Enter {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread to enter it with.
    #[error("cannot start a thread to enter a network namespace: {0}")]
    Thread(io::Error),
    /// /proc cannot be listed.
    #[error("cannot list /proc: {0}")]
    Proc(io::Error),
}

/// A network namespace and a file by which it can be entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetnsRef {
    netns: Netns,
    path: PathBuf,
    own: bool,
}

/// The calling thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";

impl NetnsRef {
    /// The caller's own namespace; number 0 on a kernel built without namespaces.
    pub fn own() -> Result<Self, NetnsError> {
        match std::fs::read_link(OWN) {
            Ok(link) => {
                let path = PathBuf::from(OWN);
                let netns = from_link(link.as_os_str().as_bytes())
                    .ok_or_else(|| NetnsError::NotOne { path: path.clone() })?;
                Ok(Self { netns, path, own: true })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Ok(Self { netns: Netns(0), path: OWN.into(), own: true })
            }
            Err(source) => Err(NetnsError::Open { path: OWN.into(), source }),
        }
    }

    /// The namespace of process `pid`.
    pub fn of_pid(pid: u32) -> Result<Self, NetnsError> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let link =
            std::fs::read_link(&path).map_err(|source| NetnsError::Open { path: path.clone(), source })?;
        let netns = from_link(link.as_os_str().as_bytes())
            .ok_or_else(|| NetnsError::NotOne { path: path.clone() })?;
        Ok(Self { netns, path, own: netns == Self::own()?.netns })
    }

    /// The namespace that the file at `path` is (a bind mount, or a /proc link).
    pub fn at(path: &Path) -> Result<Self, NetnsError> {
        let (_, netns) = open(path)?;
        Ok(Self { netns, path: path.into(), own: netns == Self::own()?.netns })
    }

    /// Its inode number.
    pub const fn netns(&self) -> Netns {
        self.netns
    }

    /// The file by which it is entered.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was the caller's own when this reference was made.
    pub const fn is_own(&self) -> bool {
        self.own
    }

    /// Whether its path does not lead to it any more. One that cannot be opened for another
    /// reason, such as want of descriptors, may be there.
    pub fn is_gone(&self) -> bool {
        self.leads_nowhere(is_gone)
    }

    /// Whether its path does not lead there, or is closed to us: another one may not be.
    pub fn is_out_of_reach(&self) -> bool {
        self.leads_nowhere(|e| is_gone(e) || e.kind() == io::ErrorKind::PermissionDenied)
    }

    fn leads_nowhere(&self, for_good: impl Fn(&io::Error) -> bool) -> bool {
        !self.own
            && match self.open() {
                Ok(_) => false,
                Err(NetnsError::Open { source, .. }) => for_good(&source),
                Err(_) => true,
            }
    }

    /// Runs `work` inside the namespace: at once in the caller's own, else on a thread that
    /// goes there and comes back.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NetnsError> {
        if self.own {
            return Ok(work());
        }
        visitor::visit(self.open()?, work).map_err(|why| match why {
            NotThere::Enter(source) => NetnsError::Enter { path: self.path.clone(), source },
            NotThere::Thread(source) => NetnsError::Thread(source),
        })
    }

    /// Opens it, and checks that the path still leads to the same namespace.
    fn open(&self) -> Result<OwnedFd, NetnsError> {
        let (fd, netns) = open(&self.path)?;
        if netns == self.netns {
            Ok(fd)
        } else {
            Err(NetnsError::Other { path: self.path.clone(), wanted: self.netns.0 })
        }
    }
}

/// Opens the network namespace at `path`.
fn open(path: &Path) -> Result<(OwnedFd, Netns), NetnsError> {
    // NS_GET_NSTYPE of linux/nsfs.h; the link of a bind mount shows only where it is mounted.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    let failed = |e: Errno| NetnsError::Open { path: path.into(), source: e.into() };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
    let inode = rustix::fs::fstat(&fd).map_err(failed)?.st_ino;
    // SAFETY: this request takes no argument and touches no memory of this process.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    match u32::try_from(inode) {
        Ok(inode) if kind == libc::CLONE_NEWNET => Ok((fd, Netns(inode))),
        _ => Err(NetnsError::NotOne { path: path.into() }),
    }
}

/// The namespaces there were at one moment.
#[derive(Clone, Debug)]
pub struct Namespaces {
    by_inode: BTreeMap<Netns, NetnsRef>,
    /// Processes whose namespace could not be read (no right to).
    pub unreadable: u32,
}

impl Namespaces {
    /// None but the caller's own: of the others nothing is known yet. An error: /proc, by which
    /// they will be listed, cannot be read.
    pub fn unlisted() -> Result<Self, NetnsError> {
        std::fs::read_dir("/proc").map_err(NetnsError::Proc)?;
        let own = NetnsRef::own()?;
        Ok(Self { by_inode: BTreeMap::from([(own.netns, own)]), unreadable: 0 })
    }

    /// Lists them: one `readlink` per process, and the mount tables of this
    /// process and of process 1. A namespace kept by nothing but an open file, or
    /// by a thread that left its process' namespace, is not among them: see
    /// [`find_by_thread`].
    pub fn list() -> Result<Self, NetnsError> {
        let own = NetnsRef::own()?;
        let own_netns = own.netns;
        let mut all = Self { by_inode: BTreeMap::from([(own_netns, own)]), unreadable: 0 };
        // Mounts first: they outlive the processes.
        all.add_mounts("/proc/self/mountinfo", Path::new("/"));
        for entry in std::fs::read_dir("/proc").map_err(NetnsError::Proc)? {
            let name = entry.map_err(NetnsError::Proc)?.file_name();
            if !name.as_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let path = Path::new("/proc").join(name).join("ns/net");
            match std::fs::read_link(&path) {
                Ok(link) => {
                    if let Some(netns) = from_link(link.as_os_str().as_bytes()) {
                        all.add(netns, || path);
                    }
                }
                // The process ended: not a loss.
                Err(e) if is_gone(&e) => {}
                Err(_) => all.unreadable += 1,
            }
        }
        // Those of another mount table last: the way there may be closed to us.
        let mount_table = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        if mount_table("1") != mount_table("self") {
            all.add_mounts("/proc/1/mountinfo", Path::new("/proc/1/root"));
        }
        Ok(all)
    }

    /// Those that a thread is in, whichever its process is in: slow, as [`find_by_thread`].
    pub fn of_threads() -> Result<Self, NetnsError> {
        let own = NetnsRef::own()?;
        let mut all = Self { by_inode: BTreeMap::from([(own.netns, own)]), unreadable: 0 };
        // Where directories cannot be opened for want of descriptors nobody would be found in any.
        let unless_gone = |result: io::Result<()>| match result {
            Err(e) if !is_gone(&e) && e.kind() != io::ErrorKind::PermissionDenied => Err(NetnsError::Proc(e)),
            _ => Ok(()),
        };
        for process in std::fs::read_dir("/proc").map_err(NetnsError::Proc)? {
            let process = process.map_err(NetnsError::Proc)?;
            if process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
                unless_gone(all.add_threads(&process.path().join("task")))?;
            }
        }
        Ok(all)
    }

    /// The namespace with this inode number.
    pub fn find(&self, netns: Netns) -> Option<&NetnsRef> {
        self.by_inode.get(&netns)
    }

    /// All of them, by inode number.
    pub fn iter(&self) -> impl Iterator<Item = &NetnsRef> {
        self.by_inode.values()
    }

    fn add(&mut self, netns: Netns, path: impl FnOnce() -> PathBuf) {
        self.by_inode.entry(netns).or_insert_with(|| NetnsRef { netns, path: path(), own: false });
    }

    /// Adds those that the threads of a process are in.
    fn add_threads(&mut self, tasks: &Path) -> io::Result<()> {
        for thread in std::fs::read_dir(tasks)? {
            let path = thread?.path().join("ns/net");
            let netns =
                std::fs::read_link(&path).ok().and_then(|link| from_link(link.as_os_str().as_bytes()));
            if let Some(netns) = netns {
                self.add(netns, || path);
            }
        }
        Ok(())
    }

    /// Adds what a mount table shows; a table that cannot be read adds nothing,
    /// since every namespace with a process in it is found without.
    fn add_mounts(&mut self, table: &str, root: &Path) {
        for (netns, at) in nsfs_mounts(&std::fs::read(table).unwrap_or_default()) {
            self.add(netns, || root.join(at.strip_prefix("/").unwrap_or(&at)));
        }
    }
}

/// Looks for a namespace among all threads of all processes: for one that only a
/// thread is in, as runtimes of containers do. Slow (a `readlink` per thread).
pub fn find_by_thread(netns: Netns) -> Option<NetnsRef> {
    let own = NetnsRef::own().ok()?.netns;
    in_threads().find(|(found, _)| *found == netns).map(|(netns, path)| NetnsRef {
        netns,
        path,
        own: netns == own,
    })
}

/// The namespace of every thread of every process.
fn in_threads() -> impl Iterator<Item = (Netns, PathBuf)> {
    let numbered = |dir: &Path| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter(|e| e.file_name().as_bytes().iter().all(u8::is_ascii_digit))
            .map(|e| e.path())
    };
    numbered(Path::new("/proc")).flat_map(move |process| numbered(&process.join("task"))).filter_map(
        |thread| {
            let path = thread.join("ns/net");
            let link = std::fs::read_link(&path).ok()?;
            Some((from_link(link.as_os_str().as_bytes())?, path))
        },
    )
}

/// The process ended while we looked.
pub(super) fn is_gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// `net:[4026531840]`, as nsfs links read.
fn from_link(link: &[u8]) -> Option<Netns> {
    let digits = link.strip_prefix(b"net:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Netns)
}

/// The network namespaces that a mount table (proc_pid_mountinfo(5)) shows, with their mount points.
fn nsfs_mounts(table: &[u8]) -> impl Iterator<Item = (Netns, PathBuf)> {
    table.split(|&b| b == b'\n').filter_map(|line| {
        // id parent major:minor root mount-point ...
        let mut words = line.split(|&b| b == b' ').skip(3);
        let netns = from_link(words.next()?)?;
        Some((netns, PathBuf::from(OsStr::from_bytes(&unescape(words.next()?)))))
    })
}

/// Undoes the octal escapes of a mount table (space, tab, newline, backslash).
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        let byte = octal
            .map(|d| d.iter().fold(0_u32, |n, b| n * 8 + u32::from(b - b'0')))
            .and_then(|n| u8::try_from(n).ok());
        if let Some(byte) = byte {
            plain.push(byte);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            plain.push(first);
            rest = tail;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        assert_eq!(from_link(b"net:[4026531840]"), Some(Netns(4_026_531_840)));
        for not in ["mnt:[4026531840]", "net:[]", "net:[1", "net:[99999999999]", "/run/netns/a", ""] {
            assert_eq!(from_link(not.as_bytes()), None, "{not}");
        }
    }

    #[test]
    fn mount_tables_give_network_namespaces_only_and_unescaped_paths() {
        let table = b"\
22 28 0:21 / /proc rw,nosuid shared:13 - proc proc rw\n\
99 28 0:4 net:[4026532242] /run/netns/blue rw shared:31 - nsfs nsfs rw\n\
98 28 0:4 mnt:[4026532240] /run/snapd/ns/x rw - nsfs nsfs rw\n\
97 28 0:4 net:[4026532243] /run/docker/netns/a\\040b\\134c rw - nsfs nsfs rw\n\
96 28 0:4 net:[\n\n";
        assert_eq!(
            nsfs_mounts(table).collect::<Vec<_>>(),
            [
                (Netns(4_026_532_242), PathBuf::from("/run/netns/blue")),
                (Netns(4_026_532_243), PathBuf::from("/run/docker/netns/a b\\c")),
            ]
        );
        assert_eq!(unescape(b"\\9\\777\\04"), b"\\9\\777\\04");
    }

    #[test]
    fn the_own_namespace_is_listed_and_needs_no_rights_to_enter() {
        let own = NetnsRef::own().unwrap();
        let listed = Namespaces::list().unwrap();
        assert!(listed.find(own.netns()).unwrap().is_own());
        assert_eq!(NetnsRef::of_pid(std::process::id()).unwrap().netns(), own.netns());
        assert_eq!(NetnsRef::at(Path::new("/proc/self/ns/net")).unwrap().netns(), own.netns());
        assert_eq!(own.run(|| 7).unwrap(), 7);
    }

    #[test]
    fn what_is_no_network_namespace_is_refused_by_name() {
        let not_one = NetnsRef::at(Path::new("/proc/self/ns/mnt")).unwrap_err();
        assert_eq!(not_one.to_string(), "/proc/self/ns/mnt is not a network namespace");
    }
}
