//! Live tracing: attach, look at what is there, and watch.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::cli::{FilterArgs, OutputFormat, StacksWanted, TraceArgs};
use crate::diagnostics;
use crate::driver::{Driver, Parts, Stop};
use crate::enrich::netns::{NetnsArg, NetnsFilter};
use crate::enrich::{Enricher, Options};
use crate::error::Failure;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::kernel::load::{self, Loaded, Settings};
use crate::kernel::plan::{self, CannotTrace};
use crate::kernel::support::{BTF_PATH, Support};
use crate::report::{ColorWhen, JsonSink, Reporter, Sink, Style, TextOptions, TextSink, color_choice, gate};
use crate::source::ring::RingSource;
use crate::stack::Stacks;

/// Traces until a signal or the end of the duration.
pub fn run(args: &TraceArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.verbose);
    let filter = filter(&args.filter)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the event loop: {error}")))?;
    runtime.block_on(trace(args, filter))
}

async fn trace(args: &TraceArgs, filter: Filter) -> Result<Exit, Failure> {
    let mut stop =
        Stop::listen().map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    let mut degraded = Vec::new();
    let (loaded, source) = match attach(args, &filter) {
        Ok((loaded, source)) => {
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
    let stacks =
        Stacks::spawn().map_err(|error| Failure::new(format!("cannot start the stack worker: {error}")))?;
    let enricher = Enricher::new(Options::default())
        .map_err(|error| Failure::new(format!("cannot look at network namespaces: {error}")))?;
    let driver = Driver::new(Parts {
        loaded,
        source,
        enricher,
        stacks,
        reporter: Reporter::new(vec![sink(args)]),
        filter,
        threshold: args.threshold,
        duration: args.duration,
        degraded,
    });
    let (summary, written) = driver.run(&mut stop).await;
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write the report: {error}")))
        }
        // A reader that went away has seen what it wanted.
        _ if gate(&summary, args.fail_on_stuck, args.allow_unknown) => Ok(Exit::Stuck),
        _ => Ok(Exit::Fine),
    }
}

fn attach(args: &TraceArgs, filter: &Filter) -> Result<(Loaded, RingSource), CannotTrace> {
    let btf = args.kernel.btf.as_deref().unwrap_or_else(|| Path::new(BTF_PATH));
    let support = Support::probe(btf);
    let plan = plan::plan(&support, &args.kernel.without)?;
    let settings = Settings {
        stacks: args.stacks != StacksWanted::Off && !args.kernel.without.contains(&plan::Hook::Stack),
        only_netns: filter.only_netns(),
        // Debug, the level that the programs speak at.
        log_level: if args.verbose >= 2 { 4 } else { 0 },
        ..Settings::default()
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
    let threshold = humantime::format_duration(args.threshold);
    let netns = match args.filter.netns.as_slice() {
        [] => "all network namespaces".into(),
        some => format!("network namespace {}", some.join(", ")),
    };
    format!("{netns}, threshold {threshold}; Ctrl-C ends with a summary")
}

fn filter(args: &FilterArgs) -> Result<Filter, Failure> {
    let wanted: Vec<NetnsArg> =
        args.netns.iter().map(|word| word.parse().unwrap_or_else(|never| match never {})).collect();
    let netns = NetnsFilter::resolve(&wanted).map_err(|error| {
        Failure::new(format!("--netns: {error}"))
            .hint("give all, self, a pid, or a path such as /run/netns/NAME (`ip netns list` shows names)")
    })?;
    Ok(Filter {
        netns,
        local_ports: args.local_port.clone(),
        remote_ports: args.remote_port.clone(),
        exclude_ports: args.exclude_port.clone(),
        pids: args.pid.clone(),
        comms: args.comm.clone(),
        exclude_comms: args.exclude_comm.clone(),
    })
}

fn sink(args: &TraceArgs) -> Box<dyn Sink> {
    let out = Box::new(io::stdout());
    match args.output {
        OutputFormat::Json => Box::new(JsonSink::new(out, args.group)),
        OutputFormat::Text => {
            let options = TextOptions {
                style: Style { color: color(args.color), width: width() },
                threshold: args.threshold,
                group: !args.no_group,
                limit: args.limit,
                interval: args.interval,
            };
            Box::new(TextSink::new(out, Box::new(io::stderr()), options))
        }
    }
}

fn color(wanted: ColorWhen) -> bool {
    color_choice(wanted, io::stdout().is_terminal(), std::env::var("NO_COLOR").ok().as_deref())
}

/// Columns of the terminal; 99 elsewhere, so that a report fits a ticket.
fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(99, |size| usize::from(size.ws_col)).clamp(60, 99)
}

/// Says something about the tool itself, on stderr.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "closewait-trace: {text}");
}
