//! What a gate costs a command that does nothing: `run -- true` beside `true`, in turn.

use super::spread::Spread;
use crate::stopwatch::Stopwatch;
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Milliseconds from start to end.
#[derive(Serialize)]
pub(super) struct Gate {
    bare: Option<Spread>,
    gated: Option<Spread>,
}

impl Gate {
    /// Runs `rounds` quadruples: bare, gated, gated, bare.
    pub(super) fn measure(tool: &Path, rounds: u32) -> Result<Self> {
        let (mut bare, mut gated) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare.push(run(&mut Command::new("true"))?);
            for _ in 0..2 {
                gated.push(run(Command::new(tool).args(["run", "--", "true"]))?);
            }
            bare.push(run(&mut Command::new("true"))?);
        }
        Ok(Self { bare: Spread::of(&bare), gated: Spread::of(&gated) })
    }

    /// A line below the table.
    pub(super) fn markdown(&self) -> String {
        let ms = |spread: Option<Spread>| {
            spread.map_or_else(
                || "-".to_owned(),
                |ms| format!("{:.1} ms ({:.1} to {:.1}, {} runs)", ms.median, ms.lower, ms.upper, ms.of),
            )
        };
        format!("\n`true`: {}; `closewait-trace run -- true`: {}\n", ms(self.bare), ms(self.gated))
    }
}

fn run(command: &mut Command) -> Result<f64> {
    let watch = Stopwatch::start();
    let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(watch.elapsed().as_secs_f64() * 1000.0)
}
