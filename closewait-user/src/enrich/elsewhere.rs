//! Where a socket may be that no process has a descriptor on: in flight over a unix
//! socket, registered with an io_uring, or under a system call whose descriptor was
//! closed meanwhile.
//!
//! In: inode numbers. Out: [`Elsewhere`]s. A ring names its files; a unix socket tells
//! only how many descriptors wait in it, and a thread only which number it is at, so
//! those are candidates. One walk over all processes, in parts of [`WALK_MAX`], which is
//! not made again before [`KEPT`]: only sockets that nobody holds are worth it. It only
//! reads /proc.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use rustix::fs::{CWD, RawDir};
use rustix::io::Errno;

use super::borrowed;
use super::holders::{open_process, socket_inode};
use super::netns::is_gone;
use super::procfs::{self, READ_MAX, number, numbers, read};
use super::syscalls::{First, first, name};
use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::item::Task;
use crate::text::Text;
use crate::verdict::Elsewhere;

/// A part of a walk takes at most so long.
const WALK_MAX: Duration = Duration::from_millis(200);
/// What a walk found is good for so long.
const KEPT: Duration = Duration::from_secs(30);

/// What the last walk found.
#[derive(Default)]
pub(super) struct References {
    at: MonoNs,
    asked: HashSet<u64>,
    /// The processes still to be looked into, the next one last.
    left: Vec<u32>,
    /// Processes that could not be looked into.
    refused: usize,
    /// Registered with a ring, by inode.
    rings: HashMap<u64, Vec<Elsewhere>>,
    /// In flight, or under a system call: which socket it is cannot be told.
    candidates: Vec<Elsewhere>,
    /// Why some may be missing.
    incomplete: Option<String>,
    /// A ring whose files are not all known.
    untold: Option<String>,
}

impl References {
    /// Looks for references to the sockets with these inodes, unless that was done lately.
    pub(super) fn look_for(&mut self, inodes: &HashSet<u64>) {
        let now = Clock::mono_now();
        if inodes.is_empty() || (inodes.is_subset(&self.asked) && now.since(self.at) < KEPT) {
            return;
        }
        *self = Self { at: now, asked: inodes.clone(), ..Self::default() };
        match procfs::open_dir(CWD, "/proc").and_then(numbers) {
            Ok(pids) => self.left = pids.into_iter().rev().collect(),
            Err(e) => return self.incomplete = Some(format!("cannot list /proc: {e}")),
        }
        self.go_on();
    }

    /// Whether a part of the walk is left.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.left.is_empty()
    }

    /// Walks the next part.
    pub(super) fn go_on(&mut self) {
        let began = Clock::mono_now();
        while let Some(pid) = self.left.pop() {
            match open_process(pid).and_then(|dir| self.process(&dir, pid)) {
                Err(e) if !is_gone(&e) => self.refused += 1,
                _ => {}
            }
            if Clock::mono_now().since(began) > WALK_MAX {
                break;
            }
        }
        self.incomplete = match (self.left.len(), self.refused) {
            (0, 0) => self.untold.clone(),
            (0, refused) => Some(format!("{refused} processes could not be looked into")),
            (left, _) => Some(format!("{left} processes were not looked at in time")),
        };
    }

    /// The references to one of them. None found is known only when all processes could
    /// be looked into.
    pub(super) fn of(&self, inode: u64) -> Fact<Vec<Elsewhere>> {
        let rings = self.rings.get(&inode).map(Vec::as_slice).unwrap_or_default();
        let found: Vec<_> = rings.iter().chain(&self.candidates).cloned().collect();
        match &self.incomplete {
            Some(reason) if found.is_empty() => Fact::unknown(reason),
            _ => Fact::Known(found),
        }
    }

    fn process(&mut self, dir: &OwnedFd, pid: u32) -> io::Result<()> {
        let fds = procfs::open_dir(dir, "fd")?;
        let mut dents = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(&fds, dents.spare_capacity_mut());
        let mut link = [std::mem::MaybeUninit::<u8>::uninit(); 32];
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(fd) = number(entry.file_name()) else { continue };
            let Ok((link, _)) = rustix::fs::readlinkat_raw(&fds, entry.file_name(), &mut link) else {
                continue;
            };
            if link == b"anon_inode:[io_uring]" {
                self.ring(dir.as_fd(), pid, fd);
            } else if socket_inode(link).is_some() && is_unix(pid, fd) {
                let waiting = read(dir.as_fd(), &format!("fdinfo/{fd}"));
                if waiting.is_ok_and(|fdinfo| in_flight(&fdinfo) > 0) {
                    self.candidates.push(Elsewhere::InFlight { receiver: task(dir.as_fd(), pid, pid), fd });
                }
            }
        }
        for tid in numbers(procfs::open_dir(dir, "task")?)? {
            if let Some(syscall) = under_closed(dir.as_fd(), tid) {
                let task = task(dir.as_fd(), pid, tid);
                self.candidates.push(Elsewhere::Blocked { task, syscall: syscall.into() });
            }
        }
        Ok(())
    }

    /// Takes note of the wanted files that a ring has registered.
    fn ring(&mut self, dir: BorrowedFd<'_>, pid: u32, fd: u32) {
        let Ok(fdinfo) = read(dir, &format!("fdinfo/{fd}")) else { return };
        if fdinfo.len() >= READ_MAX || names_no_sockets(&fdinfo) {
            self.untold
                .get_or_insert_with(|| format!("the io_uring of process {pid} does not tell all its files"));
        }
        for inode in registered(&fdinfo).filter(|inode| self.asked.contains(inode)) {
            let owner = task(dir, pid, pid);
            self.rings.entry(inode).or_default().push(Elsewhere::IoUring { owner, fd });
        }
    }
}

