//! How long a user waits: from start to attached, and to the first full report of so many
//! stuck sockets; beside what the tools at hand take to list them, without a verdict.

use super::{
    budget::{Line, Measured},
    peers::Peer,
    pile::{Heap, Pile},
    process::Usage,
    spread::{Spread, shown, some},
};
use crate::{command, netns::Netns, stopwatch::Stopwatch};
use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Every suspect is looked at twice, at least so far apart (`driver::judge`): not work.
const BETWEEN_LOOKS_MS: f64 = 400.0;
/// What the budget asks for.
const OF_BUDGET: u32 = 10_000;

#[derive(Serialize)]
pub(super) struct Starts {
    /// ms to attached, nothing stuck
    attached: Spread,
    /// The same of bpftrace
    bpftrace: Result<Spread, String>,
    counts: Vec<Count>,
}

/// With so many sockets stuck.
#[derive(Serialize)]
struct Count {
    stuck: u32,
    rows: Vec<Row>,
}

/// ms.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    missing: Option<String>,
    wall: Option<Spread>,
    cpu: Option<Spread>,
}

/// One run of something, ms.
struct Run {
    wall: f64,
    cpu: f64,
}

impl Starts {
    /// `counts` of stuck sockets, each in a namespace of its own.
    pub(super) fn measure(tool: &Path, pile: &Path, counts: &[u32], rounds: u32) -> Result<Self> {
        let net = Netns::with_all_ports("bench")?;
        let peer = Peer::find("bpftrace");
        let (mut attached, mut others) = (Vec::new(), Vec::new());
        let mut refused = peer.missing().map(str::to_owned);
        for round in 0..rounds {
            eprintln!("bench: start to attached, round {} of {rounds}", round + 1);
            attached.push(start_to_attached(tool, &net)?);
            if refused.is_none() {
                match start_of_bpftrace(&peer) {
                    Ok(ms) => others.push(ms),
                    Err(error) => refused = Some(format!("{error:#}")),
                }
            }
        }
        let bpftrace = match refused {
            None => Ok(some(&others)?),
            Some(why) => Err(why),
        };
        let counts = counts.iter().map(|&stuck| Count::measure(tool, pile, stuck, rounds));
        Ok(Self { attached: some(&attached)?, bpftrace, counts: counts.collect::<Result<_>>()? })
    }

    pub(super) fn measured(&self) -> Vec<Measured> {
        let peer = self.bpftrace.as_ref().ok().copied();
        let mut found = vec![Measured::new(Line::Attached, self.attached).beside("bpftrace", peer)];
        let Some(count) = self.counts.iter().find(|count| count.stuck == OF_BUDGET) else { return found };
        for (line, of, wait) in [
            (Line::FirstReportWall, (|row| row.wall) as fn(&Row) -> Option<Spread>, BETWEEN_LOOKS_MS),
            (Line::FirstReportCpu, |row| row.cpu, 0.0),
        ] {
            let Some((ours, rest)) = count.rows.split_first() else { continue };
            let Some(value) = of(ours) else { continue };
            let Spread { median, lower, upper, of: runs } = value;
            let value = Spread { median: median - wait, lower: lower - wait, upper: upper - wait, of: runs };
            let rest = rest.iter().filter(|row| row.name != LIVE);
            found.push(rest.fold(Measured::new(line, value), |it, row| it.beside(row.name, of(row))));
        }
        found
    }

    pub(super) fn markdown(&self) -> String {
        let bpftrace = match &self.bpftrace {
            Ok(ms) => format!("{} ms", ms.shown(0)),
            Err(why) => format!("not run: {why}"),
        };
        let mut text = format!(
            "\n**Start**: attached after {} ms; bpftrace: {bpftrace}\n\n\
             | stuck | what | wall, ms | CPU, ms |\n|---|---|---|---|\n",
            self.attached.shown(0)
        );
        for Count { stuck, rows } in &self.counts {
            for Row { name, missing, wall, cpu } in rows {
                let wall = missing.as_ref().map_or_else(|| shown(*wall, 0), |why| format!("not run: {why}"));
                let _ = writeln!(text, "| {stuck} | {name} | {wall} | {} |", shown(*cpu, 0));
            }
        }
        let _ = writeln!(
            text,
            "\nA snapshot waits {BETWEEN_LOOKS_MS:.0} ms between its two looks, which is in its wall time; \
             the others look once and judge nothing."
        );
        text
    }
}

/// A trace that has not reported all by then never will.
const AT_MOST: &str = "120s";
const LIVE: &str = "closewait-trace, all reported";

