//! The tracker: a timer for each socket in CLOSE_WAIT. Pure: Items and `now` in,
//! suspects and outcomes out; no I/O, no clock, no threads, no judgement.
//!
//! A *life* begins with an edge into CLOSE_WAIT, or with a snapshot that shows a
//! socket whose edge was not seen, and ends in exactly one [`Outcome::Released`].
//! The kernel reuses the address of a socket at once, so a life is named by a
//! [`SocketId`], never by its address. A socket that goes to CLOSE while a file
//! refers to it begins a second life, as a ghost.
//!
//! # What is believed when records disagree
//!
//! Records may be late, twice or out of order; their timestamps decide.
//! - Lives at one address do not overlap. So an entry no newer than the newest
//!   known end at that address is over already, and an end older than the entry
//!   of the present life belongs to an earlier one. Timestamps of two CPUs may
//!   disagree by [`SKEW`].
//! - An edge that is told twice, with two times, by two programs is one edge, at the first
//!   of them (`again`).
//! - The last [`REMEMBERED`] lives that ended are remembered for this, also ends
//!   whose beginning is not known. What comes later than that is taken at its word.
//! - A gap taints every life that had entered when it ended, until a snapshot that
//!   began after it shows the socket.
//! - A complete snapshot that does not show a socket ends its life, except for
//!   MPTCP, which not every dump covers.
//! - A snapshot that shows a socket which got data after it had entered CLOSE_WAIT shows another
//!   connection between the same ends: the end of the one, and the beginning of the other, were
//!   not seen.
//! - A ghost that was found by a look at descriptors is over when a complete look does
//!   not show it; one whose close was seen is over when its destroy is.

mod again;
mod bounds;
mod deadlines;
mod entry;
mod ghosts;
mod lives;
mod outcome;
mod slab;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::clock::MonoNs;
use crate::item::{Item, Netns, SkAddr};
use crate::tcp::Tuple;

pub use bounds::{INFERRED_WITHIN, is_later_life, since_fin};
use deadlines::Wheel;
use entry::{Life, PackedTuple};
pub use outcome::{Outcome, Released, Since, SocketId, Suspect, SuspectKind};
use slab::{DUE, HANDED, Slab};
pub use stats::{Dwell, TrackerStats};

/// How far the timestamps of two CPUs may disagree. `bpf_ktime_get_ns` may step
/// back when another CPU has just updated the timekeeper (comment at
/// `ktime_get_mono_fast_ns`), by far less than this; and no connection can be
/// closed, made anew at the same address and closed by its peer in less.
pub const SKEW: Duration = Duration::from_micros(10);

/// How many ended lives are remembered.
pub const REMEMBERED: usize = 16_384;

/// See the module.
#[derive(Debug)]
pub struct Tracker {
    slab: Slab,
    wheel: Wheel,
    hasher: DefaultHashBuilder,
    /// Every slot in use whose `sk` is known; no two with the same.
    by_sk: HashTable<u32>,
    /// Every slot in CLOSE_WAIT whose `sk` is not known.
    by_tuple: HashTable<u32>,
    /// Ended lives in the slab.
    remembered: usize,
    /// An edge out of CLOSE_WAIT may have been lost up to here.
    leave_lost_by: MonoNs,
    /// The end of a ghost may have been lost up to here.
    destroy_lost_by: MonoNs,
    /// Ghosts by the inode of their file, where that is told; some may be over.
    ghosts_by_inode: HashMap<u64, SocketId>,
    /// When the last two complete snapshots of a namespace began, the newer one last.
    complete: HashMap<Netns, [MonoNs; 2]>,
    /// With more namespaces than these, old ones are forgotten.
    forget_netns_at: usize,
    /// Since when every edge is recorded; `None`: no edge is.
    watched_from: Option<MonoNs>,
    /// Lives that entered since then as far as snapshots tell, whose record may still
    /// be on its way; and when they were shown.
    unrecorded: Vec<(SocketId, MonoNs)>,
    stats: TrackerStats,
}

