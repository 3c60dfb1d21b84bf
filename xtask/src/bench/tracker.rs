//! The tracker alone: closewait-user/benches/tracker.rs, run and quoted.

use super::{
    budget::{Line, Measured},
    spread::{Spread, some},
};
use crate::{build::Executables, command};
use anyhow::{Context, Result};
use serde::Serialize;
use std::process::Command;

#[derive(Serialize)]
pub(super) struct Tracker {
    /// Bytes of a socket at 1,000,000
    bytes: Spread,
    /// What the benchmark printed
    printed: String,
}

impl Tracker {
    /// # Errors
    /// When it does not compile or says nothing of memory.
    pub(super) fn measure() -> Result<Self> {
        eprintln!("bench: the tracker alone");
        let built = Executables::build(&["bench", "--no-run", "--bench", "tracker"], None)?;
        let printed = command::output(Command::new(built.get("tracker")?).arg("--bench"))?;
        let bytes =
            bytes(&printed).context("the benchmark of the tracker did not say what a socket takes")?;
        Ok(Self { bytes: some(&[bytes])?, printed })
    }

    pub(super) fn measured(&self) -> Vec<Measured> {
        vec![Measured::new(Line::TrackedBytes, self.bytes)]
    }

    pub(super) fn markdown(&self) -> String {
        format!("\n**The tracker alone**\n\n```\n{}\n```\n", self.printed)
    }
}

fn bytes(printed: &str) -> Option<f64> {
    let (_, figure) = printed.split_once("bytes per tracked socket at 1,000,000: ")?;
    figure.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_in_what_is_printed() {
        let printed = "bytes per tracked socket at 1,000,000: 117, at the peak 142\ntracker  fastest\n";
        assert_eq!(bytes(printed), Some(117.0));
        assert_eq!(bytes("nothing"), None);
    }
}
