//! Reports compared character by character with the files in tests/golden.
//!
//! `UPDATE=1 cargo test --test golden` rewrites the files; the diff is then what
//! a reviewer reads.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

#[path = "golden/desk.rs"]
mod desk;
#[path = "golden/doctor.rs"]
mod doctor;
#[path = "golden/flame.rs"]
mod flame;
#[path = "metrics/host.rs"]
mod host;
#[path = "golden/html.rs"]
mod html;
#[path = "golden/json.rs"]
mod json;
#[path = "golden/kubernetes.rs"]
mod kubernetes;
#[path = "golden/made.rs"]
mod made;
#[path = "manifest.rs"]
mod manifest;
#[path = "golden/manual.rs"]
mod manual;
#[path = "golden/metrics.rs"]
mod metrics;
#[path = "golden/recordings.rs"]
mod recordings;
#[path = "golden/reporter.rs"]
mod reporter;
#[path = "golden/staged.rs"]
mod staged;
#[path = "golden/text.rs"]
mod text;
#[path = "golden/top.rs"]
mod top;
