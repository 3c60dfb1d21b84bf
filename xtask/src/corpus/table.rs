//! The table: what was expected, what was got, and every reason why it is not right; and
//! under it what the corpus as a whole has to keep.

use super::{
    judge::Judged,
    label::{Case, Label, Start},
    scene::Outcome,
};
use anyhow::Result;
use std::{fmt::Write, time::Duration};

pub(super) struct Row {
    pub(super) name: String,
    expected: String,
    judged: Judged,
    right_after: Option<Duration>,
    /// Sockets were stuck before the tool started, and nothing but a look was needed
    counts_as_time: bool,
    wrong: Vec<String>,
    alarms: usize,
    leaks: bool,
    /// What it has to show as soon as the tool can
    waits_for: Option<String>,
    /// It was wrong at first
    pub(super) second_attempt: bool,
}

impl Row {
    pub(super) fn new(case: &Case, outcome: Result<Outcome>) -> Self {
        let label = &case.label;
        let waits_for =
            label.expect.not_yet.as_ref().map(|later| format!("{} ({})", later.shows.join(", "), later.why));
        let mut row = Self {
            name: case.name.clone(),
            expected: expected(label),
            judged: Judged { got: "not played".into(), ..Judged::default() },
            right_after: None,
            counts_as_time: label.tool == Start::After
                && label.is_quick()
                && !label.expect.verdicts.is_empty(),
            wrong: Vec::new(),
            alarms: 0,
            leaks: !label.is_healthy(),
            waits_for,
            second_attempt: false,
        };
        match outcome {
            Ok(outcome) => {
                row.judged = outcome.judged;
                row.right_after = outcome.right_after;
                row.wrong.append(&mut row.judged.mistakes);
                row.alarms = outcome.alarms.len();
                row.wrong.extend(outcome.alarms.first().map(|alarm| format!("FALSE ALARM: {alarm}")));
            }
            Err(error) => row.wrong.push(format!("{error:#}")),
        }
        row
    }

    pub(super) fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The row, and under it what is wrong.
    pub(super) fn line(&self) -> String {
        let time = self.right_after.map_or_else(|| "-".into(), seconds);
        let mark = match (self.is_right(), self.second_attempt) {
            (true, false) => "ok",
            (true, true) => "ok, ONLY IN A SECOND ATTEMPT",
            (false, _) => "WRONG",
        };
        let mut line = format!(
            "{:<26} {:<34} {:<40} {:<12} {:>7}  {mark}",
            self.name, self.expected, self.judged.got, self.judged.confidence, time
        );
        for wrong in &self.wrong {
            for part in wrong.lines() {
                let _ = write!(line, "\n    {part}");
            }
        }
        line
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn expected(label: &Label) -> String {
    let verdicts: Vec<String> =
        label.expect.verdicts.iter().map(|(code, leak)| format!("{code} {leak}")).collect();
    if verdicts.is_empty() { "nothing".into() } else { verdicts.join(", ") }
}

/// All rows under a head.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:<26} {:<34} {:<40} {:<12} {:>7}\n", "case", "expected", "got", "confidence", "after");
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    text
}

/// What the corpus as a whole has shown.
pub(super) fn summary(rows: &[Row], took: Duration) -> String {
    let all = rows.len();
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let (leaking, healthy) = (count(|row| row.leaks), count(|row| !row.leaks));
    let called = count(|row| row.leaks && row.judged.right_verdicts);
    let alarms: usize = rows.iter().map(|row| row.alarms).sum();
    let mut text = format!(
        "{} of {all} cases right, in {} s\n\
         verdicts right in {}, processes in {} of {all}; {alarms} leaks reported on the {healthy} cases without one; \
         {called} of {leaking} leaking cases called that\n",
        count(Row::is_right),
        took.as_secs(),
        count(|row| row.judged.right_verdicts),
        count(|row| row.judged.right_process),
    );
    let open = names(rows, |row| row.judged.left_open);
    let share = 100 * open.len() / all.max(1);
    let _ =
        writeln!(text, "leak left open (null) in {} of {all} ({share} %): {}", open.len(), open.join(", "));
    let mut times: Vec<Duration> =
        rows.iter().filter(|row| row.counts_as_time).filter_map(|row| row.right_after).collect();
    times.sort();
    let median = times.get(times.len() / 2).map_or_else(|| "-".into(), |time| seconds(*time));
    let _ = writeln!(
        text,
        "from the start of the tool to the right diagnosis, where sockets were stuck before: median {median} of {}",
        times.len()
    );
    for row in rows {
        if let Some(waits_for) = &row.waits_for {
            let _ = writeln!(text, "not shown yet by {}: {waits_for}", row.name);
        }
    }
    let again = names(rows, |row| row.second_attempt && row.is_right());
    if !again.is_empty() {
        let _ = writeln!(text, "ONLY IN A SECOND ATTEMPT: {}", again.join(", "));
    }
    let right = count(Row::is_right);
    let result = if right == all { "ok" } else { "FAILED" };
    let _ = write!(text, "test result: {result}. {right} passed; {} failed; 0 ignored", all - right);
    text
}

fn names(rows: &[Row], is: fn(&Row) -> bool) -> Vec<&str> {
    rows.iter().filter(|row| is(row)).map(|row| row.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::label;

    fn row(expect: &str, outcome: Result<Outcome>) -> Row {
        let text = format!("title = 't'\nrun = ['a.py']\ntool = 'after'\n[expect]\n{expect}");
        Row::new(&Case { name: "case".into(), label: label::parse(&text).unwrap() }, outcome)
    }

    fn outcome(right_verdicts: bool, left_open: bool, after_ms: u64) -> Outcome {
        let mistakes = if right_verdicts { Vec::new() } else { vec!["wrong".into()] };
        let judged = Judged { right_verdicts, right_process: true, left_open, mistakes, ..Judged::default() };
        let right_after = right_verdicts.then_some(Duration::from_millis(after_ms));
        Outcome { judged, right_after, alarms: Vec::new() }
    }

    #[test]
    fn what_has_to_be_kept_is_counted() {
        let leaks = "verdicts = { NOT_READING = true }\nprocesses = ['x']";
        let open = "verdicts = { IDLE_POOL = 'unknown' }\nprocesses = ['x']";
        let mut rows = vec![
            row(leaks, Ok(outcome(true, false, 900))),
            row(leaks, Ok(outcome(false, false, 0))),
            row(open, Ok(outcome(true, true, 1100))),
            row("", Ok(Outcome { alarms: vec!["a".into(); 3], ..outcome(true, false, 100) })),
            row(leaks, Err(anyhow::anyhow!("not installed"))),
        ];
        rows[0].second_attempt = true;
        let text = summary(&rows, Duration::from_secs(7));
        for said in [
            "2 of 5 cases right, in 7 s",
            "verdicts right in 3, processes in 4 of 5; 3 leaks reported on the 2 cases without one; 1 of 3 leaking",
            "(null) in 1 of 5 (20 %): case\n",
            "median 1.1 s of 2\n",
            "ONLY IN A SECOND ATTEMPT: case\n",
        ] {
            assert!(text.contains(said), "{said:?} not in {text}");
        }
        assert!(text.ends_with("\ntest result: FAILED. 2 passed; 3 failed; 0 ignored"), "{text}");
    }
}