fn task(dir: BorrowedFd<'_>, pid: u32, tid: u32) -> Task {
    let comm = read(dir, &format!("task/{tid}/comm")).unwrap_or_default();
    Task { pid, tid, comm: Text::of(comm.trim_end_matches('\n')) }
}

/// The call that a thread is in on a descriptor that it has not. One that comes and goes
/// (read, close, open, read) is not taken for it: it is asked twice.
fn under_closed(dir: BorrowedFd<'_>, tid: u32) -> Option<&'static str> {
    let own = rustix::thread::gettid().as_raw_pid().cast_unsigned();
    let call = || read(dir, &format!("task/{tid}/syscall")).ok();
    let before = call().filter(|_| tid != own)?;
    let (name, fd) = call_on(&before)?;
    let stays = is_closed(dir, tid, fd) && call()? == before && is_closed(dir, tid, fd);
    stays.then_some(name)
}

/// Whether a thread has no such descriptor.
fn is_closed(dir: BorrowedFd<'_>, tid: u32, fd: u64) -> bool {
    let link = rustix::fs::readlinkat(dir, format!("task/{tid}/fd/{fd}"), Vec::new());
    link.is_err_and(|errno| errno == Errno::NOENT)
}

/// Whether a descriptor is a unix socket: `UNIX`, `UNIX-STREAM`.
fn is_unix(pid: u32, fd: u32) -> bool {
    borrowed::is_of_protocol(pid, fd, |name| name.starts_with(b"UNIX"))
}

/// Descriptors that wait in a unix socket's queue (`scm_fds` of its fdinfo).
pub(super) fn in_flight(fdinfo: &str) -> u64 {
    let count = fdinfo.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Inodes of the sockets among the registered files of a ring: `    0: socket:[4711]`.
pub(super) fn registered(fdinfo: &str) -> impl Iterator<Item = u64> {
    fdinfo.lines().filter_map(|line| {
        let (slot, file) = line.trim_start().split_once(": ")?;
        slot.parse::<u32>().ok()?;
        socket_inode(file.as_bytes())
    })
}

/// Kernels such as 5.10 print the name of a socket's protocol instead.
pub(super) fn names_no_sockets(fdinfo: &str) -> bool {
    fdinfo.lines().any(|line| line.ends_with(": TCP") || line.ends_with(": TCPv6"))
}

/// The call that a thread is in and the descriptor it is on: `44 0x5 0x7ffe...`.
pub(super) fn call_on(syscall: &str) -> Option<(&'static str, u64)> {
    let mut words = syscall.split_ascii_whitespace();
    let call = name(words.next()?.parse().ok()?).filter(|call| first(call) == First::Fd)?;
    // It is what takes the descriptor away.
    if call == "close" {
        return None;
    }
    let fd = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    // -1 stands for no descriptor. A kernel thread seems to read from 0, but has no stack
    // pointer (the last but one).
    let user = words.nth(5)? != "0x0";
    (user && fd <= u64::from(u32::MAX >> 1)).then_some((call, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_fdinfo_and_syscall() {
        assert_eq!(in_flight("pos:\t0\nflags:\t02\nscm_fds: 3\n"), 3);
        assert_eq!(in_flight("pos:\t0\n"), 0);
        let ring = "SqEntries:\t1\nUserFiles:\t3\n    0: socket:[4711]\n    1: <none>\n    2: /dev/null\nUserBufs:\t0\n";
        assert_eq!(registered(ring).collect::<Vec<_>>(), [4711]);
        assert!(!names_no_sockets(ring));
        assert!(names_no_sockets("UserFiles:\t1\n    0: TCP\n"));
        let of = |number: i64, rest: &str| call_on(&format!("{number} {rest}"));
        assert_eq!(of(libc::SYS_sendto, "0x5 0x7ffe 0x0 0x0 0x0 0x0 0x7f 0x7f"), Some(("sendto", 5)));
        assert_eq!(of(libc::SYS_read, "0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0"), None, "a kernel thread");
        assert_eq!(of(libc::SYS_read, "0xffffffffffffffff 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f"), None);
        assert_eq!(of(libc::SYS_close, "0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f"), None);
        assert_eq!(of(libc::SYS_futex, "0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f"), None);
        for nothing in ["running", "", "-1 0x7f 0x7f", "44", "44 5"] {
            assert_eq!(call_on(nothing), None, "{nothing}");
        }
    }
}
