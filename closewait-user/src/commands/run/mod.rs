//! `run -- CMD`: a leak gate. Starts CMD, traces it and all its descendants only, and
//! fails when sockets of theirs leaked.
//!
//! CMD owns stdin, stdout and stderr while it runs, and the terminal: it stays in this
//! process group, so that the terminal's signals reach it as they would without the gate.
//! What is said is said when it has ended, on stderr. Nothing stays behind: the programs
//! go with this process, and daemons that CMD has left are named, not killed.

mod child;
pub(super) mod collect;
mod gate;
mod output;
mod suppress;
mod user;

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::process;
use std::rc::Rc;
use std::time::Duration;

use super::reporting::{cannot_spawn, enricher, filter_here, runtime, say, say_lost, settle};
use super::trace::{Attach, attach};
use crate::cli::RunArgs;
use crate::clock::Clock;
use crate::diagnostics;
use crate::driver::{Driver, Ends, Only, Parts, Stop};
use crate::error::Failure;
use crate::exit::Exit;
use crate::kernel::family::Family;
use crate::kernel::load::Served;
use crate::privileges::Work;
use crate::progress;
use crate::report::{ByLeak, Reporter, Summary, lost_what};
use crate::stack::Stacks;
use crate::stack::python::Interpreters;
use child::{Command, How};
use collect::{Collected, Collector};
use gate::Rules;
use output::Outputs;
use suppress::Suppressions;

/// What has been stuck for less when its process ends does not count: a client whose
/// server closed a moment before it ended has had no time to close.
const LEAST: Duration = Duration::from_millis(100);

/// Runs the command; its exit code if not 0, else 1 if it leaked.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.report.verbose);
    // Everything that can be wrong with the arguments is found before anything runs.
    let filter = filter_here(&args.report.filter)?;
    let suppressions = match &args.suppressions {
        Some(path) => Suppressions::open(path, args.update_baseline)?,
        None => Suppressions::default(),
    };
    let command = Command::new(&args.command, args.user.as_deref())?;
    let outputs = Outputs::open(args, command.user())?;
    // Before any thread is started: they inherit what is blocked.
    let signals = child::Signals::take_over()?;
    runtime()?.block_on(gate(args, filter, suppressions, command, outputs, signals))
}

async fn gate(
    args: &RunArgs,
    filter: crate::filter::Filter,
    mut suppressions: Suppressions,
    command: Command,
    outputs: Outputs,
    signals: child::Signals,
) -> Result<Exit, Failure> {
    let wanted =
        Attach { kernel: &args.kernel, stacks: args.stacks, verbose: args.report.verbose, family: true };
    let (mut loaded, source) = attach(&wanted, &filter)?;
    let mut family = loaded.family()?;
    let mut degraded = say_lost(Work::Watch);
    degraded.extend(loaded.served.iter().filter_map(Served::degraded));
    // Before the command starts: its first stack is to have its functions.
    let pythons =
        loaded.pythons().map(|map| Interpreters::find(map, args.command.first().map(OsString::as_os_str)));
    let stacks = Stacks::spawn_naming(args.jit_maps, pythons).map_err(cannot_spawn)?;
    let mut enricher = enricher()?;
    if let Some(files) = loaded.task_files.take() {
        enricher.use_task_files(files);
    }
    let rules = Rules {
        threshold: args.report.threshold(),
        least: if args.strict_exit { Duration::ZERO } else { args.report.threshold().min(LEAST) },
        strict: args.strict_exit,
        allow_unknown: args.report.allow_unknown,
    };
    let collected = Rc::new(RefCell::new(Collected::default()));
    let mut child = started_in(&mut family, command, signals)?;
    // The command has all that this process had.
    settle(Work::Gate { writes: args.update_baseline });
    let family = Rc::new(family);
    let driver = Driver::new(Parts {
        loaded: Some(loaded),
        source: Some(source),
        enricher,
        stacks,
        reporter: Reporter::new(vec![Box::new(Collector(Rc::clone(&collected)))]),
        // Whose a socket is matters when it has ended, too: the gate decides about that.
        filter: filter.by_ends(),
        threshold: args.report.threshold().min(LEAST),
        ends: Ends::BySignal,
        degraded,
        recorder: None,
        only: Some(Only { family: Rc::clone(&family), least: rules.least }),
        metrics: None,
        notices: Vec::new(),
    });
    let (mut stop, ended) = Stop::by_hand();
    let (how, (summary, written)) = tokio::join!(
        async {
            let how = child.wait().await;
            // Until now the terminal was the command's.
            progress::allow(false);
            ended.notify_one();
            how
        },
        driver.run(&mut stop)
    );
    let how = how?;
    written.map_err(|error| Failure::new(format!("the trace ended early: {error}")))?;

    let now = Clock::mono_now();
    let Summary { mut totals, apart, .. } = summary;
    let outcome = gate::decide(&collected.borrow(), rules, &filter, now, apart, &mut suppressions);
    let written = if args.update_baseline { Some(suppressions.update(&outcome.counted)?) } else { None };
    // What ended with its process is reported from here on.
    (totals.threshold, totals.running) = (rules.least, Some(rules.threshold));
    let lost = totals.lost;
    outputs.write(args, &outcome, &collected.borrow(), totals)?;
    if lost.total() > 0 {
        say(&format!("lost {}; a leak that only these told of is missing here", lost_what(&lost)));
    }
    for line in suppressions.remarks() {
        say(&line);
    }
    left_running(&family);
    if let Some(written) = written {
        say(&suppressions.updated(written));
    }
    let stuck = outcome.counted.len();
    let failed = stuck > args.max && !args.update_baseline;
    let exit = match how {
        How::Code(0) if failed => Exit::Stuck,
        How::Code(0) => Exit::Fine,
        how => Exit::Command(how.status()),
    };
    say(&last_line(&args.command[0], how, &outcome, args.max, exit));
    Ok(exit)
}

