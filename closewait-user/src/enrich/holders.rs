//! Who has a file descriptor on a socket: a walk over the fd tables of all processes,
//! by the kernel's iterator ([`iterated`]) or, here, through /proc.
//!
//! In: inode numbers. Out: [`Holder`]s, and which processes could not be looked
//! into. It reads names of links only: it opens, duplicates and stats nothing that
//! belongs to another process.

pub mod iterated;
mod listed;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, LazyLock};

use hashbrown::{HashMap, HashSet};
use rustix::fs::{CWD, RawDir};
use rustix::io::Errno;

use super::netns::is_gone;
use super::pods::Pods;
use super::procfs::{self, number, numbers};
use crate::clock::Clock;
use crate::fact::Fact;
use crate::interrupt::{Interrupt, UNLOOKED};
use crate::item::SkAddr;
use crate::kernel::support::in_first_pid_namespace;
use crate::kernel::task_files::TaskFiles;
use crate::text::Text;
use crate::verdict::{Holder, Process};
pub(super) use listed::Descriptors;

/// Up to so many descriptors of one process get their close-on-exec flag read:
/// it takes an open, a read and a close each, more than finding them took.
const CLOEXEC_MAX: usize = 16;

/// What a walk over fd tables found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    /// The processes that hold any.
    holding: Vec<Arc<Process>>,
    /// Descriptors in order of inode and process, one for each such pair.
    hits: Vec<Hit>,
    /// Where those of an inode begin.
    places: HashMap<u64, usize>,
    /// Processes that could not be looked into.
    pub unread: Vec<Unread>,
    /// Processes looked into.
    pub processes: usize,
    /// Descriptors looked at.
    pub descriptors: usize,
    /// It did not come to its end: the run was interrupted.
    pub interrupted: bool,
}

/// A descriptor on a wanted socket.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hit {
    inode: u64,
    /// Index into `holding`.
    process: usize,
    fd: u32,
    /// Whether it is closed on exec; `None` when that was not looked at.
    cloexec: Option<Fact<bool>>,
    /// The socket's address, which only the kernel's iterator tells.
    sk: Option<SkAddr>,
}

/// A process whose descriptors could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// Process id.
    pub pid: u32,
    /// Its name; empty when that cannot be read either.
    pub comm: String,
    /// What the system said.
    pub reason: String,
}

impl Unread {
    fn of(pid: u32, error: &io::Error) -> Self {
        let comm = open_process(pid).and_then(|dir| procfs::comm(dir.as_fd())).unwrap_or_default();
        Self { pid, comm, reason: error.to_string() }
    }
}

impl Scan {
    /// Whether anybody was found to hold an inode.
    pub fn is_held(&self, inode: u64) -> bool {
        !self.hits_of(inode).is_empty()
    }

    /// The address of the socket with this inode, where the walk could tell.
    pub fn sk(&self, inode: u64) -> Option<SkAddr> {
        self.hits_of(inode).first()?.sk
    }

    /// The holders that were found of an inode, one per process, in order of pid.
    pub fn found(&self, inode: u64) -> Vec<Holder> {
        self.hits_of(inode).iter().filter_map(|hit| self.holder(hit)).collect()
    }

    /// The first of them.
    pub fn first(&self, inode: u64) -> Option<Holder> {
        self.holder(self.hits_of(inode).first()?)
    }

    /// Their process ids.
    pub fn pids(&self, inode: u64) -> impl Iterator<Item = u32> {
        self.hits_of(inode).iter().filter_map(|hit| Some(self.holding.get(hit.process)?.pid))
    }

    fn holder(&self, hit: &Hit) -> Option<Holder> {
        static NOT_LOOKED_AT: LazyLock<Text> =
            LazyLock::new(|| format!("only looked at for {CLOEXEC_MAX} descriptors of a process").into());
        let process = Arc::clone(self.holding.get(hit.process)?);
        let cloexec = hit.cloexec.clone().unwrap_or_else(|| Fact::Unknown(NOT_LOOKED_AT.clone()));
        Some(Holder { process, fd: hit.fd, cloexec })
    }

    fn hits_of(&self, inode: u64) -> &[Hit] {
        let Some(&from) = self.places.get(&inode) else { return &[] };
        let hits = self.hits.get(from..).unwrap_or_default();
        let len = hits.iter().take_while(|hit| hit.inode == inode).count();
        hits.get(..len).unwrap_or_default()
    }

