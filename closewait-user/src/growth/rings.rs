//! Births and closes over time, in four resolutions: the recent past finely, a day
//! coarsely. Bounded, whatever happens.

use std::collections::VecDeque;
use std::time::Duration;

use super::Growth;
use super::interval::{Counts, f64_of};
use crate::clock::MonoNs;

/// Slots of a ring.
const SLOTS: u64 = 12;
/// A ring that has been watched for fewer tells nothing.
const SLOTS_TO_TELL: u64 = 6;
/// Seconds of a slot, ring by ring: two minutes, a quarter of an hour, two hours, a day.
const WIDTHS: [u64; 4] = [10, 75, 600, 7200];

/// Births and closes of stuck sockets, and how many there are.
#[derive(Debug)]
pub(super) struct Rings {
    began: MonoNs,
    stock: u64,
    by_width: [VecDeque<Slot>; WIDTHS.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Number of the slot, counted from boot.
    index: u64,
    births: u32,
    closes: u32,
    /// Most sockets there were at one time in it.
    peak: u64,
}

impl Rings {
    pub(super) fn new(began: MonoNs) -> Self {
        Self { began, stock: 0, by_width: std::array::from_fn(|_| VecDeque::new()) }
    }

    /// How many there are.
    pub(super) fn stock(&self) -> u64 {
        self.stock
    }

    /// Since when it has been watched.
    pub(super) fn watched(&self, now: MonoNs) -> Duration {
        now.since(self.began)
    }

    /// One more. What is found in the first slot is what there was.
    pub(super) fn birth(&mut self, now: MonoNs) {
        if now.since(self.began) < Duration::from_secs(WIDTHS[0]) {
            return self.join();
        }
        self.stock += 1;
        self.note(now, |slot| slot.births += 1);
    }

    /// One less.
    pub(super) fn close(&mut self, now: MonoNs) {
        self.note(now, |slot| slot.closes += 1);
        self.leave();
    }

    /// One that was stuck before, and counted elsewhere.
    pub(super) fn join(&mut self) {
        self.stock += 1;
    }

    /// One that is counted elsewhere from now on.
    pub(super) fn leave(&mut self) {
        self.stock = self.stock.saturating_sub(1);
    }

    fn note(&mut self, now: MonoNs, event: impl Fn(&mut Slot)) {
        for (ring, width) in self.by_width.iter_mut().zip(WIDTHS) {
            let index = slot_at(now, width);
            while ring.front().is_some_and(|slot| slot.index + SLOTS <= index) {
                ring.pop_front();
            }
            if ring.back().is_none_or(|last| last.index < index) {
                ring.push_back(Slot { index, ..Slot::default() });
            }
            if let Some(slot) = ring.back_mut() {
                event(slot);
                slot.peak = slot.peak.max(self.stock);
            }
        }
    }

    /// How fast they become more, by each ring that has been watched long enough,
    /// the most recent first.
    pub(super) fn growth(&self, now: MonoNs) -> impl Iterator<Item = Growth> {
        (0..WIDTHS.len()).filter_map(move |ring| self.growth_in(ring, now))
    }

    fn growth_in(&self, ring: usize, now: MonoNs) -> Option<Growth> {
        let (width, slots) = (WIDTHS[ring], &self.by_width[ring]);
        let last = slot_at(now, width);
        let first = (last + 1).saturating_sub(SLOTS).max(slot_at(self.began, width));
        let length = usize::try_from(last + 1 - first).ok()?;
        let from = MonoNs(first * width * 1_000_000_000).max(self.began);
        let watched = now.since(from);
        if watched < Duration::from_secs(width * SLOTS_TO_TELL) {
            return None;
        }
        let (mut births, mut ends) = (vec![0; length], vec![0; length]);
        for slot in slots.iter().filter(|slot| slot.index >= first) {
            let at = usize::try_from(slot.index - first).ok()?;
            *births.get_mut(at)? += slot.births;
            *ends.get_mut(at)? += slot.closes;
        }
        let (births, ends) = (Counts(&births), Counts(&ends));
        let (births_seen, ends_seen) = (births.total(), ends.total());

        // A pool that is emptied and filled again does not grow; what exceeds all
        // there was before may.
        let before = (self.stock + ends_seen).saturating_sub(births_seen).max(self.peak_before(ring, from));
        let new = births_seen.min(ends_seen + self.stock.saturating_sub(before));
        let (births_low, _) = births.bounds(new);
        let (_, births_high) = births.bounds(births_seen);
        let (ends_low, ends_high) = ends.bounds(ends_seen);
        let minutes = watched.as_secs_f64() / 60.0;
        Some(Growth {
            watched,
            births: births_seen,
            closes: ends_seen,
            per_minute: (f64_of(births_seen) - f64_of(ends_seen)) / minutes,
            at_least: (births_low - ends_high) / minutes,
            at_most: (births_high - ends_low) / minutes,
        })
    }

