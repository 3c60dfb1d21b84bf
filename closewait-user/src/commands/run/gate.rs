//! Which sockets are reported, and which of them make the gate fail. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::collect::{Collected, Socket};
use super::suppress::Suppressions;
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::filter::Filter;
use crate::report::{Age, Apart, Ending, Finding, Release, entered};

/// What counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// What has been stuck this long counts while its process runs.
    pub(super) threshold: Duration,
    /// And this long when its process ends.
    pub(super) least: Duration,
    /// Everything counts that its process had not closed when it ended.
    pub(super) strict: bool,
    /// What the evidence cannot tell does not count.
    pub(super) allow_unknown: bool,
}

/// What is reported.
#[derive(Default)]
pub(super) struct Outcome {
    /// Sockets that leaked.
    pub(super) counted: Vec<Reported>,
    /// Sockets over the threshold that did not: harmless, or unclear and allowed.
    pub(super) others: Vec<Reported>,
    /// Sockets that would count and are suppressed.
    pub(super) suppressed: usize,
    /// Sockets that would be reported and do not fit the filter.
    pub(super) apart: Apart,
}

/// One socket.
pub(super) struct Reported {
    pub(super) finding: Box<Finding>,
    pub(super) release: Option<Box<Release>>,
}

impl Outcome {
    /// Of how many causes the sockets that leaked are.
    pub(super) fn causes(&self) -> usize {
        self.counted.iter().map(|reported| reported.finding.cause).collect::<BTreeSet<_>>().len()
    }
}

/// Decides, when the command ended at `now`.
pub(super) fn decide(
    collected: &Collected,
    rules: Rules,
    filter: &Filter,
    now: MonoNs,
    suppressions: &mut Suppressions,
) -> Outcome {
    let mut outcome = Outcome::default();
    for socket in collected.sockets.values() {
        let until = socket.release.as_ref().map_or(now, |release| release.released.at);
        let Some(counts) = counts(socket, rules, until) else { continue };
        if !filter.wants_leak(&socket.finding.evidence) {
            outcome.apart.by_holder += 1;
            outcome.apart.ended += u64::from(socket.release.is_some());
            continue;
        }
        if counts && suppressions.suppress(&socket.finding) {
            outcome.suppressed += 1;
            continue;
        }
        let mut finding = socket.finding.clone();
        // Its age is that at its end.
        finding.at = until;
        finding.update = false;
        let reported = Reported { finding, release: socket.release.clone() };
        if counts { outcome.counted.push(reported) } else { outcome.others.push(reported) }
    }
    outcome
}

/// Whether a socket counts; `None` when it need not even be reported.
fn counts(socket: &Socket, rules: Rules, until: MonoNs) -> Option<bool> {
    let (latest, earliest) = entered(&socket.finding.suspect);
    let age = Age::between(latest, earliest, until).min;
    // A finalizer that runs at the end of a program closes what the program did not.
    let unclosed = |release: &Release| {
        release.how == Fact::Known(Ending::Exited)
            || release.closer.known().is_some_and(|closer| closer.by_finalizer)
    };
    let with_its_process = socket.release.as_deref().is_some_and(unclosed);
    let leaked = match socket.finding.verdict.leak {
        Some(leak) => leak,
        None => !rules.allow_unknown,
    };
    if with_its_process && age >= rules.least && (leaked || rules.strict) {
        return Some(true);
    }
    (age >= rules.threshold).then_some(leaked)
}
