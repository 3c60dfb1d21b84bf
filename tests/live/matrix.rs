//! The matrix: every row of `rows`, in three modes. The tool is there before the
//! situation; or the situation was there before the tool; or the tool takes one look.
//! What came out is printed as a table, one line for each row and mode. A recording of
//! the run gives the same reports again.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::age::are_older_than;
use super::judged::{Features, Judged, table};
use super::kept;
use super::netns::Netns;
use super::recordings::gives_the_reports_of;
use super::rows::{Answer, Kind, ROWS, Row, WIRE_ROWS};
use super::situation::Situation;
use super::tool::{Ended, THRESHOLD_MS, Tool, binary, json_of};
use super::veth::Veth;
use super::waiting::{show, until};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The tool before the situation.
    Live,
    /// The situation before the tool.
    Older,
    /// One look.
    Snapshot,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Live => "tool first",
            Self::Older => "situation first",
            Self::Snapshot => "snapshot",
        }
    }

    const fn answer(self, row: &Row) -> Answer {
        match self {
            Self::Live => row.live,
            Self::Older => row.older,
            Self::Snapshot => row.snapshot,
        }
    }
}

#[test]
fn over_loopback_tool_first() {
    is_told(ROWS, Mode::Live, false);
}

#[test]
fn over_loopback_situation_first() {
    is_told(ROWS, Mode::Older, false);
}

#[test]
fn over_loopback_snapshot() {
    is_told(ROWS, Mode::Snapshot, false);
}

#[test]
fn over_a_cut_wire_tool_first() {
    is_told(WIRE_ROWS, Mode::Live, true);
}

#[test]
fn over_a_cut_wire_situation_first() {
    is_told(WIRE_ROWS, Mode::Older, true);
}

#[test]
fn over_a_cut_wire_snapshot() {
    is_told(WIRE_ROWS, Mode::Snapshot, true);
}

/// So often the rows are made true before a loss that the tool owns up to is believed to
/// be the rule.
const ATTEMPTS: u32 = 3;

/// Makes the rows true, lets the tool look, and compares. Where the tool says that the kernel
/// skipped a run of a program (one that was preempted, on a slow CPU: seen on an
/// emulated 7.3), less is known of a socket than the row wants, for good: then
/// once more.
fn is_told(rows: &'static [Row], mode: Mode, over_wire: bool) {
    for attempt in 1..=ATTEMPTS {
        match is_told_once(rows, mode, over_wire, attempt == ATTEMPTS) {
            Told::Right => return,
            Told::Lost(lost) => show(&format!("attempt {attempt}: {lost}")),
            Told::Wrong(text) => panic!("{text}"),
        }
    }
}

/// What came of one attempt.
enum Told {
    Right,
    /// The tool said that it had lost something.
    Lost(String),
    Wrong(String),
}

