//! What `trace` and `snapshot` share: filters, sinks, and how a run ends.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use crate::cli::{FilterArgs, OutputFormat, ReportArgs};
use crate::driver::Stop;
use crate::enrich::cgroup::CgroupFilter;
use crate::enrich::netns::{NetnsArg, NetnsFilter};
use crate::enrich::{Enricher, Options};
use crate::error::Failure;
use crate::exit::Exit;
use crate::files;
use crate::filter::Filter;
use crate::privileges::{self, Work};
use crate::progress;
use crate::report::flame::Form;
use crate::report::text::{LEAST, WIDEST};
use crate::report::{
    ColorWhen, FlameSink, HtmlSink, JsonSink, Sink, Style, Summary, TextOptions, TextSink, color_choice, gate,
};

/// The filters, validated.
pub(super) fn filter(args: &FilterArgs) -> Result<Filter, Failure> {
    let wanted: Vec<NetnsArg> =
        args.netns.iter().map(|word| word.parse().unwrap_or_else(|never| match never {})).collect();
    let netns = NetnsFilter::resolve(&wanted).map_err(|error| {
        Failure::new(format!("--netns: {error}"))
            .hint("give all, self, a pid, or a path such as /run/netns/NAME (`ip netns list` shows names)")
    })?;
    let cgroups: Result<_, _> = args.cgroup.iter().map(|path| CgroupFilter::resolve(path)).collect();
    Ok(Filter {
        netns,
        cgroups: cgroups.map_err(|what: String| no_cgroup(&what))?,
        local_ports: args.local_port.clone(),
        remote_ports: args.remote_port.clone(),
        exclude_ports: args.exclude_port.clone(),
        pids: args.pid.clone(),
        comms: args.comm.clone(),
        exclude_comms: args.exclude_comm.clone(),
    })
}

/// The same, for a look at this machine: what is named must be there.
pub(super) fn filter_here(args: &FilterArgs) -> Result<Filter, Failure> {
    let filter = filter(args)?;
    let missing = args.cgroup.iter().zip(&filter.cgroups).find(|(_, cgroup)| !cgroup.exists());
    match missing {
        Some((path, _)) => Err(no_cgroup(&format!("there is no cgroup {path}"))),
        None => Ok(filter),
    }
}

fn no_cgroup(what: &str) -> Failure {
    Failure::new(format!("--cgroup: {what}")).hint(
        "give a directory below /sys/fs/cgroup, or a path as `cat /proc/PID/cgroup` shows it behind the last colon",
    )
}

/// When text is written before the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// When it changes.
    OnChange,
    /// All of it, so often.
    Every(Duration),
    /// Never: there is one look, and one report of it.
    Never,
}

impl Repeat {
    /// As `--interval` has it.
    pub(super) fn every(interval: Option<Duration>) -> Self {
        interval.map_or(Self::OnChange, Self::Every)
    }
}

/// The sinks that the options ask for.
pub(super) fn sinks(args: &ReportArgs, repeat: Repeat) -> Result<Vec<Box<dyn Sink>>, Failure> {
    let mut sinks = files(args)?;
    // The screen comes first.
    sinks.insert(0, sink(args, repeat));
    Ok(sinks)
}

/// The sinks that write to files at the end.
pub(super) fn files(args: &ReportArgs) -> Result<Vec<Box<dyn Sink>>, Failure> {
    let open = |option: &str, path: &Path, mode| {
        let created = files::create(path, mode, None);
        let created = created.map_err(|error| Failure::new(format!("{option} {}: {error}", path.display())));
        created.map(|created| created.file)
    };
    let mut sinks = Vec::new();
    for path in &args.flame {
        sinks.push(flame_sink(path, open("--flame", path, 0o666)?));
    }
    if let Some(path) = &args.html {
        // It has addresses, as a recording has.
        sinks.push(html_sink(open("--html", path, 0o600)?));
    }
    Ok(sinks)
}

