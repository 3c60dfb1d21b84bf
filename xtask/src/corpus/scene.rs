//! Plays one case: the room, the driver, the tool, and the looks in between.

use super::{
    install::Installed,
    judge::{Ends, Judged, Told, Truth},
    label::{Case, Start},
    program::{Heard, Program},
    room::Room,
};
use crate::{stopwatch::Stopwatch, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::Duration,
};

/// What came of a case.
pub(super) struct Outcome {
    pub(super) judged: Judged,
    /// From the start of the tool (sockets already stuck) or from the moment they
    /// were, until all that was said was right and stayed so; none: it never was
    pub(super) right_after: Option<Duration>,
    /// Leaks reported where there is none
    pub(super) alarms: Vec<String>,
}

/// Sockets are reported from this age on.
const THRESHOLD: Duration = Duration::from_secs(1);
/// A driver may take this long to drive its software into the incident.
const TO_HAPPEN: Duration = Duration::from_mins(3);
/// What is not right this long after it should be is a miss.
const PATIENCE: Duration = Duration::from_secs(12);
/// After so long without a line all has been said for now.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks of `ss`; a socket seen in two that are far enough apart to be
/// over the threshold, and looked at twice, has to be reported. (The tool waits up to
/// three seconds for the names of a stack.)
const LOOK: Duration = Duration::from_millis(500);
const REPORTED_AFTER: Duration = Duration::from_secs(6);

/// # Errors
/// When the software did not get into the incident: that says nothing of the tool.
pub(super) fn play(case: &Case, tool: &Path, installed: &Installed) -> Result<Outcome> {
    let room = Room::new()?;
    let early = (case.label.tool == Start::Before).then(|| trace(&room, case, tool, "json")).transpose()?;
    let (mut driver, said) = drive(&room, case, installed)?;
    let mut tool = if let Some(tool) = early {
        tool
    } else {
        // Older than the threshold, as they are when people start the tool.
        driver.hear(Stopwatch::start(), THRESHOLD + Duration::from_millis(200));
        start(&room, case, tool, "json")?
    };
    let outcome = watch(&room, case, &mut tool, said);
    driver.dismiss();
    if !driver.drain(drop) {
        eprintln!("{}: its driver did not end by itself", case.name);
    }
    outcome.with_context(|| format!("the tool said:\n{}", tool.talk()))
}

/// Prints what the tool says of a case to people, from its start to its end.
pub(super) fn show(case: &Case, tool: &Path, installed: &Installed) -> Result<()> {
    let room = Room::new()?;
    let early = (case.label.tool == Start::Before).then(|| trace(&room, case, tool, "text")).transpose()?;
    let (mut driver, _) = drive(&room, case, installed)?;
    let mut tool = if let Some(tool) = early {
        tool
    } else {
        driver.hear(Stopwatch::start(), THRESHOLD + Duration::from_millis(200));
        start(&room, case, tool, "text")?
    };
    let began = Stopwatch::start();
    while let Heard::Line(line) = tool.hear(began, case.label.watch() + PATIENCE) {
        println!("{line}");
    }
    tool.interrupt();
    tool.drain(|line| println!("{line}"));
    eprintln!("{}", tool.talk());
    driver.dismiss();
    driver.drain(drop);
    Ok(())
}

fn trace(room: &Room, case: &Case, tool: &Path, format: &str) -> Result<Program> {
    let mut tool = start(room, case, tool, format)?;
    ensure!(tool.says("closewait-trace: tracing", PATIENCE), "the tool does not trace:\n{}", tool.talk());
    Ok(tool)
}

fn start(room: &Room, case: &Case, tool: &Path, format: &str) -> Result<Program> {
    let threshold = format!("{}ms", THRESHOLD.as_millis());
    let mut command = Command::new(tool);
    command.args(["--netns", &room.netns().path(), "-o", format, "--threshold", &threshold]);
    Program::start(command.args(&case.label.options))
}

