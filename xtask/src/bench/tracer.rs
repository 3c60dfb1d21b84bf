//! The tracers that are compared: ours in several modes, and the peers that are installed.
//! All of them watch the storm only: ours by its namespace, the others by its port.

use super::net::Net;
use crate::command;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How to start one.
pub(super) struct Tracer {
    /// Its row in the table.
    pub(super) name: &'static str,
    /// Why it cannot be run.
    pub(super) missing: Option<String>,
    kind: Kind,
}

enum Kind {
    /// Ours, with more options.
    Ours { program: PathBuf, options: Vec<String> },
    /// libbpf-tools tcpstates.
    Tcpstates(PathBuf),
    /// The script that people paste.
    Bpftrace(PathBuf),
}

/// All of them, or those that were named.
pub(super) fn all(ours: &Path, only: &[String]) -> Vec<Tracer> {
    let own = |name, options: &[&str]| self::ours(name, ours, options);
    let recording = recording().display().to_string();
    let peer = |name, program: &str, kind: fn(PathBuf) -> Kind| {
        let found = command::find_system(program);
        let missing = found.is_none().then(|| format!("{program} is not installed"));
        Tracer { name, missing, kind: kind(found.unwrap_or_default()) }
    };
    let all = [
        own("closewait-trace", &[]),
        own("no-stacks", &["--stacks", "off"]),
        own("record", &["--record", &recording]),
        peer("tcpstates", "tcpstates", Kind::Tcpstates),
        peer("bpftrace", "bpftrace", Kind::Bpftrace),
    ];
    all.into_iter().filter(|tracer| only.is_empty() || only.iter().any(|name| name == tracer.name)).collect()
}

/// The recording that the last slice of `record` has left.
pub(super) fn recording() -> PathBuf {
    std::env::temp_dir().join(format!("closewait-bench-{}", std::process::id()))
}

/// Ours, with more options.
pub(super) fn ours(name: &'static str, program: &Path, options: &[&str]) -> Tracer {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Tracer { name, missing: None, kind: Kind::Ours { program: program.to_owned(), options } }
}

/// One that runs.
pub(super) struct Running {
    child: Child,
    output: PathBuf,
    is_ours: bool,
    ticks: u64,
}

/// What one has cost, and what it missed.
pub(super) struct Cost {
    /// CPU time while the storm blew.
    pub(super) cpu: Duration,
    /// Records that it says were lost; `None` when it does not say.
    pub(super) lost: Option<u64>,
    /// Sockets that it reported stuck; `None` when it does not say.
    pub(super) reported: Option<u64>,
}

impl Tracer {
    /// Starts it and waits until it is attached.
    pub(super) fn start(&self, net: &Net, port: u16) -> Result<Running> {
        let output = std::env::temp_dir().join(format!("closewait-bench-out-{}", std::process::id()));
        let (mut command, ready) = match &self.kind {
            Kind::Ours { program, options } => {
                let mut command = Command::new(program);
                command.args(["--netns", &net.path(), "-o", "json"]).args(options);
                (command, "closewait-trace: tracing")
            }
            Kind::Tcpstates(program) => {
                let mut command = with_tracefs(program);
                command.args(["-L", &port.to_string()]);
                (command, "")
            }
            Kind::Bpftrace(program) => {
                let script = format!(
                    "tracepoint:sock:inet_sock_set_state /args->sport == {port} || args->dport == {port}/ {{ \
                     if (args->newstate == 8) {{ @since[args->skaddr] = nsecs; @pid[args->skaddr] = pid; }} \
                     if (args->oldstate == 8) {{ delete(@since[args->skaddr]); delete(@pid[args->skaddr]); }} }} \
                     BEGIN {{ printf(\"ready\\n\"); }}"
                );
                let mut command = with_tracefs(program);
                command.env("BPFTRACE_MAP_KEYS_MAX", "200000").args(["-e", &script]);
                (command, "")
            }
        };
        let file = File::create(&output).with_context(|| format!("cannot make {}", output.display()))?;
        command.stdin(Stdio::null()).stdout(file).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let mut said = BufReader::new(child.stderr.take().context("it has no stderr")?).lines();
        let is_ours = !ready.is_empty();
        if is_ours {
            if !said.by_ref().map_while(Result::ok).any(|line| line.starts_with(ready)) {
                bail!("{} ended before it was attached", self.name);
            }
        } else {
            wait_for_programs(&mut child, &output, matches!(self.kind, Kind::Bpftrace(_)))?;
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || said.map_while(Result::ok).for_each(drop));
        let ticks = ticks(child.id());
        Ok(Running { child, output, is_ours, ticks })
    }
}

impl Running {
    /// Ends it by Ctrl-C; what it has cost since it was attached.
    pub(super) fn stop(mut self) -> Result<Cost> {
        let spent = ticks(self.child.id()).saturating_sub(self.ticks);
        command::output(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        self.child.wait().context("cannot wait for the tracer")?;
        let printed = fs::read_to_string(&self.output).unwrap_or_default();
        let _ = fs::remove_file(&self.output);
        let summary = printed.lines().rev().find(|line| line.contains("\"kind\":\"summary\""));
        let summary = summary.filter(|_| self.is_ours);
        let summary = summary.and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lost = summary.as_ref().and_then(|summary| summary["lost"]["total"].as_u64());
        let reported = summary.and_then(|summary| {
            Some(summary["leak"].as_object()?.values().filter_map(serde_json::Value::as_u64).sum())
        });
        // The kernel counts in 1/100 s for userspace on every architecture (USER_HZ).
        Ok(Cost { cpu: Duration::from_millis(spent * 10), lost, reported })
    }
}

/// Peers need tracefs where they expect it; it is mounted for them alone.
fn with_tracefs(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    let mount =
        "test -d /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";
    command.args(["--mount", "sh", "-c", mount, "sh"]).arg(program);
    command
}

/// A peer does not say when it is attached: it is when the kernel has programs of it.
#[expect(clippy::disallowed_methods, reason = "polling, inside a deadline; a peer gives no other sign")]
fn wait_for_programs(child: &mut Child, output: &Path, says_ready: bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once: {status}");
        }
        let fds = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
        let links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        let programs = links.filter(|link| link.to_string_lossy().contains("bpf")).count();
        let printed = fs::metadata(output).map_or(0, |file| file.len());
        if programs > 0 && (printed > 0 || !says_ready) {
            // Attaching follows loading, some while later on a busy machine.
            std::thread::sleep(Duration::from_secs(1));
            return Ok(());
        }
        if Instant::now() > until {
            bail!("it was not attached within 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// CPU time of a process, user and system, in 1/100 s (proc_pid_stat(5), fields 14 and 15).
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return 0 };
    rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
