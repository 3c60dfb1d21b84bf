//! The tools, each run in the way in which it tells the most of a leak, and what they said.

use super::scene::{Scene, output, pause, until};
use crate::{bench::peers::Peer, command};
use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub(super) enum Tool {
    Ours(PathBuf),
    Ss,
    /// Why it cannot be run, if it cannot
    Lsof(Option<String>),
    Tcpstates(Peer),
    Bpftrace(Peer),
}

/// What one said.
#[derive(Default)]
pub(super) struct Said {
    pub(super) name: &'static str,
    /// Why it could not be run
    pub(super) missing: Option<String>,
    /// Of a leak that was made while it watched; for one that only looks, when it looked
    pub(super) now: String,
    /// When it was started after the leak
    pub(super) later: String,
    /// When it was asked for all descriptors of the host
    pub(super) descriptors: String,
    /// How it exits where something leaks, and where nothing does
    pub(super) status: (i32, i32),
    /// What a monitoring system gets of it
    pub(super) metrics: String,
    /// Whether it listens on a port at all while it watches
    pub(super) listens: bool,
}

/// One that watches, and the files that it writes.
pub(super) struct Watching {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// What a script in a few lines can keep of the event: since when, by which process, and
/// with which stack. It prints what is left when it ends.
const SCRIPT: &str = r#"tracepoint:sock:inet_sock_set_state {
    if (args->newstate == 8) {
        @since_ns[args->sport, args->dport] = nsecs;
        @pid[args->sport, args->dport] = pid;
        @stack[args->sport, args->dport] = ustack;
    }
    if (args->oldstate == 8) {
        delete(@since_ns[args->sport, args->dport]);
        delete(@pid[args->sport, args->dport]);
        delete(@stack[args->sport, args->dport]);
    }
}
BEGIN { printf("ready\n"); }"#;

/// How long one that only tells of events gets to tell of a leak that is older than it.
const LATER: Duration = Duration::from_secs(3);

impl Tool {
    pub(super) fn ours(program: &Path) -> Self {
        Self::Ours(program.to_owned())
    }

