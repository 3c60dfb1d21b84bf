//! Whose threads are looked at: those of the processes to blame for most of the
//! sockets that wait for their verdict.

use hashbrown::HashMap;

use super::judge::Pending;
use crate::clock::MonoNs;
use crate::enrich::Enricher;
use crate::fact::Fact;
use crate::report::owner;

/// Looks at the threads of those to blame for `pending`, and adds what they do to the evidence.
pub(super) fn look(pending: &mut [Pending], enricher: &mut Enricher, now: MonoNs) {
    let mut sockets = HashMap::new();
    for pending in pending.iter() {
        if let Some(pid) = blamed(pending) {
            *sockets.entry((pid, pending.suspect.netns)).or_insert(0_u32) += 1;
        }
    }
    let mut processes: Vec<_> = sockets.keys().copied().collect();
    processes.sort_by_key(|process| (std::cmp::Reverse(sockets[process]), *process));
    let threads = enricher.threads(&processes, now);
    for pending in pending {
        if let Some(threads) = blamed(pending).and_then(|pid| threads.get(&pid)) {
            pending.evidence.threads = threads.clone();
        } else {
            pending.evidence.threads = Fact::unknown("the process to blame is not known");
        }
    }
}

/// The process to blame, before the opener has been joined to the evidence.
fn blamed(pending: &Pending) -> Option<u32> {
    let opener = pending.memory.opening.as_ref().map(|opening| opening.task.pid);
    let holds =
        |pid: &u32| pending.evidence.holders.known().is_some_and(|all| all.iter().any(|h| h.pid == *pid));
    opener.filter(holds).or_else(|| owner(&pending.evidence).known().map(|holder| holder.pid))
}
