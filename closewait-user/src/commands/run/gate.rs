//! Which sockets are reported, and which of them make the gate fail. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::collect::{Collected, Socket};
use super::suppress::Suppressions;
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::filter::Filter;
use crate::report::{Age, Apart, ByLeak, Ending, Finding, Release, entered};
use crate::stack::finalizer::clean_up;
use crate::tracker::SuspectKind;

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
    /// Sockets that did not: harmless and over the threshold, or unclear and allowed.
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

    /// The sockets that count, by what is known of them.
    pub(super) fn judged(&self) -> ByLeak {
        self.counted.iter().map(|reported| reported.finding.verdict.leak).collect()
    }

    /// Sockets that would have counted without `--allow-unknown`.
    pub(super) fn unclear_allowed(&self) -> usize {
        self.others.iter().filter(|reported| reported.finding.verdict.leak.is_none()).count()
    }
}

/// Decides, when the command ended at `now`. What `apart` says of looks into namespaces is to be
/// known of the gate as of a trace; what does not fit the filter is counted here.
pub(super) fn decide(
    collected: &Collected,
    rules: Rules,
    filter: &Filter,
    now: MonoNs,
    apart: Apart,
    suppressions: &mut Suppressions,
) -> Outcome {
    let apart = Apart { by_holder: 0, ended: 0, ghosts: 0, by_ends: 0, ..apart };
    let mut outcome = Outcome { apart, ..Outcome::default() };
    for socket in collected.sockets.values() {
        let until = socket.release.as_ref().map_or(now, |release| release.released.at);
        let Some(counts) = counts(socket, rules, until) else { continue };
        if !filter.wants_leak(&socket.finding.evidence) {
            if socket.finding.suspect.kind == SuspectKind::Stuck {
                outcome.apart.by_holder += 1;
                outcome.apart.ended += u64::from(socket.release.is_some());
            } else {
                outcome.apart.ghosts += 1;
            }
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
        if let (Some(end), Some(closer)) =
            (&mut finding.evidence.ended, socket.release.as_ref().and_then(|release| release.closer.known()))
        {
            // Its stack has been named since the verdict.
            let frames = closer.stack.known().map(|frames| frames.as_slice()).unwrap_or_default();
            end.clean_up = clean_up(&closer.task.comm, frames);
        }
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
    if with_its_process && age >= rules.least {
        if leaked || rules.strict {
            return Some(true);
        }
        // Allowed, which is told: it would have counted.
        if socket.finding.verdict.leak.is_none() {
            return Some(false);
        }
    }
    (age >= rules.threshold).then_some(leaked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Netns;
    use crate::tcp::{Endpoint, Tuple};
    use crate::tracker::{Since, SocketId, Suspect};
    use crate::verdict::{Evidence, Policy, verdict};

    const NOW: MonoNs = MonoNs(100_000_000_000);

    fn decided(collected: &Collected, filter: &Filter, apart: Apart) -> Outcome {
        let (threshold, least) = (Duration::from_secs(1), Duration::ZERO);
        let rules = Rules { threshold, least, strict: false, allow_unknown: false };
        decide(collected, rules, filter, NOW, apart, &mut Suppressions::default())
    }

    #[test]
    fn it_says_what_namespaces_were_not_looked_into() {
        let looks = Apart { unread: 2, unreached: 3, failed_looks: 5, ..Apart::default() };
        let apart = Apart { by_holder: 7, ended: 11, ghosts: 17, by_ends: 13, ..looks };
        assert_eq!(decided(&Collected::default(), &Filter::default(), apart).apart, looks);
    }

    /// What ended with its process counts from the least time on; what is unclear and allowed does
    /// not, and is told from then on.
    #[test]
    fn what_would_have_counted_is_told_where_it_is_allowed() {
        let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
        let exited = |ms: u64, leak| {
            let since = Since::Seen(NOW - Duration::from_millis(ms));
            let (id, netns) = (SocketId::from_parts(1, 0), Netns(1));
            let tuple = Tuple { local: end(8080), remote: end(51334) };
            let (kind, sk, not_before) = (SuspectKind::Stuck, None, None);
            let (missed, mptcp, tainted) = (false, false, false);
            let suspect = Suspect { id, sk, netns, tuple, kind, since, not_before, missed, mptcp, tainted };
            let verdict = verdict(&suspect, &Evidence::unknown(), NOW, &Policy::default());
            let mut finding = Finding::new(NOW, suspect, Evidence::unknown(), verdict);
            finding.verdict.leak = leak;
            let (at, was_suspect) = (NOW, true);
            let released = crate::tracker::Released {
                id,
                netns,
                tuple,
                since,
                not_before,
                at,
                to: None,
                by: None,
                was_suspect,
            };
            let (how, closer) = (Fact::Known(Ending::Exited), Fact::unknown("test"));
            let release = Release { released, how, closer, before: None, cause: None };
            Socket { finding: Box::new(finding), release: Some(Box::new(release)) }
        };
        let (threshold, least) = (Duration::from_secs(1), Duration::from_millis(100));
        for (ms, leak, allow_unknown, want) in [
            (150, Some(true), true, Some(true)),
            (150, None, false, Some(true)),
            (150, None, true, Some(false)),
            (50, None, true, None),
            (150, Some(false), true, None),
            (1500, None, true, Some(false)),
            (1500, Some(false), true, Some(false)),
        ] {
            let rules = Rules { threshold, least, strict: false, allow_unknown };
            assert_eq!(counts(&exited(ms, leak), rules, NOW), want, "{ms} {leak:?} {allow_unknown}");
        }
    }

    #[test]
    fn a_leak_of_which_nothing_is_known_counts_whoever_is_wanted() {
        let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
        let suspect = Suspect {
            id: SocketId::from_parts(1, 0),
            sk: None,
            netns: Netns(1),
            tuple: Tuple { local: end(8080), remote: end(51334) },
            kind: SuspectKind::Stuck,
            since: Since::Seen(NOW - Duration::from_secs(20)),
            missed: false,
            not_before: None,
            mptcp: false,
            tainted: false,
        };
        let evidence = Evidence { holders: Fact::unknown("the scan failed"), ..Evidence::unknown() };
        let verdict = verdict(&suspect, &evidence, NOW, &Policy::default());
        let finding = Box::new(Finding::new(NOW, suspect, evidence, verdict));
        let mut collected = Collected::default();
        collected.sockets.insert(finding.suspect.id, Socket { finding, release: None });
        let java = Filter { comms: vec!["java".to_owned()], ..Filter::default() };
        let outcome = decided(&collected, &java, Apart::default());
        assert_eq!((outcome.counted.len(), outcome.apart.by_holder), (1, 0));
    }
}
