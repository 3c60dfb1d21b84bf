//! When the machine was suspended while this process ran: what CLOCK_BOOTTIME has counted and
//! CLOCK_MONOTONIC has not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::{MonoNs, nanoseconds};

/// One time that the machine slept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sleep {
    /// What happened up to this moment was before it, what happened later after it. It is the
    /// last time that clocks were read before: the machine fell asleep a little later.
    pub at: MonoNs,
    /// How long it lasted.
    pub lasted: Duration,
}

/// How many are told apart: a machine that sleeps more often does so for other reasons than an outage.
const MOST: usize = 8;

/// The latest times that the machine slept, the last one first. Those before are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sleeps([Sleep; MOST]);

impl Sleeps {
    /// It never slept.
    pub const NONE: Self = Self([Sleep { at: MonoNs(0), lasted: Duration::ZERO }; MOST]);

    /// From those of a recording, the last one first; what is too many counts as the oldest.
    pub fn of(sleeps: &[Sleep]) -> Self {
        let mut all = Self::NONE;
        for sleep in sleeps.iter().rev() {
            all.add(*sleep);
        }
        all
    }

    /// The last one first.
    pub fn iter(&self) -> impl Iterator<Item = &Sleep> {
        self.0.iter().filter(|sleep| !sleep.lasted.is_zero())
    }

    /// How long it slept since `at`.
    pub fn after(&self, at: MonoNs) -> Duration {
        self.iter()
            .filter(|sleep| sleep.at >= at)
            .fold(Duration::ZERO, |all, it| all.saturating_add(it.lasted))
    }

    /// The moment so long before `from`, sleep counted. While it slept there is only one.
    pub(super) fn back(&self, from: MonoNs, time: Duration) -> MonoNs {
        let (mut from, mut left) = (from, time);
        for sleep in self.iter() {
            let awake = from.since(sleep.at);
            if left < awake {
                break;
            }
            left = left.saturating_sub(awake).saturating_sub(sleep.lasted);
            from = sleep.at;
        }
        from - left
    }

    fn add(&mut self, sleep: Sleep) {
        let [.., older, oldest] = &mut self.0;
        older.lasted = older.lasted.saturating_add(oldest.lasted);
        self.0.rotate_right(1);
        self.0[0] = sleep;
    }
}

/// What was seen of both clocks.
struct Seen {
    /// When they were read last.
    at: MonoNs,
    /// How far they were apart then, as far as it is in `sleeps` or was so from the beginning.
    apart: Duration,
    sleeps: Sleeps,
}

impl Seen {
    fn see(&mut self, at: MonoNs, apart: Duration) {
        /// What is less comes of being interrupted between both clocks, and makes no difference.
        const SHORTEST: Duration = Duration::from_millis(100);
        let lasted = apart.saturating_sub(self.apart);
        if lasted >= SHORTEST {
            self.sleeps.add(Sleep { at: self.at, lasted });
            self.apart = apart;
        }
        self.at = at;
    }
}

/// Reads the clocks: the machine's sleeps since this was called first.
pub(super) fn so_far() -> Sleeps {
    static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, apart)) = apart() {
        match seen.as_mut() {
            Some(seen) => seen.see(at, apart),
            None => *seen = Some(Seen { at, apart, sleeps: Sleeps::NONE }),
        }
    }
    seen.as_ref().map_or(Sleeps::NONE, |seen| seen.sleeps)
}

/// CLOCK_MONOTONIC, and how far CLOCK_BOOTTIME is ahead; `None` if something came in between
/// whenever they were read.
fn apart() -> Option<(MonoNs, Duration)> {
    /// Nanoseconds that reading them may take.
    const AT_ONCE: u64 = 1_000_000;
    (0..5).find_map(|_| {
        let before = nanoseconds(ClockId::Monotonic);
        let boot = nanoseconds(ClockId::Boottime);
        let after = nanoseconds(ClockId::Monotonic);
        let apart = Duration::from_nanos(boot.saturating_sub(before));
        (after - before < AT_ONCE).then_some((MonoNs(before), apart))
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::Clock;
    use super::*;

    fn second(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    fn sleep(at: u64, lasted: u64) -> Sleep {
        Sleep { at: second(at), lasted: Duration::from_secs(lasted) }
    }

    #[test]
    fn a_time_before_a_sleep_is_earlier_by_that_sleep() {
        let day = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        // Awake until 10, from then to 30, from then to 40; it slept 100 s and 1000 s in between.
        let clock = Clock::fixed(second(40), day).after(Sleeps::of(&[sleep(30, 1000), sleep(10, 100)]));
        for (at, ago) in [(40, 0), (31, 9), (30, 1010), (11, 1029), (10, 1130), (3, 1137)] {
            assert_eq!(clock.wall(second(at)), day - Duration::from_secs(ago), "{at}");
            assert_eq!(clock.mono(day - Duration::from_secs(ago)), second(at), "{ago} s ago");
        }
        assert_eq!(clock.wall(second(41)), day + Duration::from_secs(1));
        assert_eq!(clock.mono(day - Duration::from_secs(500)), second(30), "while it slept");
    }

    #[test]
    fn a_sleep_is_what_the_clocks_come_apart_by() {
        let ms = Duration::from_millis;
        let mut seen = Seen { at: second(1), apart: ms(5000), sleeps: Sleeps::NONE };
        seen.see(second(2), ms(5000));
        seen.see(second(3), ms(5060));
        assert_eq!(seen.sleeps, Sleeps::NONE, "interrupted");
        seen.see(second(4), ms(15_000));
        seen.see(second(5), ms(15_000));
        assert_eq!(seen.sleeps, Sleeps::of(&[Sleep { at: second(3), lasted: ms(10_000) }]));
    }

    #[test]
    fn sleeps_that_are_too_many_are_added_up() {
        let all: Vec<_> = (1..=20).rev().map(|at| sleep(at, 1)).collect();
        let sleeps = Sleeps::of(&all);
        assert_eq!(sleeps.iter().count(), MOST);
        assert_eq!(sleeps.after(second(0)), Duration::from_secs(20));
        assert_eq!(sleeps.after(second(20)), Duration::from_secs(1));
    }
}
