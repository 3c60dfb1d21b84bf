//! What was lost: the programs' own counters, and the runs that the kernel skipped
//! because the program was already running on that CPU. Turns them into gaps.
//!
//! Most skipped runs are no loss. What both transitions programs missed of the edges that
//! matter they count themselves (`closewait-ebpf/src/nesting.rs`), and what both programs
//! for EOF reads were skipped for is less than either.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray};
use closewait_ebpf::{counter, edges};

use crate::clock::{Clock, MonoNs};
use crate::item::Gap;

/// Reads the counters of loaded programs.
pub struct Counters {
    array: PerCpuArray<MapData, u64>,
    edges: PerCpuArray<MapData, Edges>,
    programs: Vec<Program>,
    eof_again: EofAgain,
    last: Totals,
    last_read: MonoNs,
}

/// The value of the `EDGES` map on one CPU.
type Edges = [u64; edges::COUNT];

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
/// The first, where its arguments are typed.
pub(super) const EOF_TYPED: &str = "eof_btf";
/// The transitions programs that count themselves what neither saw. Not the first by the
/// classic tracepoint: there the kernel skips both of them at once, which the skipped runs of
/// one of them tell.
const TRANSITIONS: [&str; 5] = ["enter_btf", "edge_btf", "enter_raw", "edge_raw", "edge_tp"];

/// Counts since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By [`counter`] slot, summed over CPUs.
    pub slots: [u64; counter::COUNT as usize],
    /// Edges that neither transitions program saw, and skipped runs of other programs (which
    /// kernels before 5.12 do not tell).
    pub recursion: u64,
    /// Of these, the edges.
    edges: u64,
    /// What only one of the transitions programs had seen, by the reading that these are of.
    seen: Missed,
}

// The slots are an array in the object; a slot more here would read past it.
const _: () = assert!(counter::COUNT > counter::LOST_ACCEPTED);

impl Totals {
    /// One counter.
    pub const fn get(&self, slot: u32) -> u64 {
        self.slots[slot as usize]
    }
}

impl Counters {
    /// Both transitions programs are attached.
    pub(super) fn new(
        array: PerCpuArray<MapData, u64>,
        edges: PerCpuArray<MapData, Edges>,
        programs: Vec<Program>,
    ) -> Self {
        let last = Totals { seen: settled(|| read(&edges)).unwrap_or_default(), ..Totals::default() };
        Self { array, edges, programs, eof_again: EofAgain::NotNeeded, last, last_read: Clock::mono_now() }
    }

    /// Whether the kernel has skipped the one program for EOF reads: where a program may be
    /// preempted, by another task that reads. Then a second one helps.
    pub fn wants_eof_again(&self) -> bool {
        self.eof_again == EofAgain::NotNeeded && self.skips_of_eof().is_some_and(|skips| skips > 0)
    }

    /// A second program for EOF reads is attached from now on.
    pub(super) fn add_eof_again(&mut self, program: Program) {
        self.eof_again = EofAgain::Since(self.skips_of_eof().unwrap_or(0));
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
        let eof_alone = if let EofAgain::Since(skips) = self.eof_again { skips } else { 0 };
        totals.seen = settled(|| read(&self.edges)).unwrap_or(self.last.seen);
        // By growth: what was less than zero in between hides nothing that came before or after.
        totals.edges += totals.seen.since(self.last.seen);
        let recursion = totals.edges + skipped(self.skipped(), eof_alone);
        totals.recursion = recursion.max(self.last.recursion);
        totals
    }

    /// When [`Self::gap`] was last called.
    pub const fn last_read(&self) -> MonoNs {
        self.last_read
    }

