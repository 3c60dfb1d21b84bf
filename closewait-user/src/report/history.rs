//! What became of the number of stuck sockets: one row of stretches of time from the first
//! moment on. Pure. Its memory does not grow: when the row is full, two stretches become
//! one, so that it always reaches from the beginning to now.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::report::model::{Report, entered};

use super::Moment;

/// Stretches at most; even, because two become one.
const MAX: usize = 240;
/// How long a stretch is at first.
const FIRST: Duration = Duration::from_secs(1);
/// Changes of the filter that are remembered, and how long one may take: its processes and
/// cgroups count at the next look at each socket.
const CHANGES: usize = 8;
const ONE_CHANGE: Duration = Duration::from_secs(20);

/// What happened in one stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stretch {
    /// The most sockets that were stuck at one time.
    pub stuck: u64,
    /// Sockets that became stuck. Those that were found stuck at first did not.
    pub births: u64,
    /// Stuck sockets that ended.
    pub ends: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    began: Option<MonoNs>,
    width: Duration,
    stretches: Vec<Stretch>,
    level: u64,
    /// Sockets that were taken out of the ledger to go on under another id.
    renamed: u64,
    /// Sockets that may have been in CLOSE_WAIT before it began: no births.
    found: u64,
    /// When a filter began to leave sockets out; the first few times.
    filtered: Vec<MonoNs>,
}

impl Default for History {
    fn default() -> Self {
        let (stretches, filtered) = (Vec::new(), Vec::new());
        Self { began: None, width: FIRST, stretches, level: 0, renamed: 0, found: 0, filtered }
    }
}

impl History {
    /// Time has come to `at`; its ledger says how many are stuck.
    pub fn reach(&mut self, at: Moment<'_>) {
        self.is_now(at.now, at.ledger.sockets().len() as u64);
    }

    /// `stuck` are stuck: fewer than before without an end means that some are renamed.
    fn is_now(&mut self, now: MonoNs, stuck: u64) {
        self.renamed += self.level.saturating_sub(stuck);
        self.level = stuck;
        let last = self.at(now);
        last.stuck = last.stuck.max(stuck);
    }

    /// A socket is left out by another filter: it neither ended nor goes on under another id.
    pub fn left_out(&mut self, now: MonoNs) {
        self.level = self.level.saturating_sub(1);
        let is_new = self.filtered.last().is_none_or(|&last| now.since(last) > ONE_CHANGE);
        if is_new && self.filtered.len() < CHANGES {
            self.filtered.push(now);
        }
    }

    /// When filters began to leave out what had been counted.
    pub fn filtered(&self) -> &[MonoNs] {
        &self.filtered
    }

    /// How many were stuck of which it is not certain that they were not in CLOSE_WAIT before
    /// it began.
    pub const fn found(&self) -> u64 {
        self.found
    }

    /// Counts what a report tells.
    pub fn report(&mut self, report: &Report, at: Moment<'_>) {
        let began = *self.began.get_or_insert(at.now);
        match report {
            Report::Stuck(finding) | Report::Ghost(finding) if !finding.update => {
                // Its own life is in the ledger; whatever is missing beside it was renamed.
                let before = (at.ledger.sockets().len() as u64).saturating_sub(1);
                self.is_now(at.now, before);
                if self.renamed > 0 {
                    // It was stuck before, under another id: no birth.
                    self.renamed -= 1;
                } else if entered(&finding.suspect).1.is_some_and(|earliest| earliest >= began) {
                    self.at(at.now).births += 1;
                } else {
                    self.found += 1;
                }
                self.level += 1;
            }
            Report::Released(release) if release.cause.is_some() => {
                self.level = self.level.saturating_sub(1);
                self.at(at.now).ends += 1;
            }
            _ => return,
        }
        self.reach(at);
    }

    /// The stretch that `now` lies in.
    fn at(&mut self, now: MonoNs) -> &mut Stretch {
        let since = now.since(*self.began.get_or_insert(now));
        while since.as_nanos() / self.width.as_nanos() >= MAX as u128 {
            self.fold();
        }
        let index = usize::try_from(since.as_nanos() / self.width.as_nanos()).unwrap_or(MAX - 1);
        if index >= self.stretches.len() {
            let quiet = Stretch { stuck: self.level, ..Stretch::default() };
            self.stretches.resize(index + 1, quiet);
        }
        &mut self.stretches[index]
    }

