//! The ledger: what has been reported and what has become of it.
//!
//! In: findings and releases, once each. Out: whether a finding is news, and the
//! causes, worst first, for whoever prints or counts them. It holds one small
//! entry for each socket that is stuck now and one full finding for each cause;
//! it never prints, and time never comes from a clock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::growth::Growth;
use crate::tracker::SocketId;
use crate::verdict::Code;

use super::cause::CauseId;
use super::counts::{Apart, ByEnding, ByLeak};
use super::model::{Ending, Finding, FirstLook, Release, entered};
use super::present::{Member, Owners, PortsLeft};

pub use super::aggregate::{Cause, Process, Same};

/// Causes remembered before those with no stuck socket left are only counted. A
/// client that talks to the whole internet makes one cause of each server.
const MAX_CAUSES: usize = 10_000;

/// What a finding is, compared with what was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The first of its socket.
    New,
    /// The socket's verdict or holders have changed.
    Changed,
    /// Nothing to tell.
    Same,
}

#[derive(Debug)]
struct Entry {
    exemplar: Box<Finding>,
    now: u64,
    gone: ByLeak,
    endings: ByEnding,
    /// Of `gone`: closed by the application, late.
    closed: ByLeak,
    /// The most that were stuck at a time.
    most: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Boxed: a table of a million is twice as large, and a third one while it grows.
    members: HashMap<SocketId, Box<Member>>,
    entries: HashMap<CauseId, Entry>,
    owners: Owners,
    /// What was last said of how fast they become more: mostly of the next one, too.
    growth: Option<Arc<Growth>>,
    forgotten: BTreeMap<Code, ByLeak>,
    forgotten_causes: u64,
    endings: ByEnding,
    closed: ByLeak,
    apart: Apart,
    watching: FirstLook,
}

impl Ledger {
    /// What was counted apart when last looked.
    pub const fn apart(&self) -> Apart {
        self.apart
    }

    /// Remembers what was counted apart.
    pub const fn set_apart(&mut self, apart: Apart) {
        self.apart = apart;
    }

    /// What is watched, as it was last told.
    pub const fn watching(&self) -> FirstLook {
        self.watching
    }

    /// Remembers what is watched now.
    pub const fn set_watching(&mut self, watching: FirstLook) {
        self.watching = watching;
    }

    /// Takes out a socket that goes on under another id (it turned ghost).
    pub fn forget(&mut self, id: SocketId) {
        if let Some(member) = self.members.remove(&id) {
            self.leave(member.cause);
        }
    }

    /// Whether a socket has been reported and has not ended since.
    pub fn knows(&self, id: SocketId) -> bool {
        self.members.contains_key(&id)
    }

    /// What is remembered of a socket that has been reported and has not ended since.
    pub fn member(&self, id: SocketId) -> Option<&Member> {
        self.members.get(&id).map(|member| &**member)
    }

    /// Whether `finding` is news.
    pub fn news(&self, finding: &Finding) -> News {
        match self.members.get(&finding.suspect.id) {
            Some(known) if known.fingerprint == fingerprint(finding) => News::Same,
            Some(_) => News::Changed,
            None => News::New,
        }
    }

