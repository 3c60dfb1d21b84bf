//! How lives begin and end: one transition, end or gap in, outcomes out. The
//! rules are those of the module above.

use crate::clock::MonoNs;
use crate::item::{By, Destroyed, Gap, Netns, Transition};
use crate::tcp::State;

use super::entry::{Entry, Life, PackedTuple};
use super::slab::{HANDED, LEFT};
use super::{Outcome, REMEMBERED, Released, SKEW, SocketId, Tracker};

/// How a life in CLOSE_WAIT ends.
struct End {
    at: MonoNs,
    /// Where to, when the edge was seen.
    to: Option<State>,
    by: Option<By>,
    /// An entry at this address up to here is over.
    over_until: MonoNs,
}

impl Tracker {
    pub(super) fn transition(&mut self, t: &Transition, out: &mut Vec<Outcome>) {
        match (t.from, t.to) {
            (State::CloseWait, State::CloseWait) => self.stats.ignored += 1,
            (_, State::CloseWait) => self.enter(t, out),
            (State::CloseWait, _) => self.leave(t, out),
            (State::LastAck, State::Close) => self.close(t, out),
            _ => self.stats.ignored += 1,
        }
    }

    pub(super) fn enter(&mut self, t: &Transition, out: &mut Vec<Outcome>) {
        if let Some(slot) = self.find(t.sk) {
            if self.entered_again(slot, t) {
                return self.stats.duplicates += 1;
            }
            let since = self.slab[slot].since;
            // There is no third record of an edge: the second was of another stay.
            if t.at > self.slab[slot].last_told()
                && let Some(second) = self.second_stay(slot, since)
            {
                self.end_unseen(slot, second.at, out);
                self.enter(&second, out);
                return self.enter(t, out);
            }
            // Another connection was at this address between both stays, and its record is late.
            if let Some(second) = self.second_stay(slot, t.at) {
                self.end_unseen(slot, t.at, out);
                return self.enter(&second, out);
            }
            match self.slab[slot].life {
                Life::Waiting { .. } if t.at <= since => return self.count_stale(t.at, since),
                Life::Waiting { .. } => {
                    self.stats.reentered += 1;
                    self.end_unseen(slot, t.at, out);
                }
                Life::Ghost { closed, .. } if t.at <= closed + SKEW => return self.count_stale(t.at, since),
                Life::Ghost { .. } => self.end_ghost(slot, t.at, None, out),
                Life::Left { over_until, at, seen } if t.at <= over_until + SKEW => {
                    if seen {
                        return self.count_stale(t.at, since);
                    }
                    // The end of this life came first, and was all that was known of it.
                    self.stats.reordered += 1;
                    self.stats.dwell.record(at.since(t.at));
                    let entry = &mut self.slab[slot];
                    entry.since = t.at;
                    entry.life = Life::Left { over_until, at, seen: true };
                    return;
                }
                Life::Left { .. } | Life::Free => {}
            }
        }
        if let Some(slot) = self.find_unkeyed(t.netns, packed(t)) {
            if t.at <= self.slab[slot].since {
                return self.recognise(slot, t);
            }
            // The same ports again: the connection that had them is over.
            self.stats.reentered += 1;
            self.end_unseen(slot, t.at, out);
        }
        let slot = self.begin(t, t.at, Life::entered(t.at, t.at));
        if t.sk.0 == 0 {
            self.index_by_tuple(slot);
        }
        self.stats.entered += 1;
        self.stats.tracked += 1;
    }

    /// The edge into CLOSE_WAIT of a socket that a snapshot was faster to show.
    fn recognise(&mut self, slot: u32, t: &Transition) {
        self.unindex_by_tuple(slot);
        let verified = t.at.max(self.slab[slot].known_from());
        let entry = &mut self.slab[slot];
        entry.since = t.at;
        entry.life = Life::entered(t.at, verified);
        if entry.list != HANDED {
            self.slab.move_to(slot, self.wheel.list_for(t.at));
        }
        if t.sk.0 == 0 {
            self.index_by_tuple(slot);
        }
        self.bind(t.sk, slot);
    }

