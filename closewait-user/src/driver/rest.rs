//! A bound on the CPU time of what is done again and again and costs more the more there
//! is: looking at all sockets of all namespaces, and at all descriptors. In: how long one
//! look took. Out: when the next may begin. Pure.
//!
//! The order in which things give way on a host that has too much of everything: looks
//! become rarer first, and that is said; what was lost is then found later, never missed.

use std::time::Duration;

use crate::clock::MonoNs;

/// A look is followed by a rest of nine times its length: at most a tenth of one CPU.
const REST: u32 = 9;

/// The rest after a look.
#[derive(Debug, Default)]
pub(super) struct Rest {
    until: MonoNs,
    is_told: bool,
}

impl Rest {
    /// Whether a look that is due may begin.
    pub(super) fn is_over(&self, now: MonoNs) -> bool {
        now >= self.until
    }

    /// A look has been taken. Some, once: it is so long that the next comes later than
    /// `every`, by so much in all.
    pub(super) fn after(&mut self, began: MonoNs, ended: MonoNs, every: Duration) -> Option<Duration> {
        let took = ended.since(began);
        self.until = ended + took * REST;
        let turn = took * (REST + 1);
        let is_late = turn > every && !self.is_told;
        self.is_told |= is_late;
        is_late.then_some(turn)
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
        let (began, ended) = (ms(20_000), ms(26_000));
        assert_eq!(rest.after(began, ended, EVERY), Some(Duration::from_mins(1)), "said once");
        assert!(!rest.is_over(ms(79_999)) && rest.is_over(ms(80_000)));
        assert_eq!(rest.after(began, ended, EVERY), None, "and not again");
    }

    #[test]
    fn a_look_as_long_as_it_may_be_is_not_late() {
        let mut rest = Rest::default();
        assert_eq!(rest.after(ms(0), ms(1000), EVERY), None);
        assert_eq!(rest.after(ms(0), ms(1001), EVERY), Some(Duration::from_millis(10_010)));
    }
}
