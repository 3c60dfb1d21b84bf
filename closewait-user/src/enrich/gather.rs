//! Evidence for batches of suspects, and snapshots of whole namespaces.
//!
//! In: suspects. Out: for each of them that it is gone, that it could not be
//! looked at and why, or one look with its holders or its listener. At most one
//! dump per state and namespace, and at most two walks over the fd tables, for a
//! whole batch. Never: a verdict, an opener, a stack.

use std::borrow::Borrow;
use std::io;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::elsewhere::References;
use super::ghosts::{self, CountsFrom};
use super::holders::{FdTables, Scan};
use super::listener::Queues;
use super::netns::{NetnsError, NetnsFilter, NetnsRef};
use super::sight::{self, Beside, Sight, Sights};
use super::sockets::{Sockets, Source};
use super::surroundings::{Settings, Surrounding, Surroundings};
use super::threads::ThreadWatch;
use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::interrupt::Interrupt;
use crate::item::{DiagSocket, GhostLook, Netns, SkAddr, Snapshot};
use crate::kernel::task_files::TaskFiles;
use crate::tcp::State;
use crate::tracker::{SocketId, Suspect};
use crate::verdict::{Elsewhere, Holder, Listener, Look, PackedLook, Threads};

/// What was found out about one suspect.
#[derive(Clone, PartialEq, Debug)]
pub enum Gathered {
    /// It is no longer in CLOSE_WAIT; its state, when its ends still have a socket.
    Gone(Option<State>),
    /// It could not be looked at, and why.
    Unseen(String),
    /// It is in CLOSE_WAIT.
    Found(Box<Found>),
}

/// What was found out about a socket in CLOSE_WAIT.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// What the kernel showed.
    pub look: Look,
    /// Who has a descriptor on it. Known and empty: two walks over all fd tables
    /// found nobody, or nobody accepted it yet and there can be none.
    pub holders: Fact<Vec<Holder>>,
    /// In whose queue it waits; known only for a socket that nobody accepted.
    pub listener: Fact<Listener>,
    /// Its side, its peer, and what it uses up.
    pub around: Surrounding,
    /// Where else it is referred to; looked for only when nobody holds it.
    pub elsewhere: Fact<Vec<Elsewhere>>,
    /// Its address in the kernel, where the walk over the fd tables could tell.
    pub sk: Option<SkAddr>,
}

/// Why there is no snapshot of a namespace.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("network namespace {}: {reason}", netns.0)]
pub struct SnapshotError {
    /// Which namespace.
    pub netns: Netns,
    /// A clause.
    pub reason: String,
}

/// How to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Behave as if this kernel had no inet_diag (for tests).
    pub without_inet_diag: bool,
}

/// Looks at sockets and processes.
pub struct Enricher {
    pub(super) sockets: Sockets,
    tables: FdTables,
    scanned: Scan,
    references: References,
    threads: ThreadWatch,
    settings: Settings,
    /// The process with which the next look for ghosts through /proc begins.
    ghosts_from: u32,
    /// Why the last snapshots may lack sockets.
    pub(super) holes: Vec<String>,
    /// There is one look: what a step of it has listed, the next one uses.
    pub(super) looks_once: bool,
}

impl Enricher {
    /// An error: /proc cannot be read.
    pub fn new(options: Options) -> Result<Self, NetnsError> {
        let without = options.without_inet_diag.then(|| "inet_diag is switched off".to_owned());
        Ok(Self {
            sockets: Sockets::new(without)?,
            tables: FdTables::default(),
            scanned: Scan::default(),
            references: References::default(),
            threads: ThreadWatch::default(),
            settings: Settings::default(),
            ghosts_from: 0,
            holes: Vec::new(),
            looks_once: false,
        })
    }

    /// From now on a snapshot is at once the first look at what it shows, and a look for ghosts
    /// one for holders: they follow each other within a moment. Where there is more than may be
    /// kept until then, each lists anew.
    pub fn look_once(&mut self) {
        self.looks_once = true;
    }

    /// Has descriptors listed by the kernel's iterator from now on, instead of through /proc.
    pub fn use_task_files(&mut self, files: TaskFiles) {
        self.tables.use_iterator(files);
    }

