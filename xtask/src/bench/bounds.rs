//! `cargo xtask bounds`: the tool beside more of everything than a host should have. Stuck
//! sockets, descriptors, network namespaces, and a program that gets stuck and closes as fast
//! as it can, all of them real; and what the tool took and said, as a table.

use super::{
    pile::{Heap, Pile},
    process::{self, Usage},
};
use crate::{
    build::{self, Executables},
    netns::Netns,
    privilege,
    stopwatch::Stopwatch,
    workspace,
};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What there is to be too much of [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    what: Vec<Crowd>,
    /// Sockets in CLOSE_WAIT; several numbers: one row for each
    #[arg(long, value_delimiter = ',', default_values_t = [200_000, 1_000_000])]
    stuck: Vec<u32>,
    /// Processes
    #[arg(long, default_value_t = 10_000)]
    processes: u32,
    /// Descriptors of each: 10,000 processes with 2000 have as many as 100,000 with 200, for
    /// which few machines have process ids
    #[arg(long, value_delimiter = ',', default_values_t = [200, 2000])]
    fds: Vec<u32>,
    /// Network namespaces, each with a process and a socket in CLOSE_WAIT; as many of them as
    /// the kernel makes within `--within`
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    namespaces: Vec<u32>,
    /// Seconds that making namespaces may take
    #[arg(long, default_value_t = 180)]
    within: u32,
    /// Sockets in CLOSE_WAIT at a time, of a program that makes and closes them as fast as it can
    #[arg(long, default_value_t = 2000)]
    churn: u32,
    /// Seconds that the tool traces, and one more for every 10,000 stuck sockets
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Mebibytes that the tool may have for its data (RLIMIT_DATA): with little of it, it is
    /// to count what it has no room for
    #[arg(long)]
    data: Option<u64>,
    /// Do not build: take this tool
    #[arg(long)]
    tool: Option<PathBuf>,
}

/// What there is too much of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Crowd {
    /// Stuck sockets
    Stuck,
    /// Processes and their descriptors
    Descriptors,
    /// Network namespaces
    Namespaces,
    /// A program that makes and closes sockets as fast as it can
    Churn,
}

const ALL: [Crowd; 4] = [Crowd::Stuck, Crowd::Descriptors, Crowd::Namespaces, Crowd::Churn];

/// One row.
#[derive(Default)]
struct Seen {
    /// The first line that it printed, s
    first: Option<f64>,
    /// When its causes had all that was there, s
    all: Option<f64>,
    sockets: u64,
    /// That it only counted
    counted: u64,
    seconds: u64,
    cpu: f64,
    rss_mib: f64,
    threads: usize,
    fds: usize,
    lines: usize,
    lost: u64,
    /// What it said is off
    said: Vec<String>,
}

/// Makes each crowd, traces beside it, and prints the table.
///
/// # Errors
/// When something cannot be made or started, or the tool fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(privilege::is_root(), "it needs root");
    let tool = match &args.tool {
        Some(tool) => tool.clone(),
        None => Executables::build(&["build", "--release", "--bin", "closewait-trace"], None)?
            .get("closewait-trace")?
            .to_owned(),
    };
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let wanted = ALL.into_iter().filter(|crowd| args.what.is_empty() || args.what.contains(crowd));
    println!(
        "| beside | first line, s | all reported, s | reported | only counted | CPU, s | in s | RSS, MiB | \
         threads | fds | lines | lost | said |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for crowd in wanted {
        let sizes = match crowd {
            Crowd::Stuck => args.stuck.clone(),
            Crowd::Descriptors => args.fds.clone(),
            Crowd::Namespaces => args.namespaces.clone(),
            Crowd::Churn => vec![args.churn],
        };
        for size in sizes {
            let net = Netns::with_all_ports("bench")?;
            for (name, seen) in beside(crowd, size, args, &tool, &scenarios, &net)? {
                println!("{}", seen.row(&name));
            }
        }
    }
    Ok(())
}

