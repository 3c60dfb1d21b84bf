//! What the value of an option may be, and what is said of one that may not.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;

use crate::kernel::plan::Hook;
use crate::verdict::Code;

/// `--output`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// `--stacks`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum StacksWanted {
    /// The best way there is
    Auto,
    /// By unwind tables
    Dwarf,
    /// By frame pointers
    Fp,
    /// None
    Off,
}

impl StacksWanted {
    /// The value of the option that rules `hook` out; `None` when the hook may be used.
    pub const fn forbids(self, hook: Hook) -> Option<&'static str> {
        match (self, hook) {
            (Self::Off, _) => Some("off"),
            (Self::Fp, Hook::UserStack) => Some("fp"),
            (Self::Dwarf, Hook::Stack) => Some("dwarf"),
            _ => None,
        }
    }
}

/// Parses a duration as the contract writes it: `10s`, `500ms`, `2m`; above zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let form = "write it with a unit, such as 10s, 500ms or 2m";
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; {form}"))?;
    if duration.is_zero() {
        return Err(format!("must be longer than zero; {form}"));
    }
    if duration > Duration::from_hours(366 * 24) {
        return Err("must be at most a year".into());
    }
    Ok(duration)
}

/// A moment of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// By the wall clock.
    Wall(SystemTime),
    /// Since it began.
    After(Duration),
}

pub(super) fn moment(text: &str) -> Result<Moment, String> {
    match (humantime::parse_rfc3339_weak(text), humantime::parse_duration(text)) {
        (Ok(time), _) => Ok(Moment::Wall(time)),
        (_, Ok(after)) => Ok(Moment::After(after)),
        _ => Err("write a time (2026-01-31T10:00:00Z) or a duration since the start (90s)".into()),
    }
}

/// Parses a size: bytes, or with K, M or G for powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let form = "write bytes, or a number with K, M or G, such as 100M";
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let with_unit = units.iter().find_map(|&(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (digits, shift) = with_unit.unwrap_or((text, 0));
    let number: u64 = digits.parse().map_err(|_| form.to_owned())?;
    let bytes = number.checked_mul(1 << shift).ok_or("is too large")?;
    if bytes < SMALLEST_RECORDING {
        return Err(format!("must be at least {}K", SMALLEST_RECORDING >> 10));
    }
    Ok(bytes)
}

/// Two files of which each holds a few frames.
const SMALLEST_RECORDING: u64 = 1 << 20;

/// A verdict of a socket that is in CLOSE_WAIT, in any case.
pub(super) fn stuck_code(word: &str) -> Result<Code, String> {
    let stuck = |code: &Code| !code.name().starts_with("GHOST_");
    let all = Code::value_variants();
    match all.iter().find(|code| code.name().eq_ignore_ascii_case(word)) {
        Some(code) if stuck(code) => Ok(*code),
        Some(_) => Err("of a ghost there is nothing left to destroy".into()),
        None => {
            let names: Vec<_> = all.iter().filter(|code| stuck(code)).map(|code| code.name()).collect();
            Err(format!("one of {}", names.join(", ")))
        }
    }
}

/// How large a BPF map is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    /// The map, as the object calls it.
    pub map: String,
    /// Bytes of a ring, else entries.
    pub size: u32,
}

pub(super) fn room(text: &str) -> Result<Room, String> {
    let (map, size) = text.split_once('=').ok_or("write it as MAP=N")?;
    let size = size.parse().map_err(|error| format!("{error}"))?;
    Ok(Room { map: map.to_owned(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_must_be_above_zero() {
        let good = [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h 30m", 5_400_000)];
        for (text, ms) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["0", "0s", "-5s", "10x", "10", "", "s", "1e9s", "400d", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_moments_are_read() {
        assert_eq!(size("100M"), Ok(100 << 20));
        assert_eq!(size("2097152"), Ok(2 << 20));
        for bad in ["", "M", "1k", "-1", "12", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("90s"), Ok(Moment::After(Duration::from_secs(90))));
        let minute = SystemTime::UNIX_EPOCH + Duration::from_mins(1);
        assert_eq!(moment("1970-01-01T00:01:00Z"), Ok(Moment::Wall(minute)));
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn verdicts_to_destroy_are_those_of_sockets_that_are_there() {
        assert_eq!(stuck_code("eof_ignored"), Ok(Code::EofIgnored));
        assert_eq!(stuck_code("SENDING"), Ok(Code::Sending));
        assert!(stuck_code("GHOST_RESET").unwrap_err().contains("nothing left"));
        assert!(stuck_code("LEAK").unwrap_err().contains("EOF_IGNORED, "));
    }
}