    /// What was lost since the last call, if anything.
    pub fn gap(&mut self) -> Option<Gap> {
        let totals = self.totals();
        // Not before they were read: what was lost meanwhile is in them.
        let now = Clock::mono_now();
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

    /// Those of the first program for EOF reads.
    fn skips_of_eof(&self) -> Option<u64> {
        self.programs.iter().find(|loaded| which_eof(&loaded.name) == Some(0))?.field("recursion_misses")
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

/// What the one transitions program has seen and the other was skipped for, beyond what the
/// one has taken over. It may be less than zero: while an entry is between both programs, and
/// when an edge came between the kernel's mark and that of the first, which the second did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missed {
    /// Entries into CLOSE_WAIT.
    entries: i64,
    /// Other edges of interest.
    edges: i64,
}

impl Missed {
    /// From the values of all CPUs.
    fn of(cpus: &[Edges]) -> Self {
        let sum = |member: usize| cpus.iter().fold(0_u64, |sum, cpu| sum.wrapping_add(cpu[member]));
        let entries = sum(edges::ENTRIES_DUE).wrapping_sub(sum(edges::ENTRIES_DONE));
        let edges = sum(edges::DUE).wrapping_sub(sum(edges::ON_TOP)).wrapping_sub(sum(edges::DONE));
        Self { entries: entries.cast_signed(), edges: edges.cast_signed() }
    }

    /// How many more than `before`.
    fn since(self, before: Self) -> u64 {
        let grown = |now: i64, before: i64| u64::try_from(now - before).unwrap_or(0);
        grown(self.entries, before.entries) + grown(self.edges, before.edges)
    }

    fn least(self, other: Self) -> Self {
        Self { entries: self.entries.min(other.entries), edges: self.edges.min(other.edges) }
    }
}

/// `None` when the map cannot be read.
fn read(edges: &PerCpuArray<MapData, Edges>) -> Option<Missed> {
    Some(Missed::of(&edges.get(&0, 0).ok()?))
}

/// What two readings agree on: one may come while an edge is between both programs. The
/// least of some, if none agree.
fn settled(read: impl Fn() -> Option<Missed>) -> Option<Missed> {
    const TRIES: usize = 5;
    let mut before = read()?;
    let mut least = before;
    for _ in 1..TRIES {
        let now = read()?;
        if now == before {
            return Some(now);
        }
        (before, least) = (now, least.least(now));
    }
    Some(least)
}

/// Which of the programs for EOF reads a program is.
fn which_eof(name: &str) -> Option<usize> {
    if name == EOF_TYPED { Some(0) } else { EOF.iter().position(|eof| *eof == name) }
}

/// How many of the skipped runs may have lost something, but for those of the transitions
/// programs. `eof_alone`: those of the first program for EOF reads while there
/// was no second.
fn skipped<'a>(skipped: impl Iterator<Item = (&'a str, u64)>, eof_alone: u64) -> u64 {
    let (mut sum, mut eof) = (0, [None; 2]);
    for (name, skipped) in skipped {
        match which_eof(name) {
            Some(which) => eof[which] = Some(skipped),
            None if TRANSITIONS.contains(&name) => {}
            None => sum += skipped,
        }
    }
    let eof = match eof {
        [Some(first), Some(again)] => eof_alone + again.min(first.saturating_sub(eof_alone)),
        [first, again] => first.or(again).unwrap_or(0),
    };
    sum + eof
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
        enter: grown(counter::LOST_ENTER) + grown(counter::LOST_ACCEPTED),
        leave: grown(counter::LOST_LEAVE) + grown(counter::LOST_NESTED) + grown(counter::LOST_ENDED),
        destroy: grown(counter::LOST_DESTROY),
        path: grown(counter::LOST_PATH),
        opener: grown(counter::LOST_OPENER) + grown(counter::LOST_MEMBER),
        recursion: after.recursion.saturating_sub(before.recursion),
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
        after.recursion = 7;
        let found = gap(&before, &after, from, to).unwrap();
        assert_eq!((found.enter, found.recursion, found.total(), found.from, found.to), (2, 7, 9, from, to));
    }

    #[test]
    fn skipped_runs_that_are_accounted_for_are_no_loss() {
        let lost = |programs: &[(&'static str, u64)], eof_alone| skipped(programs.iter().copied(), eof_alone);
        assert_eq!(lost(&[], 0), 0, "the kernel does not tell");
        assert_eq!(
            lost(&[("enter_raw", 2), ("edge_raw", 9), ("destroy_raw", 3)], 0),
            3,
            "edges count themselves"
        );
        assert_eq!(lost(&[("enter_tp", 2), ("edge_tp", 2)], 0), 2, "both are skipped at once");
        assert_eq!(lost(&[("eof_raw", 5)], 0), 5);
        assert_eq!(lost(&[("eof_raw", 5), ("eof_again_raw", 0)], 5), 5, "before there were two");
        assert_eq!(lost(&[("eof_raw", 9), ("eof_again_raw", 3)], 5), 8, "by both at most so many");
        assert_eq!(lost(&[("eof_raw", 6), ("eof_again_raw", 3)], 5), 6);
    }

    #[test]
    fn an_edge_that_neither_program_saw_is_missed() {
        let cpu = |due, on_top, done, entries_due, entries_done| {
            let mut cpu = Edges::default();
            cpu[edges::DUE] = due;
            cpu[edges::ON_TOP] = on_top;
            cpu[edges::DONE] = done;
            cpu[edges::ENTRIES_DUE] = entries_due;
            cpu[edges::ENTRIES_DONE] = entries_done;
            cpu
        };
        let missed = |cpus: &[Edges]| Missed::of(cpus).since(Missed::default());
        assert_eq!(missed(&[cpu(9, 1, 8, 3, 3), cpu(5, 0, 5, 0, 0)]), 0);
        assert_eq!(missed(&[cpu(9, 1, 7, 3, 3), cpu(5, 0, 4, 0, 0)]), 2);
        assert_eq!(missed(&[cpu(9, 1, 8, 3, 1)]), 2);
        assert_eq!(missed(&[cpu(9, 0, 8, 3, 4)]), 1, "one kind does not make up for another");
        assert_eq!(missed(&[cpu(9, 1, 9, 3, 4)]), 0, "between the kernel's mark and the first program's");
        let before = Missed::of(&[cpu(9, 1, 7, 3, 3)]);
        assert_eq!(Missed::of(&[cpu(9, 1, 7, 4, 3)]).since(before), 1);
    }

    #[test]
    fn a_reading_counts_when_it_is_repeated() {
        let counted = |readings: &[i64]| {
            let readings = std::cell::RefCell::new(readings.iter().copied());
            settled(|| Some(Missed { entries: 0, edges: readings.borrow_mut().next()? }))
                .map(|missed| missed.edges)
        };
        assert_eq!(counted(&[4, 4]), Some(4));
        assert_eq!(counted(&[5, 4, 4]), Some(4), "one edge was between the programs");
        assert_eq!(counted(&[5, 6, 5, 6, 7]), Some(5));
        assert_eq!(counted(&[]), None);
    }

    #[test]
    fn recursion_misses_are_unknown_where_fdinfo_has_none() {
        assert_eq!(field("pos:\t0\nprog_type:\t17\nrecursion_misses:\t12\n", "recursion_misses"), Some(12));
        assert_eq!(field("pos:\t0\nprog_type:\t17\n", "recursion_misses"), None);
    }
}
