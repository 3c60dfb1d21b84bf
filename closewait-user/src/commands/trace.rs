//! Live tracing: attach, look at what is there, and watch.

use std::path::Path;

use super::named;
use super::recording;
use super::reporting::{
    Repeat, cannot_listen, cannot_spawn, ended, enricher, filter_here, listen, runtime, say, say_lost,
    settle, sinks,
};
use super::service::Service;
use crate::cli::{KernelArgs, OutputFormat, StacksWanted, TraceArgs};
use crate::clock::Clock;
use crate::config::Used;
use crate::diagnostics;
use crate::driver::{Driver, Ends, Parts};
use crate::error::Failure;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::kernel::load::{self, Loaded, Settings};
use crate::kernel::plan::{self, CannotTrace};
use crate::kernel::support::{BTF_PATH, Support};
use crate::metrics::server::Server;
use crate::metrics::{Answers, Tally};
use crate::privileges::Work;
use crate::progress;
use crate::recording::Opened;
use crate::report::{Notice, Reporter, Sink};
use crate::source::ring::RingSource;
use crate::stack::Stacks;
use crate::stack::python::Interpreters;

/// Traces until a signal or the end of the duration.
pub fn run(args: &TraceArgs, used: &[Used]) -> Result<Exit, Failure> {
    diagnostics::start(args.report.verbose);
    progress::allow(args.report.output == OutputFormat::Json);
    let filter = filter_here(&args.report.filter)?;
    runtime()?.block_on(trace(args, used, filter))
}

async fn trace(args: &TraceArgs, used: &[Used], filter: Filter) -> Result<Exit, Failure> {
    let mut stop = listen()?;
    let (mut service, attended) = Service::new(args, used, &filter).map_err(cannot_listen)?;
    // Both may refuse, and sinks empty the files that they write to.
    let found = Found::new(args, &filter)?;
    let mut sinks = sinks(&args.report, Repeat::every(args.interval))?;
    let metrics = metrics(args, &mut sinks).await?;
    let driver = prepare(args, filter, found, metrics, |_| Ok(sinks))?.attended(attended);
    let (summary, written) = tokio::select! {
        // What ends the run is told before the run ends.
        biased;
        never = service.run() => match never {},
        ran = driver.run(&mut stop) => ran,
    };
    service.stopping();
    ended(&args.report, &summary, written)
}

/// What the options name, as it was found to be.
pub(super) struct Found {
    notices: Vec<Notice>,
    recording: Option<Opened>,
}

impl Found {
    /// Looks for the processes of the filter, and makes the file of the recording ours.
    pub(super) fn new(args: &TraceArgs, filter: &Filter) -> Result<Self, Failure> {
        Ok(Self { notices: named::check(filter)?, recording: recording::opened(&args.record)? })
    }
}

/// Everything a run of live tracing needs, attached.
pub(super) fn prepare(
    args: &TraceArgs,
    filter: Filter,
    Found { notices, recording }: Found,
    metrics: Option<Answers>,
    sinks: impl FnOnce(&[String]) -> Result<Vec<Box<dyn Sink>>, Failure>,
) -> Result<Driver, Failure> {
    let mut degraded = say_lost(Work::Watch);
    let wanted =
        Attach { kernel: &args.kernel, stacks: args.stacks, verbose: args.report.verbose, family: false };
    let mut pythons = None;
    let (mut loaded, source) = match attach(&wanted, &filter) {
        Ok((mut loaded, source)) => {
            // Before anybody relies on being traced: the first stack is to have its functions.
            pythons = loaded.pythons().map(|map| Interpreters::find(map, None));
            degraded.extend(loaded.served.iter().filter_map(load::Served::degraded));
            say(&format!("tracing {}", scope(args)));
            (Some(loaded), Some(source))
        }
        Err(cannot) if args.require_trace => return Err(cannot.into()),
        Err(cannot) => {
            let lost = plan::Purpose::Transitions.lost();
            say(&format!("tracing cannot run here: {}\n  hint: {}\n  {lost}", cannot.what, cannot.hint));
            degraded.push(format!("tracing cannot run here: {}; lost: {lost}", cannot.what));
            (None, None)
        }
    };
    for line in &degraded {
        log::info!("degraded: {line}");
    }
    let recorder = recording::recorder(recording, &args.record, args.report.threshold(), &degraded)?;
    let stacks = Stacks::spawn_naming(args.jit_maps, pythons).map_err(cannot_spawn)?;
    let mut enricher = enricher()?;
    if let Some(files) = loaded.as_mut().and_then(|loaded| loaded.task_files.take()) {
        enricher.use_task_files(files);
    }
    log::info!("holders come from {}", enricher.lists_descriptors_by());
    settle(Work::Watch);
    Ok(Driver::new(Parts {
        loaded,
        source,
        enricher,
        stacks,
        reporter: Reporter::new(sinks(&degraded)?),
        filter,
        threshold: args.report.threshold(),
        ends: args.duration.map_or(Ends::BySignal, Ends::After),
        degraded,
        recorder,
        only: None,
        metrics,
        notices,
    }))
}