    /// Brings the hits into their order. Of several descriptors of one process, and of
    /// threads that have a table of their own, the lowest counts.
    fn order(&mut self) {
        let holding = &self.holding;
        let pid = |hit: &Hit| holding.get(hit.process).map(|process| process.pid);
        self.hits.sort_unstable_by_key(|hit| (hit.inode, pid(hit), hit.fd));
        self.hits.dedup_by_key(|hit| (hit.inode, pid(hit)));
        self.places.clear();
        self.places.reserve(self.hits.len());
        for (place, hit) in self.hits.iter().enumerate() {
            self.places.entry(hit.inode).or_insert(place);
        }
    }

    /// The holders of an inode. None found is known only when all processes of
    /// the host could be looked into.
    pub fn of(&self, inode: u64) -> Fact<Vec<Holder>> {
        let found = self.found(inode);
        if !found.is_empty() {
            Fact::Known(found)
        } else if self.interrupted {
            Fact::unknown(UNLOOKED)
        } else if !self.unread.is_empty() {
            Fact::unknown(self.unread_summary())
        } else if !in_first_pid_namespace() {
            Fact::unknown("no holder in this pid namespace, and processes outside of it cannot be seen")
        } else {
            Fact::Known(Vec::new())
        }
    }

    /// What is left to say when the holders were handed out.
    #[must_use]
    pub(super) fn without_holders(self) -> Self {
        Self { holding: Vec::new(), hits: Vec::new(), places: HashMap::new(), ..self }
    }

    /// Adds what a second walk found about others.
    fn add(&mut self, again: Self) {
        let offset = self.holding.len();
        self.holding.extend(again.holding);
        self.hits.extend(again.hits.into_iter().map(|hit| Hit { process: hit.process + offset, ..hit }));
        self.order();
        self.unread = again.unread;
        self.interrupted |= again.interrupted;
    }

    fn unread_summary(&self) -> String {
        let named: Vec<_> = self.unread.iter().take(3).map(|u| format!("{}[{}]", u.comm, u.pid)).collect();
        let reason = self.unread.first().map_or("", |u| &u.reason);
        let more = if self.unread.len() > named.len() { ", ..." } else { "" };
        format!(
            "no holder found, but {} processes could not be looked into ({}{more}: {reason})",
            self.unread.len(),
            named.join(", ")
        )
    }
}

/// Looks for `wanted` socket inodes in the fd tables of all processes.
pub fn scan(wanted: &HashSet<u64>) -> io::Result<Scan> {
    scan_unless(&Interrupt::default(), wanted)
}

/// The same, to the end of which it does not come if the time of `interrupt` is over.
fn scan_unless(interrupt: &Interrupt, wanted: &HashSet<u64>) -> io::Result<Scan> {
    if wanted.is_empty() {
        return Ok(Scan::default());
    }
    let mut walk = Walk::new(wanted, interrupt);
    let pids = numbers(procfs::open_dir(CWD, "/proc")?)?;
    for &pid in &pids {
        if walk.is_over() {
            break;
        }
        walk.process(pid);
    }
    Ok(walk.with_threads(pids))
}

/// How fd tables are walked: by the kernel's iterator where it was loaded.
#[derive(Debug, Default)]
pub struct FdTables {
    files: Option<TaskFiles>,
    /// Why the iterator is not used any more.
    failed: Option<String>,
    /// What a walk has just listed, for looks for holders.
    listed: Option<Descriptors>,
    pods: Pods,
    interrupt: Interrupt,
}

impl FdTables {
    /// Looks for `wanted` socket inodes, once more for those nobody was found to hold:
    /// a descriptor can pass from a process not yet walked to one walked already.
    pub fn scan_twice(&mut self, wanted: &HashSet<u64>) -> io::Result<Scan> {
        let now = Clock::mono_now();
        self.listed = self.listed.take().filter(|listed| self.files.is_none() && listed.is_fresh(now));
        let mut found = match &self.listed {
            Some(listed) => listed.scan_unless(&self.interrupt, wanted),
            None => self.scan(wanted)?,
        };
        let unheld: HashSet<_> = wanted.iter().copied().filter(|&i| !found.is_held(i)).collect();
        if !unheld.is_empty() {
            found.add(self.scan(&unheld)?);
        }
        let now = Clock::mono_now();
        for process in found.holding.iter_mut().filter_map(Arc::get_mut) {
            self.pods.name(process, now);
        }
        Ok(found)
    }

