//! The budgets, and what was measured against each. Pure.
//!
//! Rooms hand in what they have measured of a line; the table has every line, also those
//! that this run did not measure.

use super::spread::Spread;
use serde::Serialize;
use std::fmt::Write as _;

/// A line of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub(super) enum Line {
    StormRatio,
    StormShare,
    StormLost,
    BpfPerConnection,
    BpfPerConnectionNoStacks,
    StormCpu,
    Unrelated,
    Recv,
    FirstReportWall,
    FirstReportCpu,
    TrackedBytes,
    Attached,
    IdleCpu,
    IdleMemory,
}

/// What a line asks for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Limit {
    AtMost(f64),
    /// At least this much minus the spread of the control, which comes with the figure.
    AtLeastMinusControl(f64),
    /// No limit: the cost is to be stated.
    Stated,
}

struct Budget {
    line: Line,
    what: &'static str,
    /// As it is printed
    asked: &'static str,
    limit: Limit,
    unit: &'static str,
    decimals: usize,
    /// Which `--what` measures it
    room: &'static str,
}

/// All lines, in the order of the table.
const BUDGETS: [Budget; 14] = {
    use Limit::{AtLeastMinusControl, AtMost, Stated};
    use Line::{
        Attached, BpfPerConnection, BpfPerConnectionNoStacks, FirstReportCpu, FirstReportWall, IdleCpu,
        IdleMemory, Recv, StormCpu, StormLost, StormRatio, StormShare, TrackedBytes, Unrelated,
    };
    const fn budget(
        line: Line,
        what: &'static str,
        asked: &'static str,
        limit: Limit,
        (unit, decimals): (&'static str, usize),
        room: &'static str,
    ) -> Budget {
        Budget { line, what, asked, limit, unit, decimals, room }
    }
    [
        budget(
            StormRatio,
            "storm, traced / untraced",
            ">= 0.97 minus half the width of the control's quartiles",
            AtLeastMinusControl(0.97),
            ("", 3),
            "storm",
        ),
        budget(
            StormShare,
            "storm, (BPF + the tool's CPU) / the load's CPU",
            "<= 5 %",
            AtMost(5.0),
            ("%", 1),
            "bpf",
        ),
        budget(StormLost, "storm, records lost", "0", AtMost(0.0), ("", 0), "storm"),
        budget(
            BpfPerConnection,
            "BPF time of a connection, stacks on",
            "<= 1.5 us",
            AtMost(1.5),
            ("us", 2),
            "bpf",
        ),
        budget(
            BpfPerConnectionNoStacks,
            "BPF time of a connection, stacks off",
            "<= 0.7 us",
            AtMost(0.7),
            ("us", 2),
            "bpf",
        ),
        budget(StormCpu, "storm, CPU of the tool", "<= 3 % of a core", AtMost(3.0), ("%", 1), "storm"),
        budget(
            Unrelated,
            "a syscall that has nothing to do with it (getppid)",
            "stated; none where trampolines are allowed",
            Stated,
            ("ns more", 1),
            "syscalls",
        ),
        budget(Recv, "64-byte recv, EOF evidence on", "<= +12 %", AtMost(12.0), ("% more", 1), "recv"),
        budget(
            FirstReportWall,
            "first full report of 10,000 stuck, wall, without the wait between two looks",
            "<= 60 ms",
            AtMost(60.0),
            ("ms", 0),
            "starts",
        ),
        budget(
            FirstReportCpu,
            "first full report of 10,000 stuck, CPU",
            "<= 60 ms",
            AtMost(60.0),
            ("ms", 0),
            "starts",
        ),
        budget(
            TrackedBytes,
            "tracked socket in userspace, of 1,000,000",
            "<= 128 B",
            AtMost(128.0),
            ("B", 0),
            "tracker",
        ),
        budget(Attached, "start to attached", "<= 150 ms", AtMost(150.0), ("ms", 0), "starts"),
        budget(IdleCpu, "idle, CPU", "0.0 %", AtMost(0.049_999), ("%", 2), "idle"),
        budget(IdleMemory, "idle, RssAnon", "<= 12 MiB", AtMost(12.0), ("MiB", 1), "idle"),
    ]
};

/// What a room found of a line.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) line: Line,
    /// In the unit of the line
    pub(super) value: Spread,
    /// Width of the quartiles of the control, where there is one
    pub(super) control: Option<f64>,
    /// A peer or floor in the same run, in the unit of the line
    pub(super) beside: Vec<(String, Option<Spread>)>,
}

