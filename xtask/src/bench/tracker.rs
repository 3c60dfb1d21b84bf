//! The tracker alone and the decoder alone: closewait-user/benches/{tracker,decoder}.rs, run and
//! quoted.

use super::{
    budget::{Line, Measured},
    spread::{Spread, some},
};
use crate::{build::Executables, command};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{fmt::Write as _, process::Command};

#[derive(Serialize)]
pub(super) struct Tracker {
    sizes: Vec<Size>,
    /// Records that the decoder makes items of, each second
    decoded: f64,
    /// What the benchmarks printed
    printed: String,
}

/// The tracker with so many sockets.
#[derive(Serialize, PartialEq, Debug)]
struct Size {
    sockets: &'static str,
    /// Of each
    bytes: f64,
    bytes_at_the_peak: f64,
    /// Transitions a second while they come
    coming: f64,
    /// And while any of them leaves and comes again
    again: f64,
}

const SIZES: [&str; 2] = ["1,000,000", "10,000,000"];

impl Tracker {
    /// # Errors
    /// When one does not compile or does not say its figures.
    pub(super) fn measure() -> Result<Self> {
        eprintln!("bench: the tracker alone, and the decoder alone");
        let built =
            Executables::build(&["bench", "--no-run", "--bench", "tracker", "--bench", "decoder"], None)?;
        let run = |name| command::output(Command::new(built.get(name)?).arg("--bench"));
        let printed = format!("{}\n{}", run("tracker")?, run("decoder")?);
        Self::of(printed).context("a benchmark did not say its figures")
    }

    fn of(printed: String) -> Option<Self> {
        let sizes = SIZES.into_iter().map(|sockets| Size::of(&printed, sockets)).collect::<Option<_>>()?;
        Some(Self { sizes, decoded: number(&printed, "decoder: ")?, printed })
    }

    pub(super) fn measured(&self) -> Result<Vec<Measured>> {
        let [million, ten] = &self.sizes[..] else { return Ok(Vec::new()) };
        let line = Measured::new(Line::TrackedBytes, some(&[million.bytes])?);
        Ok(vec![line.beside("of 10,000,000", Spread::of(&[ten.bytes]))])
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::from(
            "\n**The tracker alone, and the decoder alone** (one thread, no kernel)\n\n\
             | | bytes of a socket | at the peak | transitions/s, as they come | as any leave and come again \
             |\n|---|---|---|---|---|\n",
        );
        for Size { sockets, bytes, bytes_at_the_peak, coming, again } in &self.sizes {
            let _ = writeln!(
                text,
                "| tracker, {sockets} sockets | {bytes:.0} | {bytes_at_the_peak:.0} | {coming:.0} | {again:.0} |"
            );
        }
        let _ = writeln!(text, "| decoder | - | - | {:.0} | - |", self.decoded);
        let _ = writeln!(text, "\n```\n{}\n```", self.printed.trim_end());
        text
    }
}

impl Size {
    fn of(printed: &str, sockets: &'static str) -> Option<Self> {
        let of_bytes = format!("bytes per tracked socket at {sockets}: ");
        let of_transitions = format!("tracker at {sockets}: ");
        let line = |start: &str| printed.lines().find(|line| line.starts_with(start));
        Some(Self {
            sockets,
            bytes: number(printed, &of_bytes)?,
            bytes_at_the_peak: number(line(&of_bytes)?, "at the peak ")?,
            coming: number(printed, &of_transitions)?,
            again: number(line(&of_transitions)?, "as they come, ")?,
        })
    }
}

/// The number after `words`.
fn number(printed: &str, words: &str) -> Option<f64> {
    let (_, after) = printed.split_once(words)?;
    after.split([',', ' ', '\n']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "bytes per tracked socket at 1,000,000: 117, at the peak 142\n\
                           tracker at 1,000,000: 5000 transitions/s as they come, 4000 as any leave and come again\n\
                           bytes per tracked socket at 10,000,000: 119, at the peak 150\n\
                           tracker at 10,000,000: 3000 transitions/s as they come, 2000 as any leave and come again\n\
                           tracker  fastest\ndecoder: 9000 transitions/s\n";

    #[test]
    fn the_figures_are_found_in_what_is_printed() {
        let found = Tracker::of(PRINTED.to_owned()).unwrap();
        let size = |sockets, [bytes, bytes_at_the_peak, coming, again]: [f64; 4]| Size {
            sockets,
            bytes,
            bytes_at_the_peak,
            coming,
            again,
        };
        let sizes = [
            size("1,000,000", [117.0, 142.0, 5000.0, 4000.0]),
            size("10,000,000", [119.0, 150.0, 3000.0, 2000.0]),
        ];
        assert_eq!(found.sizes, sizes);
        assert!((found.decoded - 9000.0).abs() < 1e-9);
        assert!(found.markdown().contains("| tracker, 10,000,000 sockets | 119 | 150 | 3000 | 2000 |"));
        assert!(Tracker::of(PRINTED.replace("decoder", "?")).is_none());
        assert!(Tracker::of(String::new()).is_none());
    }
}
