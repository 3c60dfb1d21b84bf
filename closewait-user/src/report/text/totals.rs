//! Text about everything at once: the headline, the sentence for "nothing is
//! stuck", and the summary.

use std::fmt;
use std::time::Duration;

use crate::report::Moment;
use crate::report::counts::{Apart, ByEnding, ByLeak};
use crate::report::ledger::Cause;
use crate::report::model::{Ending, FirstLook};
use crate::report::summary::{Copies, Summary, Totals};
use crate::tracker::{Dwell, SuspectKind};

use super::style::{Style, count, plural, span, span_up, wrap};

/// How long a socket has been stuck that is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threshold {
    /// So long.
    pub(crate) least: Duration,
    /// See [`Totals::running`].
    pub(crate) running: Option<Duration>,
}

impl Threshold {
    /// That of a run.
    pub(crate) const fn of(totals: &Totals) -> Self {
        Self { least: totals.threshold, running: totals.running }
    }
}

/// `10s or longer`; of a gate `100ms or longer at the end of the process, or for 10s before`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least {
            Duration::ZERO if self.running.is_some() => f.write_str("any time")?,
            least => write!(f, "{} or longer", span(least))?,
        }
        match self.running {
            Some(running) if running > self.least => {
                write!(f, " at the end of the process, or for {} before", span(running))
            }
            _ => Ok(()),
        }
    }
}

