//! A process that is stopped or frozen can neither read nor close: what it has not done
//! meanwhile says nothing of its program. Pure.

use super::case::{Case, Finding};
use super::holding::other_listeners;
use super::{Code, Confidence, Doing, Holder, Threads};

/// Takes back that it leaks where that rests on what a process has not done that is held up. (One that
/// had been told the EOF has run since.)
pub(super) fn take_back(case: &Case, finding: &mut Finding) {
    let threads = case.evidence.threads.known().filter(|threads| is_held_up(threads));
    let (Some(true), Some(threads), None) = (finding.leak, threads, &case.evidence.ended) else { return };
    let is_frozen = threads.seen.iter().any(|thread| thread.doing == Doing::Frozen);
    // Others may act in its place.
    let goes_by_it = match finding.code {
        Code::NotReading => case.holders().len() < 2 || is_frozen && have_the_same_cgroups(case.holders()),
        Code::NotAccepted => other_listeners(case).is_empty(),
        _ => false,
    };
    if !goes_by_it {
        return;
    }
    finding.leak = None;
    finding.confidence = finding.confidence.min(Confidence::Medium);
    let pid = threads.pid;
    finding.say_because(format_args!("process {pid} is held up: none of its threads can run"));
    finding.missing("what it does when it goes on");
    if is_frozen {
        finding.next(format_args!(
            "Let process {pid} go on (unpause its container, or thaw its cgroup): only then it can close."
        ));
    } else {
        finding.next(format_args!(
            "Let process {pid} go on (`kill -CONT {pid}`, or end the debugger): only then it can close."
        ));
    }
}

/// Whether what freezes one freezes all.
fn have_the_same_cgroups(holders: &[Holder]) -> bool {
    holders.windows(2).all(|two| !two[0].cgroups.is_empty() && two[0].cgroups == two[1].cgroups)
}

/// Whether no thread of it can run, as far as they were looked at.
fn is_held_up(threads: &Threads) -> bool {
    let held = |doing: &Doing| matches!(doing, Doing::Stopped | Doing::Frozen);
    let all = threads.seen.iter().all(|thread| held(&thread.doing) || thread.doing == Doing::Ended);
    all && threads.seen.iter().any(|thread| held(&thread.doing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Thread;

    #[test]
    fn all_threads_that_have_not_ended_must_be_held_up() {
        use Doing::{Ended, Faulting, Frozen, Running, Stopped};
        let of = |all: &[Doing]| {
            let thread = |doing: &Doing| Thread {
                tid: 1,
                comm: "main".into(),
                doing: doing.clone(),
                wchan: None,
                progress: None,
            };
            let seen: Vec<_> = all.iter().map(thread).collect();
            is_held_up(&Threads { pid: 1, total: 9, seen })
        };
        for (all, held_up) in [
            (&[Stopped][..], true),
            (&[Frozen, Frozen], true),
            (&[Ended, Stopped], true),
            (&[Ended], false),
            (&[Stopped, Running], false),
            (&[Stopped, Faulting], false),
            (&[], false),
        ] {
            assert_eq!(of(all), held_up, "{all:?}");
        }
    }
}
