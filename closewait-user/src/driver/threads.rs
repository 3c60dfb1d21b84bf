//! Whose threads are looked at: those of the processes to blame for most of the
//! sockets that wait for their verdict.

use hashbrown::HashMap;

use super::pending::Pending;
use crate::clock::MonoNs;
use crate::enrich::Enricher;
use crate::fact::Fact;
use crate::report::owner;

/// Looks at the threads of those to blame for `which` of `pending`, and notes what they do.
pub(super) fn look(
    pending: &mut [Pending],
    which: impl Fn(&Pending) -> bool,
    enricher: &mut Enricher,
    now: MonoNs,
) {
    let mut sockets = HashMap::new();
    for pending in pending.iter().filter(|pending| which(pending)) {
        if let Some(pid) = blamed(pending) {
            *sockets.entry((pid, pending.suspect.netns)).or_insert(0_u32) += 1;
        }
    }
    let mut processes: Vec<_> = sockets.keys().copied().collect();
    processes.sort_by_key(|process| (std::cmp::Reverse(sockets[process]), *process));
    let threads = enricher.threads(&processes, now);
    for pending in pending.iter_mut().filter(|pending| which(pending)) {
        let threads = blamed(pending).and_then(|pid| threads.get(&pid)).cloned();
        let threads = threads.unwrap_or_else(|| Fact::unknown("the process to blame is not known"));
        // What was seen of one that waits for names is not lost if it is not its turn again.
        if pending.threads.known().is_none() || threads.known().is_some() {
            pending.threads = threads;
        }
    }
}

/// The process to blame, before the opener has been joined to the evidence.
fn blamed(pending: &Pending) -> Option<u32> {
    let evidence = pending.kept.common();
    let holds = |pid: &u32| evidence.holders.known().is_some_and(|all| all.iter().any(|h| h.pid == *pid));
    pending.opener().filter(holds).or_else(|| owner(evidence).known().map(|holder| holder.pid))
}
