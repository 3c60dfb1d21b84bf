//! The sockets of any network namespace of the host, by the best source there is.
//!
//! In: the number of a namespace, states or a tuple. Out: sockets, or the reason
//! why that namespace cannot be looked at. It caches one netlink socket for each of a
//! bounded number of namespaces and drops it when nothing else refers to the namespace,
//! which the cached socket would keep alive.
//!
//! The order in which it gives way where descriptors are few: netlink sockets are kept for
//! a quarter of what this process may have and [`KEPT_MAX`] at most; the other namespaces
//! are entered anew at each look. When not even one can be opened all are let go; and what
//! still cannot be opened is not looked into, which whoever asked has to say.

use std::time::Duration;

use hashbrown::HashMap;

use super::left::Left;
use super::netns::{Namespaces, NetnsError, NetnsRef};
use super::proc_net_tcp;
use super::sock_diag::{DiagError, Dump, SockDiag};
use crate::clock::{Clock, MonoNs};
use crate::interrupt::{Interrupt, UNLOOKED};
use crate::item::{DiagSocket, Netns};
use crate::tcp::{Endpoint, State, Tuple};

/// A listing of namespaces is used for so long.
const FRESH: Duration = Duration::from_secs(1);
/// And for so many times what it took to make: a `readlink` per process.
const LISTING_SHARE: u32 = 10;

/// So many netlink sockets are kept, which are descriptors and memory of the kernel: a host of
/// containers may have more namespaces.
const KEPT_MAX: usize = 1024;

fn kept_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = limit.map_or(KEPT_MAX, |limit| usize::try_from(limit / 4).unwrap_or(KEPT_MAX));
    KEPT_MAX.min(quarter).max(1)
}

/// What sockets are listed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// NETLINK_SOCK_DIAG.
    InetDiag,
    /// /proc/net/tcp and tcp6.
    ProcNetTcp,
}

/// Sockets of one namespace at one moment.
pub(super) struct Listed {
    pub(super) began: MonoNs,
    pub(super) ended: MonoNs,
    pub(super) sockets: Vec<DiagSocket>,
    /// Why some may be missing.
    pub(super) incomplete: Option<String>,
}

pub(super) struct Sockets {
    namespaces: Namespaces,
    /// They are listed anew from then on.
    list_again: MonoNs,
    /// And where one is not among them, already from then on.
    look_again: MonoNs,
    /// Those of all threads, as they were when one was looked for last, and from when on they
    /// may be listed anew.
    threads: Option<(Namespaces, MonoNs)>,
    /// Namespaces that the user named.
    given: Vec<NetnsRef>,
    diag: HashMap<Netns, SockDiag>,
    /// Room for answers, which they share.
    buf: Vec<u8>,
    /// Whether the kernel dumps MPTCP sockets, once it has answered at all.
    mptcp: Option<bool>,
    interrupt: Interrupt,
    /// What was listed a moment ago, for the first look at what it showed.
    pub(super) left: Left,
    kept_max: usize,
    /// Why inet_diag is not used.
    without_diag: Option<String>,
    /// That has been told.
    is_told: bool,
}

impl Sockets {
    pub(super) fn new(without_diag: Option<String>) -> Result<Self, NetnsError> {
        Ok(Self {
            namespaces: Namespaces::unlisted()?,
            list_again: MonoNs(0),
            look_again: MonoNs(0),
            threads: None,
            given: Vec::new(),
            diag: HashMap::new(),
            buf: Vec::new(),
            mptcp: None,
            interrupt: Interrupt::default(),
            left: Left::default(),
            kept_max: kept_max(),
            without_diag,
            is_told: false,
        })
    }

