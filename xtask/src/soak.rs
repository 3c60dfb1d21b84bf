//! `cargo xtask soak`: a mixed load with random faults, for as long as wanted, held all
//! along against the truth that the load keeps (`tests/live/soak.rs`). Results are
//! appended to a file; what that file has already is not done again.

use crate::{
    build::{self, Executables},
    privilege, workspace,
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For how long, with what the file of results has already (45m, 2h)
    #[arg(long = "for", value_name = "DUR", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// One run lasts no longer than this; the next has another load and other faults
    #[arg(long, value_name = "DUR", value_parser = humantime::parse_duration, default_value = "45m")]
    round: Duration,
    /// The load and the faults of the first run; those of an even number lose records
    #[arg(long, default_value_t = 2)]
    seed: u64,
    /// The file of results [default: soak.jsonl in the target directory]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
}

/// Does what is left to be done, and prints every run of the file.
///
/// # Errors
/// When something cannot be built, or a run found something wrong: the file says what.
pub(crate) fn run(args: &Args) -> Result<()> {
    let results = args.results.clone().unwrap_or_else(|| workspace::target_dir().join("soak.jsonl"));
    let tool = Executables::build(&["build", "--release", "--bin", "closewait-trace"], None)?;
    let tests = Executables::build(&["test", "--no-run", "--test", "live"], None)?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    loop {
        let runs = read(&results)?;
        let done: u64 = runs.values().filter_map(|run| run["secs"].as_u64()).sum();
        let left = args.duration.as_secs().saturating_sub(done);
        if left == 0 {
            return conclude(&runs, &results);
        }
        let seconds = left.min(args.round.as_secs());
        let seed = args.seed + runs.len() as u64;
        eprintln!("soak: {done} s are done; {seconds} s with seed {seed}, into {}", results.display());
        let mut soak = privilege::command("env")?;
        soak.arg(format!("CLOSEWAIT_TRACE_BIN={}", tool.get("closewait-trace")?.display()))
            .arg(format!("CLOSEWAIT_SCENARIOS={}", scenarios.display()))
            .arg(format!("CLOSEWAIT_SOAK_SECS={seconds}"))
            .arg(format!("CLOSEWAIT_SOAK_SEED={seed}"))
            .arg(format!("CLOSEWAIT_SOAK_RESULTS={}", results.display()))
            .arg(tests.get("live")?)
            .arg("soak::");
        let status = soak.status().context("cannot start the live tests")?;
        if !status.success() {
            let _ = conclude(&read(&results)?, &results);
            bail!("the soak failed ({status}); with `--seed {seed}` it can be tried again");
        }
    }
}

/// The last line of every run.
fn read(results: &Path) -> Result<BTreeMap<String, Value>> {
    let text = match fs::read_to_string(results) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("cannot read {}", results.display()))?,
    };
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).context("it is not JSON")?;
        let run = line["run"].as_str().context("it names no run")?.to_owned();
        Ok((run, line))
    });
    let runs: Result<_> = lines.collect();
    runs.with_context(|| format!("{} is no file of results", results.display()))
}

fn conclude(runs: &BTreeMap<String, Value>, results: &Path) -> Result<()> {
    let columns = ["secs", "stays", "stuck", "ghost", "released", "records_lost", "tool_stopped"];
    let memory = [
        "rss_kib",
        "rss_kib_most",
        "rss_kib_per_min",
        "own_kib",
        "own_kib_most",
        "own_kib_per_min",
        "fds_most",
        "threads_most",
    ];
    let mut wrong = 0;
    for (name, run) in runs {
        let words: Vec<_> =
            columns.iter().chain(&memory).map(|column| format!("{column} {}", run[*column])).collect();
        let complaints = run["complaints"].as_object().map_or(0, serde_json::Map::len);
        wrong += complaints;
        let verdict = if complaints == 0 { "right" } else { "WRONG" };
        println!("soak {name} {} seed {}: {verdict}; {}", run["kernel"], run["seed"], words.join(", "));
    }
    if wrong > 0 {
        bail!("{wrong} kinds of complaints: see {}", results.display());
    }
    Ok(())
}
