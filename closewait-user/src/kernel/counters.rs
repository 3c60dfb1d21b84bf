//! What was lost: the programs' own counters, and the runs that the kernel skipped
//! because the program was already running on that CPU. Turns them into gaps.
//!
//! Most skipped runs are no loss: the first transitions program sees what the second is
//! skipped for (`closewait-ebpf/src/nesting.rs`), and what both programs for EOF reads
//! were skipped for is less than either.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray};
use closewait_ebpf::counter;

use crate::clock::{Clock, MonoNs};
use crate::item::Gap;

/// Reads the counters of loaded programs.
pub struct Counters {
    array: PerCpuArray<MapData, u64>,
    programs: Vec<Program>,
    eof_again: EofAgain,
    last: Totals,
    last_read: MonoNs,
}

/// The second program for EOF reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EofAgain {
    NotNeeded,
    /// It came when the first had been skipped so often.
    Since(u64),
    Refused,
}

/// A loaded program.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) fd: OwnedFd,
}

/// The first program for EOF reads, and the one that steps in.
pub(super) const EOF: [&str; 2] = ["eof_raw", "eof_again_raw"];
/// The second transitions program, by either hook.
const EDGE: [&str; 2] = ["edge_raw", "edge_tp"];

/// Counts since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By [`counter`] slot, summed over CPUs.
    pub slots: [u64; counter::COUNT as usize],
    /// Skipped runs that may be a loss; `None` where the kernel does not tell (before 5.12).
    pub recursion: Option<u64>,
}

impl Totals {
    /// One counter.
    pub const fn get(&self, slot: u32) -> u64 {
        self.slots[slot as usize]
    }
}

impl Counters {
    pub(super) fn new(array: PerCpuArray<MapData, u64>, programs: Vec<Program>) -> Self {
        Self {
            array,
            programs,
            eof_again: EofAgain::NotNeeded,
            last: Totals::default(),
            last_read: Clock::mono_now(),
        }
    }

    /// Whether the kernel has skipped the one program for EOF reads: where a program may be
    /// preempted, by another task that reads. Then a second one helps.
    pub fn wants_eof_again(&self) -> bool {
        self.eof_again == EofAgain::NotNeeded && self.skips_of(EOF[0]).is_some_and(|skips| skips > 0)
    }

    /// A second program for EOF reads is attached from now on.
    pub(super) fn add_eof_again(&mut self, program: Program) {
        self.eof_again = EofAgain::Since(self.skips_of(EOF[0]).unwrap_or(0));
        self.programs.push(program);
    }

    /// There is none to be had.
    pub(super) fn refuse_eof_again(&mut self) {
        self.eof_again = EofAgain::Refused;
    }

    /// Counts since load. A slot that cannot be read keeps its last value.
    pub fn totals(&self) -> Totals {
        let mut totals = self.last;
        for (slot, total) in (0..counter::COUNT).zip(&mut totals.slots) {
            if let Ok(values) = self.array.get(&slot, 0) {
                *total = values.iter().sum();
            }
        }
        let nested = totals.get(counter::NESTED);
        let eof_alone = if let EofAgain::Since(skips) = self.eof_again { skips } else { 0 };
        totals.recursion = unaccounted(self.skipped(), nested, eof_alone);
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
        let ns: u64 = self.each("run_time_ns").map(|(_, ns)| ns).sum();
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    /// Skipped runs by program (5.12+).
    fn skipped(&self) -> impl Iterator<Item = (&str, u64)> {
        self.each("recursion_misses")
    }

    fn skips_of(&self, program: &str) -> Option<u64> {
        self.programs.iter().find(|loaded| loaded.name == program)?.field("recursion_misses")
    }

    /// A field of the fdinfo of every program that has it.
    fn each(&self, name: &'static str) -> impl Iterator<Item = (&str, u64)> {
        self.programs.iter().filter_map(move |program| Some((program.name.as_str(), program.field(name)?)))
    }
}

impl Program {
    /// A field of its fdinfo.
    fn field(&self, name: &str) -> Option<u64> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd())).ok()?;
        field(&info, name)
    }
}

/// How many of the skipped runs may have lost something. `nested`: those of the second
/// transitions program that the first has seen. `eof_alone`: those of the first program
/// for EOF reads while there was no second.
fn unaccounted<'a>(
    skipped: impl Iterator<Item = (&'a str, u64)>,
    nested: u64,
    eof_alone: u64,
) -> Option<u64> {
    let (mut sum, mut eof) = (None, [None; 2]);
    for (name, skipped) in skipped {
        let all = sum.get_or_insert(0_u64);
        match EOF.iter().position(|eof| *eof == name) {
            Some(which) => eof[which] = Some(skipped),
            None if EDGE.contains(&name) => *all += skipped.saturating_sub(nested),
            None => *all += skipped,
        }
    }
    let eof = match eof {
        [Some(first), Some(again)] => eof_alone + again.min(first.saturating_sub(eof_alone)),
        [first, again] => first.or(again).unwrap_or(0),
    };
    sum.map(|sum| sum + eof)
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
        leave: grown(counter::LOST_LEAVE) + grown(counter::LOST_NESTED) + grown(counter::LOST_ENDED),
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
    fn skipped_runs_that_are_accounted_for_are_no_loss() {
        let lost = |programs: &[(&'static str, u64)], nested, eof_alone| {
            unaccounted(programs.iter().copied(), nested, eof_alone)
        };
        assert_eq!(lost(&[], 0, 0), None, "the kernel does not tell");
        assert_eq!(lost(&[("enter_raw", 2), ("edge_raw", 7)], 7, 0), Some(2));
        assert_eq!(lost(&[("edge_raw", 7)], 5, 0), Some(2), "between two marks");
        assert_eq!(lost(&[("edge_tp", 7)], 9, 0), Some(0), "counted, and not skipped after all");
        assert_eq!(lost(&[("eof_raw", 5)], 0, 0), Some(5));
        assert_eq!(lost(&[("eof_raw", 5), ("eof_again_raw", 0)], 0, 5), Some(5), "before there were two");
        assert_eq!(lost(&[("eof_raw", 9), ("eof_again_raw", 3)], 0, 5), Some(8), "by both at most so many");
        assert_eq!(lost(&[("eof_raw", 6), ("eof_again_raw", 3)], 0, 5), Some(6));
    }

    #[test]
    fn recursion_misses_are_unknown_where_fdinfo_has_none() {
        assert_eq!(field("pos:\t0\nprog_type:\t17\nrecursion_misses:\t12\n", "recursion_misses"), Some(12));
        assert_eq!(field("pos:\t0\nprog_type:\t17\n", "recursion_misses"), None);
    }
}
