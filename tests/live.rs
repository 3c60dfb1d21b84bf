//! Live tests: the tool, a running kernel, and programs that leak on purpose.
//!
//! Each test makes network namespaces and processes of its own, so they may run
//! in parallel and beside anything else. They need root (to leave them out:
//! `cargo test -- --skip live::`), `ip`, `ss` and `nsenter`. tests/README.md says
//! how to add one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "a test binary exports nothing")]

#[path = "manifest.rs"]
mod manifest;

mod live {
    // What tests are made of.
    mod age;
    mod bpf;
    mod judged;
    mod kept;
    mod leaked;
    mod lines;
    mod netns;
    mod rows;
    mod scenario;
    mod schema;
    mod situation;
    mod tool;
    mod veth;
    mod waiting;
    mod workload;

    // The tests.
    mod ages;
    mod beside;
    mod bounds;
    mod cgroups;
    mod copies;
    mod counts;
    mod deep;
    mod doctor;
    mod doing;
    mod endings;
    mod fallbacks;
    mod faults;
    mod filtered;
    mod filters;
    mod flame;
    mod gate;
    mod ghosts;
    mod gone;
    mod healthy;
    mod host;
    mod html;
    mod hung;
    mod idle;
    mod kill;
    mod kills;
    mod kinds;
    mod kubernetes;
    mod languages;
    mod matrix;
    mod metrics;
    mod names;
    mod namespaces;
    mod older_ghosts;
    mod owners;
    mod pools;
    mod privileges;
    mod progress;
    mod python;
    mod recordings;
    mod refusals;
    mod releases;
    mod service;
    mod soak;
    mod standing;
    mod starts;
    mod stepping_in;
    mod suites;
    mod talk;
    mod top;
    mod unknown;
    mod unread;
}
