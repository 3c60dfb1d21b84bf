//! A JSON line: its version, and the kinds there are. The schema file is generated from this and
//! nothing else.
//!
//! The rooms beside this one have the serde structures with the contract's field names, each
//! with how it is filled. They are no domain types: nothing computes with them or reads them back.
//! What is not known is null, or an empty list, and `NAME_unknown` beside it says why; without
//! `NAME_unknown`, null or an empty list means that there is none.

use schemars::JsonSchema;
use serde::Serialize;

use super::examined::DoctorLine;
use super::killed::{KilledLine, OwnerLine};
use super::stuck::{Released, Stuck};
use super::totals::{CauseLine, LossLine, NoticeLine, SummaryLine};

/// One line of `--output json`.
///
/// What is not known is null, or an empty list, and `NAME_unknown` beside it says
/// why; without `NAME_unknown`, null or an empty list means that there is none.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "closewait-trace line", deny_unknown_fields)]
pub(crate) struct Line {
    /// The version of this format. Within one version fields are only ever added.
    pub schema: Version,
    #[serde(flatten)]
    pub body: Body,
}

impl From<Body> for Line {
    fn from(body: Body) -> Self {
        Self { schema: Version, body }
    }
}

/// Always 1.
pub(crate) struct Version;

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": 1 })
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Body {
    /// A socket that has been in CLOSE_WAIT for the threshold, whatever its `leak`.
    Stuck(Stuck),
    /// TCP is gone, a file descriptor is not. `since` and `age_ms` count from its CLOSE.
    Ghost(Stuck),
    /// A socket that had been reported left CLOSE_WAIT. `ts` is when, `age_ms` how long it stayed.
    Released(Box<Released>),
    /// A group of sockets with one cause (`--group`); again when it has doubled, and at the end.
    Cause(Box<CauseLine>),
    /// Records were lost.
    Loss(LossLine),
    /// Something about the tool itself.
    Notice(NoticeLine),
    /// The last line, but of `kill` and `doctor`, which have none.
    Summary(Box<SummaryLine>),
    /// Of `kill`: a socket that was destroyed, would be, or was not to be; one line each.
    Killed(Box<KilledLine>),
    /// Of `kill`, at its end: a process that held destroyed sockets, with its descriptors.
    Owner(OwnerLine),
    /// Of `doctor`, its only line: what this kernel offers, what is used, what is lost.
    Doctor(Box<DoctorLine>),
}