    fn leave(&mut self, t: &Transition, out: &mut Vec<Outcome>) {
        let tuple = packed(t);
        // The life this ends; since when everything at this address is newer, when
        // that is later; and the destroy of this very life, when that came first.
        let (mut was, mut stale, mut destroyed) = (None, None, None);
        if let Some(slot) = self.find(t.sk) {
            if self.left_again(slot, t) {
                return self.stats.duplicates += 1;
            }
            if let Some(second) = self.second_stay(slot, t.at) {
                if self.slab[slot].tuple.same_remote(&tuple) {
                    self.end_seen(slot, t, out);
                } else {
                    // Another connection was at this address between both stays.
                    self.end_unseen(slot, t.at, out);
                }
                return self.enter(&second, out);
            }
            let entry = &self.slab[slot];
            match entry.life {
                Life::Waiting { .. } if t.at + SKEW < entry.since => stale = Some(entry.since),
                Life::Waiting { .. } if entry.tuple.same_remote(&tuple) => {
                    was = Some(self.end_seen(slot, t, out));
                }
                // Another connection at the same address: two records were lost.
                Life::Waiting { .. } => self.end_unseen(slot, t.at, out),
                Life::Ghost { closed, .. } if t.at <= closed => stale = Some(closed),
                Life::Ghost { .. } => self.end_ghost(slot, t.at, None, out),
                Life::Left { over_until, at, .. } if t.at <= over_until.min(at) => stale = Some(at),
                Life::Left { over_until, .. } if t.at <= over_until => destroyed = Some(over_until),
                Life::Left { over_until, at, seen } if t.at <= at && entry.tuple.same_remote(&tuple) => {
                    // The edge whose absence had been inferred. From its time on another
                    // connection may be at this address, whose entry comes late.
                    self.stats.late += 1;
                    let over_until = over_until.max(t.at);
                    self.slab[slot].life = Life::Left { over_until, at: t.at, seen };
                    was = Some(self.slab.id(slot));
                }
                Life::Left { .. } | Life::Free => {}
            }
        }
        if was.is_none()
            && let Some(slot) = self.find_unkeyed(t.netns, tuple)
            && t.at + SKEW >= self.slab[slot].known_from()
        {
            was = Some(self.end_seen(slot, t, out));
            if stale.is_none() {
                self.bind(t.sk, slot);
            }
        } else if let Some(known) = stale {
            self.remember_end_of(tuple, t.netns, t.at);
            return self.count_stale(t.at, known);
        }
        let was = was.unwrap_or_else(|| self.end_unknown(t, out));
        if let Some(until) = destroyed {
            self.over_until(was.slot, until);
        } else if t.to == State::Close && t.has_socket && stale.is_none() {
            self.haunt(t, Some(was), out);
        }
    }

    /// LAST_ACK -> CLOSE.
    fn close(&mut self, t: &Transition, out: &mut Vec<Outcome>) {
        let tuple = packed(t);
        let mut was = None;
        if let Some(slot) = self.find(t.sk).or_else(|| self.find_unkeyed(t.netns, tuple)) {
            if self.left_again(slot, t) {
                return self.stats.duplicates += 1;
            }
            let entry = &self.slab[slot];
            was = entry.tuple.same_remote(&tuple).then(|| self.slab.id(slot));
            match entry.life {
                Life::Waiting { .. } if t.at + SKEW < entry.known_from() => return self.stats.late += 1,
                Life::Waiting { .. } => {
                    self.end_unseen(slot, t.at, out);
                    self.over_until(slot, t.at);
                }
                Life::Ghost { closed: known, .. } | Life::Left { over_until: known, .. } if t.at <= known => {
                    return self.count_stale(t.at, known);
                }
                Life::Ghost { .. } => {
                    was = None;
                    self.end_ghost(slot, t.at, None, out);
                }
                Life::Left { .. } | Life::Free => {}
            }
        }
        if t.has_socket {
            self.haunt(t, was, out);
        }
    }