impl Measured {
    pub(super) fn new(line: Line, value: Spread) -> Self {
        Self { line, value, control: None, beside: Vec::new() }
    }

    pub(super) fn beside(mut self, who: impl Into<String>, value: Option<Spread>) -> Self {
        self.beside.push((who.into(), value));
        self
    }
}

/// Whether `measured` is within its budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Judgement {
    Met,
    Missed,
    Stated,
}

fn judge(limit: Limit, measured: &Measured) -> Judgement {
    let met = match limit {
        Limit::AtMost(most) => measured.value.median <= most,
        Limit::AtLeastMinusControl(least) => {
            measured.value.median >= least - measured.control.unwrap_or(0.0) / 2.0
        }
        Limit::Stated => return Judgement::Stated,
    };
    if met { Judgement::Met } else { Judgement::Missed }
}

/// The table, of every line.
pub(super) fn table(measured: &[Measured]) -> String {
    let mut text = String::from(
        "| what | budget | measured: median (quartiles) | beside it, in this run | |\n|---|---|---|---|---|\n",
    );
    for Budget { line, what, asked, limit, unit, decimals, room } in &BUDGETS {
        let Some(found) = measured.iter().find(|found| found.line == *line) else {
            let _ = writeln!(text, "| {what} | {asked} | not measured: `--what {room}` | | |");
            continue;
        };
        let with_unit = |shown: String| if unit.is_empty() { shown } else { format!("{shown} {unit}") };
        let value = with_unit(found.value.shown(*decimals));
        let beside = found.beside.iter().map(|(who, value)| {
            let value = value.map_or_else(|| "not run".to_owned(), |value| with_unit(value.shown(*decimals)));
            format!("{who} {value}")
        });
        let beside = beside.collect::<Vec<_>>().join("; ");
        let judged = match judge(*limit, found) {
            Judgement::Met => "met",
            Judgement::Missed => "**missed**",
            Judgement::Stated => "stated",
        };
        let _ = writeln!(text, "| {what} | {asked} | {value} | {beside} | {judged} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn just(median: f64) -> Spread {
        Spread { median, lower: median, upper: median, of: 3 }
    }

    fn row(measured: Measured) -> String {
        let what = BUDGETS.iter().find(|budget| budget.line == measured.line).unwrap().what;
        table(&[measured]).lines().find(|line| line.starts_with(&format!("| {what} |"))).unwrap().to_owned()
    }

    #[test]
    fn each_line_is_in_the_table_once_and_in_order() {
        let mut lines: Vec<Line> = BUDGETS.iter().map(|budget| budget.line).collect();
        assert!(lines.is_sorted());
        lines.dedup();
        assert_eq!(lines.len(), BUDGETS.len());
        assert_eq!(table(&[]).matches("not measured").count(), BUDGETS.len());
    }

    #[test]
    fn a_cost_at_its_limit_is_met_and_above_it_is_missed() {
        let at = Measured::new(Line::BpfPerConnection, just(1.5)).beside("empty", Some(just(0.1)));
        let row_at = row(at.clone());
        assert!(
            row_at.ends_with("| 1.50 (1.50 to 1.50) us | empty 0.10 (0.10 to 0.10) us | met |"),
            "{row_at}"
        );
        let above = Measured { value: just(1.51), ..at };
        assert!(row(above).ends_with("**missed** |"));
        assert!(row(Measured::new(Line::StormLost, just(1.0))).ends_with("**missed** |"));
    }

    #[test]
    fn what_the_machine_adds_is_taken_off_the_ratio_asked_for() {
        let ratio = |value, control| {
            judge(
                Limit::AtLeastMinusControl(0.97),
                &Measured { control, ..Measured::new(Line::StormRatio, just(value)) },
            )
        };
        assert_eq!(ratio(0.97, None), Judgement::Met);
        assert_eq!(ratio(0.96, None), Judgement::Missed);
        assert_eq!(ratio(0.96, Some(0.03)), Judgement::Met);
        assert_eq!(ratio(0.95, Some(0.03)), Judgement::Missed);
    }

    #[test]
    fn a_cost_without_a_limit_is_stated_and_a_peer_that_was_not_run_says_so() {
        let row = row(Measured::new(Line::Unrelated, just(9.0)).beside("empty", None));
        assert!(row.contains("9.0 (9.0 to 9.0) ns more") && row.contains("empty not run"), "{row}");
        assert!(row.ends_with("stated |"));
    }
}
