//! The leak that all tools are asked about: of five connections that a server accepts it
//! forgets three, and the client, on the same CPU as likely as not, closed them. Beside it a
//! ghost: a connection that has been shut down and not closed. The server is in a cgroup
//! that is called as the kubelet calls those of containers.

use crate::netns::Netns;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

pub(super) struct Scene {
    pub(super) net: Netns,
    /// One in which nothing leaks
    pub(super) empty: Netns,
    programs: Vec<Child>,
    cgroup: Option<PathBuf>,
    /// Of the server
    pub(super) port: u16,
    pub(super) leaks: Vec<Leak>,
    pub(super) ghost: Leak,
    /// Ports of connections that the server closed
    pub(super) closed: Vec<u16>,
}

/// A descriptor that somebody keeps.
#[derive(Clone, Copy, Default)]
pub(super) struct Leak {
    /// Of the client's end
    pub(super) port: u16,
    pub(super) pid: u32,
    pub(super) fd: u32,
}

/// The id of the container that the server's cgroup is called after.
pub(super) const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Scene {
    /// Without a leak so far.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            net: Netns::new("compare")?,
            empty: Netns::new("compare")?,
            programs: Vec::new(),
            cgroup: cgroup(),
            port: 0,
            leaks: Vec::new(),
            ghost: Leak::default(),
            closed: Vec::new(),
        })
    }

    /// Has the programs leak.
    pub(super) fn leak(&mut self, scenarios: &Path) -> Result<()> {
        let join = self
            .cgroup
            .as_ref()
            .map_or_else(String::new, |cgroup| format!("echo $$ > {}/cgroup.procs; ", cgroup.display()));
        let start = |programs: &mut Vec<Child>, net: &Netns, name: &str, args: &[&str], join: &str| {
            let mut command = net.inside("sh")?;
            command.args(["-c", &format!("{join}exec \"$@\""), "sh"]).arg(scenarios.join(name)).args(args);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let said = child.stdout.take().context("it has no stdout")?;
            programs.push(child);
            Ok::<_, anyhow::Error>(Lines(BufReader::new(said)))
        };
        let server = ["--leak", "3", "--close", "2"];
        let mut server = start(&mut self.programs, &self.net, "leaky_server", &server, &join)?;
        let port = server.value("ready", "port")?.to_string();
        let client = ["--port", &port, "--first", "--close", "5", "--send", "7"];
        start(&mut self.programs, &self.net, "leaky_client", &client, "")?;
        self.port = port.parse()?;
        self.leaks = server.leaks()?;
        let mut ghosts = start(&mut self.programs, &self.net, "ghosts", &["shutdown"], "")?;
        self.ghost = ghosts.leaks()?.first().copied().context("there is no ghost")?;
        // The client's ends of those that the server closed.
        let ended = ["-H", "-t", "-a", "-n", "state", "time-wait", "dport", "=", &format!(":{port}")];
        self.closed = until("two connections have been closed", || {
            let rows = output(self.net.inside("ss").ok()?.args(ended)).ok()?.0;
            let port = |row: &str| row.split_whitespace().nth(2)?.rsplit(':').next()?.parse().ok();
            let ports: Vec<u16> = rows.lines().filter_map(port).collect();
            (ports.len() == 2).then_some(ports)
        })?;
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::remove_dir(cgroup);
            let _ = cgroup.parent().map(fs::remove_dir);
        }
    }
}

/// A cgroup of a container where the kernel's own hierarchy is, which is the one that sockets
/// are told by.
fn cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let point = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    // Below one of this process: two may run at a time.
    let own = Path::new(point).join(format!("closewait-compare-{}", std::process::id()));
    fs::create_dir(&own).ok()?;
    let path = own.join(format!("cri-containerd-{CONTAINER}.scope"));
    if fs::create_dir(&path).is_err() {
        let _ = fs::remove_dir(own);
        return None;
    }
    Some(path)
}

/// What a program of tests/scenarios says.
struct Lines(BufReader<ChildStdout>);

impl Lines {
    fn next(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the program ended early");
        }
        Ok(line)
    }

    fn value(&mut self, word: &str, key: &str) -> Result<u32> {
        let line = self.next()?;
        value(&line, word, key).with_context(|| format!("it said {line:?}, not {word} {key}=..."))
    }

    /// All until it is done.
    fn leaks(&mut self) -> Result<Vec<Leak>> {
        let mut all = Vec::new();
        loop {
            let line = self.next()?;
            let of = |key| value(&line, "leak", key);
            if line.starts_with("done") {
                return Ok(all);
            }
            if let (Some(port), Some(pid), Some(fd)) = (of("port"), of("pid"), of("fd")) {
                all.push(Leak { port: u16::try_from(port)?, pid, fd });
            }
        }
    }
}

fn value(line: &str, word: &str, key: &str) -> Option<u32> {
    let mut parts = line.split_whitespace();
    parts.next().filter(|first| *first == word)?;
    parts.find_map(|part| part.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

/// A command's output and status.
pub(super) fn output(command: &mut Command) -> Result<(String, i32)> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    Ok((String::from_utf8_lossy(&done.stdout).into_owned(), done.status.code().unwrap_or(-1)))
}

/// Waits for something, half a minute at most.
pub(super) fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> Result<T> {
    for _ in 0..300 {
        if let Some(it) = is_so() {
            return Ok(it);
        }
        pause(Duration::from_millis(100));
    }
    bail!("waited in vain until {what}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "what other programs print can only be looked for again and again"
)]
pub(super) fn pause(duration: Duration) {
    thread::sleep(duration);
}