    pub(super) fn destroyed(&mut self, d: Destroyed, out: &mut Vec<Outcome>) {
        let Some(slot) = self.find(d.sk) else {
            // Remembered, lest its CLOSE come late and begin a ghost that never ends.
            self.stats.unmatched_destroys += 1;
            let slot = self.remember_end_of(PackedTuple::NONE, Netns(0), MonoNs(0));
            self.bind(d.sk, slot);
            return self.over_until(slot, d.at);
        };
        if let Some(second) = self.second_stay(slot, d.at) {
            self.end_unseen(slot, d.at, out);
            return self.enter(&second, out);
        }
        match self.slab[slot].life {
            Life::Ghost { closed, .. } if d.at + SKEW >= closed => self.end_ghost(slot, d.at, Some(d), out),
            Life::Waiting { .. } if d.at + SKEW >= self.slab[slot].since => {
                self.end_unseen(slot, d.at, out);
                self.over_until(slot, d.at);
            }
            Life::Ghost { .. } | Life::Waiting { .. } => self.stats.late += 1,
            Life::Left { .. } | Life::Free => {
                self.stats.unmatched_destroys += 1;
                self.over_until(slot, d.at);
            }
        }
    }

    pub(super) fn gap(&mut self, gap: &Gap) {
        self.stats.gaps += 1;
        self.stats.lost_records += gap.total();
        // A lost entry or opener says nothing about the lives that are known.
        let any = gap.recursion + gap.malformed + gap.unreadable;
        if any + gap.leave > 0 {
            self.leave_lost_by = self.leave_lost_by.max(gap.to);
        }
        if any + gap.leave + gap.destroy > 0 {
            self.destroy_lost_by = self.destroy_lost_by.max(gap.to);
        }
    }

    /// A record of a life that is over: the same as one before, or late.
    fn count_stale(&mut self, at: MonoNs, known: MonoNs) {
        if at == known {
            self.stats.duplicates += 1;
        } else {
            self.stats.late += 1;
        }
    }

    /// Begins a life for the socket of a transition.
    fn begin(&mut self, t: &Transition, since: MonoNs, life: Life) -> u32 {
        let entry = Entry::new(t.netns, packed(t), since, life);
        let list = match life {
            Life::Left { .. } => LEFT,
            _ => self.wheel.list_for(entry.counts_from()),
        };
        let slot = self.slab.insert(list, entry);
        self.bind(t.sk, slot);
        slot
    }

    /// An edge out of CLOSE_WAIT of a socket nobody knew.
    fn end_unknown(&mut self, t: &Transition, out: &mut Vec<Outcome>) -> SocketId {
        self.stats.unmatched_leaves += 1;
        self.stats.left += 1;
        let slot = self.begin(t, t.at, Life::Left { over_until: t.at, at: t.at, seen: false });
        self.remember_one_more();
        let id = self.slab.id(slot);
        out.push(Outcome::Released(Released {
            id,
            netns: t.netns,
            tuple: t.tuple,
            since: self.slab[slot].since(),
            not_before: None,
            at: t.at,
            to: Some(t.to),
            by: t.by.clone(),
            was_suspect: false,
        }));
        id
    }

    /// Begins the life of a ghost.
    fn haunt(&mut self, t: &Transition, was: Option<SocketId>, out: &mut Vec<Outcome>) {
        let (mut since, mut seen) = (t.at, false);
        if let Some(was) = was
            && let Life::Left { seen: was_seen, .. } = self.slab[was.slot].life
        {
            (since, seen) = (self.slab[was.slot].since, was_seen);
        }
        let life = Life::Ghost { closed: t.at, counts_from: t.at, from: t.from, seen };
        let slot = self.begin(t, since, life);
        self.closed_with_file(slot, t.inode, was, out);
    }

