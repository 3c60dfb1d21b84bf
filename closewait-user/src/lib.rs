//! closewait-trace: which sockets are stuck in CLOSE_WAIT, since when, who holds
//! them, which code opened them, and why.
//!
//! # The pipeline
//!
//! ```text
//! source::ring ---\
//! source::replay --> Item --> Tracker --> Suspect --> enrich --> Evidence --> verdict --> report
//! source::snapshot/          (pure)                  (I/O)                    (pure)
//! ```
//!
//! - [`item::Item`] is everything that can be learned about sockets, in one
//!   stream: transitions, ends of life, gaps (lost records) and snapshots.
//! - [`tracker::Tracker`] keeps a timer for each socket in CLOSE_WAIT. It reads no
//!   clock: the kernel's timestamps are the clock, `now` is an argument. It never
//!   judges; at a deadline it emits a [`tracker::Suspect`].
//! - `enrich` gathers [`verdict::Evidence`] about a suspect: does it still exist,
//!   who holds it, what is queued on it. This is where I/O happens.
//! - [`verdict::verdict`] decides from the evidence alone.
//! - `report` turns suspects, evidence and verdicts into text and JSON.
//! - `kernel` is how records come to be: facts about this kernel, a plan made of
//!   them, and the loading of the plan.
//! - `apart` does by another process what might never end in this one.
//! - `driver` owns the loop: ring buffer, timers, signals.
//!
//! # Words
//!
//! *local* and *remote* as `ss` prints them. *Opener*: the task that accepted or
//! connected the socket. *Holder*: a process with a file descriptor on it. *Dwell*:
//! time in the present state. *Gap*: records that were lost. *Degraded*: a feature
//! that is off, and why.

mod apart;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod decode;
pub mod diagnostics;
pub mod driver;
pub mod enrich;
pub mod error;
pub mod exit;
pub mod fact;
pub mod files;
pub mod filter;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod growth;
pub mod interrupt;
pub mod item;
pub mod kernel;
pub mod metrics;
pub mod privileges;
pub mod progress;
pub mod recording;
pub mod report;
pub mod source;
pub mod stack;
pub mod tcp;
pub mod text;
pub mod tracker;
pub mod verdict;
pub mod version;
