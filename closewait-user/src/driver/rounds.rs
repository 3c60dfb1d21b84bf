//! Who is looked at next, when there are many. In: how many wait, and how long looks took.
//! Out: how many are taken now, and which are judged anew. The order in which things give way
//! is that of [`super::room`]. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use super::rest::Rest;
use super::room::{ROUND, ROUND_MAX};
use crate::clock::MonoNs;
use crate::tracker::SocketId;

/// See the module.
pub(super) struct Rounds {
    /// To be judged anew, when there is time.
    again: VecDeque<SocketId>,
    /// When that began.
    again_from: MonoNs,
    /// That it takes long has been told.
    is_slow: bool,
    /// After a look at those that are new, and at those to be judged anew.
    rests: [Rest; 2],
    /// So many may be reported one by one.
    most: usize,
}

impl Rounds {
    /// As many as `most` may be reported one by one.
    pub(super) fn new(most: usize, now: MonoNs) -> Self {
        let rests = [Rest::short(), Rest::default()];
        Self { again: VecDeque::new(), again_from: now, is_slow: false, rests, most }
    }

    /// So many may be reported one by one.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// How many new ones are taken now: `waiting` are old enough, `pending` wait for their
    /// verdict already, and for `left` there is room.
    pub(super) fn new_ones(&self, now: MonoNs, waiting: u64, pending: usize, left: usize) -> usize {
        // Of a million no more than a few rounds.
        let round = usize::try_from(waiting / 4).unwrap_or(ROUND).clamp(ROUND, ROUND_MAX);
        let room = round.saturating_sub(pending);
        // A round costs a walk over all sockets, however few it is for.
        let is_scrap = room < round / 2 && waiting > room as u64;
        if is_scrap || !self.rests[0].is_over(now) { 0 } else { room.min(left) }
    }

    /// Those are to be judged anew, unless the last time has not come to its end.
    pub(super) fn again(&mut self, all: impl Iterator<Item = SocketId>, now: MonoNs) {
        if self.again.is_empty() {
            self.again.extend(all);
            self.again_from = now;
        }
    }

    /// Some of them, if there is time for it beside those that are `pending`; and once, when
    /// these are the last, how long all of them have taken, if that was `long`.
    pub(super) fn next_again(
        &mut self,
        now: MonoNs,
        pending: usize,
        long: Duration,
    ) -> (Vec<SocketId>, Option<Duration>) {
        if self.again.is_empty() || !self.rests[1].is_over(now) || pending > ROUND / 2 {
            return (Vec::new(), None);
        }
        let some = self.again.len().min(ROUND - pending);
        let some = self.again.drain(..some).collect();
        if !self.again.is_empty() {
            return (some, None);
        }
        self.again = VecDeque::new();
        let took = Some(now.since(self.again_from)).filter(|&took| took >= long && !self.is_slow);
        self.is_slow |= took.is_some();
        (some, took)
    }

    /// The first look at new ones, or at others, has been taken.
    pub(super) fn looked(&mut self, are_new: bool, began: MonoNs, now: MonoNs) {
        // The second one takes about as long.
        let ended = now + now.since(began);
        self.rests[usize::from(!are_new)].after(began, ended, Duration::MAX / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    #[test]
    fn new_ones_come_in_rounds_with_rests_between_them() {
        let mut rounds = Rounds::new(1_000_000, ms(0));
        assert_eq!(rounds.new_ones(ms(0), 0, 0, 5), 5, "as many as there is room for");
        assert_eq!(rounds.new_ones(ms(0), 400_000, 0, 1_000_000), ROUND);
        assert_eq!(rounds.new_ones(ms(0), 600_000, 0, 1_000_000), 150_000);
        assert_eq!(rounds.new_ones(ms(0), 2_000_000, 0, 1_000_000), ROUND_MAX);
        assert_eq!(rounds.new_ones(ms(0), 10, ROUND - 10, 50), 10, "the rest of a round, if all fit");
        assert_eq!(rounds.new_ones(ms(0), 11, ROUND - 10, 50), 0, "else a whole one later");
        assert_eq!(rounds.new_ones(ms(0), 11, ROUND + 1, 50), 0);
        rounds.looked(true, ms(1000), ms(1500));
        assert_eq!(rounds.new_ones(ms(2999), 1, 0, 50), 0);
        assert_eq!(rounds.new_ones(ms(3000), 1, 0, 50), 50, "two looks of half a second, and as much rest");
    }

    #[test]
    fn those_to_be_judged_anew_come_when_there_is_time_and_all_before_any_comes_again() {
        let id = |n: usize| SocketId::from_parts(u32::try_from(n).unwrap(), 1);
        let all = ROUND * 3 / 2;
        let long = Duration::from_secs(20);
        let mut rounds = Rounds::new(1_000_000, ms(0));
        rounds.again((0..all).map(id), ms(0));
        rounds.again((0..all).map(id), ms(1));
        let mut next = |at, pending| {
            let (some, took) = rounds.next_again(at, pending, long);
            if !some.is_empty() {
                rounds.looked(false, at, at + Duration::from_secs(2));
            }
            (some.first().copied(), some.len(), took)
        };
        assert_eq!(next(ms(10), ROUND), (None, 0, None), "others wait");
        assert_eq!(next(ms(10), 0), (Some(id(0)), ROUND, None));
        assert_eq!(next(ms(40_009), 0), (None, 0, None), "nine times two looks of two seconds");
        let took = Duration::from_secs(41);
        assert_eq!(next(ms(41_000), 0), (Some(id(ROUND)), ROUND / 2, Some(took)));
        assert_eq!(next(ms(100_000), 0), (None, 0, None));
        rounds.again((0..1).map(id), ms(200_000));
        assert_eq!(rounds.next_again(ms(300_000), 0, long).1, None, "it was told");
    }
}