    /// Remembers `finding` in place of what was known of its socket.
    pub fn record(&mut self, finding: Box<Finding>) {
        let cause = finding.cause;
        let owner = finding.owner();
        let member = Member {
            cause,
            fingerprint: fingerprint(&finding),
            leak: finding.verdict.leak,
            entered: entered(&finding.suspect),
            tuple: finding.suspect.tuple,
            netns: finding.suspect.netns,
            pid: owner.known().map(|h| h.pid),
            fd: owner.known().map(|h| h.fd),
            inode: finding.evidence.looks.last().map_or(0, |look| look.socket.inode),
            owner: owner.known().map(|h| self.owners.of(h)),
            nofile: owner.known().and_then(|h| h.nofile.known().copied()),
            ports: PortsLeft::of(&finding),
            growth: self.growth(&finding),
            at: finding.at,
        };
        if let Some(before) = self.members.insert(finding.suspect.id, Box::new(member)) {
            self.leave(before.cause);
        }
        if self.entries.len() >= MAX_CAUSES && !self.entries.contains_key(&cause) {
            self.forget_ended();
        }
        let is_stale = self.has_stale_exemplar(cause);
        match self.entries.entry(cause) {
            hashbrown::hash_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.now += 1;
                known.most = known.most.max(known.now);
                if is_stale || told(&finding) >= told(&known.exemplar) {
                    known.exemplar = finding;
                }
            }
            hashbrown::hash_map::Entry::Vacant(new) => {
                new.insert(Entry {
                    exemplar: finding,
                    now: 1,
                    gone: ByLeak::default(),
                    endings: ByEnding::default(),
                    closed: ByLeak::default(),
                    most: 1,
                });
            }
        }
    }

    /// Whether the example of a cause is none of its sockets any more, or has another verdict.
    fn has_stale_exemplar(&self, cause: CauseId) -> bool {
        let Some(entry) = self.entries.get(&cause) else { return false };
        let member = self.members.get(&entry.exemplar.suspect.id);
        member.is_none_or(|member| member.cause != cause || member.leak != entry.exemplar.verdict.leak)
    }

    /// A finding that is no news has newer numbers and evidence: replaces the example of
    /// its cause, if it is the same socket or tells more.
    pub fn refresh(&mut self, finding: Box<Finding>) {
        let (id, growth) = (finding.suspect.id, self.growth(&finding));
        if let Some(member) = self.members.get_mut(&id) {
            member.nofile = finding.owner().known().and_then(|h| h.nofile.known().copied());
            member.ports = PortsLeft::of(&finding);
            member.growth = growth;
            member.at = finding.at;
        }
        let is_stale = self.has_stale_exemplar(finding.cause);
        if let Some(entry) = self.entries.get_mut(&finding.cause)
            && (is_stale || entry.exemplar.suspect.id == id || told(&finding) > told(&entry.exemplar))
        {
            entry.exemplar = finding;
        }
    }

    fn growth(&mut self, finding: &Finding) -> Option<Arc<Growth>> {
        let growth = finding.evidence.growth.known()?;
        let last = self.growth.take().filter(|last| **last == *growth);
        self.growth = Some(last.unwrap_or_else(|| Arc::new(*growth)));
        self.growth.clone()
    }

    /// A socket ended. The cause it was counted under, when it had been reported.
    pub fn release(&mut self, release: &Release) -> Option<CauseId> {
        let member = self.members.remove(&release.released.id)?;
        let ending = ByEnding::one(release.how.known().copied(), release.by_finalizer());
        self.endings.add(ending);
        if let Some(entry) = self.entries.get_mut(&member.cause) {
            entry.now -= 1;
            *entry.gone.of(member.leak) += 1;
            entry.endings.add(ending);
            if release.how.known() == Some(&Ending::Closed) {
                *entry.closed.of(member.leak) += 1;
                self.closed.count(member.leak);
            }
        }
        Some(member.cause)
    }

    /// A socket moved to another cause: it leaves no trace in the old one.
    fn leave(&mut self, cause: CauseId) {
        if let Some(entry) = self.entries.get_mut(&cause) {
            entry.now -= 1;
            if entry.now == 0 && entry.gone.total() == 0 {
                self.entries.remove(&cause);
            }
        }
    }

    fn forget_ended(&mut self) {
        for (_, entry) in self.entries.extract_if(|_, e| e.now == 0) {
            self.forgotten.entry(entry.exemplar.verdict.code).or_default().add(entry.gone);
            self.forgotten_causes += 1;
        }
    }

    /// The sockets stuck now under `cause`.
    pub fn stuck(&self, cause: CauseId) -> u64 {
        self.entries.get(&cause).map_or(0, |e| e.now)
    }

    /// Every socket that was reported and has not ended, in no order.
    pub fn sockets(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values().map(|member| &**member)
    }

    /// An example of a cause: verdict, role and kind are those of all its sockets.
    pub fn exemplar(&self, cause: CauseId) -> Option<&Finding> {
        self.entries.get(&cause).map(|entry| &*entry.exemplar)
    }

    /// Nothing has been reported.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.forgotten_causes == 0
    }

    /// The ends of all sockets that had been reported.
    pub fn endings(&self) -> ByEnding {
        self.endings
    }

    /// Those among them that the application closed, late.
    pub fn closed(&self) -> ByLeak {
        self.closed
    }

    /// What is only counted: causes with no socket left, by verdict, and their number.
    pub fn forgotten(&self) -> (&BTreeMap<Code, ByLeak>, u64) {
        (&self.forgotten, self.forgotten_causes)
    }

    /// Every cause, worst first: leaks, then what is unclear, then the harmless;
    /// among equals the one with more sockets.
    pub fn causes(&self) -> Vec<Cause<'_>> {
        let mut causes: HashMap<CauseId, Cause<'_>> = self
            .entries
            .iter()
            .map(|(&id, e)| (id, Cause::new(id, &e.exemplar, (e.gone, e.endings), (e.closed, e.most))))
            .collect();
        for member in self.members.values() {
            if let Some(cause) = causes.get_mut(&member.cause) {
                cause.count(member);
            }
        }
        let mut causes: Vec<_> = causes.into_values().collect();
        causes.sort_by_cached_key(Cause::rank);
        causes
    }
}

/// More is worse: a cause is called by the worst of its sockets.
const fn severity(leak: Option<bool>) -> u8 {
    match leak {
        Some(true) => 2,
        None => 1,
        Some(false) => 0,
    }
}

/// How much a finding tells: the better example of its cause is one of the worst, by which the
/// cause is called, and tells more.
fn told(finding: &Finding) -> (u8, u8) {
    let stack = finding.evidence.opener.known().is_some_and(|o| o.stack.known().is_some());
    let owner = finding.owner().known().is_some();
    (severity(finding.verdict.leak), u8::from(stack) + u8::from(owner))
}

/// Of the verdict and the holders, whose change is news. Evidence sentences are
/// left out: their numbers change all the time.
fn fingerprint(finding: &Finding) -> u64 {
    let mut hasher = DefaultHasher::new();
    let verdict = &finding.verdict;
    (verdict.code, &verdict.also, verdict.confidence, verdict.leak).hash(&mut hasher);
    let holders = finding.evidence.holders.known().map(|holders| {
        let mut fds: Vec<_> = holders.iter().map(|h| (h.pid, h.fd)).collect();
        fds.sort_unstable();
        fds
    });
    holders.hash(&mut hasher);
    finding.owner().known().map(|h| h.pid).hash(&mut hasher);
    hasher.finish()
}
