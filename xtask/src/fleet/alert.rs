//! The whole way once: a program leaks, the tool counts, Prometheus scrapes, an alert fires;
//! and another when the tool is gone.

use super::prometheus::{Programs, Prometheus, pause, rules};
use crate::{command, netns::Netns, privilege, stopwatch::Stopwatch, workspace};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Sockets that leak at first, and later: more than the rule for growth asks for.
const FIRST: usize = 3;
const LATER: usize = 11;
/// A process may call itself anything: this would end a label, a line and the whole text.
const HOSTILE: &str = "evil\"}\n# EOF\\";
/// What is left of it: inert.
const INERT: &str = "evil\"}\\n# EOF\\\\";
/// Sockets that it leaks.
const BY_HOSTILE: usize = 2;
/// For any one thing to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a line of the tool's JSON, by its kind.
pub(super) struct Lines {
    pub(super) stuck: usize,
    pub(super) released: usize,
}

/// Needs root, as the tool does.
///
/// # Errors
/// When an alert does not fire, or one fires that should not.
pub(super) fn fires(programs: &Programs, tool: &Path, scenarios: &Path) -> Result<Lines> {
    let net = Netns::new("fleet")?;
    let dir = workspace::target_dir().join(format!("fleet/alert-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let mut traced = Traced::start(tool, &net, &dir)?;
    let rules = shortened(&fs::read_to_string(rules())?);
    let prometheus = Prometheus::start(
        programs,
        dir.join("prometheus"),
        std::slice::from_ref(&traced.address),
        Some(&rules),
    )?;
    prometheus.comes_to("closewait_tracing == 1", PATIENCE)?;

    let [server, client] = ["leaky_server", "leaky_client"].map(|name| scenarios.join(name));
    let first = Leak::start(|program| net.inside(program), &server, &client, FIRST)?;
    prometheus
        .comes_to(&format!("closewait_leaked_sockets{{comm=\"leaky_server\"}} == {FIRST}"), PATIENCE)?;
    let quiet = prometheus.query("ALERTS{alertstate=\"firing\"}")?;
    ensure!(quiet.is_empty(), "alerts before there is a reason: {quiet:?}");
    let second = Leak::start(|program| net.inside(program), &server, &client, LATER)?;
    let firing = |alert: &str| format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
    let labels = prometheus.comes_to(&firing("ClosewaitLeakGrowing"), PATIENCE)?;
    ensure!(labels["comm"] == "leaky_server", "the wrong process: {labels}");
    prometheus.comes_to(&firing("ClosewaitLeaked"), PATIENCE)?;
    let stuck = "closewait_stuck_sockets{verdict=\"EOF_IGNORED\",role=\"server\"}";
    let (all, shown) = (FIRST + LATER, prometheus.value(&format!("sum({stuck})"))?);
    ensure!((shown - f64::from(u32::try_from(all)?)).abs() < 0.1, "{all} leaked, Prometheus has {shown}");

    let hostile = dir.join(HOSTILE);
    symlink(&server, &hostile)?;
    let third = Leak::start(|program| net.inside(program), &hostile, &client, BY_HOSTILE)?;
    let labels = prometheus
        .comes_to(&format!("closewait_leaked_sockets{{comm=~\"evil.*\"}} == {BY_HOSTILE}"), PATIENCE)?;
    ensure!(labels["comm"] == INERT, "a name is not what it should be: {labels}");
    let all = all + BY_HOSTILE;

    drop((first, second, third));
    prometheus.comes_to(&format!("closewait_releases_total{{how=\"exited\"}} == {all}"), PATIENCE)?;
    // Series end with their sockets.
    prometheus.comes_to(&format!("absent({stuck})"), PATIENCE)?;
    traced.end()?;
    prometheus.comes_to(&firing("ClosewaitTraceDown"), PATIENCE)?;
    let lines = traced.lines()?;
    drop(prometheus);
    fs::remove_dir_all(dir)?;
    Ok(lines)
}

/// The rules with nothing to wait for.
pub(crate) fn shortened(rules: &str) -> String {
    let line = |line: &str| match line.trim_start().strip_prefix("for: ") {
        Some(_) => format!("{}for: 1s\n", &line[..line.len() - line.trim_start().len()]),
        None => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

/// The tool, and where it serves metrics.
struct Traced {
    child: Child,
    address: String,
    output: PathBuf,
}

impl Traced {
    fn start(tool: &Path, net: &Netns, dir: &Path) -> Result<Self> {
        let output = dir.join("lines");
        let mut command = privilege::command(tool)?;
        command.args(["--netns", &net.path(), "--threshold", "1s", "-o", "json", "--require-trace"]);
        command.args(["--metrics-listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the tool")?;
        let mut said =
            BufReader::new(child.stderr.take().context("it has no stderr")?).lines().map_while(Result::ok);
        let mut address = None;
        for line in said.by_ref() {
            let start = "closewait-trace: metrics at http://";
            if let Some(at) = line.strip_prefix(start).and_then(|rest| rest.strip_suffix("/metrics")) {
                address = Some(at.to_owned());
            }
            if line.starts_with("closewait-trace: tracing network") {
                break;
            }
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || said.for_each(drop));
        let started = Self { child, address: address.unwrap_or_default(), output };
        ensure!(!started.address.is_empty(), "the tool did not say where its metrics are");
        Ok(started)
    }

    /// By Ctrl-C.
    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            command::output(privilege::command("kill")?.args(["-INT", &self.child.id().to_string()]))?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the tool failed: {status}");
        Ok(())
    }

    fn lines(&self) -> Result<Lines> {
        let text = fs::read_to_string(&self.output)?;
        let mean = |kind: &str| -> Result<usize> {
            let of_kind =
                |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|value| value["kind"] == kind);
            let sizes: Vec<_> = text.lines().filter(of_kind).map(|line| line.len() + 1).collect();
            ensure!(!sizes.is_empty(), "the tool printed no line of kind {kind}");
            Ok(sizes.iter().sum::<usize>() / sizes.len())
        };
        Ok(Lines { stuck: mean("stuck")?, released: mean("released")? })
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A server that has forgotten so many connections, and its client; they end when our ends
/// of their stdin do.
pub(crate) struct Leak([Child; 2]);

impl Leak {
    /// `inside` makes of a program a command that runs it where it is to leak.
    ///
    /// # Errors
    /// When one of them does not start.
    pub(crate) fn start(
        inside: impl Fn(&Path) -> Result<Command>,
        server: &Path,
        client: &Path,
        sockets: usize,
    ) -> Result<Self> {
        let sockets = sockets.to_string();
        let mut server = inside(server)?;
        server.args(["--leak", &sockets]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = server.spawn().context("cannot start the server")?;
        let said = BufReader::new(server.stdout.take().context("it has no stdout")?);
        let mut said = said.lines().map_while(Result::ok);
        let port = said.find_map(|line| Some(line.split_once("port=")?.1.split(' ').next()?.to_owned()));
        let Some(port) = port else { bail!("the server ended before it listened") };
        let mut client = inside(client)?;
        client.args(["--port", &port, "--first", "--close", &sockets, "--send", "7"]);
        let client =
            client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot start the client")?;
        std::thread::spawn(move || said.for_each(drop));
        Ok(Self([server, client]))
    }
}

impl Drop for Leak {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            let clock = Stopwatch::start();
            while matches!(child.try_wait(), Ok(None)) && !clock.left_of(PATIENCE).is_zero() {
                pause();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_waits_a_second() {
        let rules = fs::read_to_string(rules()).unwrap();
        let short = shortened(&rules);
        assert_eq!(short.lines().count(), rules.lines().count());
        let waits = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("for: ")).count();
        assert!(waits(&rules) >= 9);
        assert_eq!(short.matches("\n        for: 1s\n").count(), waits(&rules));
    }
}