    /// Ends the life whose edge out of CLOSE_WAIT this is.
    fn end_seen(&mut self, slot: u32, t: &Transition, out: &mut Vec<Outcome>) -> SocketId {
        let over_until = t.at.max(self.slab[slot].known_from());
        self.end(slot, End { at: t.at, to: Some(t.to), by: t.by.clone(), over_until }, out);
        self.slab.id(slot)
    }

    /// Ends a life, of either kind, that is known to be over by `at` though its end was not seen.
    pub(super) fn end_unseen(&mut self, slot: u32, at: MonoNs, out: &mut Vec<Outcome>) {
        if let Life::Ghost { .. } = self.slab[slot].life {
            self.end_ghost(slot, at, None, out);
            return;
        }
        let over_until = self.slab[slot].since;
        self.end(slot, End { at, to: None, by: None, over_until }, out);
    }

    fn end(&mut self, slot: u32, end: End, out: &mut Vec<Outcome>) {
        let entry = &self.slab[slot];
        let Life::Waiting { seen, .. } = entry.life else { return };
        let was_suspect = entry.list == HANDED;
        self.stats.tracked -= 1;
        if end.to.is_some() {
            self.stats.left += 1;
            if seen && end.to == Some(State::LastAck) {
                self.stats.dwell.record(end.at.since(entry.since));
            }
        } else {
            self.stats.healed += 1;
        }
        out.push(Outcome::Released(Released {
            id: self.slab.id(slot),
            netns: entry.netns,
            tuple: entry.tuple.into(),
            since: entry.since(),
            not_before: entry.not_before(),
            at: end.at,
            to: end.to,
            by: end.by,
            was_suspect,
        }));
        if entry.sk == 0 {
            self.unindex_by_tuple(slot);
        }
        self.lay_to_rest(slot, Life::Left { over_until: end.over_until, at: end.at, seen }, was_suspect);
    }

    fn end_ghost(&mut self, slot: u32, at: MonoNs, end: Option<Destroyed>, out: &mut Vec<Outcome>) {
        let entry = &self.slab[slot];
        let Life::Ghost { closed, seen, .. } = entry.life else { return };
        let was_suspect = entry.list == HANDED;
        self.stats.ghosts -= 1;
        out.push(Outcome::GhostEnded {
            ghost: self.slab.id(slot),
            netns: entry.netns,
            tuple: entry.tuple.into(),
            closed,
            at,
            seen: end.is_some(),
            exiting: end.and_then(|end| end.exiting),
            was_suspect,
        });
        let over_until = if end.is_some() { at.max(closed) } else { closed };
        self.lay_to_rest(slot, Life::Left { over_until, at: closed, seen }, was_suspect);
    }

    /// Remembers an end that is not, or need not be, told: a snapshot may still
    /// show the socket.
    fn remember_end_of(&mut self, tuple: PackedTuple, netns: Netns, at: MonoNs) -> u32 {
        let life = Life::Left { over_until: at, at, seen: true };
        let slot = self.slab.insert(LEFT, Entry::new(netns, tuple, at, life));
        self.remember_one_more();
        slot
    }

    fn lay_to_rest(&mut self, slot: u32, life: Life, was_suspect: bool) {
        self.stats.suspects -= u64::from(was_suspect);
        self.slab[slot].life = life;
        self.slab.move_to(slot, LEFT);
        self.remember_one_more();
    }

    /// Forgets the oldest ended life when there are too many.
    fn remember_one_more(&mut self) {
        self.remembered += 1;
        if self.remembered > REMEMBERED
            && let Some(oldest) = self.slab.first(LEFT)
        {
            self.unbind(oldest);
            self.slab.free(oldest);
            self.remembered -= 1;
        }
    }

    fn over_until(&mut self, slot: u32, until: MonoNs) {
        if let Life::Left { over_until, .. } = &mut self.slab[slot].life {
            *over_until = until.max(*over_until);
        }
    }
}

pub(super) fn packed(t: &Transition) -> PackedTuple {
    PackedTuple::new(t.tuple, t.mptcp)
}
