//! Merges a look at descriptors: a ghost that no record told of begins a life, one that
//! was found before and is not shown any more is over.

use std::collections::HashSet;
use std::time::Duration;

use crate::item::{FoundGhost, GhostLook};
use crate::tcp::State;

use super::entry::{Entry, Life, PackedTuple};
use super::{Outcome, SocketId, Tracker};

/// A found ghost is not handed out before it could be looked at again so much later: an
/// application that has just learned of a reset is given the time to close.
const APART: Duration = Duration::from_millis(400);

impl Tracker {
    pub(super) fn ghosts(&mut self, look: &GhostLook, out: &mut Vec<Outcome>) {
        let slab = &self.slab;
        self.ghosts_by_inode.retain(|_, id| slab.resolve(*id).is_some());
        let shown: HashSet<u32> =
            look.ghosts.iter().filter_map(|found| self.shown(found, look, out)).collect();
        if !look.complete {
            return;
        }
        let over: Vec<u32> = self.ghosts_by_inode.values().map(|id| id.slot).collect();
        for slot in over {
            if let Life::Ghost { from: State::Close, closed, .. } = self.slab[slot].life
                && closed < look.began
                && !shown.contains(&slot)
            {
                self.end_unseen(slot, look.ended, out);
            }
        }
    }

    /// The ghost that a look shows; `None` when it is known to be over.
    fn shown(&mut self, found: &FoundGhost, look: &GhostLook, out: &mut Vec<Outcome>) -> Option<u32> {
        if let Some(slot) = self.ghosts_by_inode.get(&found.inode).and_then(|id| self.slab.resolve(*id)) {
            return Some(slot);
        }
        let mut was = None;
        if let Some(slot) = found.sk.and_then(|sk| self.find(sk)) {
            let entry = &self.slab[slot];
            match entry.life {
                Life::Ghost { .. } => return Some(slot),
                // Another socket has the address by now.
                Life::Waiting { .. } if entry.known_from() > look.began => return None,
                // Its edge to CLOSE was lost.
                Life::Waiting { .. } => {
                    was = Some(self.slab.id(slot));
                    self.end_unseen(slot, look.began, out);
                }
                Life::Left { over_until, at, .. } if over_until.max(at) > look.began => return None,
                Life::Left { .. } | Life::Free => {}
            }
        }
        // Not before a second look at the earliest.
        let earliest = self.wheel.counting_to(look.ended + APART);
        let counts_from = found.counts_from.max(earliest);
        let life = Life::Ghost { closed: found.closed, counts_from, from: State::Close, seen: false };
        let entry = Entry::new(found.netns, PackedTuple::new(found.tuple, false), found.closed, life);
        let slot = self.slab.insert(self.wheel.list_for(counts_from), entry);
        if let Some(sk) = found.sk {
            self.bind(sk, slot);
        }
        self.closed_with_file(slot, found.inode, was, out);
        Some(slot)
    }

