//! The sockets of any network namespace of the host, by the best source there is.
//!
//! In: the number of a namespace, states or a tuple. Out: sockets, or the reason
//! why that namespace cannot be looked at. It caches one netlink socket for each
//! namespace and drops it when nothing else refers to the namespace, which the
//! cached socket would keep alive.

use std::time::Duration;

use hashbrown::HashMap;

use super::left::Left;
use super::netns::{Namespaces, NetnsError, NetnsRef, find_by_thread};
use super::proc_net_tcp;
use super::sock_diag::{DiagError, Dump, SockDiag};
use crate::clock::MonoNs;
use crate::item::{DiagSocket, Netns};
use crate::tcp::{Endpoint, State, Tuple};

/// A listing of namespaces is used for so long.
const FRESH: Duration = Duration::from_secs(1);

/// So many netlink sockets are kept, which are descriptors, and no more than a quarter of what
/// this process may have: a host of containers has more namespaces. Opening one takes about 50 us.
const KEPT_MAX: usize = 128;

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
    listed_at: MonoNs,
    /// Namespaces that the user named.
    given: Vec<NetnsRef>,
    diag: HashMap<Netns, SockDiag>,
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
            namespaces: Namespaces::list()?,
            listed_at: MonoNs(0),
            given: Vec::new(),
            diag: HashMap::new(),
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
        if self.listed_at != MonoNs(0) && now.since(self.listed_at) < FRESH {
            return Ok(());
        }
        self.namespaces = Namespaces::list()?;
        self.listed_at = now;
        self.given.retain(NetnsRef::is_there);
        let (namespaces, given) = (&self.namespaces, &self.given);
        self.diag
            .retain(|&netns, _| namespaces.find(netns).is_some() || given.iter().any(|g| g.netns() == netns));
        Ok(())
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
        if let Some(Ok(answer)) = self.diag.get_mut(&netns).map(&mut question) {
            return Ok(Some(answer));
        }
        self.diag.remove(&netns);
        let at = self.locate(netns)?;
        match SockDiag::open_in(&at) {
            Ok(mut diag) => {
                let answer = question(&mut diag).map_err(|e| e.to_string())?;
                if self.diag.len() >= self.kept_max
                    && let Some(any) = self.diag.keys().next().copied()
                {
                    self.diag.remove(&any);
                }
                self.diag.insert(netns, diag);
                Ok(Some(answer))
            }
            Err(e @ DiagError::Unavailable(_)) => {
                self.without_diag = Some(e.to_string());
                Ok(None)
            }
            Err(e) => Err(e.to_string()),
        }
    }

    /// Finds a way into a namespace: the listing may be older than the namespace,
    /// and the process by whose /proc entry it was known may have ended.
    pub(super) fn locate(&mut self, netns: Netns) -> Result<NetnsRef, String> {
        let known = |all: &Namespaces| all.find(netns).filter(|at| at.is_there()).cloned();
        if let Some(at) = known(&self.namespaces) {
            return Ok(at);
        }
        if let Some(at) = self.given.iter().find(|at| at.netns() == netns && at.is_there()) {
            return Ok(at.clone());
        }
        self.namespaces = Namespaces::list().map_err(|e| e.to_string())?;
        known(&self.namespaces).or_else(|| find_by_thread(netns)).ok_or_else(|| {
            format!("no process, thread or mount refers to network namespace {} any more", netns.0)
        })
    }
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
