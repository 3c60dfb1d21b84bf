//! Merges a snapshot of one namespace: what it shows is confirmed or added, what
//! a complete one does not show is over.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;

use crate::clock::MonoNs;
use crate::item::{DiagSocket, Netns, Snapshot};
use crate::tcp::State;

use super::bounds::{Bounds, later_life};
use super::entry::{Entry, Life, PackedTuple};
use super::slab::{HANDED, LEFT};
use super::{Outcome, Tracker};

/// The record of an edge precedes the state that a snapshot shows; so long after it was
/// shown at the latest, the record has been drained.
const RECORD_COMES_WITHIN: Duration = Duration::from_millis(300);

/// A namespace not dumped for this long no longer bounds the age of what is found in it.
const FORGET_NETNS: Duration = Duration::from_mins(10);

/// So many namespaces may be remembered before old ones are forgotten.
pub(super) const NETNS_BEFORE_FORGETTING: usize = 1024;

impl Tracker {
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Vec<Outcome>) {
        self.stats.snapshots += 1;
        let Snapshot { began, ended, netns, complete, proves_absence, .. } = *snapshot;

        let shown = Shown::new(&snapshot.sockets);
        let mut known: Vec<Option<u32>> = vec![None; snapshot.sockets.len()];
        let mut over = Vec::new();
        // Most namespaces of a host of containers have nothing stuck in them.
        let tells = proves_absence || !snapshot.sockets.is_empty();
        for (slot, entry) in self.slab.slots().take_while(|_| tells) {
            let Life::Waiting { .. } = entry.life else { continue };
            if entry.netns != netns {
                continue;
            }
            if let Some(index) = shown.find(entry.tuple) {
                // Two lives between the same ports: the newer one is shown, the
                // end of the older one was lost.
                match known[index] {
                    Some(other) if self.slab[other].since >= entry.since => {
                        over.push((slot, self.slab[other].since));
                    }
                    other => {
                        over.extend(other.map(|other| (other, entry.since)));
                        known[index] = Some(slot);
                    }
                }
            } else if proves_absence && !entry.tuple.mptcp() && entry.last_told() < began {
                over.push((slot, ended));
            }
        }
        for (socket, known) in snapshot.sockets.iter().zip(&mut known) {
            let Some(slot) = *known else { continue };
            if let Some(at) = later_life(socket, (began, ended), self.slab[slot].since()) {
                // It was over when this one was made.
                over.push((slot, at));
                // What has entered again since then is this one.
                if self.entered_after(slot, at).is_none() {
                    *known = None;
                }
            } else {
                self.confirm(slot, socket, snapshot);
            }
        }
        for (slot, at) in over {
            // The newer one was between both stays of the older.
            let second = self.second_stay(slot, at);
            self.end_unseen(slot, at, out);
            if let Some(second) = second {
                self.enter(&second, out);
            }
        }
        self.add_unknown(snapshot, &shown, &known);
        if complete {
            self.remember_complete(netns, began);
        }
    }

    fn add_unknown(&mut self, snapshot: &Snapshot, shown: &Shown<'_>, known: &[Option<u32>]) {
        let unknown = || {
            let sockets = snapshot.sockets.iter().zip(known).enumerate();
            sockets
                .filter(|(_, (socket, known))| known.is_none() && socket.state == State::CloseWait)
                // A dump may show one twice.
                .filter(|(index, (socket, _))| shown.find(key(socket)) == Some(*index))
                .map(|(_, (socket, _))| socket)
        };
        if unknown().next().is_none() {
            return;
        }
        // Shown, but its end came before this snapshot did.
        let gone: HashSet<PackedTuple> = self
            .slab
            .members(LEFT)
            .map(|slot| &self.slab[slot])
            .filter(|entry| entry.netns == snapshot.netns)
            .filter(|entry| matches!(entry.life, Life::Left { at, .. } if at > snapshot.began))
            .map(|entry| entry.tuple)
            .collect();
        // One complete snapshot may miss a socket, two in a row do not.
        let [before, _] = self.complete.get(&snapshot.netns).copied().unwrap_or_default();
        for socket in unknown() {
            let tuple = key(socket);
            if gone.contains(&tuple) || self.find_unkeyed(snapshot.netns, tuple).is_some() {
                continue;
            }
            let mut bounds = Bounds::of(socket, snapshot.began, snapshot.ended);
            bounds.earliest = bounds.earliest.max(before).min(bounds.latest);
            let life = Life::Waiting {
                not_before: bounds.earliest,
                verified: snapshot.began,
                seen: false,
                unrecorded: false,
                missed: false,
            };
            let entry = Entry::new(snapshot.netns, tuple, bounds.latest, life);
            let slot = self.slab.insert(self.wheel.list_for(bounds.earliest), entry);
            self.suspect_loss(slot, snapshot.ended);
            self.index_by_tuple(slot);
            self.stats.tracked += 1;
            self.stats.found_by_snapshot += 1;
        }
    }

    /// A snapshot shows a life that is known.
    fn confirm(&mut self, slot: u32, socket: &DiagSocket, snapshot: &Snapshot) {
        let entry = &mut self.slab[slot];
        let before = entry.counts_from();
        let Life::Waiting { not_before, verified, seen, .. } = &mut entry.life else { return };
        *verified = snapshot.began.max(*verified);
        if *seen {
            return;
        }
        let known = Bounds { latest: entry.since, earliest: *not_before };
        // Bounds that contradict each other are of two lives between the same ports.
        let Some(bounds) = known.and(Bounds::of(socket, snapshot.began, snapshot.ended)) else { return };
        (entry.since, *not_before) = (bounds.latest, bounds.earliest);
        self.count_anew(slot, before);
        self.suspect_loss(slot, snapshot.ended);
    }

    /// Moves a life that counted from `before` to the list of its deadline.
    fn count_anew(&mut self, slot: u32, before: MonoNs) {
        let entry = &self.slab[slot];
        let counts_from = entry.counts_from();
        if counts_from != before && entry.list != HANDED {
            self.slab.move_to(slot, self.wheel.list_for(counts_from));
        }
    }

    /// Notes a life that entered after tracing began, as it turns out, and of which no
    /// record has come.
    pub(super) fn suspect_loss(&mut self, slot: u32, shown: MonoNs) {
        let entry = &mut self.slab[slot];
        let before = entry.counts_from();
        if let Life::Waiting { not_before, seen: false, unrecorded, .. } = &mut entry.life
            && !*unrecorded
            && self.watched_from.is_some_and(|from| from < *not_before)
        {
            *unrecorded = true;
            self.unrecorded.push((self.slab.id(slot), shown));
            self.count_anew(slot, before);
        }
    }

    /// Counts those whose record should have come by now.
    pub(super) fn count_missed(&mut self, now: MonoNs) {
        let due = self.unrecorded.extract_if(.., |(_, shown)| *shown + RECORD_COMES_WITHIN <= now);
        for (id, _) in due {
            if let Some(slot) = self.slab.resolve(id)
                && let Life::Waiting { seen: false, missed, .. } = &mut self.slab[slot].life
            {
                *missed = true;
                self.stats.missed += 1;
            }
        }
    }

    fn remember_complete(&mut self, netns: Netns, began: MonoNs) {
        let [_, newer] = self.complete.entry(netns).or_default();
        if *newer < began {
            let older = *newer;
            self.complete.insert(netns, [older, began]);
        }
        if self.complete.len() > self.forget_netns_at {
            self.complete.retain(|_, [_, at]| began.since(*at) < FORGET_NETNS);
            // Where there are ten thousand, not for each of them.
            self.forget_netns_at = (self.complete.len() * 2).max(NETNS_BEFORE_FORGETTING);
        }
    }
}

/// The sockets of a snapshot by tuple. Indexes, not copies: there may be a million.
struct Shown<'a> {
    sockets: &'a [DiagSocket],
    hasher: hashbrown::DefaultHashBuilder,
    by_tuple: HashTable<usize>,
}

impl<'a> Shown<'a> {
    fn new(sockets: &'a [DiagSocket]) -> Self {
        let hasher = hashbrown::DefaultHashBuilder::default();
        let mut by_tuple = HashTable::with_capacity(sockets.len());
        for (index, socket) in sockets.iter().enumerate() {
            if socket.state == State::CloseWait {
                by_tuple.insert_unique(hasher.hash_one(key(socket)), index, |&other: &usize| {
                    hasher.hash_one(key(&sockets[other]))
                });
            }
        }
        Self { sockets, hasher, by_tuple }
    }

    fn find(&self, tuple: PackedTuple) -> Option<usize> {
        self.by_tuple.find(self.hasher.hash_one(tuple), |&i| key(&self.sockets[i]) == tuple).copied()
    }
}

fn key(socket: &DiagSocket) -> PackedTuple {
    PackedTuple::new(socket.tuple, socket.mptcp)
}