    fn scan(&mut self, wanted: &HashSet<u64>) -> io::Result<Scan> {
        match self.by_iterator(|files| iterated::scan(files, wanted)) {
            Some(scan) => Ok(scan),
            None => scan_unless(&self.interrupt, wanted),
        }
    }

    /// From now on a walk does not go on when that is over.
    pub(super) fn heed(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// Leaves a list to the looks for holders that come now, which then need no walk.
    pub(super) fn leave(&mut self, listed: Descriptors) {
        self.listed = Some(listed);
    }

    /// Asks the iterator; `None` when there is none, or none any more: one that fails is
    /// given up, since /proc tells the same.
    pub(super) fn by_iterator<T>(&mut self, ask: impl Fn(&TaskFiles) -> io::Result<T>) -> Option<T> {
        match ask(self.files.as_ref()?) {
            Ok(told) => Some(told),
            Err(error) => {
                self.failed =
                    Some(format!("iter/task_file fails, descriptors are read from /proc instead: {error}"));
                self.files = None;
                None
            }
        }
    }

    /// Uses the iterator from now on.
    pub(super) fn use_iterator(&mut self, files: TaskFiles) {
        self.files = Some(files);
        self.failed = None;
    }

    /// Whether there is one.
    pub(super) const fn has_iterator(&self) -> bool {
        self.files.is_some()
    }

    /// Why it was given up, and why pods have no names, once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failed.take().or_else(|| self.pods.take_failure())
    }
}

/// Looks for `wanted` socket inodes in the fd table of one process, such as the
/// remembered opener. What it does not find may be held by another.
pub fn scan_pid(pid: u32, wanted: &HashSet<u64>) -> Scan {
    let interrupt = Interrupt::default();
    let mut walk = Walk::new(wanted, &interrupt);
    walk.process(pid);
    walk.scan.order();
    walk.scan
}

struct Walk<'a> {
    wanted: &'a HashSet<u64>,
    interrupt: &'a Interrupt,
    scan: Scan,
    reader: Reader,
}

/// What one fd table showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Table {
    /// Wanted inodes with a descriptor.
    hits: Vec<(u64, u32)>,
    used: usize,
}

/// Reads fd tables.
struct Reader {
    dents: Vec<u8>,
}

impl Reader {
    fn new() -> Self {
        Self { dents: Vec::with_capacity(32 << 10) }
    }

