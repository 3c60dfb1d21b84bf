//! How long connections had been idle when their peer closed them. Many that are the
//! same tell the peer's idle timeout.

use std::collections::VecDeque;
use std::time::Duration;

use crate::verdict::IdleBeforeFin;

/// So many of the newest are remembered.
const REMEMBERED: usize = 256;
/// What is shorter is no idle timeout but the end of an exchange.
const SHORTEST: Duration = Duration::from_millis(400);

/// Idle times of the sockets of a pool.
#[derive(Debug, Default)]
pub(super) struct IdleTimes {
    newest: VecDeque<Duration>,
    typical: Option<IdleBeforeFin>,
    /// `typical` is older than `newest`.
    changed: bool,
}

impl IdleTimes {
    pub(super) fn add(&mut self, idle: Duration) {
        if self.newest.len() == REMEMBERED {
            self.newest.pop_front();
        }
        self.newest.push_back(idle);
        self.changed = true;
    }

    /// The time that most of them are close to, if there is one. The counts are of
    /// what is remembered.
    pub(super) fn typical(&mut self) -> Option<IdleBeforeFin> {
        if std::mem::take(&mut self.changed) {
            self.typical = cluster(self.newest.make_contiguous());
        }
        self.typical
    }
}

/// The densest few per cent, if half of all are in it.
fn cluster(times: &[Duration]) -> Option<IdleBeforeFin> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut best: &[Duration] = &[];
    for (first, &least) in times.iter().enumerate() {
        // A server looks at its connections every so often, and ticks are 10 ms.
        let most = least + least / 20 + Duration::from_millis(100);
        let within = times[first..].partition_point(|&time| time <= most);
        if within > best.len() {
            best = &times[first..first + within];
        }
    }
    let typical = *best.get(best.len() / 2)?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (typical >= SHORTEST && best.len() * 2 >= times.len()).then(|| IdleBeforeFin {
        typical: to_tenth(typical),
        sockets: count(best.len()),
        of: count(times.len()),
    })
}

/// To the nearest tenth of a second: the kernel tells both ends of it in ticks, and a timeout
/// of 4 s must not read as 3.9.
fn to_tenth(time: Duration) -> Duration {
    const TENTH: u64 = 100;
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(ms.saturating_add(TENTH / 2) / TENTH * TENTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: &[u64]) -> Option<(u64, u32, u32)> {
        let mut idle = IdleTimes::default();
        for &ms in ms {
            idle.add(Duration::from_millis(ms));
        }
        idle.typical().map(|t| (u64::try_from(t.typical.as_millis()).unwrap(), t.sockets, t.of))
    }

    #[test]
    fn what_most_are_close_to_is_typical() {
        let table: [(&[u64], _); 9] = [
            (&[], None),
            (&[60_000], Some((60_000, 1, 1))),
            (&[3004, 3001, 3010], Some((3000, 3, 3))),
            // A timeout of 4 s, in ticks.
            (&[3996, 3988, 3998], Some((4000, 3, 3))),
            (&[60_020, 60_000, 59_990, 4000, 61_000], Some((60_000, 4, 5))),
            // Half is enough, less is not.
            (&[60_000, 60_010, 5000, 20_000], Some((60_000, 2, 4))),
            (&[60_000, 60_010, 5000, 20_000, 90_000], None),
            // A server that closes after each answer has no idle timeout.
            (&[2, 3, 2, 4, 350], None),
            (&[0, 0, 0], None),
        ];
        for (times, want) in table {
            assert_eq!(of(times), want, "{times:?}");
        }
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let times: Vec<_> = std::iter::repeat_n(5000, 1000).chain(std::iter::repeat_n(60_000, 256)).collect();
        assert_eq!(of(&times), Some((60_000, 256, 256)));
    }
}
