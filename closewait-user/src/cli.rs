//! The command line, as the contract fixes it. Raw arguments only: what they mean
//! together is decided in `config`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::kernel::plan::Hook;
use crate::report::ColorWhen;

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
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub report: ReportArgs,
    /// Stop after this long; until Ctrl-C when absent
    #[arg(short, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Take user stacks
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub stacks: StacksWanted,
    /// Repeat the full screen this often; when it changes, if absent
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub interval: Option<Duration>,
    /// Fail with 77 when tracing cannot run, instead of repeating snapshots
    #[arg(long)]
    pub require_trace: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub kernel: KernelArgs,
}

/// Which sockets are reported, and how.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a command line has switches")]
pub struct ReportArgs {
    /// Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m)
    #[arg(short, long, value_name = "DUR", default_value = "10s", value_parser = duration, allow_hyphen_values = true)]
    pub threshold: Duration,
    /// Format of the reports; JSON is one object per line
    #[arg(short, long, value_name = "FMT", default_value = "text")]
    pub output: OutputFormat,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub filter: FilterArgs,
    /// Group sockets by cause (the default in text)
    #[arg(long, overrides_with = "no_group")]
    pub group: bool,
    /// One report per socket (the default in json)
    #[arg(long)]
    pub no_group: bool,
    /// Show this many causes; the rest are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Exit 1 if a stuck socket was reported that is, or may be, a leak
    #[arg(long)]
    pub fail_on_stuck: bool,
    /// With --fail-on-stuck: do not count sockets of which the evidence cannot tell
    #[arg(long)]
    pub allow_unknown: bool,
    /// Say more on stderr; twice for the log of the BPF programs
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Colour the text
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
}

/// Which sockets are of interest. Each is repeatable; the values of one option are
/// alternatives, different options must all hold.
#[derive(Args, Debug, Default)]
pub struct FilterArgs {
    /// Only sockets held by this process
    #[arg(short, long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only sockets held by a process of this name
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Only sockets with this local port
    #[arg(long, value_name = "N")]
    pub local_port: Vec<u16>,
    /// Only sockets with this remote port
    #[arg(long, value_name = "N")]
    pub remote_port: Vec<u16>,
    /// Only this network namespace: all, self, a pid, or a path such as /run/netns/blue
    #[arg(long, value_name = "NS")]
    pub netns: Vec<String>,
    /// Not sockets held by a process of this name
    #[arg(long, value_name = "NAME")]
    pub exclude_comm: Vec<String>,
    /// Not sockets with this port at either end
    #[arg(long, value_name = "N")]
    pub exclude_port: Vec<u16>,
}

/// For tests: force a fallback.
#[derive(Args, Debug, Default)]
pub struct KernelArgs {
    /// Do not use this hook
    #[arg(long, value_name = "HOOK", hide = true)]
    pub without: Vec<Hook>,
    /// Read kernel type information from here
    #[arg(long, value_name = "PATH", hide = true)]
    pub btf: Option<PathBuf>,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Say more on stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take a comment here for the group's help")]
    pub kernel: KernelArgs,
}

/// `--output`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// `--stacks`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum StacksWanted {
    /// The best way there is
    Auto,
    /// By unwind tables
    Dwarf,
    /// By frame pointers
    Fp,
    /// None
    Off,
}

/// Parses a duration as the contract writes it: `10s`, `500ms`, `2m`; above zero.
fn duration(text: &str) -> Result<Duration, String> {
    let form = "write it with a unit, such as 10s, 500ms or 2m";
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; {form}"))?;
    if duration.is_zero() {
        return Err(format!("must be longer than zero; {form}"));
    }
    if duration > Duration::from_hours(366 * 24) {
        return Err("must be at most a year".into());
    }
    Ok(duration)
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
    fn durations_need_a_unit_and_must_be_above_zero() {
        let good = [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h 30m", 5_400_000)];
        for (text, ms) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["0", "0s", "-5s", "10x", "10", "", "s", "1e9s", "400d", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn live_tracing_has_the_contracts_defaults() {
        let cli = Cli::try_parse_from(["closewait-trace"]).unwrap();
        assert!(cli.command.is_none());
        let TraceArgs { report, duration, require_trace, .. } = cli.trace;
        assert_eq!(report.threshold, Duration::from_secs(10));
        assert_eq!((duration, report.limit, report.output), (None, 20, OutputFormat::Text));
        assert!(!report.fail_on_stuck && !require_trace);
    }

    #[test]
    fn a_negative_duration_is_called_a_bad_value_not_an_unknown_option() {
        let error = Cli::try_parse_from(["closewait-trace", "--threshold", "-5s"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation);
    }
}
