//! One edge that both transitions programs told.
//!
//! Each of them does what the other is skipped for, and takes that from marks on its CPU
//! (`closewait-ebpf/src/nesting.rs`). Where a task may be preempted between both (tracepoints
//! of 7.x), the mark may be that of another task, and the one edge is told twice, the second
//! time with the later time of the second program. The socket is locked meanwhile: nothing
//! else of it comes between. So the first record counts, and the second is no second stay.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::item::{SkAddr, Transition};
use crate::tcp::{State, Tuple};

use super::Tracker;
use super::entry::Life;
use super::lives::packed;

/// A second record of an edge comes this much later at most. A connection between the same
/// ends at the same address that has entered CLOSE_WAIT meanwhile must have been reset, or
/// the port reused from TIME_WAIT, which takes a second (`tcp_twsk_unique`); and the record
/// of its end or its beginning must be lost, or late. If it is late, it tells (see
/// [`Tracker::second_stay`]); if it is lost, an age is told too old by less than this.
pub(super) const AGAIN_WITHIN: Duration = Duration::from_secs(1);

impl Tracker {
    /// Whether the edge into CLOSE_WAIT of the life in `slot` is told a second time.
    pub(super) fn entered_again(&mut self, slot: u32, t: &Transition) -> bool {
        let entry = &mut self.slab[slot];
        let (since, same) = (entry.since, entry.netns == t.netns && entry.tuple == packed(t));
        match &mut entry.life {
            // Told at its accept, and before that, however long it waited for it.
            Life::Waiting { .. } if same && t.has_socket && t.at >= since => true,
            Life::Waiting { seen: true, not_before: told, .. }
                if same && *told == since && is_soon(since, t.at) =>
            {
                *told = t.at;
                true
            }
            _ => false,
        }
    }

    /// Whether the edge out of CLOSE_WAIT, or out of LAST_ACK, that ended the life in `slot`,
    /// or made a ghost of it, is told a second time.
    pub(super) fn left_again(&mut self, slot: u32, t: &Transition) -> bool {
        let entry = &self.slab[slot];
        let known = Tuple::from(entry.tuple).local.port;
        // A client of one server has connections that differ in their own port only, which is
        // not always told at an end.
        let same_local = known == t.tuple.local.port || known == 0 || t.tuple.local.port == 0;
        let same = entry.netns == t.netns && entry.tuple.same_remote(&packed(t)) && same_local;
        let haunts = t.to == State::Close && t.has_socket;
        match entry.life {
            // By its file, as no other can have that inode.
            Life::Ghost { closed, from, .. } if haunts && same && from == t.from && is_soon(closed, t.at) => {
                self.ghosts_by_inode.get(&t.inode) == Some(&self.slab.id(slot))
            }
            // The edge itself was seen, and nothing later of this address, nor between its ends by
            // a snapshot. What came before this second record is over, too.
            Life::Left { over_until, at, seen }
                if !haunts
                    && same
                    && over_until == at
                    && is_soon(at, t.at)
                    && self.find_unkeyed(t.netns, packed(t)).is_none() =>
            {
                self.slab[slot].life = Life::Left { over_until: t.at, at: t.at, seen };
                true
            }
            _ => false,
        }
    }

    /// What ends the life in `slot` happened at `at`: between both records of its beginning,
    /// if there are two. Then it was two stays, and the record of the first one's end was
    /// late; the second one begins with what is returned.
    pub(super) fn second_stay(&mut self, slot: u32, at: MonoNs) -> Option<Transition> {
        let told = self.entered_after(slot, at)?;
        self.stats.reordered += 1;
        let entry = &self.slab[slot];
        Some(Transition {
            at: told,
            sk: SkAddr(entry.sk),
            from: State::Established,
            to: State::CloseWait,
            tuple: entry.tuple.into(),
            netns: entry.netns,
            mptcp: entry.tuple.mptcp(),
            has_socket: false,
            inode: 0,
            by: None,
        })
    }

    /// When the edge of the life in `slot` was told again, if that was after this moment of it.
    pub(super) fn entered_after(&self, slot: u32, at: MonoNs) -> Option<MonoNs> {
        let entry = &self.slab[slot];
        let Life::Waiting { seen: true, not_before: told, .. } = entry.life else { return None };
        (at >= entry.since && told > at).then_some(told)
    }
}

fn is_soon(known: MonoNs, at: MonoNs) -> bool {
    known < at && at <= known + AGAIN_WITHIN
}