/// Until the driver says `done`.
fn drive(room: &Room, case: &Case, installed: &Installed) -> Result<(Program, Truth)> {
    let dir = workspace::root().join("tests/corpus/drivers");
    let (name, args) = case.label.run.split_first().context("`run` names no driver")?;
    let mut command = room.netns().inside(installed.python())?;
    command.arg(dir.join(name)).args(args).envs(installed.surroundings());
    let mut driver = Program::start(&mut command)?;
    let mut truth = Truth::default();
    let began = Stopwatch::start();
    loop {
        let line = match driver.hear(began, TO_HAPPEN) {
            Heard::Line(line) => line,
            Heard::Nothing => bail!("{name} said no `done` in {TO_HAPPEN:?}:\n{}", driver.talk()),
            Heard::End => bail!("{name} ended early:\n{}", driver.talk()),
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let number = |key: &str| {
            rest.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse::<u32>().ok())
        };
        match word {
            "leak" | "holder" => truth.holders.extend(number("pid")),
            "done" => {
                truth.stuck = room.close_wait()?;
                truth.ghosts = number("ghosts").unwrap_or(0) as usize;
                if let Some(sockets) = number("sockets") {
                    let seen = truth.stuck.len();
                    ensure!(sockets as usize == seen, "{name} says {sockets} are stuck, ss sees {seen}");
                }
                return Ok((driver, truth));
            }
            _ => {}
        }
    }
}

fn watch(room: &Room, case: &Case, tool: &mut Program, mut truth: Truth) -> Result<Outcome> {
    let label = &case.label;
    let began = Stopwatch::start();
    let limit = label.watch() + PATIENCE;
    let mut told = Told::default();
    let mut looks = Looks::new(&truth.stuck);
    let mut right_since = None;
    let mut looked = Stopwatch::start();
    loop {
        // Judged when it has nothing more to say: a thousand lines come at once.
        match tool.hear(Stopwatch::start(), PAUSE) {
            Heard::Line(line) => {
                told.take(serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?);
                if began.elapsed() < limit {
                    continue;
                }
            }
            Heard::Nothing => {}
            Heard::End => bail!("it ended early"),
        }
        if looked.elapsed() >= LOOK {
            truth.stuck = looks.long_stuck(room.close_wait()?, began.elapsed());
            looked = Stopwatch::start();
        }
        let elapsed = began.elapsed();
        if told.judge(&label.expect, &truth).mistakes.is_empty() {
            right_since = right_since.or(Some(elapsed));
        } else {
            right_since = None;
        }
        let is_settled = right_since.is_some() && elapsed >= label.watch();
        if is_settled || elapsed >= limit {
            break;
        }
    }
    truth.stuck = looks.long_stuck(room.close_wait()?, began.elapsed());
    let judged = told.judge(&label.expect, &truth);
    tool.interrupt();
    ensure!(tool.drain(|line| told.take(serde_json::from_str(&line).unwrap_or_default())), "it does not end");
    let alarms = if label.is_healthy() { told.alarms } else { Vec::new() };
    Ok(Outcome { right_after: right_since.filter(|_| judged.mistakes.is_empty()), judged, alarms })
}

/// Since when each socket has been seen stuck. What was at the beginning must be
/// reported however old it is.
struct Looks(BTreeMap<Ends, Option<Duration>>);

impl Looks {
    fn new(stuck: &BTreeMap<Ends, BTreeSet<u32>>) -> Self {
        Self(stuck.keys().map(|ends| (*ends, None)).collect())
    }

    /// Of `stuck`, seen at `now`, those that must have been reported.
    fn long_stuck(
        &mut self,
        mut stuck: BTreeMap<Ends, BTreeSet<u32>>,
        now: Duration,
    ) -> BTreeMap<Ends, BTreeSet<u32>> {
        self.0.retain(|ends, _| stuck.contains_key(ends));
        stuck.retain(|ends, _| {
            let since = *self.0.entry(*ends).or_insert(Some(now));
            since.is_none_or(|since| now.saturating_sub(since) >= REPORTED_AFTER)
        });
        stuck
    }
}
