//! One file per command: validated arguments in, an exit code out.

pub mod diff;
pub mod doctor;
pub mod explain;
pub mod kill;
mod named;
mod recording;
pub mod replay;
mod reporting;
pub mod run;
pub mod service;
pub mod snapshot;
pub mod top;
pub mod trace;
