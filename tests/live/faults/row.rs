//! What came of a fault, and what must hold of each.

use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};

use super::super::age::is_emulated;
use super::super::leaked::{Leaked, opener_is_missing, stack_ends_early, stack_is_missing};
use super::super::tool::Ended;

/// From the end of a fault until all is right again. It takes seconds, or the time to the next try
/// of a snapshot; this is for a machine that has much else to do, twice as much for an emulated one.
pub(super) const WITHIN: Duration = Duration::from_mins(2);

/// What came of a fault.
#[derive(Default)]
pub(crate) struct Row {
    /// What the tool said of it.
    pub(crate) reported: String,
    /// After which time all was right again.
    pub(crate) healed: Option<Duration>,
    /// How much it was, this time.
    pub(crate) notes: String,
    pub(crate) wrong: Vec<String>,
}

impl Row {
    /// All is right again; the fault was over at `ended`.
    pub(crate) fn heals(&mut self, ended: MonoNs) {
        let took = Clock::mono_now().since(ended);
        let within = if is_emulated() { 2 * WITHIN } else { WITHIN };
        self.must(took <= within, &format!("healed after {took:?}, which is more than {within:?}"));
        self.healed = Some(took);
    }

    /// Notes that something must be so.
    pub(crate) fn must(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    /// The counts of all losses, and what was degraded, in the summary; one of them must
    /// have `words`.
    pub(crate) fn says(&mut self, ended: &Ended, words: &str) {
        let summary = ended.of_kind("summary").next().expect("a summary");
        let lost = summary["lost"].as_object().expect("an object");
        let counts: Vec<_> = lost.iter().filter(|(_, count)| **count != 0).collect();
        let mut said: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let stacks = &summary["cost"]["stacks"];
        if stacks["lost"].as_u64().is_some_and(|lost| lost > 0) {
            said.push(format!("copies of stacks lost {}", stacks["lost"]));
        }
        let degraded = summary["degraded"].as_array().into_iter().flatten();
        said.extend(degraded.filter_map(|line| line.as_str().map(str::to_owned)));
        let is_said = said.iter().any(|said| said.contains(words));
        self.must(is_said, &format!("nothing in the summary about {words:?}"));
        let losses = ended.of_kind("loss").count();
        let warnings = ended.of_kind("notice").filter(|notice| notice["level"] == "warning").count();
        let (losses_due, warnings_due) = (counts.iter().any(|(kind, _)| *kind == "total"), !said.is_empty());
        self.must(!losses_due || losses > 0, "no line about the loss when it happened");
        let is_told = losses + warnings > 0 || stacks["lost"].as_u64().is_some_and(|lost| lost > 0);
        self.must(!warnings_due || is_told, "no line when it happened");
        said.retain(|said| said.contains(words) || !said.contains(' ') || said.len() < 24);
        self.reported = format!("{}; lines: {losses} loss, {warnings} warning", said.join(", "));
    }

    /// Every leaked socket is reported once, with the right holder; the opener and its stack
    /// are right, or missing with a reason. Returns of how many both are missing.
    pub(crate) fn are_right(&mut self, leaked: &Leaked, ended: &Ended) -> (usize, usize) {
        let about: Vec<_> = ended.of_kind("stuck").filter(|report| leaked.include(report)).collect();
        let all = leaked.leaks.len();
        self.must(about.len() == all, &format!("{} of {all} sockets reported", about.len()));
        let others = ended.of_kind("stuck").count() - about.len();
        self.must(others == 0, &format!("{others} sockets reported that are not stuck"));
        let (mut openers, mut stacks) = (0, 0);
        for report in about {
            self.must(leaked.holder_is_right(report), &format!("holder: {report}"));
            if opener_is_missing(report) {
                openers += 1;
                continue;
            }
            self.must(leaked.opener_is_right(report), &format!("opener: {report}"));
            if stack_is_missing(report) || stack_ends_early(report) {
                stacks += 1;
            } else {
                self.must(leaked.stack_is_right(report), &format!("stack: {report}"));
            }
        }
        (openers, stacks)
    }
}