fn beside(
    crowd: Crowd,
    size: u32,
    args: &Args,
    tool: &Path,
    scenarios: &Path,
    net: &Netns,
) -> Result<Vec<(String, Seen)>> {
    let netns = net.path();
    let program = |name: &str| scenarios.join(name);
    let traced = |netns: &str, expected: u64| {
        let more = if expected == u64::MAX { 0 } else { expected / 10_000 };
        let how = How::Trace { seconds: args.seconds + more };
        look(tool, netns, how, args.data, expected)
    };
    let row = match crowd {
        Crowd::Stuck => {
            let heap = Heap { stuck: size, ..Heap::default() };
            let _pile = Pile::new(net, &program("pile"), heap)?;
            (format!("{size} stuck sockets"), traced(&netns, u64::from(size))?)
        }
        Crowd::Descriptors => {
            let (processes, fds) = (args.processes, size);
            let _crowd = start(net, &program("crowd"), &[("--processes", processes), ("--fds", fds)])?;
            let heap = Heap { stuck: 100, ..Heap::default() };
            let _pile = Pile::new(net, &program("pile"), heap)?;
            (format!("{processes} processes with {fds} descriptors each"), traced(&netns, 100)?)
        }
        Crowd::Namespaces => {
            let clock = Stopwatch::start();
            let options = [("--namespaces", size), ("--within", args.within)];
            let crowd = start(net, &program("crowd"), &options)?;
            let made = crowd.number("namespaces")?;
            let name = format!("{made} network namespaces, made in {:.0} s", clock.elapsed().as_secs_f64());
            let once = look(tool, "all", How::Once, args.data, made)?;
            return Ok(vec![(format!("{name}; snapshot"), once), (name, traced("all", made)?)]);
        }
        Crowd::Churn => {
            let mut churn = start(net, &program("crowd"), &[("--churn", size)])?;
            let seen = traced(&netns, u64::MAX)?;
            let made = churn.end()?;
            (format!("{size} at a time, {made}"), seen)
        }
    };
    Ok(vec![row])
}

/// A program that keeps its crowd until it is dropped.
struct Running {
    child: Child,
    /// What it said when all was there.
    ready: String,
    last_words: Option<thread::JoinHandle<String>>,
}

