//! Time. [`MonoNs`] is the only time the pipeline knows: CLOCK_MONOTONIC
//! nanoseconds, as `bpf_ktime_get_ns` stamps them. Wall time is added by a sink
//! through [`Clock`], the only place that reads a clock.
//!
//! That clock stands still while the machine is suspended, as the kernel's TCP timers do: an
//! age is time that the machine was awake. Wall time goes on, and [`Sleeps`] knows by how much.
//! It is the kernel's own, also in a time namespace.

mod namespace;
mod sleeps;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use namespace::{Ahead, without};
pub use sleeps::{Sleep, Sleeps};

/// Nanoseconds of CLOCK_MONOTONIC: since boot, not counting suspend.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for MonoNs {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for MonoNs {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for MonoNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The last second of the year 9999, since 1970.
const LAST_WALL: Duration = Duration::from_secs(253_402_300_799);

/// Maps monotonic time to wall time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    mono: MonoNs,
    wall: SystemTime,
    sleeps: Sleeps,
}

impl Clock {
    /// A clock that says monotonic `mono` was wall time `wall`.
    pub const fn fixed(mono: MonoNs, wall: SystemTime) -> Self {
        Self { mono, wall, sleeps: Sleeps::NONE }
    }

    /// The same, after these sleeps.
    #[must_use]
    pub const fn after(self, sleeps: Sleeps) -> Self {
        Self { sleeps, ..self }
    }

    /// Reads both clocks now, so that a stepped wall clock is followed. Whoever reads often
    /// knows well when the machine slept.
    #[expect(clippy::disallowed_methods, reason = "the one room that reads clocks")]
    pub fn read() -> Self {
        let sleeps = sleeps::so_far();
        Self { mono: Self::mono_now(), wall: SystemTime::now(), sleeps }
    }

    /// CLOCK_MONOTONIC, now.
    pub fn mono_now() -> MonoNs {
        MonoNs(nanoseconds(ClockId::Monotonic))
    }

    /// CLOCK_MONOTONIC at the kernel's last tick, which is where the times that it keeps in
    /// ticks count from. It lags behind by a tick, and by much more on a virtual machine that
    /// was not given its CPUs: then such times are too short.
    pub fn last_tick() -> MonoNs {
        MonoNs(nanoseconds(ClockId::MonotonicCoarse))
    }

    /// The monotonic time at which the machine had been up for `uptime`, with suspend counted
    /// (CLOCK_BOOTTIME, as /proc gives start times); up to a millisecond too early, so that
    /// the same moment is the same value every time. A suspend since then makes it earlier.
    pub fn since_boot(uptime: Duration) -> MonoNs {
        let suspended = || {
            let before = nanoseconds(ClockId::Monotonic);
            nanoseconds(ClockId::Boottime).saturating_sub(before)
        };
        // In a time namespace /proc counts from when its clock began.
        let uptime = u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX);
        let uptime = Duration::from_nanos(without(Ahead::own().boottime, uptime));
        // Whoever is interrupted between the two clocks reads too much.
        let suspended = suspended().min(suspended()).min(suspended());
        MonoNs(0) + uptime - Duration::from_millis(suspended.div_ceil(1_000_000))
    }

    /// The two readings.
    pub const fn pair(&self) -> (MonoNs, SystemTime) {
        (self.mono, self.wall)
    }

    /// When the machine slept.
    pub const fn sleeps(&self) -> &Sleeps {
        &self.sleeps
    }

    /// The monotonic time of a wall time, by this pair of readings.
    pub fn mono(&self, wall: SystemTime) -> MonoNs {
        match wall.duration_since(self.wall) {
            Ok(ahead) => self.mono + ahead,
            Err(behind) => self.sleeps.back(self.mono, behind.duration()),
        }
    }

    /// The wall time of a monotonic time, by this pair of readings: from 1970 to 9999, all
    /// that can be written. A machine without a battery begins in 1970, and what happened
    /// before its clock was set would be earlier.
    pub fn wall(&self, at: MonoNs) -> SystemTime {
        let back = self.mono.since(at).saturating_add(self.sleeps.after(at));
        let ahead = at.since(self.mono);
        let last = SystemTime::UNIX_EPOCH + LAST_WALL;
        let wall = self.wall.checked_sub(back).unwrap_or(SystemTime::UNIX_EPOCH);
        wall.checked_add(ahead).unwrap_or(last).clamp(SystemTime::UNIX_EPOCH, last)
    }
}

/// As the kernel itself has it.
fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let here =
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
    let Ahead { monotonic, boottime } = Ahead::own();
    without(if clock == ClockId::Boottime { boottime } else { monotonic }, here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_can_always_be_written() {
        let day = Duration::from_hours(24);
        for (wall, mono, at, want) in [
            (day, 5, 4, "1970-01-01T23:59:59Z"),
            (Duration::ZERO, 9, 4, "1970-01-01T00:00:00Z"),
            (LAST_WALL, 4, 9, "9999-12-31T23:59:59Z"),
            (Duration::from_secs(u64::MAX >> 2), 4, 9, "9999-12-31T23:59:59Z"),
        ] {
            let second = |seconds: u64| MonoNs(seconds * 1_000_000_000);
            let clock = Clock::fixed(second(mono), SystemTime::UNIX_EPOCH + wall);
            assert_eq!(humantime::format_rfc3339_seconds(clock.wall(second(at))).to_string(), want);
        }
    }
}