/// Starts the command as the only member.
fn started_in(
    family: &mut Family,
    command: Command,
    signals: child::Signals,
) -> Result<child::Running, Failure> {
    let cannot = |error| Failure::new(format!("the command cannot be followed: {error}"));
    family.admit(process::id()).map_err(cannot)?;
    let started = command.start(signals);
    family.dismiss(process::id()).map_err(cannot)?;
    started
}

/// Names what the command has left running.
fn left_running(family: &Family) {
    let left = family.members().into_iter().filter_map(|pid| {
        let stat = crate::enrich::procfs::text(format!("/proc/{pid}/stat")).ok()?;
        let (head, state) = stat.rsplit_once(") ")?;
        let (_, comm) = head.split_once(" (")?;
        // One that has ended is left by its parent, not by the command.
        (!state.starts_with(['Z', 'X'])).then(|| format!("{}[{pid}]", crate::report::escape::escape(comm)))
    });
    let left: Vec<_> = left.collect();
    if !left.is_empty() {
        say(&format!("left running by the command: {}", left.join(", ")));
    }
}

/// Which case it was.
fn last_line(name: &OsStr, how: How, outcome: &gate::Outcome, max: usize, exit: Exit) -> String {
    let name = name.to_string_lossy();
    let name = crate::report::escape::escape(&name);
    let stuck = counted(outcome.judged(), outcome.causes());
    let allowed = match outcome.unclear_allowed() {
        0 => String::new(),
        n => format!(", {n} unclear and allowed"),
    };
    let suppressed = match outcome.suppressed {
        0 => String::new(),
        n => format!(", {n} more suppressed"),
    };
    let left_out = match outcome.apart.by_holder + outcome.apart.ghosts {
        0 => String::new(),
        n => format!(", {n} left out by the filter"),
    };
    let max = if max > 0 { format!(" (at most {max} allowed)") } else { String::new() };
    format!("{name} {how}; {stuck}{allowed}{suppressed}{left_out}{max}; exit {}", exit.code())
}

/// The sockets that count: `3 sockets leaked, of 1 cause`. What is unclear counts too, and is
/// not called a leak for that.
fn counted(judged: ByLeak, causes: usize) -> String {
    let verb = if judged.yes == judged.total() { "leaked" } else { "counted" };
    let text = match (judged.total(), causes) {
        (0, _) => return "no socket leaked".to_owned(),
        (1, _) => format!("1 socket {verb}"),
        (n, 1) => format!("{n} sockets {verb}, of 1 cause"),
        (n, causes) => format!("{n} sockets {verb}, of {causes} causes"),
    };
    if judged.yes == judged.total() {
        return text;
    }
    let mut words = vec![format!("{} leaked", judged.yes)];
    words.extend((judged.no > 0).then(|| format!("{} harmless", judged.no)));
    words.extend((judged.unclear > 0).then(|| format!("{} unclear: see --allow-unknown", judged.unclear)));
    format!("{text} ({})", words.join(", "))
}

/// What [`crate::fuzz`] reads as a file of `--suppressions`.
#[cfg(any(test, fuzzing))]
pub(crate) fn suppressions(data: &[u8]) {
    suppress::fuzzed(&String::from_utf8_lossy(data));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unclear_is_not_called_a_leak() {
        for (yes, unclear, no, causes, words) in [
            (0, 0, 0, 0, "no socket leaked"),
            (1, 0, 0, 1, "1 socket leaked"),
            (3, 0, 0, 1, "3 sockets leaked, of 1 cause"),
            (3, 0, 0, 2, "3 sockets leaked, of 2 causes"),
            (0, 1, 0, 1, "1 socket counted (0 leaked, 1 unclear: see --allow-unknown)"),
            (
                2,
                1,
                1,
                3,
                "4 sockets counted, of 3 causes (2 leaked, 1 harmless, 1 unclear: see --allow-unknown)",
            ),
            (0, 0, 1, 1, "1 socket counted (0 leaked, 1 harmless)"),
        ] {
            assert_eq!(counted(ByLeak { yes, unclear, no }, causes), words);
        }
    }
}
