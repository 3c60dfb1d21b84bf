//! Bucket bounds of the two histograms, and what falls into them.

use std::time::Duration;

use crate::tracker::Dwell;

/// Counts by upper bound in seconds, the last of which is infinite; not cumulative.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Buckets {
    pub(super) sum: f64,
    pub(super) counts: Vec<(f64, u64)>,
}

impl Buckets {
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// Ages worth telling apart: 10 s (the default threshold), 1, 5, 15 minutes, 1, 6 hours,
/// 1, 3, 7 days.
const AGES: [f64; 9] = [10.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

/// Ages by bound.
pub(super) struct Ages {
    sum: Duration,
    counts: [u64; AGES.len() + 1],
}

impl Ages {
    pub(super) const fn new() -> Self {
        Self { sum: Duration::ZERO, counts: [0; AGES.len() + 1] }
    }

    pub(super) fn add(&mut self, age: Duration) {
        let seconds = age.as_secs_f64();
        self.counts[AGES.partition_point(|bound| *bound < seconds)] += 1;
        self.sum = self.sum.saturating_add(age);
    }

    pub(super) fn buckets(&self) -> Buckets {
        let bounds = AGES.into_iter().chain([f64::INFINITY]);
        Buckets { sum: self.sum.as_secs_f64(), counts: bounds.zip(self.counts).collect() }
    }
}

/// Every second bound of the tracker's, which are powers of two of a millisecond, up to
/// 2^26 ms (19 h): 14 of them. Its bounds are exclusive; that a time is one of them to the
/// nanosecond does not happen.
pub(super) fn latency(dwell: &Dwell) -> Buckets {
    const LAST: u32 = 26;
    let mut counts: Vec<_> =
        (0..=LAST).step_by(2).map(|power| (Duration::from_millis(1 << power), 0)).collect();
    let mut beyond = 0;
    for (bound, count) in dwell.buckets() {
        let bucket = bound.and_then(|bound| counts.iter_mut().find(|(last, _)| bound <= *last));
        *bucket.map_or(&mut beyond, |(_, known)| known) += count;
    }
    let bounded = counts.into_iter().map(|(bound, count)| (bound.as_secs_f64(), count));
    Buckets { sum: dwell.sum().as_secs_f64(), counts: bounded.chain([(f64::INFINITY, beyond)]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let mut ages = Ages::new();
        for seconds in [0, 10, 11, 60, 604_800, 604_801, 10_000_000] {
            ages.add(Duration::from_secs(seconds));
        }
        let Buckets { sum, counts } = ages.buckets();
        assert!((sum - 11_209_682.0).abs() < 1e-6, "{sum}");
        let counts: Vec<_> = counts.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 2, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn latencies_keep_their_bounds_and_none_is_lost() {
        let mut dwell = Dwell::default();
        for ms in [0, 1, 3, 4, 1 << 25, 1 << 26, u64::from(u32::MAX)] {
            dwell.record(Duration::from_millis(ms));
        }
        let buckets = latency(&dwell);
        assert_eq!(buckets.total(), dwell.total());
        assert_eq!(buckets.counts.len(), 15);
        assert_eq!(buckets.counts[..3], [(0.001, 1), (0.004, 2), (0.016, 1)]);
        assert_eq!(buckets.counts[13..], [(67_108.864, 1), (f64::INFINITY, 2)]);
        let want = 4_294_967.295 + 67_108.864 + 33_554.432 + 0.008;
        assert!((buckets.sum - want).abs() < 1e-6, "{}", buckets.sum);
    }
}
