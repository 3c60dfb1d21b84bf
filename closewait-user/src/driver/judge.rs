//! From suspects to findings. A suspect is looked at twice, far enough apart for
//! "constant" and "growing" to mean something, its stacks are waited for a bounded
//! time, and then the verdict is made from what there is.

use std::time::Duration;

use crate::clock::{Clock, MonoNs};
use crate::decode::{EofReading, Memory, Opening};
use crate::enrich::{Enricher, Found, Gathered};
use crate::fact::Fact;
use crate::item::StackRef;
use crate::kernel::load::Served;
use crate::kernel::plan::Purpose;
use crate::report::Finding;
use crate::source::ring::RingSource;
use crate::stack::{self, Stacks};
use crate::tracker::{Since, SocketId, Suspect, SuspectKind};
use crate::verdict::{EofRead, Evidence, Frame, OpenedVia, Opener, Policy, Role, verdict};

/// Stacks of one batch are waited for this long after the second look, at most.
const STACK_WAIT: Duration = Duration::from_millis(500);

/// Suspects between their first look and their verdict.
pub(super) struct Judge {
    pending: Vec<Pending>,
    policy: Policy,
    watched: Watched,
}

/// What is watched by programs; `Err` says why not.
struct Watched {
    accept: Result<(), String>,
    eof: Result<(), String>,
    error: Result<(), String>,
}

struct Pending {
    suspect: Suspect,
    evidence: Evidence,
    memory: Memory,
    first_look: MonoNs,
}

/// What came of the suspects that were due.
#[derive(Default)]
pub(super) struct Judged {
    /// Verdicts.
    pub(super) findings: Vec<Finding>,
    /// Not in CLOSE_WAIT any more.
    pub(super) gone: Vec<SocketId>,
}

impl Judge {
    /// A judge who knows what is watched; `served` is empty when nothing is.
    pub(super) fn new(served: &[Served]) -> Self {
        let watched = |purpose| match served.iter().find(|served| served.purpose == purpose) {
            Some(served) => served.degraded().map_or(Ok(()), Err),
            None => Err("tracing cannot run here".to_owned()),
        };
        let watched = Watched {
            accept: watched(Purpose::AcceptOpener),
            eof: watched(Purpose::EofRead),
            error: watched(Purpose::Error),
        };
        Self { pending: Vec::new(), policy: Policy::default(), watched }
    }

    /// Whether no suspect waits for its verdict.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When the next second look is due.
    pub(super) fn next_look(&self) -> Option<MonoNs> {
        self.pending.iter().map(|pending| pending.first_look + self.policy.two_looks).min()
    }

    /// Takes the first look at new suspects; returns those that are gone.
    pub(super) fn take(
        &mut self,
        suspects: Vec<Suspect>,
        enricher: &mut Enricher,
        source: Option<&RingSource>,
        now: MonoNs,
    ) -> Vec<SocketId> {
        // A ghost is in no table that a look could find it in.
        let stuck: Vec<_> = suspects.into_iter().filter(|s| s.kind == SuspectKind::Stuck).collect();
        let mut gone = Vec::new();
        if stuck.is_empty() {
            return gone;
        }
        let gathered = enricher.gather(&stuck, now);
        for (suspect, (_, gathered)) in stuck.into_iter().zip(gathered) {
            let mut evidence = Evidence::unknown();
            match gathered {
                Gathered::Gone(_) => {
                    gone.push(suspect.id);
                    continue;
                }
                Gathered::Unseen(why) => evidence.look_failed = Some(why),
                Gathered::Found(found) => found_to(&mut evidence, *found),
            }
            let memory = source.zip(suspect.sk).and_then(|(source, sk)| source.memory(sk, &suspect.tuple));
            let first_look = Clock::mono_now();
            self.pending.push(Pending { suspect, evidence, memory: memory.unwrap_or_default(), first_look });
        }
        gone
    }

