//! How large recordings are: bytes of a transition, from a storm in which nothing is
//! stuck, and of a stuck socket with its evidence, from what a storm beside some adds.

use super::{
    storm::{Kind, PORT, Storm},
    tracer,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{fs, path::Path};

/// Stuck sockets in the second storm.
const STUCK: u32 = 1000;
/// Long enough for all of them to be judged.
const SECONDS: u32 = 8;
/// Into CLOSE_WAIT and out of it.
const TRANSITIONS: f64 = 2.0;

/// Bytes.
#[derive(Serialize)]
pub(super) struct Sizes {
    transitions: f64,
    per_transition: f64,
    stuck: u32,
    per_stuck: f64,
    lost: u64,
}

impl Sizes {
    /// Records both storms.
    pub(super) fn measure(tool: &Path, storm: &Storm) -> Result<Self> {
        let (bytes, connections, lost) = recorded(tool, storm, 0)?;
        let per_connection = bytes / connections;
        let (with_stuck, beside, lost_too) = recorded(tool, storm, STUCK)?;
        Ok(Self {
            transitions: connections * TRANSITIONS,
            per_transition: per_connection / TRANSITIONS,
            stuck: STUCK,
            per_stuck: (with_stuck - per_connection * beside) / f64::from(STUCK),
            lost: lost + lost_too,
        })
    }

    /// A line below the table.
    pub(super) fn markdown(&self) -> String {
        let Self { transitions, per_transition, stuck, per_stuck, lost } = self;
        format!(
            "\nA recording takes {per_transition:.1} bytes a transition ({transitions:.0} of them) and {per_stuck:.0} \
             bytes a stuck socket ({stuck} of them); {lost} records lost.\n"
        )
    }
}

/// Bytes of the recording of a storm, its connections, and what was lost.
fn recorded(tool: &Path, storm: &Storm, stuck: u32) -> Result<(f64, f64, u64)> {
    let file = std::env::temp_dir().join(format!("closewait-bench-sizes-{}", std::process::id()));
    let path = file.display().to_string();
    let tracer = tracer::ours("sizes", tool, &["--record", &path, "--threshold", "500ms"]);
    let running = tracer.start_ours(storm.net, PORT)?;
    let blown = storm.blow(&Kind::default(), SECONDS, stuck)?;
    let cost = running.stop()?;
    let lost = cost.lost.context("it does not say what was lost")?;
    let reported = cost.reported.context("it does not say what it reported")?;
    ensure!(reported >= u64::from(stuck), "{reported} of {stuck} stuck sockets were judged in {SECONDS} s");
    let bytes = fs::metadata(&file).context("there is no recording")?.len();
    fs::remove_file(&file)?;
    #[expect(clippy::cast_precision_loss, reason = "a recording of seconds")]
    Ok((bytes as f64, blown.connections, lost))
}