fn start(net: &Netns, program: &Path, options: &[(&str, u32)]) -> Result<Running> {
    let mut command = net.inside(program)?;
    for (option, value) in options {
        command.args([option, value.to_string().as_str()]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stdout.take().context("it has no stdout")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    let mut running = Running { child, ready: line.trim().to_owned(), last_words: None };
    ensure!(running.ready.starts_with("ready"), "the crowd of {options:?} did not come about");
    running.last_words = Some(thread::spawn(move || {
        let mut words = String::new();
        let _ = said.read_to_string(&mut words);
        words.trim().to_owned()
    }));
    Ok(running)
}

impl Running {
    /// A number that it said when all was there.
    fn number(&self, name: &str) -> Result<u64> {
        let mut pairs = self.ready.split_whitespace().filter_map(|pair| pair.split_once('='));
        let value = pairs.find_map(|(key, value)| (key == name).then_some(value));
        value.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in {:?}", self.ready))
    }

    /// Ends it; its last words.
    fn end(&mut self) -> Result<String> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        let words = self.last_words.take().context("it had been ended")?;
        words.join().map_err(|_| anyhow::anyhow!("its reader panicked"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// How it looks.
#[derive(Clone, Copy)]
enum How {
    /// Live, for so long
    Trace { seconds: u64 },
    /// `snapshot`
    Once,
}

/// Looks; `expected` is how many sockets its causes are to have in the end.
fn look(tool: &Path, netns: &str, how: How, data: Option<u64>, expected: u64) -> Result<Seen> {
    let clock = Stopwatch::start();
    let mut command = Command::new(tool);
    if let Some(mib) = data {
        command = Command::new("prlimit");
        command.arg(format!("--data={}", mib << 20)).arg("--").arg(tool);
    }
    let seconds = match how {
        How::Trace { seconds } => seconds,
        How::Once => {
            command.arg("snapshot");
            0
        }
    };
    let mut child = command
        .args(["--netns", netns, "-o", "json", "--group", "--threshold", "50ms", "--limit", "1000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let lines = read(child.stdout.take().context("it has no stdout")?, clock);
    let mut seen = Seen { seconds, ..Seen::default() };
    let mut causes = HashMap::new();
    let limit = Duration::from_secs(seconds);
    // One look ends by itself.
    let mut told_to_end = matches!(how, How::Once);
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok((at, line)) => seen.take(at, &line, expected, &mut causes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        seen.sample(child.id());
        if !told_to_end && clock.elapsed() >= limit {
            told_to_end = true;
            kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        }
        if clock.elapsed() > limit * 4 + Duration::from_mins(2) {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end");
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "it ended with {status}");
    if let How::Once = how {
        seen.seconds = clock.elapsed().as_secs();
    }
    Ok(seen)
}

/// Lines with the time of each, s.
fn read(stdout: impl Read + Send + 'static, clock: Stopwatch) -> Receiver<(f64, String)> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send((clock.elapsed().as_secs_f64(), line)).is_err() {
                return;
            }
        }
    });
    lines
}

impl Seen {
    fn take(&mut self, at: f64, line: &str, expected: u64, causes: &mut HashMap<String, u64>) {
        self.lines += 1;
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        match line["kind"].as_str() {
            Some("cause") => {
                self.first.get_or_insert(at);
                let sockets = &line["sockets"];
                let sum = ["true", "null", "false"].iter().filter_map(|leak| sockets[leak].as_u64()).sum();
                causes.insert(line["cause"].as_str().unwrap_or_default().to_owned(), sum);
                self.sockets = causes.values().sum();
                if self.sockets >= expected {
                    self.all.get_or_insert(at);
                }
            }
            Some("summary") => {
                self.sockets = line["totals"]["reported"].as_u64().unwrap_or(0);
                self.counted = line["totals"]["only_counted"].as_u64().unwrap_or(0);
                self.lost = line["lost"]["total"].as_u64().unwrap_or(0);
                let degraded = line["degraded"].as_array().into_iter().flatten();
                self.said = degraded.filter_map(Value::as_str).map(str::to_owned).collect();
            }
            _ => {}
        }
    }

    fn sample(&mut self, pid: u32) {
        let dir = |name: &str| fs::read_dir(format!("/proc/{pid}/{name}")).map_or(0, Iterator::count);
        self.threads = self.threads.max(dir("task"));
        self.fds = self.fds.max(dir("fd"));
        self.rss_mib = self.rss_mib.max(process::rss_anon(pid).unwrap_or(0.0));
        self.cpu = self.cpu.max(Usage::of(pid).cpu.as_secs_f64());
    }

    fn row(&self, name: &str) -> String {
        let s = |at: Option<f64>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.1}"));
        let Self { first, all, sockets, counted, seconds, cpu, rss_mib, threads, fds, lines, lost, said } =
            self;
        let said = if said.is_empty() { "nothing".to_owned() } else { said.join("; ") };
        format!(
            "| {name} | {} | {} | {sockets} | {counted} | {cpu:.1} | {seconds} | {rss_mib:.0} | {threads} | {fds} | {lines} | {lost} | \
             {said} |",
            s(*first),
            s(*all)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_is_what_its_causes_add_up_to() {
        let mut seen = Seen::default();
        let mut causes = HashMap::new();
        let cause = |name: &str, sockets: u64| {
            format!(
                "{{\"kind\":\"cause\",\"cause\":\"{name}\",\"sockets\":{{\"true\":{sockets},\"null\":1}}}}"
            )
        };
        let mut take = |at, line: &str| seen.take(at, line, 9, &mut causes);
        take(1.0, "{\"kind\":\"notice\"}");
        take(2.0, &cause("a", 3));
        take(3.0, &cause("a", 4));
        take(4.0, &cause("b", 3));
        take(5.0, &cause("b", 5));
        assert_eq!((seen.first, seen.all, seen.sockets, seen.lines), (Some(2.0), Some(4.0), 11, 5));
        seen.take(
            6.0,
            "{\"kind\":\"summary\",\"totals\":{\"reported\":12},\"degraded\":[\"x\"]}",
            9,
            &mut causes,
        );
        assert!(seen.row("y").ends_with("| 0 | x |"), "{}", seen.row("y"));
    }
}
