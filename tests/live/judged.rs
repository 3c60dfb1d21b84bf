//! One line of the matrix: what was right to say, what was said, and whether they agree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::age::Age;
use super::rows::{Answer, Holder, Kind, Row, Says, Where};
use super::situation::{Situation, Socket};
use super::tool::{Ended, Tool, binary};

/// What depends on this kernel; asked of `doctor`, which tries it.
pub(crate) struct Features {
    eof_seen: bool,
    all_readable: bool,
}

impl Features {
    pub(crate) fn probe() -> Self {
        let ended = Tool::spawn(Command::new(binary()).arg("doctor")).end();
        let line = ended.printed.iter().find(|line| line.trim_start().starts_with("EOF reads"));
        let line = line.unwrap_or_else(|| panic!("nothing on EOF reads\n{}", ended.everything()));
        Self { eof_seen: !line.trim_end().ends_with(" off"), all_readable: every_process_is_readable() }
    }

    fn meet(&self, place: Where) -> bool {
        match place {
            Where::Everywhere => true,
            Where::EofSeen => self.eof_seen,
            Where::EofUnseen => !self.eof_seen,
            Where::AllReadable => self.all_readable,
            Where::SomeUnreadable => !self.all_readable,
        }
    }

    /// Whether a report says what is right.
    pub(crate) fn allow(&self, answer: &Answer, report: &Value) -> bool {
        let mut right = answer.verdicts.iter().filter(|says| self.meet(says.place));
        right.any(|says| says.is_said_in(&report["verdict"]))
    }

    /// Why something is not right yet on this machine.
    pub(crate) fn known_wrong(&self, mark: Option<(&'static str, Where)>) -> Option<&'static str> {
        mark.filter(|(_, place)| self.meet(*place)).map(|(why, _)| why)
    }
}

/// Some machines keep the descriptors of a process even from root.
fn every_process_is_readable() -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let is_pid = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let mut tables = processes.filter(|process| is_pid(&process.file_name())).map(|it| it.path().join("fd"));
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    !tables.any(|fds| match fs::read_dir(fds) {
        Ok(fds) => fds.flatten().any(|fd| fs::read_link(fd.path()).is_err_and(is_refused)),
        Err(error) => is_refused(error),
    })
}

impl Kind {
    /// As JSON lines call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Ghost => "ghost",
            Self::Nothing | Self::NotRun(_) => "",
        }
    }
}

impl Row {
    pub(crate) fn is_mptcp(&self) -> bool {
        self.args.contains(&"--mptcp")
    }
}

impl Says {
    fn is_said_in(&self, verdict: &Value) -> bool {
        let also = verdict["also"].as_array().map(Vec::as_slice).unwrap_or_default();
        verdict["code"] == self.code
            && verdict["leak"].as_bool() == self.leak
            && self.also.iter().all(|code| also.iter().any(|it| it == code))
            && verdict["evidence"].to_string().contains(self.evidence)
    }

    fn words(&self) -> String {
        let leak = self.leak.map_or("null".into(), |leak| leak.to_string());
        [&[self.code, &leak], self.also].concat().join(" ")
    }
}

/// One line.
pub(crate) struct Judged {
    row: &'static str,
    expected: String,
    got: String,
    holders: String,
    age: String,
    ended: String,
    outcome: String,
    /// Why the test fails, if it does.
    pub(crate) failure: Option<String>,
}

/// How many of how many sockets were right in what.
#[derive(Default)]
struct Count {
    verdicts: usize,
    holders: usize,
    ages: usize,
    exact: usize,
    off: Duration,
    ends: usize,
}

impl Judged {
    /// A row that was not tried.
    pub(crate) fn not_run(row: &'static Row, answer: Answer) -> Self {
        let Kind::NotRun(why) = answer.kind else { panic!("{} was run", row.name) };
        Self::skipped(row.name, why)
    }

    fn skipped(row: &'static str, why: &str) -> Self {
        let [expected, got, holders, age, ended] = [const { String::new() }; 5];
        Self { row, expected, got, holders, age, ended, outcome: format!("NOT RUN: {why}"), failure: None }
    }

