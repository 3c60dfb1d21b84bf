//! What the tracker has counted.

use std::time::Duration;

/// Counters of a tracker. All but the first four only grow.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct TrackerStats {
    /// Sockets in CLOSE_WAIT now.
    pub tracked: u64,
    /// Ghosts now.
    pub ghosts: u64,
    /// Suspects now: handed out and not over.
    pub suspects: u64,
    /// Old enough to be suspects, and not handed out when that was last done: there was no room.
    pub waiting: u64,

    /// Lives begun by an edge into CLOSE_WAIT.
    pub entered: u64,
    /// Lives begun by a snapshot that showed a socket whose edge had not been seen.
    pub found_by_snapshot: u64,
    /// Lives of which a snapshot tells that they began while edges were recorded, and
    /// whose record was lost.
    pub missed: u64,
    /// Lives known only by their end: an edge out of CLOSE_WAIT of an unknown socket.
    pub unmatched_leaves: u64,
    /// Lives ended by an edge out of CLOSE_WAIT; those of `unmatched_leaves` among them.
    pub left: u64,
    /// Lives whose edge out of CLOSE_WAIT was lost and whose end was inferred: from
    /// a snapshot, a later record of the same address, or enrichment.
    pub healed: u64,
    /// Of `healed`: the same address entered CLOSE_WAIT again.
    pub reentered: u64,
    /// Ghosts begun.
    pub ghosts_begun: u64,
    /// Suspects handed out, ghosts among them.
    pub handed_out: u64,

    /// Records seen twice.
    pub duplicates: u64,
    /// Records of a life that was over already when they came.
    pub late: u64,
    /// Edges into CLOSE_WAIT that came after the edge out of it.
    pub reordered: u64,
    /// Ends of sockets that were not known as ghosts.
    pub unmatched_destroys: u64,
    /// Transitions that are none of the tracker's business.
    pub ignored: u64,
    /// Gaps.
    pub gaps: u64,
    /// Records lost in them.
    pub lost_records: u64,
    /// Snapshots.
    pub snapshots: u64,

    /// Time from CLOSE_WAIT to LAST_ACK of lives of which both edges were seen.
    pub dwell: Dwell,
}

impl TrackerStats {
    /// Lives that were told of, by whatever: sockets that were in CLOSE_WAIT at some time.
    pub const fn lives(&self) -> u64 {
        self.entered.saturating_add(self.found_by_snapshot).saturating_add(self.unmatched_leaves)
    }
}

/// A histogram of times in powers of two of a millisecond.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Dwell {
    counts: [u64; Self::BUCKETS],
    /// Not in recordings, whose format has no place for it.
    #[serde(skip)]
    sum: Duration,
}

impl Dwell {
    /// Number of buckets: under 1 ms, under 2, under 4, ...; the last has no upper bound.
    pub const BUCKETS: usize = 32;

    /// Counts one time.
    pub fn record(&mut self, dwell: Duration) {
        let ms = u64::try_from(dwell.as_millis()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - ms.leading_zeros()) as usize;
        self.counts[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(dwell);
    }

    /// All times together, of those counted in this run.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The count of each bucket with its upper bound (exclusive), `None` for the last.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.counts.iter().enumerate().map(|(i, &count)| {
            let bound = (i + 1 < Self::BUCKETS).then(|| Duration::from_millis(1 << i));
            (bound, count)
        })
    }

    /// Times recorded.
    pub fn total(&self) -> u64 {
        self.counts.iter().copied().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_whose_bound_is_above_it() {
        for ms in [0, 1, 2, 3, 4, 7, 8, 1000, 1 << 30, u64::MAX] {
            let mut dwell = Dwell::default();
            dwell.record(Duration::from_millis(ms));
            let (bound, _) = dwell.buckets().find(|&(_, count)| count == 1).unwrap();
            let want =
                (0..31).map(|i| Duration::from_millis(1 << i)).find(|b| *b > Duration::from_millis(ms));
            assert_eq!(bound, want, "{ms} ms");
            assert_eq!(dwell.total(), 1);
        }
    }
}
