//! What becomes of it, in text: how fast stuck sockets become more, when descriptors
//! and ports are used up, who is at the other end, and when the kernel ends it.
//!
//! Said only where it matters: nothing about what does not grow, ports that are
//! plenty, or a peer that is gone.

use std::time::Duration;

use crate::growth::Growth;
use crate::report::model::Finding;
use crate::verdict::Nofile;

use super::block::{labelled, named};
use super::style::{Style, count, span, span_up};

/// Ports are worth a line from this share of all on.
const PORTS_PERCENT: u64 = 5;

/// `+14/min (9-21)  full in 4-6 h`; empty unless they certainly become more.
pub(crate) fn rate(growth: Option<Growth>, nofile: Option<Nofile>) -> String {
    let Some(growth) = growth.filter(|growth| growth.at_least > 0.0) else {
        return String::new();
    };
    let left = nofile.filter(|n| n.soft != u64::MAX).map(|n| n.soft.saturating_sub(n.used));
    let full = left
        .and_then(|left| growth.time_to(left))
        .map_or(String::new(), |time| format!("  {}", full_in(time)));
    let Growth { per_minute, at_least, at_most, .. } = growth;
    // Below one a minute the hour is what people count by.
    if per_minute >= 1.0 {
        format!("  +{}/min ({}-{}){full}", figure(per_minute), figure(at_least), figure(at_most))
    } else {
        let hour = |rate: f64| figure(rate * 60.0);
        format!("  +{}/h ({}-{}){full}", hour(per_minute), hour(at_least), hour(at_most))
    }
}

/// Two digits are all that such a number has.
fn figure(n: f64) -> String {
    if n < 10.0 { format!("{n:.1}") } else { format!("{n:.0}") }
}

/// `full in 4-6 h`: outward to whole units.
fn full_in((min, max): (Duration, Duration)) -> String {
    const UNITS: [(u64, &str); 3] = [(60, "min"), (3600, "h"), (86_400, "days")];
    if max > Duration::from_hours(24 * 365) {
        return format!("full in {} or later", span(min));
    }
    let whole = |unit: u64| (min.as_secs() / unit, max.as_secs().div_ceil(unit));
    // The largest unit in which the earlier bound is no less than 2.
    let (unit, name) = UNITS.into_iter().rev().find(|(unit, _)| whole(*unit).0 >= 2).unwrap_or(UNITS[0]);
    match whole(unit) {
        (0, max) => format!("full within {max} {name}"),
        (min, max) => format!("full in {min}-{max} {name}"),
    }
}

/// The peer, the ports and the time left, each on its line.
pub(crate) fn lines(lines: &mut Vec<String>, finding: &Finding, style: &Style) {
    let evidence = &finding.evidence;
    if let Some(Some(peer)) = evidence.local_peer.known()
        && peer.has_file
    {
        let who = peer
            .holder
            .as_ref()
            .map_or("a process of this host".to_owned(), |h| format!("{} fd {}", named(h), h.fd));
        labelled(lines, style, "peer", &format!("{who}, only half-closed ({})", peer.state), 2);
    }
    if let Some(ports) = evidence.ports.known() {
        let full = finding.ports_full_in();
        let percent = u64::from(ports.used) * 100 / u64::from(ports.total.max(1));
        if full.is_some() || percent >= PORTS_PERCENT {
            let (used, total) = (count(ports.used.into()), count(ports.total.into()));
            let full = full.map_or(String::new(), |time| format!(", {}", full_in(time)));
            let text =
                format!("{used} of {total} ({percent}%) towards {}{full}", finding.suspect.tuple.remote);
            labelled(lines, style, "ports", &text, 2);
        }
    }
    let has_ended = evidence.ended.is_some();
    if let Some(keepalive) = evidence.keepalive.known().filter(|keepalive| keepalive.on && !has_ended) {
        let is_held = evidence.holders.known().is_some_and(|holders| !holders.is_empty());
        let but = if is_held { "; the descriptor stays open" } else { "" };
        let text = match keepalive.ends_in {
            Some(time) => format!("by keepalive within {}, {}{but}", span_up(time), keepalive.note),
            None => format!("keepalive is on; {}", keepalive.note),
        };
        labelled(lines, style, "ends", &text, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_only_when_it_is_certain() {
        let growth = |per_minute: f64| Growth {
            watched: Duration::from_mins(12),
            births: 170,
            closes: 0,
            per_minute,
            at_least: per_minute * 0.8,
            at_most: per_minute * 1.2,
        };
        let nofile = Some(Nofile { used: 61_202, soft: 65_536 });
        let unlimited = Some(Nofile { used: 61_202, soft: u64::MAX });
        let table = [
            (Some(growth(14.0)), nofile, "  +14/min (11-17)  full in 4-7 h"),
            (Some(growth(14.0)), None, "  +14/min (11-17)"),
            (Some(growth(14.0)), unlimited, "  +14/min (11-17)"),
            (Some(growth(0.1)), None, "  +6.0/h (4.8-7.2)"),
            (Some(Growth { births: 9, ..growth(2.0) }), nofile, "  +2.0/min (1.6-2.4)"),
            (
                Some(Growth { at_least: 1e-6, ..growth(2.0) }),
                nofile,
                "  +2.0/min (0.0-2.4)  full in 1d06h or later",
            ),
            (Some(Growth { at_least: 0.0, ..growth(2.0) }), nofile, ""),
            (None, nofile, ""),
        ];
        for (growth, nofile, want) in table {
            assert_eq!(rate(growth, nofile), want);
        }
        let minutes = Duration::from_mins;
        for (min, max, want) in [
            (minutes(0), minutes(1), "full within 1 min"),
            (minutes(100), minutes(119), "full in 100-119 min"),
            (minutes(120), minutes(181), "full in 2-4 h"),
            (minutes(3000), minutes(3001), "full in 2-3 days"),
        ] {
            assert_eq!(full_in((min, max)), want);
        }
    }
}