    /// Reads the fd table of a process, and tells of which of its threads it is.
    fn tables(
        &mut self,
        dir: BorrowedFd<'_>,
        pid: u32,
        mut wanted: impl FnMut(u64, u32) -> bool,
    ) -> io::Result<(u32, Table)> {
        let table = self.table(&procfs::open_dir(dir, "fd")?, &mut wanted)?;
        if table.used > 0 {
            return Ok((pid, table));
        }
        // The main thread may have ended before the others.
        for tid in other_threads(dir, pid)? {
            match procfs::open_dir(dir, format!("task/{tid}/fd")).and_then(|fd| self.table(&fd, &mut wanted))
            {
                Ok(table) if table.used > 0 => return Ok((tid, table)),
                Ok(_) => {}
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok((pid, table))
    }

    /// Reads one fd table: a `readlink` per descriptor, no allocation.
    fn table(&mut self, dir: &OwnedFd, mut wanted: impl FnMut(u64, u32) -> bool) -> io::Result<Table> {
        let mut table = Table::default();
        let mut entries = RawDir::new(dir, self.dents.spare_capacity_mut());
        // The longest of interest is socket:[18446744073709551615]
        let mut link = [MaybeUninit::<u8>::uninit(); 32];
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let Some(fd) = number(name) else { continue };
            table.used += 1;
            match rustix::fs::readlinkat_raw(dir, name, &mut link) {
                Ok((link, _)) => {
                    if let Some(inode) = socket_inode(link).filter(|&inode| wanted(inode, fd)) {
                        table.hits.push((inode, fd));
                    }
                }
                // Closed meanwhile.
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(table)
    }
}

impl<'a> Walk<'a> {
    fn new(wanted: &'a HashSet<u64>, interrupt: &'a Interrupt) -> Self {
        Self { wanted, interrupt, scan: Scan::default(), reader: Reader::new() }
    }

    /// Whether it is to end here, which is noted.
    fn is_over(&mut self) -> bool {
        self.scan.interrupted |= self.interrupt.is_over();
        self.scan.interrupted
    }

    /// What was found; after a look into threads, if there is one that nobody was found to hold.
    fn with_threads(mut self, pids: impl IntoIterator<Item = u32>) -> Scan {
        self.scan.order();
        if self.wanted.iter().any(|inode| !self.scan.is_held(*inode)) {
            for pid in pids {
                if self.is_over() {
                    break;
                }
                self.threads(pid);
            }
            self.scan.order();
        }
        self.scan
    }

    /// Looks into one process; one that ended meanwhile is no loss.
    fn process(&mut self, pid: u32) {
        match open_process(pid).and_then(|dir| self.tables(dir.as_fd(), pid)) {
            Ok(()) => self.scan.processes += 1,
            Err(e) => self.lose(pid, &e),
        }
    }

    fn lose(&mut self, pid: u32, e: &io::Error) {
        if !is_gone(e) {
            self.scan.unread.push(Unread::of(pid, e));
        }
    }

    fn tables(&mut self, dir: BorrowedFd<'_>, pid: u32) -> io::Result<()> {
        let wanted = self.wanted;
        let (owner, table) = self.reader.tables(dir, pid, |inode, _| wanted.contains(&inode))?;
        self.scan.descriptors += table.used;
        self.keep(dir, (pid, owner), table)
    }

    /// Looks into threads that have an fd table of their own (CLONE_FILES undone).
    fn threads(&mut self, pid: u32) {
        // One that cannot be opened has been counted by `process`.
        let Ok(dir) = open_process(pid) else { return };
        for tid in other_threads(dir.as_fd(), pid).unwrap_or_default() {
            if has_same_files(pid, tid) {
                continue;
            }
            let wanted = self.wanted;
            let table = procfs::open_dir(&dir, format!("task/{tid}/fd"))
                .and_then(|fd| self.reader.table(&fd, |inode, _| wanted.contains(&inode)));
            let kept = table.and_then(|table| self.keep(dir.as_fd(), (pid, tid), table));
            if let Err(e) = kept {
                self.lose(pid, &e);
            }
        }
    }

    /// Adds what the table of a thread of a process showed to the holders; the lowest
    /// descriptor of each inode counts.
    fn keep(&mut self, dir: BorrowedFd<'_>, (pid, tid): (u32, u32), mut table: Table) -> io::Result<()> {
        if table.hits.is_empty() {
            return Ok(());
        }
        table.hits.sort_unstable();
        table.hits.dedup_by_key(|(inode, _)| *inode);
        let process = procfs::process(dir, pid, Ok(table.used as u64))?;
        for (i, &(inode, fd)) in table.hits.iter().enumerate() {
            let cloexec = (i < CLOEXEC_MAX).then(|| procfs::cloexec(dir, (pid, tid), fd));
            self.scan.hits.push(Hit { inode, process: self.scan.holding.len(), fd, cloexec, sk: None });
        }
        self.scan.holding.push(Arc::new(process));
        Ok(())
    }
}

pub(super) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    procfs::open_dir(CWD, format!("/proc/{pid}"))
}

/// Threads of a process but its main one.
fn other_threads(dir: BorrowedFd<'_>, pid: u32) -> io::Result<Vec<u32>> {
    let mut tids = numbers(procfs::open_dir(dir, "task")?)?;
    tids.retain(|&tid| tid != pid);
    Ok(tids)
}

/// Whether two threads share one fd table; also when the kernel does not tell
/// (no CONFIG_KCMP), since threads that do not are rare.
fn has_same_files(pid: u32, tid: u32) -> bool {
    const KCMP_FILES: libc::c_int = 2;
    let zero: libc::c_ulong = 0;
    // SAFETY: kcmp reads five integers and touches no memory of this process.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, pid, tid, KCMP_FILES, zero, zero) };
    order <= 0
}

/// Whether this descriptor of a process is still on the socket with this inode.
pub fn still_holds(pid: u32, fd: u32, inode: u64) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    link.is_ok_and(|link| socket_inode(link.as_os_str().as_bytes()) == Some(inode))
}

/// `socket:[4711]`, as links to sockets read.
pub fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "holders_tests.rs"]
mod tests;