impl Count {
    fn measure(tool: &Path, pile: &Path, stuck: u32, rounds: u32) -> Result<Self> {
        eprintln!("bench: first report of {stuck}");
        let net = Netns::with_all_ports("bench")?;
        let names = ["closewait-trace snapshot", LIVE, "ss -tanp", "lsof -nP -iTCP"];
        let _pile = match Pile::new(&net, pile, Heap { stuck, ..Heap::default() }) {
            Ok(pile) => pile,
            Err(error) => {
                let missing = Some(format!("{error:#}"));
                return Ok(Self {
                    stuck,
                    rows: vec![Row { name: names[0], missing, wall: None, cpu: None }],
                });
            }
        };
        let mut runs: [Result<Vec<Run>>; 4] = std::array::from_fn(|_| Ok(Vec::new()));
        for _ in 0..rounds {
            for (which, runs) in runs.iter_mut().enumerate() {
                let Ok(so_far) = runs else { continue };
                let run = match which {
                    0 => timed(&mut snapshot(tool, &net)),
                    1 => live(tool, &net, stuck),
                    2 => inside(&net, "ss", &["-tanp"]).and_then(|mut it| timed(&mut it)),
                    _ => inside(&net, "lsof", &["-nP", "-iTCP"]).and_then(|mut it| timed(&mut it)),
                };
                match run {
                    Ok(run) => so_far.push(run),
                    Err(error) if which > 1 => *runs = Err(error),
                    Err(error) => return Err(error),
                }
            }
        }
        let rows = names.into_iter().zip(runs).map(|(name, runs)| match runs {
            Ok(runs) => Row {
                name,
                missing: None,
                wall: Spread::of(&runs.iter().map(|run| run.wall).collect::<Vec<_>>()),
                cpu: Spread::of(&runs.iter().map(|run| run.cpu).collect::<Vec<_>>()),
            },
            Err(error) => Row { name, missing: Some(format!("{error:#}")), wall: None, cpu: None },
        });
        Ok(Self { stuck, rows: rows.collect() })
    }
}

/// One look at everything in `net` that is stuck now.
pub(super) fn snapshot(tool: &Path, net: &Netns) -> Command {
    let mut command = Command::new(tool);
    command.args(["snapshot", "--threshold", "1ms", "--netns", &net.path()]);
    command
}

fn inside(net: &Netns, program: &'static str, args: &[&str]) -> Result<Command> {
    let found = command::find_system(program).with_context(|| format!("{program} is not installed"))?;
    let mut command = net.inside(&found)?;
    command.args(args);
    Ok(command)
}

/// CPU time of `command`, ms.
///
/// # Errors
/// When it fails.
pub(super) fn cpu_of(command: &mut Command) -> Result<f64> {
    timed(command).map(|run| run.cpu)
}

/// Runs it to its end.
fn timed(command: &mut Command) -> Result<Run> {
    let before = Usage::of_children()?;
    let watch = Stopwatch::start();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    let wall = watch.elapsed().as_secs_f64() * 1000.0;
    // lsof ends with 1 when it could not see something; its list is complete all the same.
    ensure!(status.code().is_some_and(|code| code < 2), "{command:?} ended with {status}");
    let used = Usage::of_children()? - before;
    Ok(Run { wall, cpu: used.cpu.as_secs_f64() * 1000.0 })
}

/// Until every stuck socket has been reported by a live trace.
fn live(tool: &Path, net: &Netns, stuck: u32) -> Result<Run> {
    let before = Usage::of_children()?;
    let mut command = Command::new(tool);
    command.args(["--threshold", "1ms", "-o", "json", "--netns", &net.path(), "--duration", AT_MOST]);
    let watch = Stopwatch::start();
    let mut child =
        Killed(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let said = BufReader::new(child.0.stdout.take().context("it has no stdout")?).lines();
    let stuck = usize::try_from(stuck)?;
    let of_stuck = said.map_while(Result::ok).filter(|line| line.contains("\"kind\":\"stuck\""));
    let reported = of_stuck.take(stuck).count();
    let wall = watch.elapsed().as_secs_f64() * 1000.0;
    drop(child.end());
    ensure!(reported == stuck, "{reported} of {stuck} stuck sockets were reported");
    let used = Usage::of_children()? - before;
    Ok(Run { wall, cpu: used.cpu.as_secs_f64() * 1000.0 })
}

fn start_to_attached(tool: &Path, net: &Netns) -> Result<f64> {
    let mut command = Command::new(tool);
    command.args(["--netns", &net.path()]);
    let watch = Stopwatch::start();
    let mut child =
        Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    let said = BufReader::new(child.0.stderr.take().context("it has no stderr")?).lines();
    let attached = said.map_while(Result::ok).any(|line| line.starts_with("closewait-trace: tracing"));
    let wall = watch.elapsed().as_secs_f64() * 1000.0;
    child.end()?;
    ensure!(attached, "it ended before it was attached");
    Ok(wall)
}

/// Its BEGIN runs when everything is compiled and loaded.
fn start_of_bpftrace(peer: &Peer) -> Result<f64> {
    let script = "BEGIN { printf(\"ready\\n\"); } tracepoint:sock:inet_sock_set_state /args->newstate == 8/ { @[pid] = nsecs; }";
    let mut command = peer.with_tracefs()?;
    command.args(["-B", "line", "-e", script]);
    let watch = Stopwatch::start();
    let mut child =
        Killed(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let said = BufReader::new(child.0.stdout.take().context("it has no stdout")?).lines();
    let ready = said.map_while(Result::ok).any(|line| line == "ready");
    let wall = watch.elapsed().as_secs_f64() * 1000.0;
    child.end()?;
    ensure!(ready, "bpftrace ended before it was ready");
    Ok(wall)
}

/// A process that must not outlive an error.
struct Killed(Child);

impl Killed {
    /// Ends it by Ctrl-C.
    fn end(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGINT)?;
        self.0.wait().context("cannot wait for it")?;
        Ok(())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