impl Tracker {
    /// A tracker that hands out sockets that have been in CLOSE_WAIT for `threshold`.
    pub fn new(threshold: Duration) -> Self {
        Self {
            slab: Slab::new(),
            wheel: Wheel::new(threshold),
            hasher: DefaultHashBuilder::default(),
            by_sk: HashTable::new(),
            by_tuple: HashTable::new(),
            remembered: 0,
            leave_lost_by: MonoNs(0),
            destroy_lost_by: MonoNs(0),
            ghosts_by_inode: HashMap::new(),
            complete: HashMap::new(),
            forget_netns_at: snapshot::NETNS_BEFORE_FORGETTING,
            watched_from: None,
            unrecorded: Vec::new(),
            stats: TrackerStats::default(),
        }
    }

    /// Tells that every edge from `at` on is recorded, so that a socket which entered
    /// CLOSE_WAIT later and is known by snapshot only is one whose record was lost.
    pub fn watched_from(&mut self, at: MonoNs) {
        self.watched_from = Some(at);
    }

    /// Tells that from `at` on other sockets are of interest: of what was not before, no edge
    /// was recorded, and no snapshot showed that it was not there.
    pub fn watches_others(&mut self, at: MonoNs) {
        self.complete.clear();
        self.watched_from = self.watched_from.map(|from| from.max(at));
    }

    /// Feeds one item; what came of it is appended to `out`.
    pub fn apply(&mut self, item: &Item, out: &mut Vec<Outcome>) {
        match item {
            Item::Transition(transition) => self.transition(transition, out),
            Item::Destroyed(destroyed) => self.destroyed(*destroyed, out),
            Item::Gap(gap) => self.gap(gap),
            Item::Snapshot(snapshot) => self.snapshot(snapshot, out),
            Item::Ghosts(look) => self.ghosts(look, out),
            Item::Path(_) | Item::Ended(_) => {}
        }
    }

