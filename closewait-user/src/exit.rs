//! Exit codes: a contract with users' scripts, in one place.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Nothing to complain about.
    Fine = 0,
    /// Stuck sockets were found, and the caller asked to fail on them.
    Stuck = 1,
    /// Wrong usage, or a runtime error.
    Error = 2,
    /// Tracing was required and cannot run here.
    CannotTrace = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