/// How many, how bad, and when: the first line of a report.
pub(crate) fn headline(
    causes: &[Cause<'_>],
    threshold: Threshold,
    at: Moment<'_>,
    style: &Style,
) -> Vec<String> {
    let mut stuck = ByLeak::default();
    let mut gone = ByLeak::default();
    let mut closed = ByLeak::default();
    let mut ghosts = 0;
    for cause in causes {
        stuck.add(cause.now);
        closed.add(cause.closed);
        gone.add(cause.gone);
        if matches!(cause.exemplar.suspect.kind, SuspectKind::Ghost { .. }) {
            ghosts += cause.now.total();
        }
    }
    let all_ended = stuck.total() == 0;
    let mut text = if stuck.total() > 0 {
        format!("{} in CLOSE_WAIT for {threshold}", plural(stuck.total() - ghosts, "socket"))
    } else {
        stuck = gone;
        let were = if gone.total() == 1 { "was and has" } else { "were and have" };
        format!("No socket is in CLOSE_WAIT for {threshold} now; {} {were} ended", count(gone.total()))
    };
    if ghosts > 0 {
        text.push_str(&format!(", and {} (descriptor open, TCP gone)", plural(ghosts, "ghost")));
    }
    text.push_str(&format!(
        ": {} ({})",
        if all_ended { judged(stuck, closed) } else { leaks(stuck) },
        time(at)
    ));
    wrap(&text, style.columns(), style.lines(3))
}

/// `2026-11-20 18:00:00 UTC`
pub(crate) fn time(at: Moment<'_>) -> String {
    let rfc = humantime::format_rfc3339_seconds(at.clock.wall(at.now)).to_string();
    rfc.replace('T', " ").replace('Z', " UTC")
}

/// `4,941 leaked, 3 unclear, 112 harmless`
pub(crate) fn leaks(n: ByLeak) -> String {
    let words = [(n.yes, "leaked"), (n.unclear, "unclear"), (n.no, "harmless")];
    let words: Vec<_> =
        words.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", count(*n))).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// The same of sockets of which some have ended: what was closed after all is not called leaked.
/// `139 judged a leak, of which 132 closed late, 1 unclear`
pub(crate) fn judged(n: ByLeak, closed: ByLeak) -> String {
    if closed.yes == 0 {
        return leaks(n);
    }
    let closed = if closed.yes == n.yes { "all".into() } else { format!("of which {}", count(closed.yes)) };
    let yes = format!("{} judged a leak, {closed} closed late", count(n.yes));
    let rest = ByLeak { yes: 0, ..n };
    if rest.total() == 0 { yes } else { format!("{yes}, {}", leaks(rest)) }
}

/// `499 closed late, 4,491 ended with the process`
pub(crate) fn endings(n: ByEnding) -> String {
    let known = Ending::ALL.into_iter().map(|how| (n.get(how), how.words()));
    let words: Vec<_> = known
        .chain([(n.unknown, "ended unseen")])
        .filter(|(n, _)| *n > 0)
        .map(|(n, words)| format!("{} {words}", count(n)))
        .collect();
    let mut text = words.join(", ");
    if n.by_finalizer > 0 {
        let of = count(n.by_finalizer);
        text.push_str(&format!(
            "; {of} by a finalizer: the code path leaks, the collector cleans up after it"
        ));
    }
    text
}

/// Said when nothing is stuck, so that the reader knows that somebody looked.
pub(crate) fn nothing(look: FirstLook, threshold: Threshold, apart: Apart, style: &Style) -> Vec<String> {
    let young = match look.young {
        0 if apart.has_unfit() => "none that fits is in CLOSE_WAIT now".to_owned(),
        0 => "none is in CLOSE_WAIT now".to_owned(),
        n => format!("{} in CLOSE_WAIT now, younger than that", count(n)),
    };
    let of = match (apart.has_unfit(), apart.unseen()) {
        (false, 0) => "No socket",
        (false, _) => "In the network namespaces that could be read, no socket",
        (true, _) => "No socket that fits the filter",
    };
    let text =
        format!("{of} has been in CLOSE_WAIT for {threshold}; {} watched, {young}.", count(look.watched));
    let mut lines = wrap(&text, style.columns(), style.lines(3));
    for sentence in self::apart(apart) {
        lines.extend(wrap(&sentence, style.columns(), style.lines(3)));
    }
    lines
}

/// What "nothing" was not said of, in sentences.
pub(crate) fn apart(apart: Apart) -> impl Iterator<Item = String> {
    let unfit = unfit(apart).map(|unfit| format!("{unfit}."));
    let unread = unread(apart).map(|unread| format!("{unread}: what is stuck there is not known."));
    unfit.into_iter().chain(unread)
}

/// `5 sockets in CLOSE_WAIT and 1 ghost`: what does not fit the filter; empty when all does.
pub(crate) fn unfit_sockets(apart: Apart) -> String {
    let stuck = format!("{} in CLOSE_WAIT", plural(apart.unfit(), "socket"));
    let ghosts = plural(apart.ghosts, "ghost");
    match (apart.unfit(), apart.ghosts) {
        (0, 0) => String::new(),
        (_, 0) => stuck,
        (0, _) => ghosts,
        _ => format!("{stuck} and {ghosts}"),
    }
}

/// `5 sockets in CLOSE_WAIT do not fit the filter (by who holds them) and are not reported`
fn unfit(apart: Apart) -> Option<String> {
    let n = apart.unfit().saturating_add(apart.ghosts);
    let (fit, are) = if n == 1 { ("does not fit", "is") } else { ("do not fit", "are") };
    let by = match (apart.by_holder.saturating_add(apart.ghosts), apart.by_ends) {
        (_, 0) => "by who holds them",
        (0, _) => "by their ports",
        _ => "by who holds them or by their ports",
    };
    let by = if n == 1 { by.replace("them", "it").replace("their", "its") } else { by.to_owned() };
    let text = format!("{} {fit} the filter ({by}) and {are} not reported", unfit_sockets(apart));
    (n > 0).then_some(text)
}

/// `5 network namespaces could not be looked into, and 20 were not reached before the end`
pub(crate) fn unread(apart: Apart) -> Option<String> {
    let namespaces = |n| plural(n, "network namespace");
    let were = if apart.unreached == 1 { "was" } else { "were" };
    match (apart.unread, apart.unreached) {
        (0, 0) => None,
        (unread, 0) => Some(format!("{} could not be looked into", namespaces(unread))),
        (0, unreached) => Some(format!("{} {were} not reached before the end", namespaces(unreached))),
        (unread, unreached) => Some(format!(
            "{} could not be looked into, and {} {were} not reached before the end",
            namespaces(unread),
            count(unreached)
        )),
    }
}

/// The summary at the end.
pub(crate) fn summary(s: &Summary, style: &Style) -> Vec<String> {
    let mut lines = vec!["summary".to_owned()];
    for (label, text) in summary_rows(s) {
        for (i, line) in wrap(&text, style.columns() - 12, style.lines(4)).into_iter().enumerate() {
            lines.push(format!("  {:<10}{line}", if i == 0 { label } else { "" }));
        }
    }
    lines
}

/// What the summary says: a label, and words.
pub(crate) fn summary_rows(s: &Summary) -> Vec<(&'static str, String)> {
    let totals = &s.totals;
    let mut rows = Vec::new();
    rows.push((
        "watched",
        format!(
            "{} for {}; {} {} in CLOSE_WAIT, {} left it, {} in it now",
            plural(totals.watched, "socket"),
            span(totals.ended.since(totals.began)),
            count(totals.entered()),
            if totals.entered() == 1 { "was" } else { "were" },
            count(totals.left()),
            count(totals.tracker.tracked)
        ),
    ));
    let reported = s.leak.total();
    let ghosts = s.ghosts();
    let stuck = reported.saturating_sub(ghosts);
    let mut text = format!("{} as stuck for {}", plural(stuck, "socket"), Threshold::of(totals));
    if ghosts > 0 {
        // For how long is not said: of one that was found it may not be known.
        text.push_str(&format!(", and {}", plural(ghosts, "ghost")));
    }
    if reported > 0 {
        text.push_str(&format!(": {}", judged(s.leak, s.closed)));
        let codes: Vec<_> =
            s.by_verdict.iter().map(|(code, n)| format!("{code} {}", count(n.total()))).collect();
        text.push_str(&format!("; {}", codes.join(", ")));
    }
    if s.causes_forgotten > 0 {
        text.push_str(&format!("; {} ended and not listed above", plural(s.causes_forgotten, "cause")));
    }
    if totals.tracker.waiting > 0 {
        text.push_str(&format!("; {} more are only counted", count(totals.tracker.waiting)));
    }
    rows.push(("reported", text));
    if let Some(unfit) = unfit(s.apart) {
        rows.push(("left out", unfit));
    }
    if s.released.total() > 0 {
        rows.push(("ended", format!("{} of them: {}", count(s.released.total()), endings(s.released))));
    }
    if totals.tracker.dwell.total() > 0 {
        rows.push(("dwell", dwell(&totals.tracker.dwell)));
        rows.push(("", histogram(&totals.tracker.dwell)));
    }
    let mut lost = lost_what(&totals.lost);
    if let Some(unread) = unread(s.apart) {
        lost.push_str(&format!("; {unread}"));
    }
    if s.apart.failed_looks > s.apart.unread {
        lost.push_str(&format!(
            "; {} into network namespaces failed or had holes, in all",
            plural(s.apart.failed_looks, "look")
        ));
    }
    rows.push(("lost", lost));
    for degraded in &totals.degraded {
        rows.push(("degraded", crate::report::escape::escape(degraded).into_owned()));
    }
    let cost = [
        totals.cost.cpu.map(|t| format!("CPU {}", span(t))),
        totals.cost.bpf.map(|t| format!("BPF {}", span(t))),
        totals.cost.rss.map(|b| format!("memory {:.1} MiB", f64_of(b) / f64_of(1 << 20))),
        totals.cost.stacks.map(copies),
    ];
    let cost: Vec<_> = cost.into_iter().flatten().collect();
    rows.push(("cost", cost.join(", ")));
    rows
}

/// Half, most and all of the times, by the bounds of their buckets.
fn dwell(dwell: &Dwell) -> String {
    let total = dwell.total();
    let mut parts = Vec::new();
    for (share, percent) in [("half", 50), ("99%", 99), ("all", 100)] {
        let mut within = 0;
        let bucket = dwell.buckets().find(|(_, n)| {
            within = n.saturating_add(within);
            within.saturating_mul(100) >= total.saturating_mul(percent)
        });
        parts.push(match bucket {
            Some((Some(bound), _)) => format!("{share} in under {}", span_up(bound)),
            _ => format!("{share} in weeks"),
        });
    }
    let were = if total == 1 { "was" } else { "were" };
    format!("of {} that {were} closed, {}", plural(total, "socket"), parts.join(", "))
}

/// How many were closed within which time; buckets without any are left out.
fn histogram(dwell: &Dwell) -> String {
    let counted = dwell.buckets().filter(|(_, n)| *n > 0);
    let buckets = counted.map(|(bound, n)| match bound {
        Some(bound) => format!("<{} {}", span_up(bound), count(n)),
        None => format!("longer {}", count(n)),
    });
    buckets.collect::<Vec<_>>().join(" | ")
}

/// `21 stacks copied, 3 put off`
fn copies(stacks: Copies) -> String {
    let mut text = format!("{} copied", plural(stacks.copied, "stack"));
    for (n, what) in [(stacks.put_off, "put off"), (stacks.lost, "lost")] {
        if n > 0 {
            text.push_str(&format!(", {} {what}", count(n)));
        }
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
const fn f64_of(n: u64) -> f64 {
    n as f64
}

/// `5 records: 2 entered CLOSE_WAIT, 3 skipped by the kernel`
pub fn lost_what(lost: &crate::item::Gap) -> String {
    let mut text = match lost.records() {
        0 => "no records".to_owned(),
        n => format!("{}: {}", plural(n, "record"), lost_kinds(lost)),
    };
    if lost.missed > 0 {
        let were = if lost.missed == 1 { "entry was" } else { "entries were" };
        text.push_str(&format!("; {} {were} missed and found by looking", count(lost.missed)));
    }
    text
}

/// `12 entered CLOSE_WAIT, 3 skipped by the kernel`
fn lost_kinds(gap: &crate::item::Gap) -> String {
    let kinds = [
        (gap.enter, "entered CLOSE_WAIT"),
        (gap.leave, "left it"),
        (gap.destroy, "end of life"),
        (gap.path, "call path"),
        (gap.opener, "opener"),
        (gap.recursion, "skipped by the kernel"),
        (gap.malformed, "malformed"),
        (gap.unreadable, "of an unreadable socket"),
    ];
    let kinds: Vec<_> =
        kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{} {kind}", count(*n))).collect();
    kinds.join(", ")
}
