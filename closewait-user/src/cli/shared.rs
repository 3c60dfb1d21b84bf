//! Options that several commands take.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::kernel::plan::Hook;
use crate::report::ColorWhen;

use super::values::{OutputFormat, Room, duration, room};

/// The default of `--threshold`. The parser has none: a recording brings its own.
pub const THRESHOLD: Duration = Duration::from_secs(10);

/// Which sockets are reported, and how.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a command line has switches")]
pub struct ReportArgs {
    /// Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m) [default: 10s]
    #[arg(short, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub threshold: Option<Duration>,
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
    /// Write the stacks of stuck sockets to this file at the end: as folded stacks if it is
    /// called .folded or .txt, else as an SVG flame graph; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub flame: Vec<PathBuf>,
    /// Write everything that was reported to this file at the end, as one page of HTML that
    /// needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
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

impl ReportArgs {
    /// `--threshold`, or its default.
    pub fn threshold(&self) -> Duration {
        self.threshold.unwrap_or(THRESHOLD)
    }
}

/// Which sockets are of interest. Each is repeatable; the values of one option are
/// alternatives, different options must all hold.
#[derive(Args, Clone, Debug, Default)]
pub struct FilterArgs {
    /// Only sockets held by this process
    #[arg(short, long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Only sockets held by a process of this name
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Only sockets with this local port
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub local_port: Vec<u16>,
    /// Only sockets with this remote port
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub remote_port: Vec<u16>,
    /// Only this network namespace: all, self, a pid, or a path such as /run/netns/blue
    #[arg(long, value_name = "NS")]
    pub netns: Vec<String>,
    /// Only sockets held by processes in this cgroup or below it: a directory such as
    /// /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<String>,
    /// Not sockets held by a process of this name
    #[arg(long, value_name = "NAME")]
    pub exclude_comm: Vec<String>,
    /// Not sockets with this port at either end
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub exclude_port: Vec<u16>,
}

/// For tests: force a fallback, or a loss.
#[derive(Args, Debug, Default)]
pub struct KernelArgs {
    /// Do not use this hook
    #[arg(long, value_name = "HOOK", hide = true)]
    pub without: Vec<Hook>,
    /// Read kernel type information from here
    #[arg(long, value_name = "PATH", hide = true)]
    pub btf: Option<PathBuf>,
    /// Give a BPF map room for so much: bytes of a ring, else entries
    #[arg(long, value_name = "MAP=N", value_parser = room, hide = true)]
    pub room: Vec<Room>,
}