    /// It need not be there.
    pub(super) fn lsof() -> Self {
        Self::Lsof(command::find_system("lsof").is_none().then(|| "lsof is not installed".to_owned()))
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "closewait-trace",
            Self::Ss => "ss",
            Self::Lsof(_) => "lsof",
            Self::Tcpstates(_) => "tcpstates",
            Self::Bpftrace(_) => "bpftrace",
        }
    }

    /// Why it cannot be run.
    pub(super) fn missing(&self) -> Option<&str> {
        match self {
            Self::Lsof(missing) => missing.as_deref(),
            Self::Tcpstates(peer) | Self::Bpftrace(peer) => peer.missing(),
            _ => None,
        }
    }

    /// Starts it, if it is one that watches; returns when it does.
    pub(super) fn watch(&self, scene: &Scene, kept: &Path) -> Result<Option<Watching>> {
        if self.missing().is_some() {
            return Ok(None);
        }
        let (mut command, ready) = match self {
            Self::Ours(program) => {
                let mut command = Command::new(program);
                command.args(["--netns", &scene.net.path(), "-o", "json", "--threshold", "1s"]);
                command.args(["--metrics-listen", "127.0.0.1:0"]);
                (command, "closewait-trace: tracing")
            }
            Self::Ss | Self::Lsof(_) => return Ok(None),
            Self::Tcpstates(peer) => {
                let mut command = peer.with_tracefs()?;
                command.arg("-T");
                (command, "SKADDR")
            }
            Self::Bpftrace(peer) => {
                let mut command = peer.with_tracefs()?;
                command.args(["-B", "line", "-e", SCRIPT]);
                (command, "ready")
            }
        };
        let [out, err] = ["txt", "err"].map(|end| kept.join(format!("{}.{end}", self.name())));
        // It would print its heading only when its buffer is full.
        if matches!(self, Self::Tcpstates(_)) {
            command = line_by_line(&command);
        }
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name()))?;
        let watching = Watching { child, out, err };
        until(&format!("{} watches", self.name()), || watching.said().contains(ready).then_some(()))?;
        Ok(Some(watching))
    }

    /// What it says of the leak.
    pub(super) fn ask(&self, scene: &Scene, watching: Option<Watching>, kept: &Path) -> Result<Said> {
        let mut said = Said { name: self.name(), ..Said::default() };
        if let Some(why) = self.missing() {
            said.missing = Some(why.to_owned());
            return Ok(said);
        }
        match self {
            Self::Ours(program) => {
                let watching = watching.context("it watches")?;
                until("closewait-trace has reported all", || {
                    let out = fs::read_to_string(&watching.out).ok()?;
                    let stuck = out.matches("\"kind\":\"stuck\"").count();
                    (stuck >= scene.leaks.len() && out.contains("\"kind\":\"ghost\"")).then_some(())
                })?;
                said.metrics = scraped(&watching.said())?;
                said.now = watching.stop()?.0;
                let look = |net: &str| {
                    let args = ["snapshot", "-o", "json", "--threshold", "1s", "--fail-on-stuck", "--netns"];
                    output(Command::new(program).args(args).arg(net))
                };
                let (later, status) = look(&scene.net.path())?;
                (said.later, said.status) = (later, (status, look(&scene.empty.path())?.1));
            }
            Self::Ss => {
                let args = ["-H", "-t", "-a", "-n", "-p", "-o", "-i", "--cgroup", "state", "close-wait"];
                let (now, status) = output(scene.net.inside("ss")?.args(args))?;
                (said.now, said.later) = (now.clone(), now);
                said.status = (status, output(scene.empty.inside("ss")?.args(args))?.1);
            }
            Self::Lsof(_) => {
                let args = ["-nP", "-iTCP", "-sTCP:CLOSE_WAIT"];
                let (now, status) = output(scene.net.inside("lsof")?.args(args))?;
                (said.now, said.later) = (now.clone(), now);
                said.status = (status, output(scene.empty.inside("lsof")?.args(args))?.1);
                said.descriptors = output(scene.net.inside("lsof")?.arg("-nP"))?.0;
            }
            Self::Tcpstates(_) | Self::Bpftrace(_) => {
                let watching = watching.context("it watches")?;
                said.listens = watching.listens()?;
                let (now, status) = watching.stop()?;
                said.now = now;
                let apart = kept.join("later");
                fs::create_dir_all(&apart)?;
                let later = self.watch(scene, &apart)?;
                pause(LATER);
                let (later, nothing) = later.context("it watches")?.stop()?;
                (said.later, said.status) = (later, (status, nothing));
            }
        }
        fs::write(kept.join(format!("{}.txt", self.name())), &said.now)?;
        Ok(said)
    }
}

impl Watching {
    fn said(&self) -> String {
        [&self.out, &self.err].map(|file| fs::read_to_string(file).unwrap_or_default()).concat()
    }

    fn listens(&self) -> Result<bool> {
        let (rows, _) = output(Command::new("ss").args(["-H", "-l", "-t", "-n", "-p"]))?;
        Ok(rows.contains(&format!("pid={},", self.child.id())))
    }

    /// Ends it by Ctrl-C.
    fn stop(mut self) -> Result<(String, i32)> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let status = self.child.wait()?;
        let said = fs::read(&self.out)?;
        Ok((String::from_utf8_lossy(&said).into_owned(), status.code().unwrap_or(-1)))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same command, whose output comes line by line.
fn line_by_line(command: &Command) -> Command {
    let mut lines = Command::new("stdbuf");
    lines.arg("-oL").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        lines.env(name, value.unwrap_or_default());
    }
    lines
}

/// A scrape of the address that it names.
fn scraped(said: &str) -> Result<String> {
    let address = said.split("metrics at http://").nth(1).and_then(|rest| rest.split('/').next());
    let mut stream = TcpStream::connect(address.context("it names no address of metrics")?)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: compare\r\nConnection: close\r\n\r\n")?;
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics)?;
    Ok(metrics)
}