    /// When [`Tracker::expire`] next has something to do: a deadline, or sockets
    /// to sort into finer buckets (at most a few times per socket, never for none).
    /// `None` when no timer is armed. A moment that has passed means now.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        self.wheel.next(&self.slab)
    }

    /// Hands out every socket whose deadline is at or before `now`, each once per
    /// life. Deadlines are rounded up to the next multiple of 2^20 ns, about a
    /// millisecond. Time does not go back: a `now` below one given before counts
    /// as that one.
    pub fn expire(&mut self, now: MonoNs, out: &mut Vec<Suspect>) {
        self.expire_some(now, usize::MAX, out);
    }

    /// The same of `most` sockets, those first whose deadline came first; the others wait
    /// ([`TrackerStats::waiting`]) for the next time.
    pub fn expire_some(&mut self, now: MonoNs, most: usize, out: &mut Vec<Suspect>) {
        self.count_missed(now);
        self.wheel.advance(&mut self.slab, now);
        let most = out.len().saturating_add(most);
        while out.len() < most
            && let Some(slot) = self.slab.first(DUE)
        {
            self.slab.move_to(slot, HANDED);
            self.stats.suspects += 1;
            self.stats.handed_out += 1;
            out.push(self.suspect_at(slot));
        }
        self.stats.waiting = self.slab.due();
    }

    /// Enrichment looked at `at` and found that this life is over: its end was lost.
    /// An `id` that is over already is ignored.
    pub fn retire(&mut self, id: SocketId, at: MonoNs, out: &mut Vec<Outcome>) {
        if let Some(slot) = self.slab.resolve(id) {
            self.end_unseen(slot, at, out);
        }
    }

    /// Whether a suspect may be younger than the threshold at `now`, as it turns out: the
    /// record of its entry came after a look had found it, or it cannot have entered before
    /// `earliest`. It is handed out again when it is old enough.
    pub fn is_younger(&mut self, id: SocketId, earliest: Option<MonoNs>, now: MonoNs) -> bool {
        let Some(slot) = self.slab.resolve(id) else { return false };
        let entry = &mut self.slab[slot];
        let since = entry.since;
        if entry.list != HANDED {
            return false;
        }
        match (&mut entry.life, earliest) {
            (Life::Waiting { not_before, seen: false, .. }, Some(earliest)) => {
                *not_before = earliest.min(since).max(*not_before);
                self.suspect_loss(slot, now);
            }
            (Life::Waiting { .. }, _) => {}
            _ => return false,
        }
        let counts_from = self.slab[slot].counts_from();
        if now.since(counts_from) >= self.wheel.threshold() {
            return false;
        }
        self.stats.suspects -= 1;
        self.slab.move_to(slot, self.wheel.list_for(counts_from));
        true
    }

    /// A suspect as it is now; `None` when it is over, or was not handed out yet.
    pub fn suspect(&self, id: SocketId) -> Option<Suspect> {
        let slot = self.slab.resolve(id)?;
        (self.slab[slot].list == HANDED).then(|| self.suspect_at(slot))
    }

    /// Everything handed out that is not over, in the order of handing out.
    pub fn suspects(&self) -> impl Iterator<Item = Suspect> {
        self.slab.members(HANDED).map(|slot| self.suspect_at(slot))
    }

    /// Namespace and ends of those that are old enough to be handed out and were not.
    pub fn waiting(&self) -> impl Iterator<Item = (Netns, Tuple)> {
        self.slab.members(DUE).map(|slot| (self.slab[slot].netns, self.slab[slot].tuple.into()))
    }

    /// What has been counted.
    pub fn stats(&self) -> &TrackerStats {
        &self.stats
    }

    fn suspect_at(&self, slot: u32) -> Suspect {
        let entry = &self.slab[slot];
        let not_before = entry.not_before();
        let (kind, tainted) = match entry.life {
            Life::Ghost { closed, from, .. } => {
                (SuspectKind::Ghost { closed, from }, closed < self.destroy_lost_by)
            }
            Life::Waiting { verified, .. } => (SuspectKind::Stuck, verified < self.leave_lost_by),
            // Not reached: only these two are ever in a list of suspects.
            Life::Free | Life::Left { .. } => (SuspectKind::Stuck, true),
        };
        Suspect {
            id: self.slab.id(slot),
            sk: (entry.sk != 0).then_some(SkAddr(entry.sk)),
            netns: entry.netns,
            tuple: entry.tuple.into(),
            kind,
            since: entry.since(),
            not_before,
            missed: matches!(entry.life, Life::Waiting { missed: true, .. }),
            mptcp: entry.tuple.mptcp(),
            tainted,
        }
    }

    // The two indexes.

    fn find(&self, sk: SkAddr) -> Option<u32> {
        let slab = &self.slab;
        self.by_sk.find(self.hasher.hash_one(sk), |&slot| slab[slot].sk == sk.0).copied()
    }

    fn find_unkeyed(&self, netns: Netns, tuple: PackedTuple) -> Option<u32> {
        if self.by_tuple.is_empty() {
            return None;
        }
        let slab = &self.slab;
        let hash = self.hasher.hash_one((netns, tuple));
        self.by_tuple.find(hash, |&slot| slab[slot].netns == netns && slab[slot].tuple == tuple).copied()
    }

    /// Gives the address to this slot; whatever ended life had it loses it.
    fn bind(&mut self, sk: SkAddr, slot: u32) {
        if sk.0 == 0 {
            return;
        }
        let (slab, hasher) = (&mut self.slab, &self.hasher);
        slab[slot].sk = sk.0;
        let entry = self.by_sk.entry(
            hasher.hash_one(sk),
            |&other| slab[other].sk == sk.0,
            |&other| hasher.hash_one(SkAddr(slab[other].sk)),
        );
        if let hashbrown::hash_table::Entry::Occupied(mut occupied) = entry {
            let before = std::mem::replace(occupied.get_mut(), slot);
            if before != slot {
                slab[before].sk = 0;
            }
        } else {
            entry.insert(slot);
        }
    }

    fn unbind(&mut self, slot: u32) {
        let sk = SkAddr(std::mem::take(&mut self.slab[slot].sk));
        if sk.0 != 0
            && let Ok(found) = self.by_sk.find_entry(self.hasher.hash_one(sk), |&other| other == slot)
        {
            found.remove();
        }
    }

    fn index_by_tuple(&mut self, slot: u32) {
        let (slab, hasher) = (&self.slab, &self.hasher);
        let key = |slot: u32| (slab[slot].netns, slab[slot].tuple);
        self.by_tuple.insert_unique(hasher.hash_one(key(slot)), slot, |&other| hasher.hash_one(key(other)));
    }

    fn unindex_by_tuple(&mut self, slot: u32) {
        let key = (self.slab[slot].netns, self.slab[slot].tuple);
        if let Ok(found) = self.by_tuple.find_entry(self.hasher.hash_one(key), |&other| other == slot) {
            found.remove();
        }
    }
}