    fn fold(&mut self) {
        self.width = self.width.saturating_mul(2);
        self.stretches = fold(&self.stretches, 2);
    }

    /// When it began; `None` before anything was told.
    pub const fn began(&self) -> Option<MonoNs> {
        self.began
    }

    /// How long one stretch is.
    pub const fn width(&self) -> Duration {
        self.width
    }

    /// All of them, from the first.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// At most `columns` stretches for all of the time, and how long each of them is.
    pub fn in_columns(&self, columns: usize) -> (Vec<Stretch>, Duration) {
        let each = self.stretches.len().div_ceil(columns.max(1)).max(1);
        let width = self.width.saturating_mul(u32::try_from(each).unwrap_or(u32::MAX));
        (fold(&self.stretches, each), width)
    }
}

fn fold(stretches: &[Stretch], each: usize) -> Vec<Stretch> {
    let one = |several: &[Stretch]| Stretch {
        stuck: several.iter().map(|stretch| stretch.stuck).max().unwrap_or(0),
        births: several.iter().map(|stretch| stretch.births).sum(),
        ends: several.iter().map(|stretch| stretch.ends).sum(),
    };
    stretches.chunks(each).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> MonoNs {
        MonoNs(50_000_000_000 + n * 1_000_000_000)
    }

    fn counted(history: &History) -> (u64, u64) {
        let most = history.stretches.iter().map(|stretch| stretch.stuck).max().unwrap_or(0);
        (most, history.stretches.iter().map(|stretch| stretch.births).sum())
    }

    #[test]
    fn it_reaches_from_the_beginning_to_now_in_bounded_memory() {
        let mut history = History::default();
        for n in 0..100_000 {
            history.level = n / 100;
            let stretch = history.at(second(n));
            stretch.stuck = stretch.stuck.max(n / 100);
            stretch.births += 1;
            assert!(history.stretches.len() <= MAX);
        }
        assert_eq!(counted(&history), (999, 100_000));
        assert_eq!(history.width, Duration::from_secs(512));
        assert_eq!(history.stretches.len(), 100_000_usize.div_ceil(512));
        let (columns, width) = history.in_columns(50);
        assert!(columns.len() <= 50, "{}", columns.len());
        assert_eq!(width, Duration::from_secs(4 * 512));
        assert_eq!(columns.iter().map(|stretch| stretch.births).sum::<u64>(), 100_000);
        assert_eq!(columns.last().map(|stretch| stretch.stuck), Some(999));
    }

    #[test]
    fn what_was_stuck_stays_so_in_quiet_times() {
        let mut history = History::default();
        history.at(second(0)).stuck = 7;
        history.level = 7;
        history.at(second(5));
        assert!(history.stretches.iter().all(|stretch| stretch.stuck == 7));
        assert_eq!(history.stretches.len(), 6);
    }

    #[test]
    fn what_goes_on_under_another_name_is_found_missing() {
        let mut history = History::default();
        for (stuck, renamed) in [(0, 0), (5, 0), (4, 1), (6, 1), (3, 4)] {
            history.is_now(second(1), stuck);
            assert_eq!((history.level, history.renamed), (stuck, renamed));
        }
    }

    #[test]
    fn what_a_filter_leaves_out_is_not_found_missing() {
        let mut history = History::default();
        history.is_now(second(1), 5);
        for left in (0..5).rev() {
            history.left_out(second(2));
            history.is_now(second(2), left);
        }
        history.left_out(second(60));
        assert_eq!((history.level, history.renamed), (0, 0));
        assert_eq!(history.filtered(), [second(2), second(60)]);
        for n in 0..100 {
            history.left_out(second(100 * n + 100));
        }
        assert_eq!(history.filtered().len(), CHANGES);
    }

    #[test]
    fn a_clock_that_lies_makes_no_long_row() {
        let mut history = History::default();
        history.at(MonoNs(5)).births = 1;
        history.at(MonoNs(u64::MAX)).births = 1;
        history.at(MonoNs(0)).births += 1;
        assert!(history.stretches.len() <= MAX);
        assert_eq!(counted(&history).1, 3);
    }
}
