//! The tracers that are compared: ours in several modes, the peers, and a program that does
//! nothing. All of them watch the storm only: ours by its namespace, the others by its port.

use super::{
    floor::Floor,
    peers::Peer,
    process::{Usage, rss_anon},
};
use crate::{netns::Netns, stopwatch::Stopwatch};
use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// So long it must take next to nothing to count as settled.
const SETTLED_FOR: Duration = Duration::from_millis(500);
/// And so long is waited for that.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// How to start one.
pub(super) struct Tracer {
    /// Its row in the table.
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    /// Ours, with more options.
    Ours {
        program: PathBuf,
        options: Vec<String>,
    },
    /// A program of two instructions.
    Empty,
    Peer(Peer),
}

/// Names of all of them, as `--only` takes them.
pub(super) const NAMES: [&str; 7] =
    ["closewait-trace", "no-stacks", "record", "empty", "tcpstates", "tcplife", "bpftrace"];

/// All of them, or those that were named.
///
/// # Errors
/// Names what is none.
pub(super) fn all(ours: &Path, only: &[String]) -> Result<Vec<Tracer>> {
    if let Some(unknown) = only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no tracer called {unknown}; there are {}", NAMES.join(", "));
    }
    let recording = recording().display().to_string();
    let wanted = NAMES.into_iter().filter(|name| only.is_empty() || only.iter().any(|it| it == name));
    let tracer = |name| match name {
        "closewait-trace" => self::ours(name, ours, &[]),
        "no-stacks" => self::ours(name, ours, &["--stacks", "off"]),
        "record" => self::ours(name, ours, &["--record", &recording]),
        "empty" => Tracer { name, kind: Kind::Empty },
        peer => Tracer { name, kind: Kind::Peer(Peer::find(peer)) },
    };
    Ok(wanted.map(tracer).collect())
}

/// The recording that the last slice of `record` has left.
pub(super) fn recording() -> PathBuf {
    std::env::temp_dir().join(format!("closewait-bench-{}", std::process::id()))
}

/// Ours, with more options.
pub(super) fn ours(name: &'static str, program: &Path, options: &[&str]) -> Tracer {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Tracer { name, kind: Kind::Ours { program: program.to_owned(), options } }
}

/// One that runs.
pub(super) enum Running {
    /// In this process.
    Empty(#[expect(dead_code, reason = "attached until it is dropped")] Floor),
    Process(Process),
}

/// One in a process of its own.
pub(super) struct Process {
    child: Child,
    output: PathBuf,
    is_ours: bool,
    attached: Usage,
}

/// What one has cost since it was attached, and what it missed.
#[derive(Default)]
pub(super) struct Cost {
    pub(super) used: Usage,
    /// MiB at the end
    pub(super) rss_anon: Option<f64>,
    /// Records that it says were lost; `None` when it does not say.
    pub(super) lost: Option<u64>,
    /// The same by kind, `enter 7, recursion 2`
    pub(super) lost_by_kind: String,
    /// Sockets that it reported stuck; `None` when it does not say.
    pub(super) reported: Option<u64>,
}

impl Tracer {
    /// Why it cannot be run.
    pub(super) fn missing(&self) -> Option<&str> {
        if let Kind::Peer(peer) = &self.kind { peer.missing() } else { None }
    }

    /// A peer that fails is a row of the table; ours failing is a failure.
    pub(super) fn is_peer(&self) -> bool {
        matches!(self.kind, Kind::Peer(_))
    }

    /// Starts it and waits until it is attached.
    pub(super) fn start(&self, net: &Netns, port: u16) -> Result<Running> {
        Ok(match &self.kind {
            Kind::Empty => Running::Empty(Floor::attach()?),
            Kind::Ours { program, options } => {
                let mut command = Command::new(program);
                command.args(["--netns", &net.path(), "-o", "json"]).args(options);
                Running::Process(start(command, None)?)
            }
            Kind::Peer(peer) => {
                let mut command = peer.with_tracefs()?;
                match peer.name {
                    "bpftrace" => {
                        command.env("BPFTRACE_MAP_KEYS_MAX", "200000").args(["-e", &script(port)]);
                    }
                    _ => {
                        command.args(["-L", &port.to_string()]);
                    }
                }
                Running::Process(start(command, Some(peer.name))?)
            }
        })
    }

