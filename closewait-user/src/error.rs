//! Errors that reach the user: what failed and why, and what to do about it.

use std::fmt;

use crate::exit::Exit;
use crate::kernel::plan::CannotTrace;

/// An error with a hint, and the exit code it means.
#[derive(Debug)]
pub struct Failure {
    /// What failed, and why.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the program ends.
    pub exit: Exit,
}

impl Failure {
    /// Wrong usage or a runtime error.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, exit: Exit::Error }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<CannotTrace> for Failure {
    fn from(cannot: CannotTrace) -> Self {
        Self { what: cannot.what, hint: Some(cannot.hint), exit: Exit::CannotTrace }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
