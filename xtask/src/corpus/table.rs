//! The table: what was expected, what was got, and every reason why it is not right.

use super::{
    label::{Case, Label},
    scene::Outcome,
};
use anyhow::Result;
use std::{fmt::Write, time::Duration};

pub(super) struct Row {
    pub(super) name: String,
    expected: String,
    got: String,
    confidence: String,
    right_after: Option<Duration>,
    /// Sockets were stuck before the tool started, and nothing but a look was needed
    counts_as_time: bool,
    wrong: Vec<String>,
    alarms: usize,
}

impl Row {
    pub(super) fn new(case: &Case, outcome: Result<Outcome>) -> Self {
        let mut row = Self {
            name: case.name.clone(),
            expected: expected(&case.label),
            got: "not played".into(),
            confidence: String::new(),
            right_after: None,
            counts_as_time: case.label.tool == super::label::Start::After
                && !case.label.expect.verdicts.is_empty(),
            wrong: Vec::new(),
            alarms: 0,
        };
        match outcome {
            Ok(outcome) => {
                row.got = outcome.judged.got;
                row.confidence = outcome.judged.confidence;
                row.right_after = outcome.right_after;
                row.wrong = outcome.judged.mistakes;
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
        let time = self.right_after.map_or_else(|| "-".into(), |time| format!("{:.1} s", time.as_secs_f64()));
        let mark = if self.is_right() { "ok" } else { "WRONG" };
        let mut line = format!(
            "{:<26} {:<34} {:<40} {:<12} {:>7}  {mark}",
            self.name, self.expected, self.got, self.confidence, time
        );
        for wrong in &self.wrong {
            for part in wrong.lines() {
                let _ = write!(line, "\n    {part}");
            }
        }
        line
    }
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

/// How many are right, false alarms, and the time to a diagnosis.
pub(super) fn summary(rows: &[Row], took: Duration) -> String {
    let right = rows.iter().filter(|row| row.is_right()).count();
    let alarms: usize = rows.iter().map(|row| row.alarms).sum();
    let mut times: Vec<Duration> =
        rows.iter().filter(|row| row.counts_as_time).filter_map(|row| row.right_after).collect();
    times.sort();
    let median =
        times.get(times.len() / 2).map_or_else(|| "-".into(), |time| format!("{:.1} s", time.as_secs_f64()));
    format!(
        "{right} of {} cases right; {alarms} leaks reported where there is none; \
         median time from start to diagnosis, sockets stuck before: {median}; took {} s",
        rows.len(),
        took.as_secs()
    )
}