    /// That inet_diag cannot be asked any more, or never could, and what is lost; once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        let why = self.without_diag.as_ref().filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(format!(
            "inet_diag cannot be asked ({why}): sockets are read from /proc/net/tcp; lost: their times and \
             what was sent, by which older sockets have an age and SENDING is told; MPTCP sockets"
        ))
    }

    /// Why inet_diag is not used; `None` when it is.
    pub(super) fn without_diag(&self) -> Option<&str> {
        self.without_diag.as_deref()
    }

    /// From now on nothing is looked at any more when that is over.
    pub(super) fn heed(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Makes a namespace that the user named reachable by the path that was given.
    pub(super) fn give(&mut self, netns: &NetnsRef) {
        if !self.given.contains(netns) {
            self.given.push(netns.clone());
        }
    }

    /// Lists the namespaces anew, unless that was done just now, and lets go of
    /// those that ended.
    pub(super) fn refresh(&mut self, now: MonoNs) -> Result<(), NetnsError> {
        if now < self.list_again {
            return Ok(());
        }
        self.list_anew()?;
        self.given.retain(|given| !given.is_gone());
        let (namespaces, given) = (&self.namespaces, &self.given);
        self.diag
            .retain(|&netns, _| namespaces.find(netns).is_some() || given.iter().any(|g| g.netns() == netns));
        Ok(())
    }

    /// Lists the namespaces, however old the listing is.
    pub(super) fn list_anew(&mut self) -> Result<(), NetnsError> {
        let began = Clock::mono_now();
        self.namespaces = Namespaces::list()?;
        let ended = Clock::mono_now();
        self.list_again = began + FRESH.max(ended.since(began) * LISTING_SHARE);
        self.look_again = ended + ended.since(began);
        Ok(())
    }

    /// Lists those of all threads, however old that listing is.
    pub(super) fn list_threads_anew(&mut self) -> Result<(), NetnsError> {
        let began = Clock::mono_now();
        let threads = Namespaces::of_threads()?;
        let ended = Clock::mono_now();
        self.threads = Some((threads, ended + ended.since(began)));
        Ok(())
    }

    /// The thread that leads to a namespace, as they were listed last.
    pub(super) fn by_thread(&self, netns: Netns) -> Option<&NetnsRef> {
        self.threads.as_ref()?.0.find(netns).filter(|at| !at.is_gone())
    }

    /// Whether nothing leads to a namespace any more by which it was listed or given.
    pub(super) fn is_out_of_sight(&self, netns: Netns) -> bool {
        let mut given = self.given.iter();
        !self.diag.contains_key(&netns)
            && self.namespaces.find(netns).is_none_or(NetnsRef::is_gone)
            && !given.any(|at| at.netns() == netns && !at.is_gone())
    }

    /// All sockets of a namespace in one of `states`.
    pub(super) fn list(&mut self, netns: Netns, states: &[State]) -> Result<Listed, String> {
        let mut sockets = Vec::new();
        let listed = self.list_each(netns, states, |socket| sockets.push(socket))?;
        Ok(Listed { sockets, ..listed })
    }

    /// The same, each handed to `each` as it comes; some of them twice, if a netlink socket
    /// fails and another takes its place.
    pub(super) fn list_each(
        &mut self,
        netns: Netns,
        states: &[State],
        mut each: impl FnMut(DiagSocket),
    ) -> Result<Listed, String> {
        let sockets = Vec::new();
        if self.without_diag.is_none() {
            let dumped = self.ask(netns, |diag| diag.dump_each(states, &mut each))?;
            if let Some(dump) = dumped {
                let incomplete = holes(&dump);
                return Ok(Listed { began: dump.began, ended: dump.ended, sockets, incomplete });
            }
        }
        let at = self.locate(netns)?;
        let listing = proc_net_tcp::list(&at, states).map_err(|e| e.to_string())?;
        let malformed = listing.malformed;
        listing.sockets.into_iter().for_each(each);
        Ok(Listed {
            began: listing.began,
            ended: listing.ended,
            sockets,
            incomplete: (malformed > 0).then(|| format!("{malformed} lines of /proc/net/tcp are malformed")),
        })
    }

    /// The listening sockets of a namespace, as far as they can be listed.
    pub(super) fn listeners(&mut self, netns: Netns) -> Result<Vec<DiagSocket>, String> {
        let listed = match self.without_diag {
            None => self.ask(netns, SockDiag::dump_listeners)?,
            Some(_) => None,
        };
        match listed {
            Some(dump) => Ok(dump.sockets),
            None => self.list(netns, &[State::Listen]).map(|listed| listed.sockets),
        }
    }

    /// The ends, states and inodes of all plain TCP sockets of a namespace in one of `states`.
    /// A dump with holes is an error: whoever is not in it would be taken to be no more.
    pub(super) fn list_brief(&mut self, netns: Netns, states: &[State]) -> Result<Vec<DiagSocket>, String> {
        let listed = match self.without_diag {
            None => self.ask(netns, |diag| diag.dump_brief(states))?,
            Some(_) => None,
        };
        match listed {
            Some(dump) => whole(holes(&dump), dump.sockets),
            None => self.list(netns, states).and_then(|listed| whole(listed.incomplete, listed.sockets)),
        }
    }

    /// The inodes of all plain TCP sockets of a namespace in one of `states`, as far as they can
    /// be listed, each handed to `each`.
    pub(super) fn inodes(&mut self, netns: Netns, states: &[State], mut each: impl FnMut(u64)) {
        let mut each = |socket: DiagSocket| each(socket.inode);
        let told = match self.without_diag {
            None => self.ask(netns, |diag| diag.dump_brief_each(states, &mut each)),
            Some(_) => Ok(None),
        };
        let told = match told {
            Ok(None) => self.list_each(netns, states, each).map(drop),
            told => told.map(drop),
        };
        if let Err(reason) = told {
            log::debug!("network namespace {}: {reason}", netns.0);
        }
    }

    /// The TCP socket with these ends, in any state. `None`: no lookup found it,
    /// or this source has no lookup.
    pub(super) fn one(&mut self, netns: Netns, tuple: Tuple) -> Result<Option<DiagSocket>, String> {
        if self.without_diag.is_some() {
            return Ok(None);
        }
        Ok(self.ask(netns, |diag| diag.one(tuple))?.flatten())
    }

    /// The ends of all sockets of a namespace that are connected to one of `servers`,
    /// in any state; those of TIME_WAIT, too. A dump with holes is an error: they are counted.
    pub(super) fn connected_to(&mut self, netns: Netns, servers: &[Endpoint]) -> Result<Vec<Tuple>, String> {
        let listed = match self.without_diag {
            None => self.ask(netns, |diag| diag.dump_to(servers))?,
            Some(_) => None,
        };
        let sockets = if let Some(dump) = listed {
            whole(holes(&dump), dump.sockets)?
        } else {
            let listed = self.list(netns, &State::CONNECTED)?;
            whole(listed.incomplete, listed.sockets)?
        };
        Ok(sockets.into_iter().map(|socket| socket.tuple).collect())
    }

    /// Asks inet_diag in a namespace, with a new socket if the cached one fails.
    /// `None`: this kernel has no inet_diag, which is remembered.
    fn ask<T>(
        &mut self,
        netns: Netns,
        mut question: impl FnMut(&mut SockDiag) -> Result<T, DiagError>,
    ) -> Result<Option<T>, String> {
        if self.interrupt.is_over() {
            return Err(UNLOOKED.to_owned());
        }
        if let Some(diag) = self.diag.get_mut(&netns) {
            diag.swap_buffer(&mut self.buf);
            let answer = question(diag);
            diag.swap_buffer(&mut self.buf);
            if let Ok(answer) = answer {
                return Ok(Some(answer));
            }
        }
        self.diag.remove(&netns);
        let at = self.locate(netns)?;
        let mut finds_out = self.mptcp.is_none();
        loop {
            let mut diag = match self.open(&at, finds_out) {
                Ok(diag) => diag,
                Err(e @ DiagError::Unavailable(_)) => {
                    self.without_diag = Some(e.to_string());
                    return Ok(None);
                }
                Err(e) if SockDiag::is_out_of_descriptors(&e) && !self.diag.is_empty() => {
                    self.kept_max = (self.diag.len() / 2).max(1);
                    self.diag.clear();
                    continue;
                }
                Err(e) => return Err(e.to_string()),
            };
            diag.swap_buffer(&mut self.buf);
            let answer = question(&mut diag);
            diag.swap_buffer(&mut self.buf);
            match answer {
                Ok(answer) => {
                    self.mptcp = Some(diag.has_mptcp());
                    self.keep(netns, diag);
                    return Ok(Some(answer));
                }
                // It answered before, and may not be there any more.
                Err(DiagError::Refused(_)) if !finds_out => finds_out = true,
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    fn open(&self, at: &NetnsRef, finds_out: bool) -> Result<SockDiag, DiagError> {
        match self.mptcp.filter(|_| !finds_out) {
            Some(mptcp) => SockDiag::open_like(at, mptcp),
            None => SockDiag::open_in(at),
        }
    }

    fn keep(&mut self, netns: Netns, diag: SockDiag) {
        if self.diag.len() >= self.kept_max
            && let Some(any) = self.diag.keys().next().copied()
        {
            self.diag.remove(&any);
        }
        self.diag.insert(netns, diag);
    }

    /// Finds a way into a namespace: the listing may be older than the namespace,
    /// and the process by whose /proc entry it was known may have ended.
    pub(super) fn locate(&mut self, netns: Netns) -> Result<NetnsRef, String> {
        if self.interrupt.is_over() {
            return Err(UNLOOKED.to_owned());
        }
        let known = |all: &Namespaces| all.find(netns).filter(|at| !at.is_out_of_reach()).cloned();
        if let Some(at) = known(&self.namespaces) {
            return Ok(at);
        }
        if let Some(at) = self.given.iter().find(|at| at.netns() == netns && !at.is_gone()) {
            return Ok(at.clone());
        }
        // Of a thousand that have ended each would be looked for among all processes and threads:
        // that takes half of the time at most.
        if Clock::mono_now() >= self.look_again {
            self.list_anew().map_err(|e| e.to_string())?;
            if let Some(at) = known(&self.namespaces) {
                return Ok(at);
            }
        }
        let now = Clock::mono_now();
        if self.threads.as_ref().is_none_or(|(_, again)| now >= *again) {
            self.list_threads_anew().map_err(|e| e.to_string())?;
        }
        let closed = || self.namespaces.find(netns).filter(|at| !at.is_gone());
        self.by_thread(netns).or_else(closed).cloned().ok_or_else(|| nothing_refers_to(netns))
    }
}

/// Why there is no way into a namespace: a listing may be older than it.
pub(super) fn nothing_refers_to(netns: Netns) -> String {
    format!(
        "no process, thread or mount referred to network namespace {} when they were last listed",
        netns.0
    )
}

/// Why a dump may lack sockets, in words.
fn holes(dump: &Dump) -> Option<String> {
    let holes: Vec<_> = dump.holes.iter().map(|hole| hole.name()).collect();
    (!dump.complete()).then(|| format!("the dump has holes ({})", holes.join(", ")))
}

fn whole(incomplete: Option<String>, sockets: Vec<DiagSocket>) -> Result<Vec<DiagSocket>, String> {
    incomplete.map_or(Ok(sockets), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::sock_diag::Hole;

    #[test]
    fn what_a_dump_with_holes_does_not_show_is_not_taken_to_be_no_more() {
        let mut dump = Dump {
            began: MonoNs(1),
            ended: MonoNs(2),
            sockets: Vec::new(),
            bound: Vec::new(),
            holes: Vec::new(),
        };
        assert_eq!(whole(holes(&dump), Vec::new()), Ok(Vec::new()));
        dump.holes = vec![Hole::Overrun, Hole::Interrupted];
        assert_eq!(
            whole(holes(&dump), Vec::new()),
            Err("the dump has holes (overrun, interrupted)".to_owned())
        );
    }
}
