//! Values that many lines have: times, ages, and facts with the reason beside them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::report::model::Age;
use crate::text::Text;

/// RFC 3339, UTC, milliseconds.
pub(super) fn timestamp(clock: &Clock, at: MonoNs) -> String {
    humantime::format_rfc3339_millis(clock.wall(at)).to_string()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The value if known, else the reason.
pub(super) fn split<'a, T, U>(fact: &'a Fact<T>, map: impl FnOnce(&'a T) -> U) -> (Option<U>, Option<Text>) {
    (fact.known().map(map), fact.why().cloned())
}

/// Bounds; equal when the age is exact.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgeMs {
    /// At least.
    pub(super) min: u64,
    /// At most; null when nothing bounds it.
    pub(super) max: Option<u64>,
}

impl From<Age> for AgeMs {
    fn from(age: Age) -> Self {
        Self { min: millis(age.min), max: age.max.map(millis) }
    }
}