    /// The most there were before `from`, as far back as the next coarser ring goes.
    fn peak_before(&self, ring: usize, from: MonoNs) -> u64 {
        let Some((slots, width)) = self.by_width.get(ring + 1).zip(WIDTHS.get(ring + 1)) else { return 0 };
        let before = slot_at(from, *width);
        slots.iter().filter(|slot| slot.index < before).map(|slot| slot.peak).max().unwrap_or(0)
    }
}

fn slot_at(at: MonoNs, width: u64) -> u64 {
    at.0 / (width * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens at second `.0`: births and closes.
    fn watched(seconds: u64, events: impl IntoIterator<Item = (u64, u32, u32)>) -> Vec<Growth> {
        let start = 1_000_003;
        let at = |second: u64| MonoNs((start + second) * 1_000_000_000);
        let mut rings = Rings::new(at(0));
        for (second, births, closes) in events {
            for _ in 0..closes {
                rings.close(at(second));
            }
            for _ in 0..births {
                rings.birth(at(second));
            }
        }
        rings.growth(at(seconds)).collect()
    }

    fn grows(seconds: u64, events: impl IntoIterator<Item = (u64, u32, u32)>) -> bool {
        watched(seconds, events).iter().any(|growth| growth.at_least > 0.0)
    }

    /// `births` and `closes` every `period` seconds, from 11 on (the stock comes before).
    fn every(period: u64, until: u64, births: u32, closes: u32) -> impl Iterator<Item = (u64, u32, u32)> {
        (11..until).step_by(usize::try_from(period).unwrap()).map(move |second| (second, births, closes))
    }

    #[test]
    fn less_than_a_minute_tells_nothing() {
        assert_eq!(watched(59, every(1, 59, 1, 0)), []);
        assert!(grows(70, every(1, 70, 1, 0)));
    }

    #[test]
    fn a_leak_grows_at_any_pace() {
        assert!(grows(120, every(5, 120, 1, 0)), "12 a minute");
        assert!(grows(600, every(60, 600, 1, 0)) || grows(1200, every(60, 1200, 1, 0)), "one a minute");
        assert!(grows(8 * 3600, every(600, 8 * 3600, 1, 0)), "six an hour");
        assert!(grows(3600, every(2, 3600, 3, 2)), "beside a churn");
        assert!(grows(7200, every(60, 7200, 5, 0)), "five at each run of a job");
    }

    #[test]
    fn a_pool_does_not() {
        let stock = || std::iter::once((0, 20, 0));
        for seconds in [70, 130, 600, 3600, 30_000] {
            assert!(!grows(seconds, stock()), "nothing happens");
            assert!(!grows(seconds, stock().chain(every(7, seconds, 1, 1))), "one for one");
            assert!(!grows(seconds, stock().chain([(30, 20, 0)])), "one burst");
            assert!(!grows(seconds, stock().chain([(30, 0, 20), (65, 20, 0)])), "emptied, filled again");
            assert!(!grows(seconds, stock().chain(every(600, seconds, 20, 20))), "used every ten minutes");
        }
        // Filled over two minutes, four times an hour: after the first time the peak is known.
        let fill = |from: u64| (0..100).map(move |n| (from + n, 1, 0)).chain([(from + 500, 0, 100)]);
        let used = |runs: u64| (0..runs).flat_map(move |run| fill(20 + run * 900));
        for after in [70, 100, 120] {
            assert!(!grows(20 + 900 + after, used(2)), "{after} s into the second run");
        }
    }

    #[test]
    fn a_leak_that_begins_late_is_seen_soon() {
        let quiet = 5 * 3600;
        let leak = || (0..120).map(move |n| (quiet + n, 1, 0));
        assert!(grows(quiet + 119, std::iter::once((0, 5, 0)).chain(leak())));
    }

    #[test]
    fn the_rate_is_that_of_the_time_it_was_counted_in() {
        let all = watched(1200, every(6, 1200, 1, 0));
        let [recent, quarter, ..] = &all[..] else { panic!("{all:?}") };
        for growth in [recent, quarter] {
            assert!((growth.per_minute - 10.0).abs() < 1.0, "{growth:?}");
            assert!(growth.at_least < 10.0 && growth.at_most > 10.0, "{growth:?}");
        }
        assert!(quarter.at_most - quarter.at_least < recent.at_most - recent.at_least, "{all:?}");
        assert!(quarter.watched >= Duration::from_mins(10) && recent.watched <= Duration::from_mins(2));
    }

    #[test]
    fn memory_is_bounded() {
        let mut rings = Rings::new(MonoNs(0));
        for hour in 0..10_000_u64 {
            rings.birth(MonoNs(hour * 3_600_000_000_000));
            rings.close(MonoNs(hour * 3_600_000_000_000));
        }
        assert!(rings.by_width.iter().all(|ring| ring.len() as u64 <= SLOTS), "{rings:?}");
        assert_eq!(rings.stock(), 0);
    }
}
