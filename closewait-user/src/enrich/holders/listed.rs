//! Every descriptor on a socket, listed in one walk through /proc, for two questions that one
//! look asks one after the other: which sockets TCP has ended, and who holds the stuck ones.
//!
//! A descriptor can pass from a process not yet walked to one walked already, as in any walk:
//! whoever is found to hold nothing is looked for once more, by a walk of its own.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use hashbrown::HashSet;
use rustix::fs::CWD;

use super::{Reader, Scan, Table, Unread, Walk, open_process};
use crate::clock::{Clock, MonoNs};
use crate::enrich::netns::is_gone;
use crate::enrich::procfs::{self, numbers};
use crate::interrupt::Interrupt;

/// It answers questions for so long after it was begun.
const FRESH: Duration = Duration::from_secs(1);

/// So many sockets are kept, 16 bytes each: beside more, a walk more is what takes least.
const MOST: usize = 200_000;

/// See the module.
#[derive(Debug)]
pub(in crate::enrich) struct Descriptors {
    began: MonoNs,
    /// There was room for all.
    is_whole: bool,
    processes: Vec<ListedProcess>,
    unread: Vec<Unread>,
    /// No process was left out because it took too long.
    pub(in crate::enrich) complete: bool,
}

/// What one process has open.
#[derive(Debug)]
struct ListedProcess {
    pid: u32,
    /// The thread whose table it is.
    owner: u32,
    table: Table,
}

impl Descriptors {
    /// Walks through all processes, or those that are reached within `longest`. Each descriptor
    /// on a socket is told, too: process, inode and number.
    pub(in crate::enrich) fn list(
        longest: Duration,
        interrupt: &Interrupt,
        told: impl FnMut(u32, u64, u32),
    ) -> io::Result<Self> {
        Self::list_most(longest, interrupt, MOST, told)
    }

    fn list_most(
        longest: Duration,
        interrupt: &Interrupt,
        most: usize,
        mut told: impl FnMut(u32, u64, u32),
    ) -> io::Result<Self> {
        let began = Clock::mono_now();
        let (processes, unread) = (Vec::new(), Vec::new());
        let mut all = Self { began, is_whole: true, processes, unread, complete: true };
        let mut room = most;
        let mut reader = Reader::new();
        for pid in numbers(procfs::open_dir(CWD, "/proc")?)? {
            if Clock::mono_now().since(began) > longest || interrupt.is_over() {
                all.complete = false;
                break;
            }
            let read = open_process(pid).and_then(|dir| {
                reader.tables(dir.as_fd(), pid, |inode, fd| {
                    told(pid, inode, fd);
                    all.is_whole &= room > 0;
                    room = room.saturating_sub(1);
                    all.is_whole
                })
            });
            match read {
                Ok((owner, table)) if all.is_whole => {
                    all.processes.push(ListedProcess { pid, owner, table });
                }
                Ok(_) => all.processes = Vec::new(),
                Err(e) if is_gone(&e) => {}
                Err(e) => all.unread.push(Unread::of(pid, &e)),
            }
        }
        Ok(all)
    }

    /// Whether it may stand for a walk that begins now.
    pub(super) fn is_fresh(&self, now: MonoNs) -> bool {
        self.complete && self.is_whole && now.since(self.began) < FRESH
    }

    /// Who holds the `wanted` inodes, as far as it is told before `interrupt` is over.
    pub(super) fn scan_unless(&self, interrupt: &Interrupt, wanted: &HashSet<u64>) -> Scan {
        let mut walk = Walk::new(wanted, interrupt);
        if wanted.is_empty() {
            return walk.scan;
        }
        walk.scan.unread.clone_from(&self.unread);
        let mut pids = Vec::with_capacity(self.processes.len());
        for &ListedProcess { pid, owner, ref table } in &self.processes {
            pids.push(pid);
            walk.scan.processes += 1;
            walk.scan.descriptors += table.used;
            let hits: Vec<_> = table.hits.iter().copied().filter(|(of, _)| wanted.contains(of)).collect();
            if hits.is_empty() {
                continue;
            }
            if walk.is_over() {
                break;
            }
            let table = Table { hits, used: table.used };
            let (holding, hits) = (walk.scan.holding.len(), walk.scan.hits.len());
            if let Err(e) = open_process(pid).and_then(|dir| walk.keep(dir.as_fd(), (pid, owner), table)) {
                walk.lose(pid, &e);
            }
            // Its number has passed on to another process.
            let is_another = |began: &MonoNs| *began > self.began;
            if walk.scan.holding.get(holding).is_some_and(|it| it.began.known().is_some_and(is_another)) {
                walk.scan.holding.truncate(holding);
                walk.scan.hits.truncate(hits);
            }
        }
        walk.with_threads(pids)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::enrich::holders::scan;

    #[test]
    fn a_list_tells_of_holders_what_a_walk_tells() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        let wanted = HashSet::from([inode]);
        let (me, mut mine) = (std::process::id(), None);
        let listed = Descriptors::list(Duration::from_mins(1), &Interrupt::default(), |pid, of, fd| {
            if (pid, of) == (me, inode) {
                mine = Some(fd);
            }
        });
        let listed = listed.unwrap();
        assert_eq!(mine, u32::try_from(socket.as_raw_fd()).ok());
        assert!(listed.is_fresh(listed.began) && !listed.is_fresh(listed.began + FRESH));
        let by_walk = scan(&wanted).unwrap();
        let by_list = listed.scan_unless(&Interrupt::default(), &wanted);
        let holder = |scan: &Scan| scan.first(inode).map(|it| (it.pid, it.fd, it.cloexec.clone()));
        assert_eq!(holder(&by_list), holder(&by_walk));
        assert!(holder(&by_list).is_some_and(|(pid, ..)| pid == me) && by_list.descriptors >= 3);
    }

    #[test]
    fn a_list_that_was_cut_short_stands_for_nothing() {
        let listed = Descriptors::list(Duration::ZERO, &Interrupt::default(), |_, _, _| ()).unwrap();
        assert!(!listed.complete && !listed.is_fresh(listed.began));
    }

    #[test]
    fn a_list_of_more_than_are_kept_tells_of_each_and_stands_for_nothing() {
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let mut inodes: HashSet<_> = sockets.iter().map(|it| rustix::fs::fstat(it).unwrap().st_ino).collect();
        let listed =
            Descriptors::list_most(Duration::from_mins(1), &Interrupt::default(), 1, |_, inode, _| {
                inodes.remove(&inode);
            });
        let listed = listed.unwrap();
        assert!(inodes.is_empty(), "told, though not kept");
        assert!(listed.complete && listed.processes.is_empty() && !listed.is_fresh(listed.began));
    }
}