/// Writes a page to the open file.
pub(super) fn html_sink(file: File) -> Box<dyn Sink> {
    Box::new(HtmlSink::new(Box::new(io::BufWriter::new(file))))
}

/// Writes a flame graph to the open file `path`.
pub(super) fn flame_sink(path: &Path, file: File) -> Box<dyn Sink> {
    Box::new(FlameSink::new(Box::new(io::BufWriter::new(file)), Form::of(path)))
}

fn sink(args: &ReportArgs, repeat: Repeat) -> Box<dyn Sink> {
    let out = progress::stdout();
    match args.output {
        OutputFormat::Json => Box::new(JsonSink::new(out, args.group)),
        OutputFormat::Text => Box::new(TextSink::new(out, progress::stderr(), text_options(args, repeat))),
    }
}

/// How text on stdout looks.
pub(super) fn text_options(args: &ReportArgs, repeat: Repeat) -> TextOptions {
    let journal = is_journal(io::stdout());
    TextOptions {
        style: Style { color: color(args.color) && !journal, width: width() },
        threshold: args.threshold(),
        group: !args.no_group,
        limit: args.limit,
        // It keeps what was said: nothing is said again.
        interval: match repeat {
            Repeat::Every(every) if !journal => Some(every),
            _ => None,
        },
        once: repeat == Repeat::Never,
    }
}

pub(super) fn color(wanted: ColorWhen) -> bool {
    color_choice(wanted, io::stdout().is_terminal(), std::env::var("NO_COLOR").ok().as_deref())
}

/// Whether `file` leads to the journal: systemd names the stream that it connected
/// (`JOURNAL_STREAM`, systemd.exec(5)).
fn is_journal(file: impl std::os::fd::AsFd) -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(file).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Columns of text on stdout: those of the terminal; elsewhere so many that a report fits a ticket.
pub(super) fn width() -> usize {
    narrow().unwrap_or(WIDEST)
}

/// Columns of the terminal that stdout is, where they are fewer than elsewhere.
pub(super) fn narrow() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    // A terminal that has never been told its size has none.
    let columns = Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)?;
    (columns < WIDEST).then(|| columns.max(LEAST))
}

/// The exit code of a run that ended with this summary.
pub(super) fn ended(args: &ReportArgs, summary: &Summary, written: io::Result<()>) -> Result<Exit, Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write the report: {error}")))
        }
        // A reader that went away has seen what it wanted.
        _ if gate(summary, args.fail_on_stuck, args.allow_unknown) => Ok(Exit::Stuck),
        _ => Ok(Exit::Fine),
    }
}

/// The event loop: one thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the event loop: {error}")))
}

/// Takes over the signals that end a run.
pub(super) fn listen() -> Result<Stop, Failure> {
    Stop::listen().map_err(cannot_listen)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn cannot_listen(error: io::Error) -> Failure {
    Failure::new(format!("cannot listen for signals: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn cannot_spawn(error: io::Error) -> Failure {
    Failure::new(format!("cannot start the stack worker: {error}"))
}

/// Looks at sockets and processes.
pub(super) fn enricher() -> Result<Enricher, Failure> {
    Enricher::new(Options::default())
        .map_err(|error| Failure::new(format!("cannot look at network namespaces: {error}")))
}

/// Says what is lost for want of capabilities; the same, for the summary.
pub(super) fn say_lost(work: Work) -> Vec<String> {
    let lost = privileges::effective().map(|effective| privileges::lost(work, effective)).unwrap_or_default();
    for line in &lost {
        say(line);
    }
    lost
}

/// All is open, attached and started: from here on this thread keeps what its work takes.
pub(super) fn settle(work: Work) {
    if let Err(error) = privileges::settle(work) {
        say(&format!("capabilities that are not needed any more are kept: {error}"));
    }
}

/// Says something about the tool itself, on stderr.
pub(super) fn say(text: &str) {
    let _ = progress::aside(|| writeln!(io::stderr(), "closewait-trace: {text}"));
}