    /// Takes the second look where it is due, and gives the verdicts.
    pub(super) async fn due(&mut self, enricher: &mut Enricher, stacks: &Stacks, now: MonoNs) -> Judged {
        let mut judged = Judged::default();
        let two_looks = self.policy.two_looks;
        let due: Vec<_> =
            self.pending.extract_if(.., |pending| now >= pending.first_look + two_looks).collect();
        if due.is_empty() {
            return judged;
        }
        let suspects: Vec<_> = due.iter().map(|pending| pending.suspect.clone()).collect();
        let looks = enricher.look(&suspects, now);
        let give_up = Clock::mono_now() + STACK_WAIT;
        for (mut pending, (_, look)) in due.into_iter().zip(looks) {
            match look {
                Ok(Some(look)) => pending.evidence.looks.push(look),
                Ok(None) => {
                    judged.gone.push(pending.suspect.id);
                    continue;
                }
                Err(why) => pending.evidence.look_failed = Some(why),
            }
            let wait = || give_up.since(Clock::mono_now());
            let (suspect, memory) = (&pending.suspect, pending.memory);
            let evidence = &mut pending.evidence;
            evidence.opener = match memory.opening {
                Some(opening) => Fact::Known(opener(opening, stacks, wait()).await),
                None => Fact::unknown(self.watched.no_opener(suspect)),
            };
            evidence.eof_read = match memory.eof {
                Some(eof) => Fact::Known(Some(eof_read(eof, stacks, wait()).await)),
                None => self.watched.no_eof(suspect),
            };
            evidence.sock_error = match &self.watched.error {
                Ok(()) => Fact::Known(memory.error.unwrap_or(0)),
                Err(why) => Fact::Unknown(why.clone()),
            };
            evidence.role = role(evidence);
            let at = Clock::mono_now();
            let verdict = verdict(suspect, evidence, at, &self.policy);
            judged.findings.push(Finding::new(at, pending.suspect, pending.evidence, verdict));
        }
        judged
    }
}

impl Watched {
    /// Why the open of a socket is not known.
    fn no_opener(&self, suspect: &Suspect) -> String {
        match (suspect.since, &self.accept) {
            (Since::NoLaterThan(_), _) => "it was opened before this trace began".into(),
            (Since::Seen(_), Ok(())) => "its open was not seen: older than this trace, or lost".into(),
            (Since::Seen(_), Err(why)) => format!("its open was not seen: {why}"),
        }
    }

    /// What it means that no read of EOF was seen.
    fn no_eof(&self, suspect: &Suspect) -> Fact<Option<EofRead>> {
        match (suspect.since, &self.eof) {
            (_, Err(why)) => Fact::Unknown(why.clone()),
            (Since::NoLaterThan(_), Ok(())) => Fact::unknown("it may have been read before this trace began"),
            (Since::Seen(_), Ok(())) if suspect.tainted => Fact::unknown("records were lost since"),
            (Since::Seen(_), Ok(())) => Fact::Known(None),
        }
    }
}

fn found_to(evidence: &mut Evidence, found: Found) {
    // Nobody found is believed after a second walk, which the enricher has made.
    evidence.holder_scans = if found.holders.known().is_some_and(Vec::is_empty) { 2 } else { 1 };
    evidence.looks.push(found.look);
    evidence.holders = found.holders;
    evidence.listener = found.listener;
}

fn role(evidence: &Evidence) -> Fact<Role> {
    match (&evidence.opener, &evidence.listener) {
        (Fact::Known(opener), _) => Fact::Known(match opener.via {
            OpenedVia::Accept => Role::Server,
            OpenedVia::Connect => Role::Client,
        }),
        (_, Fact::Known(_)) => Fact::Known(Role::Server),
        (Fact::Unknown(why), _) => Fact::Unknown(why.clone()),
    }
}

async fn opener(opening: Opening, stacks: &Stacks, wait: Duration) -> Opener {
    let (stack, stack_note) = named(opening.task.pid, opening.stack, stacks, wait).await;
    Opener { task: opening.task, via: opening.via, at: opening.at, fd: opening.fd, stack, stack_note }
}

async fn eof_read(eof: EofReading, stacks: &Stacks, wait: Duration) -> EofRead {
    let (stack, _) = named(eof.task.pid, eof.stack, stacks, wait).await;
    EofRead { task: eof.task, at: eof.at, stack }
}

/// The frames of a stack, and what is missing of them.
async fn named(
    pid: u32,
    stack: StackRef,
    stacks: &Stacks,
    wait: Duration,
) -> (Fact<Vec<Frame>>, Option<String>) {
    let unknown = match stack {
        Ok(id) => match stacks.wait(pid, id, wait).await {
            Fact::Known(stack) => return (Fact::Known(stack.frames.clone()), stack.note.clone()),
            Fact::Unknown(why) => why,
        },
        Err(0) => "stacks are off".into(),
        Err(errno) => stack::kernel_reason(errno),
    };
    (Fact::Unknown(unknown), None)
}
