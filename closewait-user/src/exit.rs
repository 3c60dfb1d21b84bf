//! Exit codes: a contract with users' scripts, in one place.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Nothing to complain about: 0.
    Fine,
    /// Stuck sockets were found, and the caller asked to fail on them: 1.
    Stuck,
    /// Wrong usage, or a runtime error: 2.
    Error,
    /// Tracing was required and cannot run here: 77.
    CannotTrace,
    /// As the command that `run` ran; 128 and the number of the signal that killed it.
    Command(u8),
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Stuck => 1,
            Self::Error => 2,
            Self::CannotTrace => 77,
            Self::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
