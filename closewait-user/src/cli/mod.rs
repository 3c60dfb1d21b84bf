//! The command line, as the contract fixes it: the commands, and which options each has. Raw
//! arguments only: what they mean together is decided in `config`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands::kill::Remote;
use crate::metrics::Listen;
use crate::verdict::Code;

mod mistyped;
mod shared;
mod values;

pub use mistyped::hint;
pub use shared::{FilterArgs, KernelArgs, ReportArgs, THRESHOLD};
pub use values::{Moment, OutputFormat, Room, StacksWanted};
use values::{duration, moment, size, stuck_code};

/// Finds TCP sockets stuck in CLOSE_WAIT: since when, who holds them, which code
/// opened them, and why.
#[derive(Parser, Debug)]
#[command(
    name = "closewait-trace",
    version = crate::version::short(),
    long_version = crate::version::long(),
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it traces live, until Ctrl-C. It needs root.\n\
        Exit status: 0 fine, 1 stuck sockets found (with --fail-on-stuck), 2 usage or runtime error,\n\
        77 tracing was required and cannot run here."
)]
pub struct Cli {
    /// What to do; tracing live when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of live tracing.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Commands beside live tracing.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// One look at what is stuck now; needs no BPF
    Snapshot(ReportArgs),
    /// Run a command, trace only it and its children, and fail if it leaks sockets
    Run(RunArgs),
    /// The same reports from a recording, by today's rules; needs no root
    Replay(ReplayArgs),
    /// Which causes are new, grown, shrunk or gone from one run to another
    Diff(DiffArgs),
    /// Destroy stuck sockets; says what it would do, unless --yes is given
    Kill(KillArgs),
    /// A live screen, for a terminal: causes by growth, their sockets and stacks
    Top(TopArgs),
    /// What this kernel offers, what will be used, what is lost
    Doctor(DoctorArgs),
    /// What a verdict means, its proof, the fix, and what does not help
    Explain {
        /// A verdict code, such as EOF_IGNORED; all of them when absent
        code: Option<String>,
    },
}

/// Options of live tracing.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Read options from this file (TOML, by their long names: threshold = "30s"); the command
    /// line wins. SIGHUP reads the filters again
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print what would be used, and where it is from, and exit: 0 if it can be, else 2
    #[arg(long)]
    pub check_config: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub report: ReportArgs,
    /// Stop after this long; until Ctrl-C when absent
    #[arg(short, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Take user stacks
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub stacks: StacksWanted,
    /// Ask JVMs that hold stuck sockets to name their compiled methods, as jcmd does: they
    /// write /tmp/perf-PID.map (JDK 17 or later)
    #[arg(long)]
    pub jit_maps: bool,
    /// Repeat the full screen this often; when it changes, if absent
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub interval: Option<Duration>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub record: RecordArgs,
    /// Serve metrics in the OpenMetrics format at http://ADDR/metrics; a port alone (9435) is for
    /// this machine only
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<Listen>,
    /// Fail with 77 when tracing cannot run, instead of repeating snapshots
    #[arg(long)]
    pub require_trace: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub kernel: KernelArgs,
}

/// A recording to make.
#[derive(Args, Debug, Default)]
pub struct RecordArgs {
    /// Write what was seen to a file, for `replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Let the recording and its predecessor (FILE.1) take this many bytes together (100M, 2G)
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "record")]
    pub record_max: Option<u64>,
    /// Leave addresses and command lines out of the recording; names of processes and files, and
    /// stacks, stay
    #[arg(long, requires = "record")]
    pub redact: bool,
}

/// Options of `top`.
#[derive(Args, Debug)]
#[command(
    after_help = "Press ? for the keys. When it ends, the full report is printed, as by `closewait-trace`.\n\
        --interval says how often the screen is renewed, once a second if absent."
)]
pub struct TopArgs {
    /// Show a recording; of one that was rotated, FILE.1 and FILE. Live if absent
    #[arg(
        value_name = "FILE",
        conflicts_with_all = ["duration", "stacks", "jit_maps", "interval", "record", "require_trace", "metrics_listen"]
    )]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub trace: TraceArgs,
}

