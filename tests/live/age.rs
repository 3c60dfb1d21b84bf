//! Whether a reported age is true: the program says between which moments it was born.

use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use serde_json::Value;

use super::situation::Socket;

/// Times in reports are cut to milliseconds: the age, and `ts`.
const CUT: Duration = Duration::from_millis(2);

/// The kernel counts ages in ticks, which come late in a machine whose processor waits for
/// its turn: late enough for a socket to look older than it is.
const LATE_TICKS: Duration = Duration::from_millis(50);

/// The age in one report, against the truth.
pub(crate) struct Age {
    /// The truth is between the bounds; or close to an age that is printed as exact.
    pub(crate) is_right: bool,
    /// How far such an age is from the truth; `None`: printed as bounds.
    pub(crate) off: Option<Duration>,
}

impl Age {
    /// The age that `line` gives for `socket`.
    pub(crate) fn of(line: &Value, socket: &Socket) -> Option<Self> {
        let ts = humantime::parse_rfc3339(line["ts"].as_str()?).ok()?;
        let (now, clock) = (Clock::mono_now(), Clock::read());
        let at = now - clock.wall(now).duration_since(ts).ok()?;
        // It is as old as this at least, and at most.
        let (least, most) = (at.since(socket.to), at.since(socket.from));
        let min = Duration::from_millis(line["age_ms"]["min"].as_u64()?);
        let max = line["age_ms"]["max"].as_u64().map(Duration::from_millis);
        let off = (max == Some(min)).then(|| beyond(min, least, most).saturating_sub(CUT));
        let slack = if is_emulated() { LATE_TICKS } else { CUT };
        let is_right = match off {
            Some(off) => off <= exact_means(),
            None => min <= most + slack && max.is_none_or(|max| max + slack >= least),
        };
        Some(Self { is_right, off })
    }
}

/// How far `value` is outside of what it may be.
fn beyond(value: Duration, least: Duration, most: Duration) -> Duration {
    least.saturating_sub(value).max(value.saturating_sub(most))
}

/// Whether this machine's processor is a program.
pub(crate) fn is_emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"))
}

/// How far from the truth an exact age may be. An emulated machine may stop between a
/// program's look at its clock and what it does next.
pub(crate) fn exact_means() -> Duration {
    Duration::from_millis(if is_emulated() { 500 } else { 50 })
}

/// Whether it has been at least `age` since all of them were born.
pub(crate) fn are_older_than<'a>(age: Duration, sockets: impl Iterator<Item = &'a Socket>) -> bool {
    let youngest = sockets.map(|socket| socket.to).max().unwrap_or(MonoNs(0));
    Clock::mono_now().since(youngest) > age
}