    /// The same of ours, which is a process.
    pub(super) fn start_ours(&self, net: &Netns, port: u16) -> Result<Process> {
        match self.start(net, port)? {
            Running::Process(process) => Ok(process),
            Running::Empty(_) => bail!("{} has no process", self.name),
        }
    }
}

/// The script that people paste.
fn script(port: u16) -> String {
    format!(
        "tracepoint:sock:inet_sock_set_state /args->sport == {port} || args->dport == {port}/ {{ \
         if (args->newstate == 8) {{ @since[args->skaddr] = nsecs; @pid[args->skaddr] = pid; }} \
         if (args->oldstate == 8) {{ delete(@since[args->skaddr]); delete(@pid[args->skaddr]); }} }} \
         BEGIN {{ printf(\"ready\\n\"); }}"
    )
}

fn start(mut command: Command, peer: Option<&str>) -> Result<Process> {
    let output = std::env::temp_dir().join(format!("closewait-bench-out-{}", std::process::id()));
    let file = File::create(&output).with_context(|| format!("cannot make {}", output.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut said = BufReader::new(child.stderr.take().context("it has no stderr")?).lines();
    match peer {
        None => {
            let mut talk = said.by_ref().map_while(Result::ok);
            ensure!(talk.any(|line| line.starts_with("closewait-trace: tracing")), "it was not attached");
        }
        Some(name) => wait_for_programs(&mut child, &output, name == "bpftrace")?,
    }
    // What it says later must not fill the pipe.
    std::thread::spawn(move || said.map_while(Result::ok).for_each(drop));
    let attached = Usage::of(child.id());
    Ok(Process { child, output, is_ours: peer.is_none(), attached })
}

impl Running {
    /// Waits until it has done with what was there when it was attached, which is then no part of
    /// its cost: until it takes less than a twentieth of a CPU, for so long at most.
    pub(super) fn settle(&mut self) {
        let Self::Process(process) = self else { return };
        let watch = Stopwatch::start();
        loop {
            let before = Usage::of(process.pid());
            Stopwatch::pause(SETTLED_FOR);
            process.attached = Usage::of(process.pid());
            let used = process.attached - before;
            if used.cpu < SETTLED_FOR / 20 || watch.elapsed() > SETTLES_WITHIN {
                return;
            }
        }
    }

    /// Ends it; what it has cost since it was attached, or since it had settled.
    pub(super) fn stop(self) -> Result<Cost> {
        match self {
            Self::Empty(_) => Ok(Cost::default()),
            Self::Process(process) => process.stop(),
        }
    }
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal}"))
    }

    /// Ends it by Ctrl-C; what it has cost since it was attached.
    pub(super) fn stop(mut self) -> Result<Cost> {
        let used = Usage::of(self.child.id()) - self.attached;
        let rss_anon = rss_anon(self.child.id());
        self.signal(Signal::SIGINT)?;
        self.child.wait().context("cannot wait for the tracer")?;
        let printed = fs::read_to_string(&self.output).unwrap_or_default();
        let summary = printed.lines().rev().find(|line| line.contains("\"kind\":\"summary\""));
        let summary = summary.filter(|_| self.is_ours);
        let summary = summary.and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lost = summary.as_ref().and_then(|summary| summary["lost"]["total"].as_u64());
        let lost_by_kind = summary.as_ref().map(|summary| by_kind(&summary["lost"])).unwrap_or_default();
        let reported = summary.and_then(|summary| {
            Some(summary["leak"].as_object()?.values().filter_map(serde_json::Value::as_u64).sum())
        });
        Ok(Cost { used, rss_anon, lost, lost_by_kind, reported })
    }
}

/// What is not zero of the summary's losses.
fn by_kind(lost: &serde_json::Value) -> String {
    let kinds = lost.as_object().into_iter().flatten();
    let counts = kinds.filter_map(|(kind, count)| Some((kind, count.as_u64().filter(|count| *count > 0)?)));
    let shown = counts.filter(|(kind, _)| *kind != "total").map(|(kind, count)| format!("{kind} {count}"));
    shown.collect::<Vec<_>>().join(", ")
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_by_kind() {
        let lost = serde_json::json!({ "total": 9, "enter": 7, "leave": 0, "recursion": 2 });
        assert_eq!(by_kind(&lost), "enter 7, recursion 2");
        assert_eq!(by_kind(&serde_json::Value::Null), "");
    }

    #[test]
    fn a_tracer_that_is_none_is_named() {
        let error = all(Path::new("x"), &["tcpstate".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("no tracer called tcpstate;") && error.contains("tcpstates"), "{error}");
    }
}
