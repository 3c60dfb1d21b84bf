//! What was lost: the programs' own counters, and the runs that the kernel skipped
//! because the program was already running on that CPU. Turns them into gaps.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray};
use closewait_ebpf::counter;

use crate::clock::{Clock, MonoNs};
use crate::item::Gap;

/// Reads the counters of loaded programs.
pub struct Counters {
    array: PerCpuArray<MapData, u64>,
    programs: Vec<OwnedFd>,
    last: Totals,
    last_read: MonoNs,
}

/// Counts since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By [`counter`] slot, summed over CPUs.
    pub slots: [u64; counter::COUNT as usize],
    /// Skipped runs; `None` where the kernel does not tell (before 5.12).
    pub recursion: Option<u64>,
}

impl Totals {
    /// One counter.
    pub const fn get(&self, slot: u32) -> u64 {
        self.slots[slot as usize]
    }
}

impl Counters {
    pub(super) fn new(array: PerCpuArray<MapData, u64>, programs: Vec<OwnedFd>) -> Self {
        Self { array, programs, last: Totals::default(), last_read: Clock::mono_now() }
    }

    /// Counts since load. A slot that cannot be read keeps its last value.
    pub fn totals(&self) -> Totals {
        let mut totals = self.last;
        for (slot, total) in (0..counter::COUNT).zip(&mut totals.slots) {
            if let Ok(values) = self.array.get(&slot, 0) {
                *total = values.iter().sum();
            }
        }
        totals.recursion = self.recursion();
        totals
    }

    /// What was lost since the last call, if anything.
    pub fn gap(&mut self, now: MonoNs) -> Option<Gap> {
        let totals = self.totals();
        let gap = gap(&self.last, &totals, self.last_read, now);
        self.last = totals;
        self.last_read = now;
        gap
    }

    /// CPU time of all programs; `None` while the kernel does not count it
    /// (`kernel.bpf_stats_enabled`, off by default).
    pub fn run_time(&self) -> Option<Duration> {
        self.sum("run_time_ns").filter(|&ns| ns > 0).map(Duration::from_nanos)
    }

    /// Skipped runs of all programs (5.12+).
    fn recursion(&self) -> Option<u64> {
        self.sum("recursion_misses")
    }

    /// The sum of a field of the programs' fdinfo; `None` when no program has it.
    fn sum(&self, name: &str) -> Option<u64> {
        let values = self.programs.iter().filter_map(|program| {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
            field(&info, name)
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
    }
}

/// `name:\t123` in a fdinfo file.
fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// The difference between two readings, if it has a loss.
fn gap(before: &Totals, after: &Totals, from: MonoNs, to: MonoNs) -> Option<Gap> {
    let grown = |slot| after.get(slot).saturating_sub(before.get(slot));
    let gap = Gap {
        from,
        to,
        enter: grown(counter::LOST_ENTER),
        leave: grown(counter::LOST_LEAVE) + grown(counter::LOST_ENDED),
        destroy: grown(counter::LOST_DESTROY),
        path: grown(counter::LOST_PATH),
        opener: grown(counter::LOST_OPENER) + grown(counter::LOST_MEMBER),
        recursion: after.recursion.unwrap_or(0).saturating_sub(before.recursion.unwrap_or(0)),
        malformed: 0,
        unreadable: grown(counter::UNREADABLE_ENTER) + grown(counter::UNREADABLE_EDGE),
        missed: 0,
    };
    (gap.total() > 0).then_some(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_of_a_loss_counter_makes_a_gap() {
        let (from, to) = (MonoNs(1), MonoNs(2));
        let mut before = Totals::default();
        before.slots[counter::LOST_ENTER as usize] = 3;
        let mut after = before;
        after.slots[counter::SENT_ENTER as usize] = 100;
        assert_eq!(gap(&before, &after, from, to), None);
        after.slots[counter::LOST_ENTER as usize] = 5;
        after.recursion = Some(7);
        let found = gap(&before, &after, from, to).unwrap();
        assert_eq!((found.enter, found.recursion, found.total(), found.from, found.to), (2, 7, 9, from, to));
    }

    #[test]
    fn recursion_misses_are_unknown_where_fdinfo_has_none() {
        assert_eq!(field("pos:\t0\nprog_type:\t17\nrecursion_misses:\t12\n", "recursion_misses"), Some(12));
        assert_eq!(field("pos:\t0\nprog_type:\t17\n", "recursion_misses"), None);
    }
}
