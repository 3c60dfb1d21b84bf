//! A bound on the CPU time of what is done again and again and costs more the more there
//! is: looking at all sockets of all namespaces, at all descriptors, and at those that are
//! stuck. In: how long one look took. Out: when the next may begin. Pure.
//!
//! The order in which things give way on a host that has too much of everything: looks
//! become rarer first, and that is said; what was lost is then found later, never missed.

use std::time::Duration;

use crate::clock::MonoNs;

/// A look is followed by a rest of nine times its length: at most a tenth of one CPU.
const REST: u32 = 9;

/// The rest after a look.
#[derive(Debug)]
pub(super) struct Rest {
    /// So many times as long as the look.
    times: u32,
    until: MonoNs,
    was_long: bool,
    is_told: bool,
}

impl Default for Rest {
    fn default() -> Self {
        Self { times: REST, until: MonoNs(0), was_long: false, is_told: false }
    }
}

impl Rest {
    /// As long as the look: at most half of a CPU, for what was never looked at before.
    pub(super) fn short() -> Self {
        Self { times: 1, ..Self::default() }
    }

    /// Whether a look that is due may begin.
    pub(super) fn is_over(&self, now: MonoNs) -> bool {
        now >= self.until
    }

    /// A look has been taken. Some, once: it was the second in a row that takes so long that
    /// the next comes after so much, twice as late as `every` at least.
    pub(super) fn after(&mut self, began: MonoNs, ended: MonoNs, every: Duration) -> Option<Duration> {
        let took = ended.since(began);
        self.after_part(took, ended);
        self.turn(took, every)
    }

    /// A part of a look has been taken: the next part, or look, waits.
    pub(super) fn after_part(&mut self, took: Duration, ended: MonoNs) {
        self.until = ended + took * self.times;
    }

    /// A look has been taken that took so long in all. Some: as of [`Self::after`].
    pub(super) fn turn(&mut self, took: Duration, every: Duration) -> Option<Duration> {
        let turn = took * (self.times + 1);
        let is_long = turn >= every * 2;
        let is_news = is_long && self.was_long && !self.is_told;
        self.was_long = is_long;
        self.is_told |= is_news;
        is_news.then_some(turn)
    }

    /// When what is due may begin.
    pub(super) const fn until(&self) -> MonoNs {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    #[test]
    fn looks_take_a_tenth_of_the_time_at_most() {
        let mut rest = Rest::default();
        assert!(rest.is_over(ms(0)), "the first waits for nothing");
        assert_eq!(rest.after(ms(1000), ms(1050), EVERY), None);
        assert!(!rest.is_over(ms(1499)) && rest.is_over(ms(1500)));
        rest.after(ms(20_000), ms(26_000), EVERY);
        assert!(!rest.is_over(ms(79_999)) && rest.is_over(ms(80_000)));
        let mut short = Rest::short();
        short.after(ms(1000), ms(1500), EVERY);
        assert!(!short.is_over(ms(1999)) && short.is_over(ms(2000)));
    }

    #[test]
    fn after_each_part_of_a_look_is_a_rest_and_the_whole_is_what_is_told() {
        let mut rest = Rest::default();
        let part = Duration::from_millis(100);
        rest.after_part(part, ms(1100));
        assert!(!rest.is_over(ms(1999)) && rest.is_over(ms(2000)));
        assert_eq!((rest.until(), rest.turn(part * 20, EVERY)), (ms(2000), None));
        assert_eq!(rest.turn(part * 30, EVERY), Some(Duration::from_secs(30)));
        assert_eq!(rest.until(), ms(2000), "the rest was taken part by part");
    }

    #[test]
    fn that_looks_are_rare_is_said_once_and_not_of_one_that_was_held_up() {
        let said = |looks: &[u64]| {
            let mut rest = Rest::default();
            let mut said = |took: &u64| rest.after(ms(0), ms(*took), EVERY);
            looks.iter().filter_map(&mut said).collect::<Vec<_>>()
        };
        assert_eq!(said(&[1999, 1999]), []);
        assert_eq!(said(&[6000, 50, 6000, 50]), []);
        assert_eq!(said(&[2000, 6000, 6000]), [Duration::from_mins(1)]);
    }
}