/// Serves metrics from now on, if they are wanted; the answers are the driver's. To be called
/// before anything is attached: an address that is taken ends the run at once.
pub(super) async fn metrics(
    args: &TraceArgs,
    sinks: &mut Vec<Box<dyn Sink>>,
) -> Result<Option<Answers>, Failure> {
    let Some(at) = args.metrics_listen else { return Ok(None) };
    let failed = |error| {
        Failure::new(format!("cannot listen on {at} for --metrics-listen: {error}"))
            .hint("give another port (0: any that is free), or an address of this machine")
    };
    let (server, asks) = Server::bind(at).await.map_err(failed)?;
    say(&format!("metrics at http://{}/metrics", server.address().map_err(failed)?));
    tokio::spawn(server.serve());
    let (_, started) = Clock::read().pair();
    let tally = Tally::default();
    sinks.push(Box::new(tally.clone()));
    Ok(Some(Answers::new(asks, tally, started)))
}

/// What to attach.
pub(super) struct Attach<'a> {
    pub(super) kernel: &'a KernelArgs,
    pub(super) stacks: StacksWanted,
    pub(super) verbose: u8,
    /// Only what the members of a family do.
    pub(super) family: bool,
}

pub(super) fn attach(args: &Attach<'_>, filter: &Filter) -> Result<(Loaded, RingSource), CannotTrace> {
    let btf = args.kernel.btf.as_deref().unwrap_or_else(|| Path::new(BTF_PATH));
    let support = Support::probe(btf);
    let plan = plan::plan(&support, &args.kernel.without)?;
    let defaults = Settings::default();
    let settings = Settings {
        stacks: args.stacks,
        // A quarter of them is enough for one command, and of the time that making room takes.
        sockets: if args.family { defaults.sockets / 4 } else { defaults.sockets },
        only_netns: filter.only_netns(),
        family: args.family,
        // Debug, the level that the programs speak at.
        log_level: if args.verbose >= 2 { 4 } else { 0 },
        room: args.kernel.room.clone(),
        ..defaults
    };
    let mut loaded = load::load(&support, &plan, &settings)?;
    let maps = loaded.maps()?;
    give_back();
    let source = RingSource::new(maps).map_err(|error| CannotTrace {
        what: format!("the ring buffer cannot be watched: {error}"),
        hint: "raise the limit of open files (ulimit -n)".into(),
    })?;
    Ok((loaded, source))
}

/// Gives memory back to the system: reading the kernel's types takes tens of
/// megabytes once, and the allocator would keep them for the rest of the run.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What is traced, in words.
fn scope(args: &TraceArgs) -> String {
    let threshold = humantime::format_duration(args.report.threshold());
    let netns = match args.report.filter.netns.as_slice() {
        [] => "all network namespaces".into(),
        some => format!("network namespace {}", some.join(", ")),
    };
    format!("{netns}, threshold {threshold}; Ctrl-C ends with a summary")
}
