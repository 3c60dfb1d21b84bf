//! `cargo xtask bench`: what tracing costs, beside the peers that a user would pick,
//! in one run. Every figure of the README comes from here.
//!
//! Two adjacent runs of the same storm differ by up to 2x on a busy machine, so
//! nothing is compared with a figure of another run: slices with and without a tracer
//! alternate (A B B A), and a control (A A A A) says what the machine adds.

mod net;
mod sizes;
mod spread;
mod start;
mod storm;
mod tracer;

use crate::build::{self, Executables};
use crate::workspace;
use anyhow::{Context, Result};
use serde::Serialize;
use std::{fs, path::PathBuf};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Quadruples of slices for each tracer; 6 or more make 21 pairs and more
    #[arg(long, default_value_t = 6)]
    rounds: u32,
    /// Seconds of a slice
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Who closes first: client, server or both
    #[arg(long, default_value = "client")]
    closes: String,
    /// Pairs of a client thread and a server thread
    #[arg(long, default_value_t = 1)]
    pairs: u32,
    /// Sockets that stay in CLOSE_WAIT during the storm
    #[arg(long, default_value_t = 0)]
    stay: u32,
    /// Only these tracers: closewait-trace, no-stacks, record, tcpstates, bpftrace
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Quadruples of starts with and without the gate; 0 for none
    #[arg(long, default_value_t = 20)]
    starts: u32,
    /// The BPF object that the tool is to embed, instead of the committed one
    #[arg(long)]
    object: Option<PathBuf>,
    /// Where the results go (JSON and Markdown)
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What was run, and what came of it.
#[derive(Serialize)]
struct Results {
    kernel: String,
    cpus: usize,
    load_before: String,
    rounds: u32,
    seconds: u32,
    closes: String,
    pairs: u32,
    stay: u32,
    rows: Vec<storm::Row>,
    start: start::Start,
    sizes: Option<sizes::Sizes>,
}

/// Measures and prints a table; writes it to files when asked to.
///
/// # Errors
/// When something cannot be built or started. A peer that is not installed is a row that says so.
pub(crate) fn run(args: &Args) -> Result<()> {
    let object = args.object.as_deref();
    let built = Executables::build(&["build", "--release", "--bin", "closewait-trace"], object)?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let net = net::Net::new()?;
    let storm = storm::Storm { net: &net, program: scenarios.join("storm"), args };
    let tracers = tracer::all(built.get("closewait-trace")?, &args.only);
    let rows = storm.measure(&tracers);
    let _ = fs::remove_file(tracer::recording());
    let rows = rows?;
    let records = tracers.iter().any(|tracer| tracer.name == "record");
    let ours = built.get("closewait-trace")?;
    let sizes = records.then(|| sizes::Sizes::measure(ours, &net, &storm)).transpose()?;
    let start = start::Start::measure(built.get("closewait-trace")?, args.starts)?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let results = Results {
        kernel: read("/proc/sys/kernel/osrelease"),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        load_before: read("/proc/loadavg"),
        rounds: args.rounds,
        seconds: args.seconds,
        closes: args.closes.clone(),
        pairs: args.pairs,
        stay: args.stay,
        rows,
        start,
        sizes,
    };
    let table = markdown(&results);
    println!("{table}");
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(dir.join("storm.md"), &table)?;
        fs::write(dir.join("storm.json"), serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}

fn markdown(results: &Results) -> String {
    let Results { kernel, cpus, load_before, rounds, seconds, closes, pairs, stay, .. } = results;
    let mut text = format!(
        "Linux {kernel}, {cpus} CPUs, load before {load_before}; {rounds} x ABBA of {seconds} s, {closes} closes \
         first, {pairs} pairs of threads, {stay} sockets stuck\n\n\
         | tracer | connections/s, median | against bare, median (quartiles) | its CPU, % of a core | lost |\n\
         |---|---|---|---|---|\n"
    );
    for row in &results.rows {
        text.push_str(&row.markdown());
        text.push('\n');
    }
    if let Some(sizes) = &results.sizes {
        text.push_str(&sizes.markdown());
    }
    text.push_str(&results.start.markdown());
    text
}
