//! Time namespaces (time_namespaces(7)): in one, CLOCK_MONOTONIC and CLOCK_BOOTTIME are ahead of the
//! kernel's own, or behind, by offsets that stay the same. The kernel stamps records with its own.

use std::sync::OnceLock;

/// Number of the first time namespace, which has no offsets (`PROC_TIME_INIT_INO`,
/// include/linux/proc_ns.h).
const FIRST: &str = "time:[4026531834]";

/// How far the clocks of this process are ahead of the kernel's, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ahead {
    pub(super) monotonic: i64,
    pub(super) boottime: i64,
}

impl Ahead {
    /// Of this process. It cannot change once there are threads.
    pub(super) fn own() -> Self {
        static OWN: OnceLock<Ahead> = OnceLock::new();
        *OWN.get_or_init(|| {
            let own = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
            // The offsets are those of children, whose namespace may be another one.
            if own.as_os_str().is_empty() || own.as_os_str() == FIRST {
                return Self::default();
            }
            std::fs::read_to_string("/proc/self/timens_offsets")
                .map_or(Self::default(), |text| Self::of(&text))
        })
    }

    /// From the lines of `timens_offsets`: a clock, seconds, nanoseconds.
    fn of(offsets: &str) -> Self {
        let of = |clock: &str| {
            let line = offsets.lines().find(|line| line.split_ascii_whitespace().next() == Some(clock))?;
            let mut numbers = line.split_ascii_whitespace().skip(1).map(str::parse::<i64>);
            let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
        };
        Self { monotonic: of("monotonic").unwrap_or_default(), boottime: of("boottime").unwrap_or_default() }
    }
}

/// A time by a clock that is so far ahead, by the kernel's.
pub(super) const fn without(ahead: i64, here: u64) -> u64 {
    let by = ahead.unsigned_abs();
    if ahead < 0 { here.saturating_add(by) } else { here.saturating_sub(by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_the_kernel_writes_them() {
        let of = |text| {
            let Ahead { monotonic, boottime } = Ahead::of(text);
            (monotonic, boottime)
        };
        assert_eq!(of("monotonic           0         0\nboottime            0         0\n"), (0, 0));
        let both = "monotonic        3600         5\nboottime          -10 500000000\n";
        assert_eq!(of(both), (3_600_000_000_005, -9_500_000_000));
        assert_eq!(of("monotonic 1"), (0, 0));
        assert_eq!(of("monotonic 9223372036854775807 0\n"), (0, 0));
        assert_eq!(of(""), (0, 0));
        assert_eq!(
            [(5, 7), (-5, 7), (9, 7), (i64::MIN, 7)].map(|(ahead, here)| without(ahead, here)),
            [2, 12, 0, (1 << 63) + 7]
        );
    }
}
