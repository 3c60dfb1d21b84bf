//! How fast stuck sockets become more, and when they will have used up descriptors or ports.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::model::Finding;
use crate::text::Text;
use crate::verdict;

use super::values::{millis, split};

/// Births (a socket was stuck for the threshold, or a ghost) less ends, with their
/// 95 % interval.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Growth {
    /// They were counted for so long.
    watched_ms: u64,
    births: u64,
    ends: u64,
    per_min: PerMinute,
    /// When the descriptors of the process will be used up. Null: not foretold, which
    /// takes 10 births, 10 minutes and certain growth.
    fds_full_in_ms: Option<FullIn>,
}

impl Growth {
    pub(super) fn new(growth: &crate::growth::Growth, nofile: Option<verdict::Nofile>) -> Self {
        let tenths = |n: f64| (n * 10.0).round() / 10.0;
        let left = nofile.filter(|n| n.soft != u64::MAX).map(|n| n.soft.saturating_sub(n.used));
        Self {
            watched_ms: millis(growth.watched),
            births: growth.births,
            ends: growth.closes,
            per_min: PerMinute {
                counted: tenths(growth.per_minute),
                min: tenths(growth.at_least),
                max: tenths(growth.at_most),
            },
            fds_full_in_ms: left.and_then(|left| growth.time_to(left)).map(FullIn::from),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PerMinute {
    counted: f64,
    /// Above 0: they do become more.
    min: f64,
    max: f64,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullIn {
    min: u64,
    max: u64,
}

impl From<(Duration, Duration)> for FullIn {
    fn from((min, max): (Duration, Duration)) -> Self {
        Self { min: millis(min), max: millis(max) }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Descriptors of the process to blame.
    pub(super) nofile: Option<Nofile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nofile_unknown: Option<Text>,
    /// Local ports towards the remote end, of a client.
    pub(super) ports: Option<Ports>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ports_unknown: Option<Text>,
}

impl Limits {
    pub(super) fn new(f: &Finding) -> Self {
        let (nofile, nofile_unknown) =
            f.owner().known().map_or((None, None), |h| split(&h.nofile, |n| Nofile::from(*n)));
        let (ports, ports_unknown) = split(&f.evidence.ports, |ports| Ports {
            used: ports.used,
            total: ports.total,
            full_in_ms: f.ports_full_in().map(FullIn::from),
        });
        Self { nofile, nofile_unknown, ports, ports_unknown }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nofile {
    used: u64,
    /// The soft limit.
    soft: u64,
}

impl From<verdict::Nofile> for Nofile {
    fn from(n: verdict::Nofile) -> Self {
        Self { used: n.used, soft: n.soft }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    /// In use, in any state, from this local address to this remote address and port.
    used: u32,
    /// That connect() chooses from.
    total: u32,
    /// When they will be used up. Null: not foretold (see `growth`).
    full_in_ms: Option<FullIn>,
}
