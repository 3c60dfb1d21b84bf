//! Merges a snapshot of one namespace: what it shows is confirmed or added, what
//! a complete one does not show is over.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;

use crate::clock::MonoNs;
use crate::item::{DiagSocket, Netns, Snapshot};
use crate::tcp::State;

use super::entry::{Entry, Life, PackedTuple};
use super::slab::LEFT;
use super::{Outcome, Tracker};

/// The kernel counts `last_data_recv` in ticks of up to 10 ms (HZ=100).
const TICK_MS: u64 = 10;

/// A namespace not dumped for this long no longer bounds the age of what is found in it.
const FORGET_NETNS: Duration = Duration::from_mins(10);

/// So many namespaces may be remembered before old ones are forgotten.
const NETNS_BEFORE_FORGETTING: usize = 1024;

impl Tracker {
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Vec<Outcome>) {
        self.stats.snapshots += 1;
        let Snapshot { began, ended, netns, complete, .. } = *snapshot;

        let shown = Shown::new(&snapshot.sockets);
        let mut known: Vec<Option<u32>> = vec![None; snapshot.sockets.len()];
        let mut over = Vec::new();
        for (slot, entry) in self.slab.slots() {
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
            } else if complete && !entry.tuple.mptcp() && entry.since < began {
                over.push((slot, ended));
            }
        }
        for slot in known.iter().flatten() {
            if let Life::Waiting { verified, .. } = &mut self.slab[*slot].life {
                *verified = began.max(*verified);
            }
        }
        for (slot, at) in over {
            self.end_unseen(slot, at, out);
        }
        self.add_unknown(snapshot, &known);
        if complete {
            self.remember_complete(netns, began);
        }
    }

    fn add_unknown(&mut self, snapshot: &Snapshot, known: &[Option<u32>]) {
        let unknown = || {
            let sockets = snapshot.sockets.iter().zip(known);
            sockets
                .filter(|(socket, known)| known.is_none() && socket.state == State::CloseWait)
                .map(|(socket, _)| socket)
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
        let before = self.complete.get(&snapshot.netns).copied();
        for socket in unknown() {
            let tuple = key(socket);
            if gone.contains(&tuple) || self.find_unkeyed(snapshot.netns, tuple).is_some() {
                continue;
            }
            let counts_from = not_before(socket, snapshot.began, before).unwrap_or(MonoNs(0));
            // It was in CLOSE_WAIT at some moment of the dump, which moment nobody
            // knows: it entered no later than the end, and is known alive at the beginning.
            let life = Life::Waiting { counts_from, verified: snapshot.began, seen: false };
            let entry = Entry::new(snapshot.netns, tuple, snapshot.ended, life);
            let slot = self.slab.insert(self.wheel.list_for(counts_from), entry);
            self.index_by_tuple(slot);
            self.stats.tracked += 1;
            self.stats.found_by_snapshot += 1;
        }
    }

    fn remember_complete(&mut self, netns: Netns, began: MonoNs) {
        let newest = self.complete.entry(netns).or_default();
        *newest = began.max(*newest);
        if self.complete.len() > NETNS_BEFORE_FORGETTING {
            self.complete.retain(|_, at| began.since(*at) < FORGET_NETNS);
        }
    }
}

/// The earliest that a socket which a snapshot shows can have entered CLOSE_WAIT:
/// not before it last received data (the FIN came after that), and not before the
/// last complete snapshot that did not show it. `None` when neither is known.
/// (That snapshot may have shown it and been taken to confirm another connection
/// between the same ports, if a record of each was lost or late.)
fn not_before(socket: &DiagSocket, began: MonoNs, last_complete: Option<MonoNs>) -> Option<MonoNs> {
    let data = socket.tcp.and_then(|tcp| tcp.last_data_recv_ms);
    let data = data.map(|ms| began - Duration::from_millis(u64::from(ms) + TICK_MS));
    data.max(last_complete)
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