    /// Counts and tells that the life of a ghost has begun in `slot`.
    pub(super) fn closed_with_file(
        &mut self,
        slot: u32,
        inode: u64,
        was: Option<SocketId>,
        out: &mut Vec<Outcome>,
    ) {
        let Life::Ghost { closed: at, from, .. } = self.slab[slot].life else { return };
        let ghost = self.slab.id(slot);
        if inode != 0 {
            self.ghosts_by_inode.insert(inode, ghost);
        }
        self.stats.ghosts += 1;
        self.stats.ghosts_begun += 1;
        out.push(Outcome::ClosedWithFile { ghost, was, at, from, inode });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoNs;
    use crate::item::{Item, Netns, SkAddr, Transition};
    use crate::tcp::{Endpoint, Tuple};

    const THRESHOLD: Duration = Duration::from_secs(10);

    fn secs(at: f64) -> MonoNs {
        MonoNs(0) + Duration::from_secs_f64(at)
    }

    fn tuple() -> Tuple {
        let end = |port| Endpoint { ip: [127, 0, 0, 1].into(), port };
        Tuple { local: end(80), remote: end(1) }
    }

    /// A look of a tenth of a second that shows one ghost for each inode, closed at `closed`.
    fn look(began: f64, closed: f64, inodes: &[(u64, Option<u64>)]) -> Item {
        let found = |&(inode, sk): &(u64, Option<u64>)| FoundGhost {
            inode,
            sk: sk.map(SkAddr),
            netns: Netns(7),
            tuple: tuple(),
            closed: secs(closed),
            counts_from: secs(closed),
            error: None,
        };
        let ghosts = inodes.iter().map(found).collect();
        Item::Ghosts(GhostLook { began: secs(began), ended: secs(began + 0.1), complete: true, ghosts })
    }

    fn edge(at: f64, from: State, to: State, inode: u64) -> Item {
        Item::Transition(Transition {
            at: secs(at),
            sk: SkAddr(1),
            from,
            to,
            tuple: tuple(),
            netns: Netns(7),
            mptcp: false,
            has_socket: true,
            inode,
            by: None,
        })
    }

    /// How many suspects there are after each item, at `at`.
    fn suspects(items: &[Item], at: f64) -> (usize, Vec<Outcome>) {
        let mut tracker = Tracker::new(THRESHOLD);
        let mut out = Vec::new();
        for item in items {
            tracker.apply(item, &mut out);
        }
        let mut handed = Vec::new();
        tracker.expire(secs(at), &mut handed);
        assert!(handed.iter().all(|suspect| suspect.kind != crate::tracker::SuspectKind::Stuck));
        (handed.len(), out)
    }

    #[test]
    fn a_found_ghost_is_handed_out_after_the_threshold_and_over_when_not_shown() {
        //  look    |----------|-----------|
        //          20        30          40
        let seen = look(20.0, 20.0, &[(4, None)]);
        assert_eq!(suspects(std::slice::from_ref(&seen), 29.9).0, 0);
        assert_eq!(suspects(&[seen.clone(), look(30.0, 30.0, &[(4, None)])], 30.01).0, 1);
        let (handed, out) = suspects(&[seen.clone(), look(30.0, 30.0, &[])], 40.0);
        assert_eq!(handed, 0);
        assert!(matches!(out[..], [Outcome::ClosedWithFile { inode: 4, .. }, Outcome::GhostEnded { .. }]));
        // A look that was cut short says nothing of who it does not show.
        let Item::Ghosts(cut) = look(30.0, 30.0, &[]) else { unreachable!() };
        assert_eq!(suspects(&[seen, Item::Ghosts(GhostLook { complete: false, ..cut })], 40.0).0, 1);
    }

    #[test]
    fn one_closed_long_ago_still_waits_for_a_second_look() {
        let seen = look(100.0, 20.0, &[(4, Some(1))]);
        assert_eq!(suspects(std::slice::from_ref(&seen), 100.4).0, 0);
        assert_eq!(suspects(&[seen], 100.51).0, 1);
    }

    #[test]
    fn a_look_and_the_trace_tell_of_one_ghost_not_two() {
        use State::{Close, CloseWait, Established};
        let (enter, reset) = (|| edge(1.0, Established, CloseWait, 0), || edge(2.0, CloseWait, Close, 4));
        let by_sk = |began| look(began, 2.0, &[(9, Some(1))]);
        let by_inode = |began| look(began, began, &[(4, None)]);
        for items in [
            vec![enter(), reset(), by_sk(3.0)],
            vec![enter(), reset(), by_inode(3.0)],
            // Its edge to CLOSE was lost, or comes late.
            vec![enter(), by_sk(3.0)],
            vec![enter(), by_sk(3.0), reset()],
            vec![by_inode(3.0), by_inode(5.0)],
        ] {
            assert_eq!(suspects(&items, 50.0).0, 1, "{items:?}");
        }
        // Closed and gone while the look was taken; the address has a new socket by now.
        let gone = crate::item::Destroyed { at: secs(3.05), sk: SkAddr(1), exiting: None };
        assert_eq!(suspects(&[enter(), reset(), Item::Destroyed(gone), by_sk(3.0)], 50.0).0, 0);
        let (handed, out) = suspects(&[edge(3.05, Established, CloseWait, 0), by_sk(3.0)], 4.0);
        assert_eq!((handed, out.len()), (0, 0));
    }
}