    /// Compares what was said about a situation with what is right.
    pub(crate) fn new(made: &Situation, answer: Answer, said: &Ended, features: &Features) -> Self {
        let row = made.row;
        if let Some(why) = &made.not_run {
            return Self::skipped(row.name, why);
        }
        let right: Vec<_> = answer.verdicts.iter().filter(|says| features.meet(says.place)).collect();
        let mut got = BTreeMap::<String, usize>::new();
        let mut ends = BTreeMap::<String, usize>::new();
        let mut count = Count::default();
        for socket in &made.sockets {
            let Some(line) = made.lines(socket, answer.kind.name(), &said.reports).last() else {
                *got.entry("nothing".into()).or_default() += 1;
                continue;
            };
            *got.entry(words(&line["verdict"])).or_default() += 1;
            count.verdicts += usize::from(features.allow(&answer, line));
            count.holders += usize::from(holder_is_right(made, socket, line));
            if let Some(age) = Age::of(line, socket) {
                count.ages += usize::from(age.is_right);
                count.exact += usize::from(age.off.is_some());
                count.off = count.off.max(age.off.unwrap_or_default());
            }
            let how = how_it_ended(made, socket, said);
            count.ends += usize::from(row.ends.is_some_and(|end| end.how == how));
            *ends.entry(how).or_default() += 1;
        }
        let all = made.sockets.len();
        let alarms = false_alarms(made, &answer, said, features);
        if alarms > 0 {
            got.insert("at first leak true".into(), alarms);
        }
        let report_is_right =
            count.verdicts == all && count.holders == all && count.ages == all && alarms == 0;
        // Whoever is not reported is not reported released, and one look sees no end.
        let end =
            row.ends.filter(|_| !got.contains_key("nothing") && said.of_kind("released").next().is_some());
        let end_is_right = end.is_none_or(|_| count.ends == all);
        let mut judged = Self {
            row: row.name,
            expected: if all == 0 {
                "nothing".into()
            } else {
                right.first().map_or_else(String::new, |says| says.words())
            },
            got: tally(&got),
            holders: format!("{}/{all}", count.holders),
            age: format!("{}/{all}, {} exact (off {} ms)", count.ages, count.exact, count.off.as_millis()),
            ended: end.map_or_else(String::new, |end| format!("{}: {}", end.how, tally(&ends))),
            outcome: String::new(),
            failure: None,
        };
        let known = features.known_wrong(answer.known_wrong);
        judged.conclude(report_is_right, known, "");
        if let Some(end) = end {
            judged.conclude(end_is_right, features.known_wrong(end.known_wrong), "its end: ");
        }
        judged
    }

    fn conclude(&mut self, right: bool, known_wrong: Option<&str>, what: &str) {
        let outcome = match (right, known_wrong) {
            (true, None) => "ok".to_owned(),
            (false, Some(why)) => format!("known wrong: {why}"),
            (false, None) => "WRONG".to_owned(),
            (true, Some(_)) => "right, and marked as known wrong: remove the mark".to_owned(),
        };
        if right == known_wrong.is_some() {
            self.failure = Some(format!("{}: {what}{outcome}", self.row));
        }
        if self.outcome.is_empty() || self.outcome == "ok" {
            self.outcome = if outcome == "ok" { outcome } else { format!("{what}{outcome}") };
        }
    }
}

/// Sockets of which something was said to be a leak at any time, where none is.
fn false_alarms(made: &Situation, answer: &Answer, said: &Ended, features: &Features) -> usize {
    let mut right = answer.verdicts.iter().filter(|says| features.meet(says.place));
    if right.any(|says| says.leak == Some(true)) {
        return 0;
    }
    let is_called_a_leak = |socket: &&Socket| {
        made.lines(socket, "stuck", &said.reports).any(|line| line["verdict"]["leak"] == true)
    };
    made.sockets.iter().filter(is_called_a_leak).count()
}

fn how_it_ended(made: &Situation, socket: &Socket, said: &Ended) -> String {
    if made.row.live.kind == Kind::Stuck && made.lines(socket, "ghost", &said.reports).next().is_some() {
        return "a ghost".into();
    }
    match made.lines(socket, "released", &said.reports).last() {
        Some(line) => line["how"].as_str().unwrap_or("unknown").to_owned(),
        None => "not seen".into(),
    }
}

fn words(verdict: &Value) -> String {
    let also = verdict["also"].as_array().map(Vec::as_slice).unwrap_or_default();
    let leak = verdict["leak"].to_string();
    let words = [verdict["code"].as_str().unwrap_or("no code"), &leak];
    words.into_iter().chain(also.iter().filter_map(Value::as_str)).collect::<Vec<_>>().join(" ")
}

fn tally(counts: &BTreeMap<String, usize>) -> String {
    let each: Vec<_> = counts.iter().map(|(what, times)| format!("{what} x{times}")).collect();
    if each.is_empty() { "nothing".into() } else { each.join(", ") }
}

fn holder_is_right(made: &Situation, socket: &Socket, line: &Value) -> bool {
    let holders = line["holders"].as_array().map(Vec::as_slice).unwrap_or_default();
    match made.row.holder {
        Holder::Nobody => holders.is_empty(),
        Holder::Listener => {
            let listener = &line["listener"];
            holders.is_empty()
                && (&listener["pid"], &listener["fd"]) == (&socket.pid.into(), &socket.fd.into())
                && (&listener["queue"], &listener["limit"]) == (&made.sockets.len().into(), &128.into())
        }
        Holder::Told => {
            let mut told: Vec<_> = [Some(socket.pid), socket.also].into_iter().flatten().collect();
            let mut named: Vec<_> = holders.iter().filter_map(|it| it["pid"].as_u64()).collect();
            told.sort_unstable();
            named.sort_unstable();
            named.iter().copied().eq(told.into_iter().map(u64::from))
                && holders.iter().all(|it| it["fd"] == socket.fd)
        }
    }
}

/// The table, for people.
pub(crate) fn table(title: &str, lines: &[Judged]) -> String {
    let mut text = format!(
        "{title}\n{:<30} {:<26} {:<32} {:<8} {:<26} {:<22} outcome\n",
        "situation", "expected", "got", "holders", "age right", "end"
    );
    for line in lines {
        let Judged { row, expected, got, holders, age, ended, outcome, .. } = line;
        let _ =
            writeln!(text, "{row:<30} {expected:<26} {got:<32} {holders:<8} {age:<26} {ended:<22} {outcome}");
    }
    text
}