fn is_told_once(rows: &'static [Row], mode: Mode, over_wire: bool, last: bool) -> Told {
    let wire = over_wire.then(Veth::new);
    let own = Netns::new();
    let net = wire.as_ref().map_or(&own, |wire| &wire.server);
    let features = Features::probe();
    let (run, not_run): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| !matches!(mode.answer(row).kind, Kind::NotRun(_)));
    let dir = kept::dir();
    let recording = dir.path().join("recording");
    let recorded = ["--record", recording.to_str().expect("text")];
    let mut tool = (mode == Mode::Live).then(|| Tool::trace(net, &recorded));
    let mut situations = Situation::make(&run, net, wire.as_ref());
    agree_with_ss(&situations, net);

    let ended = if mode == Mode::Snapshot {
        let old_enough = || {
            let threshold = Duration::from_millis(THRESHOLD_MS);
            are_older_than(threshold, situations.iter().flat_map(|situation| &situation.sockets))
                .then_some(())
        };
        until("all are old enough", old_enough);
        Tool::spawn(Command::new(binary()).arg("snapshot").args(json_of(net))).end()
    } else {
        let mut tool = tool.take().unwrap_or_else(|| Tool::trace(net, &recorded));
        let gives_up = |ended: &Ended| !last && lost(ended).is_some();
        let all_told = tool.prints(|ended| {
            gives_up(ended)
                || situations.iter().all(|situation| is_reported(situation, mode, ended, &features))
        });
        if all_told {
            agree_with_ss(&situations, net);
        }
        for situation in &mut situations {
            if situation.row.ends.is_some() && situation.not_run.is_none() {
                situation.scenario.tell("close");
                situation.scenario.expect("closed");
            }
        }
        tool.prints(|ended| {
            gives_up(ended)
                || situations.iter().all(|situation| is_released(situation, mode, ended, &features))
        });
        tool.signal(Signal::INT)
    };
    ended.exits(0);

    let mut lines: Vec<_> = situations
        .iter()
        .map(|situation| Judged::new(situation, mode.answer(situation.row), &ended, &features))
        .collect();
    lines.extend(not_run.iter().map(|row| Judged::not_run(row, mode.answer(row))));
    let title = format!("{}, {}", if over_wire { "over a cut wire" } else { "over loopback" }, mode.name());
    let text = table(&title, &lines);
    show(&text);
    nothing_else_is_reported(&situations, &ended);
    let wrong: Vec<_> = lines.iter().filter_map(|line| line.failure.as_deref()).collect();
    match lost(&ended) {
        _ if wrong.is_empty() => {
            if mode != Mode::Snapshot {
                gives_the_reports_of(&ended, &recording, &title);
            }
            Told::Right
        }
        Some(loss) if !last => Told::Lost(format!("{}\n{loss}\n{}", wrong.join("\n"), ended.everything())),
        _ => Told::Wrong(format!("{}\n{text}\n{}", wrong.join("\n"), ended.everything())),
    }
}

/// The first loss that was told.
fn lost(ended: &Ended) -> Option<&Value> {
    ended.of_kind("loss").next()
}

/// Whether what is said of every socket is right; what is known to be wrong is not waited
/// for. A verdict may come later than a first report: a peer is gone when it has been
/// silent for some time.
fn is_reported(situation: &Situation, mode: Mode, ended: &Ended, features: &Features) -> bool {
    let answer = mode.answer(situation.row);
    features.known_wrong(answer.known_wrong).is_some()
        || situation.sockets.iter().all(|socket| {
            let last = situation.lines(socket, answer.kind.name(), &ended.reports).last();
            last.is_some_and(|line| features.allow(&answer, line))
        })
}

/// Whether all that had been reported, and were told to close, are reported released.
fn is_released(situation: &Situation, mode: Mode, ended: &Ended, features: &Features) -> bool {
    let said = |socket, kind| situation.lines(socket, kind, &ended.reports).next().is_some();
    let kind = mode.answer(situation.row).kind.name();
    let ends = situation.row.ends.filter(|end| features.known_wrong(end.known_wrong).is_none());
    ends.is_none() || situation.sockets.iter().all(|socket| !said(socket, kind) || said(socket, "released"))
}

/// `ss` shows the sockets that are in CLOSE_WAIT, and no others.
fn agree_with_ss(situations: &[Situation], net: &Netns) {
    let stuck = situations
        .iter()
        .filter(|situation| situation.row.live.kind == Kind::Stuck && !situation.row.is_mptcp());
    let mut ours: Vec<_> = stuck
        .flat_map(|situation| {
            situation
                .sockets
                .iter()
                .map(|socket| situation.port.min(socket.client)..=situation.port.max(socket.client))
        })
        .collect();
    let order = |range: &std::ops::RangeInclusive<u16>| (*range.start(), *range.end());
    ours.sort_by_key(order);
    until(&format!("ss shows the {} sockets in {}", ours.len(), net.name()), || {
        let mut shown: Vec<_> =
            net.close_wait().iter().map(|(one, other)| *one.min(other)..=*one.max(other)).collect();
        shown.sort_by_key(order);
        (shown == ours).then_some(())
    });
}

/// Every socket that was reported belongs to a row that wants it.
fn nothing_else_is_reported(situations: &[Situation], ended: &Ended) {
    for line in ended.of_kind("stuck").chain(ended.of_kind("ghost")) {
        assert!(situations.iter().any(|situation| situation.has(line)), "nobody made this: {line}");
    }
}