    /// What descriptors are listed by.
    pub fn lists_descriptors_by(&self) -> &'static str {
        if self.tables.has_iterator() { "iter/task_file" } else { "/proc/PID/fd" }
    }

    /// What sockets are listed by.
    pub fn source(&self) -> Source {
        if self.degraded().is_some() { Source::ProcNetTcp } else { Source::InetDiag }
    }

    /// Why sockets are not listed by inet_diag; known after the first look.
    pub fn degraded(&self) -> Option<&str> {
        self.sockets.without_diag()
    }

    /// The last walk over fd tables: its size, and the processes it could not
    /// look into. Its holders were handed out.
    pub fn last_scan(&self) -> &Scan {
        &self.scanned
    }

    /// The sockets in CLOSE_WAIT of every namespace that `filter` wants, by
    /// number. An error stands for a namespace that could not be looked at.
    pub fn snapshot(&mut self, filter: &NetnsFilter) -> Vec<Result<Snapshot, SnapshotError>> {
        let mut all = Vec::new();
        let mut sweep = self.sweep(filter);
        self.go_on(&mut sweep, usize::MAX, MonoNs(u64::MAX), |snapshot| all.push(snapshot));
        all
    }

    /// From now on what takes long ends when the run is to end: it is told that there is more.
    pub fn heed(&mut self, interrupt: &Interrupt) {
        self.sockets.heed(interrupt.clone());
        self.tables.heed(interrupt.clone());
    }

    /// Whether the run is to end: what was looked at last may not be all there is.
    pub fn is_interrupted(&self) -> bool {
        self.sockets.interrupt().is_raised()
    }

    /// Why the snapshots since the last call may lack sockets; empty when they do not.
    pub fn take_holes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.holes)
    }

    /// What looks at descriptors or at sockets has failed since the last call, and what takes
    /// its place.
    pub fn take_failure(&mut self) -> Option<String> {
        self.tables.take_failure().or_else(|| self.sockets.take_failure())
    }

    /// A look at each suspect, in their order: `None` when it is no longer in
    /// CLOSE_WAIT. Whether it is the socket of an earlier look says
    /// [`DiagSocket::same_life`](crate::item::DiagSocket::same_life).
    pub fn look(
        &mut self,
        suspects: &[Suspect],
        now: MonoNs,
    ) -> Vec<(SocketId, Result<Option<Look>, String>)> {
        let mut looks = Vec::with_capacity(suspects.len());
        self.look_each(suspects, now, |place, look| {
            let look = look.map(|look| look.map(|look| look.look(suspects[place].tuple)));
            looks.push((suspects[place].id, look));
        });
        looks
    }

    /// The same, each handed to `each` with its place, packed.
    pub fn look_each<S: Borrow<Suspect>>(
        &mut self,
        suspects: &[S],
        now: MonoNs,
        mut each: impl FnMut(usize, Result<Option<PackedLook>, String>),
    ) {
        let mut sights = self.sights(suspects, now, None);
        for (place, suspect) in suspects.iter().enumerate() {
            let look = match sights.take(place, suspect.borrow()) {
                Sight::Here(look) => Ok(Some(look)),
                Sight::Left(_) => Ok(None),
                Sight::Unseen(reason) => Err(reason),
            };
            each(place, look);
        }
    }

    /// A look at each suspect, and who holds it or does not accept it; in their order.
    pub fn gather(&mut self, suspects: &[Suspect], now: MonoNs) -> Vec<(SocketId, Gathered)> {
        let mut all = Vec::with_capacity(suspects.len());
        self.gather_each(suspects, now, |place, gathered| all.push((suspects[place].id, gathered)));
        all
    }

    /// The same, each handed to `each` with its place: what is found of a hundred thousand
    /// takes a hundred megabytes.
    pub fn gather_each<S: Borrow<Suspect>>(
        &mut self,
        suspects: &[S],
        now: MonoNs,
        mut each: impl FnMut(usize, Gathered),
    ) {
        let mut beside = Beside::default();
        let mut sights = self.sights(suspects, now, Some(&mut beside));
        let here = |each: &mut dyn FnMut(Netns, &DiagSocket)| {
            for (place, suspect) in suspects.iter().enumerate() {
                if let Some(look) = sights.here(place) {
                    let suspect = suspect.borrow();
                    each(suspect.netns, &look.look(suspect.tuple).socket);
                }
            }
        };
        let mut queues = Queues::default();
        here(&mut |netns, socket| {
            queues.list(&mut self.sockets, netns, socket.tuple.local);
            queues.list(&mut self.sockets, netns, socket.tuple.remote);
        });
        let settings = &mut self.settings;
        let mut around = Surroundings::look(&here, &beside, &mut self.sockets, &queues, settings, now);
        drop(beside);
        let mut wanted = HashSet::new();
        here(&mut |_, socket| _ = wanted.insert(socket.inode));
        wanted.extend(queues.inodes().chain(around.inodes()));
        wanted.remove(&0);
        let scanned = self.tables.scan_twice(&wanted).map_err(|e| format!("cannot list /proc: {e}"));
        drop(wanted);
        let has_limit = self.source() == Source::InetDiag;
        let held = |inode| scanned.as_ref().is_ok_and(|scan: &Scan| scan.is_held(inode));
        let mut unheld = HashSet::new();
        here(&mut |_, socket| {
            if socket.inode != 0 && !held(socket.inode) {
                unheld.insert(socket.inode);
            }
        });
        self.references.look_for(&unheld);
        let references = &self.references;
        let mut found = |netns, look: Look| {
            let inode = look.socket.inode;
            let elsewhere = if unheld.contains(&inode) {
                references.of(inode)
            } else {
                Fact::unknown("looked for only when nobody holds it")
            };
            let (holders, listener) = match (&scanned, look.socket.inode) {
                (scanned, 0) => {
                    let scan = scanned.as_ref().ok();
                    let listener = queues.listener(netns, look.socket.tuple.local, scan, has_limit);
                    (Fact::Known(Vec::new()), listener)
                }
                (Ok(scan), inode) => (scan.of(inode), Fact::unknown("it was accepted")),
                (Err(reason), _) => (Fact::unknown(reason), Fact::unknown("it was accepted")),
            };
            let sk = scanned.as_ref().ok().and_then(|scan| scan.sk(look.socket.inode));
            let around = around.of(netns, &look.socket, &queues, scanned.as_ref());
            Gathered::Found(Box::new(Found { look, holders, listener, around, elsewhere, sk }))
        };
        for (place, suspect) in suspects.iter().enumerate() {
            let suspect = suspect.borrow();
            let gathered = match sights.take(place, suspect) {
                Sight::Here(look) => found(suspect.netns, look.look(suspect.tuple)),
                Sight::Left(state) => Gathered::Gone(state),
                Sight::Unseen(reason) => Gathered::Unseen(reason),
            };
            each(place, gathered);
        }
        self.scanned = scanned.map(Scan::without_holders).unwrap_or_default();
    }

    /// Whether references to sockets that nobody holds are still looked for.
    pub fn looks_elsewhere(&self) -> bool {
        self.references.is_unfinished()
    }

    /// Looks for more of them.
    pub fn look_elsewhere(&mut self) {
        self.references.go_on();
    }

    /// Where else the socket with this inode is referred to, as far as was looked;
    /// meaningful for one that `gather` found nobody to hold.
    pub fn elsewhere(&self, inode: u64) -> Fact<Vec<Elsewhere>> {
        self.references.of(inode)
    }

    /// Who has a descriptor on the sockets with these inode numbers, which no table of
    /// sockets needs to show any more.
    pub fn holders(&mut self, inodes: &HashSet<u64>) -> HashMap<u64, Fact<Vec<Holder>>> {
        let scanned = self.tables.scan_twice(inodes);
        let of = |inode| match &scanned {
            Ok(scan) => scan.of(inode),
            Err(error) => Fact::unknown(format!("cannot list /proc: {error}")),
        };
        inodes.iter().map(|&inode| (inode, of(inode))).collect()
    }

    /// What the threads of processes do now, each of which has a socket in the
    /// namespace beside it, the most important first.
    pub fn threads(&mut self, processes: &[(u32, Netns)], now: MonoNs) -> HashMap<u32, Fact<Arc<Threads>>> {
        self.threads.look(processes, &mut self.sockets, now)
    }

    /// Descriptors on sockets that were connected once and are closed now. Through /proc
    /// it costs a dump of all sockets; `counts_from` matters there only. An error: the
    /// sockets of no namespace, or /proc itself, could not be listed.
    pub fn ghosts(&mut self, filter: &NetnsFilter, counts_from: CountsFrom) -> io::Result<GhostLook> {
        if let Some(look) = self.tables.by_iterator(|files| ghosts::iterated(files, filter)) {
            return Ok(look);
        }
        let _ = self.sockets.refresh(Clock::mono_now());
        let all: Vec<_> = self.sockets.namespaces().iter().map(NetnsRef::netns).collect();
        let mut alive = HashSet::new();
        for netns in all {
            if self.sockets.interrupt().is_over() {
                break;
            }
            if self.sockets.is_out_of_sight(netns) {
                continue;
            }
            // A socket of a namespace that cannot be listed is asked itself; so is one of MPTCP,
            // whose protocol is told by its descriptor.
            let (shown, others) = self.sockets.left.shown(netns, Clock::mono_now());
            alive.extend(shown.iter().map(|socket| socket.inode));
            self.sockets.inodes(netns, &others, |inode| _ = alive.insert(inode));
        }
        if !self.looks_once {
            let (from, interrupt) = (&mut self.ghosts_from, self.sockets.interrupt());
            return ghosts::walked(filter, &alive, counts_from, from, interrupt);
        }
        let (look, descriptors) = ghosts::listed(filter, &alive, counts_from, self.sockets.interrupt())?;
        self.tables.leave(descriptors);
        Ok(look)
    }

    fn sights<S: Borrow<Suspect>>(
        &mut self,
        suspects: &[S],
        now: MonoNs,
        beside: Option<&mut Beside>,
    ) -> Sights {
        // A failure shows again, with its reason, where a namespace is looked for.
        let _ = self.sockets.refresh(now);
        sight::sights(&mut self.sockets, suspects, beside)
    }
}
