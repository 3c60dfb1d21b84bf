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
    /// What no tracer can be below, in words where no run measures it
    floor: &'static str,
    /// The largest part of the cost: the reason, where the budget is missed
    largest: &'static str,
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
        (room, floor, largest): (&'static str, &'static str, &'static str),
    ) -> Budget {
        Budget { line, what, asked, limit, unit, decimals, room, floor, largest }
    }
    [
        budget(
            StormRatio,
            "storm, traced / untraced",
            ">= 0.97 minus half the width of the control's quartiles",
            AtLeastMinusControl(0.97),
            ("", 3),
            (
                "storm",
                "see beside",
                "user stacks at connect, accept and the read of EOF (0.3-0.4 us each), then two map inserts and two records",
            ),
        ),
        budget(
            StormShare,
            "storm, (BPF + the tool's CPU) / the load's CPU",
            "<= 5 %",
            AtMost(5.0),
            ("%", 1),
            (
                "bpf",
                "what an empty program takes is not told from counting it",
                "user stacks at connect, accept and the read of EOF (0.3-0.4 us each), then two map inserts and two records",
            ),
        ),
        budget(
            StormLost,
            "storm, records lost",
            "0",
            AtMost(0.0),
            ("", 0),
            ("storm", "0", "the reader did not run for longer than the ring lasts, or a program was skipped"),
        ),
        budget(
            BpfPerConnection,
            "BPF time of a connection, stacks on",
            "<= 1.5 us",
            AtMost(1.5),
            ("us", 2),
            (
                "bpf",
                "what an empty program takes is not told from counting it",
                "user stacks at connect, accept and the read of EOF (0.3-0.4 us each), then two map inserts and two records",
            ),
        ),
        budget(
            BpfPerConnectionNoStacks,
            "BPF time of a connection, stacks off",
            "<= 0.7 us",
            AtMost(0.7),
            ("us", 2),
            (
                "bpf",
                "what an empty program takes is not told from counting it",
                "two map inserts and deletes, two records, and what tells the edges apart",
            ),
        ),
        budget(
            StormCpu,
            "storm, CPU of the tool",
            "<= 3 % of a core",
            AtMost(3.0),
            ("%", 1),
            (
                "storm",
                "two records a connection, see the decoder and the tracker alone",
                "reading records and keeping their sockets",
            ),
        ),
        budget(
            Unrelated,
            "a syscall that has nothing to do with it (getppid)",
            "stated; none where trampolines are allowed",
            Stated,
            ("ns more", 1),
            ("syscalls", "0: where no program is on a system call", "a program on sys_exit_accept"),
        ),
        budget(
            Recv,
            "64-byte recv, EOF evidence on",
            "<= +12 %",
            AtMost(12.0),
            ("% more", 1),
            ("recv", "the tracepoint itself: an empty program on it", "a program on sock_recv_length"),
        ),
        budget(
            FirstReportWall,
            "first full report of 10,000 stuck, wall, without the wait between two looks",
            "<= 60 ms",
            AtMost(60.0),
            ("ms", 0),
            (
                "starts",
                "two dumps; the walk over descriptors is in the wait",
                "dumps of all sockets and the verdicts",
            ),
        ),
        budget(
            FirstReportCpu,
            "first full report of 10,000 stuck, CPU",
            "<= 60 ms",
            AtMost(60.0),
            ("ms", 0),
            (
                "starts",
                "two dumps (4-9 ms each) and one walk over descriptors (21-33 ms)",
                "a readlink for each descriptor, where there is no iterator: 30-40 ms",
            ),
        ),
        budget(
            TrackedBytes,
            "tracked socket in userspace, of 1,000,000",
            "<= 128 B",
            AtMost(128.0),
            ("B", 0),
            ("tracker", "both ends, an address and a time: 56 B", "the entry and its places in two tables"),
        ),
        budget(
            Attached,
            "start to attached",
            "<= 150 ms",
            AtMost(150.0),
            ("ms", 0),
            ("starts", "the kernel's verifier", "verification of the programs that take stacks"),
        ),
        budget(
            IdleCpu,
            "idle, CPU",
            "0.0 %",
            AtMost(0.049_999),
            ("%", 2),
            ("idle", "0", "waking up to look whether anything came"),
        ),
        budget(
            IdleMemory,
            "idle, RssAnon",
            "<= 12 MiB",
            AtMost(12.0),
            ("MiB", 1),
            ("idle", "stacks of its threads and the runtime", "what loading left"),
        ),
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
    /// A peer in the same run, in the unit of the line
    pub(super) beside: Vec<(String, Option<Spread>)>,
    /// What no tracer can be below, where this run measured it
    pub(super) floor: Option<(&'static str, Spread)>,
}

impl Measured {
    pub(super) fn new(line: Line, value: Spread) -> Self {
        Self { line, value, control: None, beside: Vec::new(), floor: None }
    }

    pub(super) fn beside(mut self, who: impl Into<String>, value: Option<Spread>) -> Self {
        self.beside.push((who.into(), value));
        self
    }

    pub(super) fn floor(self, what: &'static str, value: Option<Spread>) -> Self {
        Self { floor: value.map(|value| (what, value)), ..self }
    }
}

/// Whether `measured` is within its budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Judgement {
    Met,
    Missed,
    Stated,
    NotMeasured,
}