/// Options of `run`.
#[derive(Args, Debug)]
#[command(
    override_usage = "closewait-trace run [OPTIONS] -- CMD [ARG]...",
    after_help = "What leaked: a socket that was in CLOSE_WAIT for --threshold, also if it was closed then; and one\n\
        that was not closed when its process ended, if it had been in CLOSE_WAIT for 100 ms (or for\n\
        --threshold, if that is less). What is harmless, as SENDING is, does not count.\n\
        CMD owns stdin, stdout and stderr; the report goes to stderr when it has ended. Daemons that it\n\
        leaves are not waited for, nor ended: they are named as left running.\n\
        Exit status: that of CMD if it is not 0 (128+n for signal n), else 1 if it leaked, else 0;\n\
        2 usage or runtime error, 77 tracing cannot run here (CMD is not started then)."
)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub report: ReportArgs,
    /// Take user stacks
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub stacks: StacksWanted,
    /// Ask JVMs that hold stuck sockets to name their compiled methods, as jcmd does: they
    /// write /tmp/perf-PID.map (JDK 17 or later)
    #[arg(long)]
    pub jit_maps: bool,
    /// Write the report to this file, in the format of --output
    #[arg(long = "report", value_name = "FILE")]
    pub report_file: Option<PathBuf>,
    /// Write what leaked to this file as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Fail only if more sockets than this leaked
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max: usize,
    /// Do not count what a line of this file describes: `frame:PATTERN` (a function or module of a
    /// stack), `comm:`, `remote:ADDRESS:PORT`, `verdict:` or `cause:`, of which all on a line must
    /// fit; `*` is any text, `#` begins a comment
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
    /// Add what leaks now to the file of suppressions, and do not fail for it
    #[arg(long, requires = "suppressions")]
    pub update_baseline: bool,
    /// Count every socket that was in CLOSE_WAIT when its process ended, however short or harmless
    #[arg(long)]
    pub strict_exit: bool,
    /// Run CMD as this user; as the one who called sudo, if absent
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub kernel: KernelArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Options of `replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The recording; of one that was rotated, FILE.1 and FILE
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Begin with what was stuck then: a time such as 2026-01-31T10:00:00Z, or a duration
    /// since the start such as 90s
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Moment>,
    /// Report only what was seen until then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub to: Option<Moment>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub report: ReportArgs,
}

/// Options of `diff`.
#[derive(Args, Debug)]
#[command(
    after_help = "Of a socket that was open when a run began less is known, so its cause has another id there. One that\n\
        both runs have (by namespace, addresses, ports and inode) counts in both by the cause of the run that\n\
        saw more of it: \"recognised\" says how many of a cause these are."
)]
pub struct DiffArgs {
    /// The first run: a recording, or what `-o json` printed
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// The second run
    #[arg(value_name = "B")]
    pub after: PathBuf,
    /// Of recordings, count sockets that were in CLOSE_WAIT this long; as recorded when absent
    #[arg(short, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub threshold: Option<Duration>,
    /// Format; JSON is one object per line
    #[arg(short, long, value_name = "FMT", default_value = "text")]
    pub output: OutputFormat,
    /// Show causes that are the same, too
    #[arg(long)]
    pub all: bool,
    /// Exit 1 if a cause is new or has grown
    #[arg(long)]
    pub fail_on_growth: bool,
    /// Say more on stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `kill`.
#[derive(Args, Debug)]
#[command(
    after_help = "It looks twice, as snapshot does, and takes what is in CLOSE_WAIT by both looks, fits all options\n\
        and is still the same socket then, in CLOSE_WAIT, by the kernel's cookie.\n\
        Destroying ends the connection (the peer gets a RST, the owner ECONNABORTED) and frees no descriptor:\n\
        only the owner can. Before and after are shown; the cure is a close() or a restart of the owner.\n\
        Never NOT_ACCEPTED, SENDING or SLOW_READER, nor one whose peer is a process of this host that has only\n\
        half-closed and may wait for an answer, unless --verdict names it. It needs CAP_NET_ADMIN.\n\
        Exit status: 0 done, or a dry run; 2 usage or runtime error, or a socket could not be destroyed."
)]
pub struct KillArgs {
    /// Destroy them; without this, only say what would be destroyed
    #[arg(long)]
    pub yes: bool,
    /// Only sockets that are connected to this: ADDRESS, or ADDRESS:PORT; repeatable
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub remote: Vec<Remote>,
    /// Only what has been in CLOSE_WAIT this long for certain: the lower bound of its age
    /// counts [default: --threshold]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub older_than: Option<Duration>,
    /// Only sockets with this verdict, such as EOF_IGNORED; repeatable
    #[arg(long, value_name = "CODE", value_parser = stuck_code)]
    pub verdict: Vec<Code>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub filter: FilterArgs,
    /// Look at sockets that have been, or may have been, in CLOSE_WAIT this long
    #[arg(short, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true,
          default_value = "10s")]
    pub threshold: Duration,
    /// Format; JSON is one object per line
    #[arg(short, long, value_name = "FMT", default_value = "text")]
    pub output: OutputFormat,
    /// Say more on stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 fine; 1 the self-test did not find its leak; 2 usage or runtime error;\n\
    77 tracing cannot run here."
)]
pub struct DoctorArgs {
    /// Leak a socket in a network namespace of its own, and see whether it is found
    #[arg(long)]
    pub self_test: bool,
    /// Format; JSON is one line
    #[arg(short, long, value_name = "FMT", default_value = "text")]
    pub output: OutputFormat,
    /// Say more on stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub kernel: KernelArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn live_tracing_has_the_contracts_defaults() {
        let cli = Cli::try_parse_from(["closewait-trace"]).unwrap();
        assert!(cli.command.is_none());
        let TraceArgs { report, duration, require_trace, .. } = cli.trace;
        assert_eq!(report.threshold(), Duration::from_secs(10));
        assert_eq!((duration, report.limit, report.output), (None, 20, OutputFormat::Text));
        assert!(!report.fail_on_stuck && !require_trace);
    }

    #[test]
    fn a_negative_duration_is_called_a_bad_value_not_an_unknown_option() {
        let error = Cli::try_parse_from(["closewait-trace", "--threshold", "-5s"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation);
    }
}
