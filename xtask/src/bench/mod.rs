//! `cargo xtask bench`: what tracing costs, beside the peers that a user would pick,
//! in one run. Every figure of the README comes from here.
//!
//! Two adjacent runs of the same storm differ by up to 2x on a busy machine, so
//! nothing is compared with a figure of another run: slices with and without a tracer
//! alternate (A B B A), and a control (A A A A) says what the machine adds. Threads are
//! pinned, which makes figures tight on a quiet machine and worthless beside neighbours.
//! What is measured is a room of its own; each hands in what it found of the budgets, and the
//! table of them comes last.

pub(crate) mod bounds;
mod bpf;
mod budget;
mod calls;
mod fit;
mod floor;
mod gate;
mod idle;
pub(crate) mod peers;
mod pile;
mod process;
mod programs;
mod results;
mod scale;
mod sizes;
mod spread;
mod stall;
mod starts;
mod storm;
mod tracer;
mod tracker;

use crate::{
    build::{self, Executables},
    netns::Netns,
    privilege, workspace,
};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use results::{Conditions, Results};
use std::{fs, path::PathBuf, thread};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure [default: all but scale, sizes and tracker; with --full all]
    #[arg(long, value_delimiter = ',', value_enum)]
    what: Vec<What>,
    /// Everything, in every kind of storm, for figures that are published: about 20 minutes
    #[arg(long)]
    full: bool,
    /// Quadruples of slices for each tracer in the first kind of storm, a third of that in the others;
    /// 6 or more make 21 slices and more
    #[arg(long, default_value_t = 2, default_value_if("full", "true", "6"))]
    rounds: u32,
    /// Seconds of a slice
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// Who closes first: client, server, both; all tracers are run in the first kind of storm
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "client",
        default_value_if("full", "true", "client,server,both")
    )]
    closes: Vec<String>,
    /// Pairs of a client thread and a server thread
    #[arg(long, value_delimiter = ',', default_value = "1", default_value_if("full", "true", "1,2"))]
    pairs: Vec<u32>,
    /// Sockets that are in CLOSE_WAIT during the storm
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0",
        default_value_if("full", "true", "0,10000,100000")
    )]
    stuck: Vec<u32>,
    /// Messages that go to and fro in a connection of the storm before its close
    #[arg(long, value_delimiter = ',', default_value = "0", default_value_if("full", "true", "0,100"))]
    talk: Vec<u32>,
    /// Sockets with which the first report is timed
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100,10000",
        default_value_if("full", "true", "100,1000,10000,100000")
    )]
    reports: Vec<u32>,
    /// Every combination of the four above, not only those with the first of each other
    #[arg(long)]
    product: bool,
    /// How far the scale curves go
    #[arg(long, default_value_t = 1000, default_value_if("full", "true", "100000"))]
    scale: u32,
    /// Only these tracers: closewait-trace, no-stacks, record, empty, tcpstates, tcplife, bpftrace
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The BPF object that the tool is to embed, instead of the committed one
    #[arg(long)]
    object: Option<PathBuf>,
    /// Where the results go (JSON and Markdown)
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    /// Connections a second with each tracer against none; CPU, memory, wake-ups, loss
    Storm,
    /// Run time of each BPF program, stacks on and off
    Bpf,
    /// A recv of 64 bytes
    Recv,
    /// A syscall that has nothing to do with sockets
    Syscalls,
    /// Start to attached, and to the first full report
    Starts,
    /// CPU, memory and wake-ups where nothing happens
    Idle,
    /// A reader of the ring that does not run for a while
    Stall,
    /// `run -- true` against `true`
    Gate,
    /// Bytes of recordings
    Sizes,
    /// How a look grows with namespaces, processes and sockets
    Scale,
    /// The tracker alone, and the decoder alone
    Tracker,
}

impl What {
    /// Whether it is measured when nothing was named.
    fn is_quick(self) -> bool {
        !matches!(self, Self::Sizes | Self::Scale | Self::Tracker)
    }
}

/// Measures and prints tables; writes them to files when asked to, as they become fuller.
///
/// # Errors
/// When something cannot be built, started or measured, after all else was. A peer that is not
/// installed is a row that says so.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(privilege::is_root(), "it needs root: programs are attached in this process, too");
    ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    let object = args.object.as_deref();
    let built = Executables::build(&["build", "--release", "--bin", "closewait-trace"], object)?;
    let tool = built.get("closewait-trace")?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let net = Netns::with_all_ports("bench")?;
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let storm = storm::Storm { net: &net, scenarios: &scenarios, args, pin: cpus };
    let pile = storm.program("pile");
    let tracers = tracer::all(tool, &args.only)?;
    // What has to be quiet comes first, what takes long and heats the machine last.
    let mut results = Results::new(Conditions::here(args, cpus));
    let mut rooms = Rooms { args, failed: Vec::new() };
    let look = 2 * args.rounds;
    results.idle = rooms.measure(What::Idle, || idle::Idle::measure(tool, &net, look));
    rooms.save(&mut results)?;
    for (what, call) in [(What::Syscalls, "getppid"), (What::Recv, "recv")] {
        results.calls.extend(rooms.measure(what, || calls::Calls::measure(tool, &storm, call)));
    }
    results.bpf = rooms.measure(What::Bpf, || bpf::Bpf::measure(tool, &storm));
    rooms.save(&mut results)?;
    let kinds = storm::kinds(args);
    results.storm = rooms.measure(What::Storm, || storm.measure(&tracers, &kinds)).unwrap_or_default();
    let _ = fs::remove_file(tracer::recording());
    rooms.save(&mut results)?;
    results.stall = rooms.measure(What::Stall, || stall::Stall::measure(tool, &storm, object));
    results.gate = rooms.measure(What::Gate, || gate::Gate::measure(tool, 3 * args.rounds));
    rooms.save(&mut results)?;
    results.starts =
        rooms.measure(What::Starts, || starts::Starts::measure(tool, &pile, &args.reports, look));
    results.sizes = rooms.measure(What::Sizes, || sizes::Sizes::measure(tool, &storm));
    rooms.save(&mut results)?;
    let scale = || scale::measure(tool, &pile, args.scale, 3);
    results.scale = rooms.measure(What::Scale, scale).unwrap_or_default();
    results.tracker = rooms.measure(What::Tracker, tracker::Tracker::measure);
    rooms.save(&mut results)?;
    println!("{}", results.markdown());
    ensure!(rooms.failed.is_empty(), "not measured: {}", rooms.failed.join("; "));
    Ok(())
}

/// The rooms that are wanted, and those that failed: one that does costs its own figures, not
/// an hour's of the others.
struct Rooms<'a> {
    args: &'a Args,
    failed: Vec<String>,
}

impl Rooms<'_> {
    fn measure<T>(&mut self, what: What, measure: impl FnOnce() -> Result<T>) -> Option<T> {
        let is_wanted = match self.args.what.as_slice() {
            [] => self.args.full || what.is_quick(),
            some => some.contains(&what),
        };
        let found = is_wanted.then(measure)?;
        let failed = |error| self.failed.push(format!("{what:?}: {error:#}"));
        found.map_err(failed).ok()
    }

    /// Judges and writes what there is so far.
    fn save(&self, results: &mut Results) -> Result<()> {
        results.judge()?;
        let Some(dir) = &self.args.out else { return Ok(()) };
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(dir.join("bench.md"), results.markdown())?;
        fs::write(dir.join("bench.json"), serde_json::to_string_pretty(results)?)?;
        Ok(())
    }
}
