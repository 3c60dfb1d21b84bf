//! Reported sockets by their cause: how many, whose, and what they have in common. The ledger
//! counts them anew for whoever asks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::growth::Growth;
use crate::item::Netns;
use crate::verdict::Nofile;

use super::cause::CauseId;
use super::counts::{ByEnding, ByLeak};
use super::model::Finding;
use super::present::Member;

/// Births and ends must have been watched this long before their balance means something.
const WATCHED: Duration = Duration::from_mins(1);

/// A cause and what its sockets have in common.
#[derive(Debug)]
pub struct Cause<'a> {
    /// Its name.
    pub id: CauseId,
    /// One of its findings: the last of those that tell most.
    pub exemplar: &'a Finding,
    /// Sockets stuck now.
    pub now: ByLeak,
    /// Sockets that were reported and have ended.
    pub gone: ByLeak,
    /// How those ended.
    pub endings: ByEnding,
    /// Those among them that the application closed, late.
    pub closed: ByLeak,
    /// The most that were stuck at a time.
    pub most: u64,
    /// When the oldest that is stuck now got stuck: not after, not before.
    pub oldest: Option<(MonoNs, Option<MonoNs>)>,
    /// The owners of what is stuck now.
    pub processes: BTreeMap<u32, Process>,
    /// The local address, if they share one.
    pub local_ip: Same<IpAddr>,
    /// The local port, if they share one.
    pub local_port: Same<u16>,
    /// The remote port, if they share one.
    pub remote_port: Same<u16>,
    /// Sockets per remote address.
    pub remotes: BTreeMap<IpAddr, u64>,
    /// The network namespace, if they share one.
    pub netns: Same<Netns>,
}

impl<'a> Cause<'a> {
    /// Of which no stuck socket has been counted yet.
    pub(super) fn new(
        id: CauseId,
        exemplar: &'a Finding,
        (gone, endings): (ByLeak, ByEnding),
        (closed, most): (ByLeak, u64),
    ) -> Self {
        Self {
            id,
            exemplar,
            now: ByLeak::default(),
            gone,
            endings,
            closed,
            most,
            oldest: None,
            processes: BTreeMap::new(),
            local_ip: Same::None,
            local_port: Same::None,
            remote_port: Same::None,
            remotes: BTreeMap::new(),
            netns: Same::None,
        }
    }

    /// Counts one that is stuck now.
    pub(super) fn count(&mut self, member: &Member) {
        *self.now.of(member.leak) += 1;
        let older = self.oldest.is_none_or(|(latest, earliest)| {
            let bound = |e: Option<MonoNs>| e.unwrap_or_default();
            (member.entered.0, bound(member.entered.1)) < (latest, bound(earliest))
        });
        if older {
            self.oldest = Some(member.entered);
        }
        if let Some(pid) = member.pid {
            let process = self.processes.entry(pid).or_default();
            process.sockets += 1;
            if member.at >= process.at {
                process.growth = member.growth.as_deref().copied().or(process.growth);
            }
            let newer = |n: Nofile| (member.at, n.used) > (process.at, process.nofile.map_or(0, |n| n.used));
            if member.nofile.is_some_and(|n| process.nofile.is_none() || newer(n)) {
                (process.at, process.nofile) = (member.at, member.nofile);
            }
        }
        self.local_ip.add(member.tuple.local.ip);
        self.local_port.add(member.tuple.local.port);
        self.remote_port.add(member.tuple.remote.port);
        *self.remotes.entry(member.tuple.remote.ip).or_default() += 1;
        self.netns.add(member.netns);
    }

    /// The worst its sockets are known to be; of those that ended, when none is left.
    pub fn leak(&self) -> Option<bool> {
        if self.now.total() > 0 { self.now.worst() } else { self.gone.worst() }
    }

    /// The most that were stuck at a time, where the application closes them after all: late,
    /// and no more of them than that. `None` where they may become more, or where births and
    /// ends were not watched for a minute.
    pub fn closes_late(&self) -> Option<u64> {
        let closes = self.closed.total() > 0 && self.closed.total() >= self.now.total();
        let bounded = |growth: Option<&Growth>| {
            growth.is_some_and(|growth| {
                growth.watched >= WATCHED && growth.closes > 0 && growth.at_least <= 0.0
            })
        };
        let all = if self.processes.is_empty() {
            bounded(self.exemplar.evidence.growth.known())
        } else {
            self.processes.values().all(|process| bounded(process.growth.as_ref()))
        };
        (closes && all).then_some(self.most)
    }

    /// Smaller is worse. What is closed late and bounded comes after what may grow. The id
    /// makes the order the same on every run.
    pub(super) fn rank(&self) -> (u8, bool, Reverse<(u64, u64)>, MonoNs, CauseId) {
        let leak = match self.leak() {
            Some(true) => 0,
            None => 1,
            Some(false) => 2,
        };
        // Of as many sockets the older ones.
        let oldest = self.oldest.map_or(MonoNs(u64::MAX), |(latest, _)| latest);
        let sockets = Reverse((self.now.total(), self.gone.total()));
        (leak, self.closes_late().is_some(), sockets, oldest, self.id)
    }
}

/// A process's part in a cause.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Process {
    /// Its sockets.
    pub sockets: u64,
    /// Its descriptors and their limit, when last looked at.
    pub nofile: Option<Nofile>,
    /// How fast its stuck sockets become more, when last counted.
    pub growth: Option<Growth>,
    at: MonoNs,
}

impl Process {
    /// Takes from what another cause knows of the same process what is newer.
    pub fn take_newer(&mut self, other: &Self) {
        if other.at >= self.at {
            *self = Self {
                sockets: self.sockets,
                nofile: other.nofile.or(self.nofile),
                growth: other.growth.or(self.growth),
                at: other.at,
            };
        }
    }
}

/// Whether all of many values are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Same<T> {
    /// There was no value.
    None,
    /// They all are this.
    One(T),
    /// They differ.
    Many,
}

impl<T: PartialEq> Same<T> {
    fn add(&mut self, value: T) {
        match self {
            Self::None => *self = Self::One(value),
            Self::One(known) if *known == value => {}
            _ => *self = Self::Many,
        }
    }
}