/// A line of the table, as it is written down.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Judged {
    what: &'static str,
    budget: &'static str,
    judgement: Judgement,
    measured: Option<Measured>,
    /// In words and, where this run measured it, with figures
    floor: String,
    /// Of a budget that is missed, or a line that was not measured
    reason: Option<String>,
    #[serde(skip)]
    unit: &'static str,
    #[serde(skip)]
    decimals: usize,
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

/// Every line, judged.
pub(super) fn judged(measured: &[Measured]) -> Vec<Judged> {
    let of = |budget: &Budget| {
        let Budget { line, what, asked, limit, unit, decimals, room, floor, largest } = *budget;
        let found = measured.iter().find(|found| found.line == line).cloned();
        let judgement = found.as_ref().map_or(Judgement::NotMeasured, |found| judge(limit, found));
        let with_figures = found
            .as_ref()
            .and_then(|found| found.floor)
            .map(|(name, value)| format!("{name}: {}", with_unit(value.shown(decimals), unit)));
        Judged {
            what,
            budget: asked,
            judgement,
            floor: with_figures.unwrap_or_else(|| floor.to_owned()),
            reason: match judgement {
                Judgement::Missed => Some(largest.to_owned()),
                Judgement::NotMeasured => Some(format!("not measured: `--what {room}`")),
                Judgement::Met | Judgement::Stated => None,
            },
            measured: found,
            unit,
            decimals,
        }
    };
    BUDGETS.iter().map(of).collect()
}

fn with_unit(shown: String, unit: &str) -> String {
    if unit.is_empty() { shown } else { format!("{shown} {unit}") }
}

/// The table, of every line.
pub(super) fn table(judged: &[Judged]) -> String {
    let mut text = String::from(
        "| what | budget | measured: median (quartiles) | floor | beside it, in this run | | the largest part, \
         where it is missed |\n|---|---|---|---|---|---|---|\n",
    );
    for Judged { what, budget, judgement, measured, floor, reason, unit, decimals } in judged {
        let shown = |value: Spread| with_unit(value.shown(*decimals), unit);
        let value = measured.as_ref().map_or_else(|| "-".to_owned(), |found| shown(found.value));
        let beside = measured
            .iter()
            .flat_map(|found| &found.beside)
            .map(|(who, value)| format!("{who} {}", value.map_or_else(|| "not run".to_owned(), shown)));
        let beside = beside.collect::<Vec<_>>().join("; ");
        let judged = match judgement {
            Judgement::Met => "met",
            Judgement::Missed => "**missed**",
            Judgement::Stated => "stated",
            Judgement::NotMeasured => "-",
        };
        let reason = reason.as_deref().unwrap_or_default();
        let _ = writeln!(text, "| {what} | {budget} | {value} | {floor} | {beside} | {judged} | {reason} |");
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
        table(&judged(&[measured]))
            .lines()
            .find(|line| line.starts_with(&format!("| {what} |")))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn each_line_is_in_the_table_once_and_in_order() {
        let mut lines: Vec<Line> = BUDGETS.iter().map(|budget| budget.line).collect();
        assert!(lines.is_sorted());
        lines.dedup();
        assert_eq!(lines.len(), BUDGETS.len());
        assert_eq!(table(&judged(&[])).matches("not measured").count(), BUDGETS.len());
    }

    #[test]
    fn a_cost_at_its_limit_is_met_and_above_it_is_missed() {
        let at = Measured::new(Line::BpfPerConnection, just(1.5)).beside("empty", Some(just(0.1)));
        let row_at = row(at.clone());
        assert!(
            row_at.contains("| 1.50 (1.50 to 1.50) us |")
                && row_at.ends_with("| empty 0.10 (0.10 to 0.10) us | met |  |"),
            "{row_at}"
        );
        let above = Measured { value: just(1.51), ..at };
        let missed = row(above);
        assert!(missed.contains("**missed** | user stacks at connect"), "{missed}");
        assert!(row(Measured::new(Line::StormLost, just(1.0))).contains("**missed** | the reader"));
    }

    #[test]
    fn the_floor_is_the_measured_one_where_there_is_one() {
        let ratio = Measured::new(Line::StormRatio, just(0.95));
        assert!(row(ratio.clone()).contains("| see beside |"));
        let row = row(ratio.floor("an empty program", Some(just(0.99))));
        assert!(row.contains("| an empty program: 0.990 (0.990 to 0.990) |"), "{row}");
        let lines = serde_json::to_value(judged(&[])).unwrap();
        assert_eq!(lines[0]["judgement"], "not_measured");
        assert_eq!(lines[0]["reason"], "not measured: `--what storm`");
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
        assert!(row.ends_with("stated |  |"), "{row}");
    }
}
