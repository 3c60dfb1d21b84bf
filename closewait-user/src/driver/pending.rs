//! One that waits for its verdict: what is kept of it meanwhile, and what that is in full.
//! No effects.

use std::borrow::Borrow;
use std::sync::Arc;

use super::watched::Watched;
use crate::clock::MonoNs;
use crate::decode::{EofReading, Memory, Opening};
use crate::enrich::Found;
use crate::fact::Fact;
use crate::interrupt::UNLOOKED;
use crate::item::{SkAddr, StackId, StackRef};
use crate::stack::{self, Stacks};
use crate::tcp::Tuple;
use crate::tracker::{Since, Suspect};
use crate::verdict::{EofRead, Evidence, Frame, Kept, OpenedVia, Opener, PackedLook, Rhythms, Role, Threads};

/// See the module. There may be a hundred thousand at a time.
pub(super) struct Pending {
    pub(super) suspect: Suspect,
    pub(super) kept: Kept,
    /// What the threads of its owner did when it was last looked at.
    pub(super) threads: Fact<Arc<Threads>>,
    /// What the kernel side remembers of it, if anything.
    pub(super) memory: Option<Box<Memory>>,
    pub(super) stage: Stage,
}

const _: () = assert!(size_of::<Pending>() <= 272);

/// A suspect, and all that is known of it.
pub(super) type Case = (Suspect, Evidence);

/// What a suspect waits for.
pub(super) enum Stage {
    /// For its second look; the first was taken then.
    Looked(MonoNs),
    /// For nothing: its second look is being taken.
    Again,
    /// For the names of its stacks, until then.
    Naming(MonoNs),
}

impl Borrow<Suspect> for &Pending {
    fn borrow(&self) -> &Suspect {
        &self.suspect
    }
}

impl Pending {
    /// What was found out about it.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence { threads: self.threads.clone(), ..self.kept.evidence(self.suspect.tuple) }
    }

    /// All that is known of a suspect.
    pub(super) fn case(&self, watched: &Watched, rhythms: &Rhythms, stacks: &Stacks) -> Case {
        let (mut suspect, mut evidence) = (self.suspect.clone(), self.evidence());
        let nothing = Memory::default();
        let memory = self.memory.as_deref().unwrap_or(&nothing);
        if let (Since::NoLaterThan(_), Some(opening)) = (suspect.since, &memory.opening) {
            // It was open before its peer closed.
            suspect.not_before = suspect.not_before.max(Some(opening.at));
        }
        evidence.eof_read = match &memory.eof {
            Some(eof) => Fact::Known(Some(eof_read(eof, stacks))),
            None => watched.no_eof(&suspect, memory.opening.is_some()),
        };
        evidence.opener = match &memory.opening {
            Some(opening) => Fact::Known(opener(opening, stacks)),
            None => Fact::unknown(watched.no_opener(&suspect)),
        };
        evidence.sock_error = watched.error(&suspect, memory.error);
        evidence.watching = watched.watching();
        evidence.sent = rhythms.of(suspect.id);
        evidence.drained = rhythms.drained(suspect.id);
        add_role(&mut evidence);
        (suspect, evidence)
    }

    /// Who opened it, if that was seen.
    pub(super) fn opener(&self) -> Option<u32> {
        Some(self.memory.as_ref()?.opening.as_ref()?.task.pid)
    }

    /// Whether it was still in its listener's queue when it was looked at.
    pub(super) fn was_not_accepted(&self) -> bool {
        self.kept.last().is_some_and(|look| look.inode() == 0)
    }

    /// Whether a later look shows the socket that the ones before have shown.
    pub(super) fn is_shown_by(&self, look: &PackedLook) -> bool {
        let of = self.suspect.tuple;
        let socket = |look: &PackedLook| look.look(of).socket;
        self.kept.last().is_none_or(|before| socket(before).same_life(&socket(look)))
    }

    /// Whether a later look shows that all was read since the one before, the FIN included.
    pub(super) fn is_read_by(&self, look: &PackedLook) -> bool {
        look.recv_q() == 0 && self.kept.last().is_some_and(|before| before.recv_q() > 0)
    }

    /// Takes over what the kernel side remembers by now, if that tells of the first read of EOF,
    /// which `look` shows may have come since it was asked. What a program does that has just
    /// been told EOF takes one more look to be seen.
    pub(super) fn learns_of_eof(
        &mut self,
        look: &PackedLook,
        memory: impl FnOnce(SkAddr, &Tuple) -> Option<Memory>,
    ) -> bool {
        let is_known = self.memory.as_ref().is_some_and(|memory| memory.eof.is_some());
        // The FIN counts as one until a read has returned 0.
        let (0, false, Some(sk)) = (look.recv_q(), is_known, self.suspect.sk) else { return false };
        let memory = memory(sk, &self.suspect.tuple).filter(|memory| memory.eof.is_some());
        let learns = memory.is_some();
        self.memory = memory.map(Box::new).or(self.memory.take());
        learns
    }

    /// The inode of a socket that nobody was found to hold.
    pub(super) fn unheld_inode(&self) -> Option<u64> {
        let inode = self.kept.last()?.inode();
        (inode != 0 && self.kept.common().holders.known()?.is_empty()).then_some(inode)
    }

    /// Whether something that verdicts go by was not looked at any more, since the run was
    /// interrupted.
    pub(super) fn was_cut_short(&self) -> bool {
        let evidence = self.kept.common();
        let reasons = [
            evidence.look_failed.as_deref(),
            why(&evidence.holders),
            why(&evidence.listener),
            why(&evidence.listener_holders),
            why(&evidence.local_peer),
            why(&evidence.pool),
            why(&self.threads),
        ];
        reasons.into_iter().flatten().any(|reason| reason.contains(UNLOOKED))
    }

    /// Its stacks, where the kernel gave some, with their processes.
    pub(super) fn stacks(&self) -> impl Iterator<Item = (u32, StackId)> {
        let memory = self.memory.as_deref();
        let opening = memory.and_then(|memory| memory.opening.as_ref());
        let eof = memory.and_then(|memory| memory.eof.as_ref());
        let stacks = [
            opening.map(|opening| (opening.task.pid, opening.stack)),
            eof.map(|eof| (eof.task.pid, eof.stack)),
        ];
        stacks.into_iter().flatten().filter_map(|(pid, stack)| Some((pid, stack.ok()?)))
    }

    /// Whether the name of one of its stacks is still to come.
    pub(super) fn is_being_named(&self, stacks: &Stacks) -> bool {
        self.stacks().any(|(pid, stack)| stacks.is_pending(pid, stack))
    }
}

/// Why something is not known.
fn why<T>(fact: &Fact<T>) -> Option<&str> {
    match fact {
        Fact::Known(_) => None,
        Fact::Unknown(why) => Some(why),
    }
}

/// `None` when nothing is remembered, as of most that were there before the trace.
pub(super) fn boxed(memory: Memory) -> Option<Box<Memory>> {
    (memory != Memory::default()).then(|| Box::new(memory))
}

/// Whether the opener is one of the holders.
pub(super) fn is_held(memory: &Memory, evidence: &Evidence) -> bool {
    let pid = memory.opening.as_ref().map(|opening| opening.task.pid);
    evidence.holders.known().is_some_and(|holders| holders.iter().any(|holder| Some(holder.pid) == pid))
}

pub(super) fn found_to(evidence: &mut Evidence, found: Found) {
    // Nobody found is believed after a second walk, which the enricher has made.
    evidence.holder_scans = if found.holders.known().is_some_and(Vec::is_empty) { 2 } else { 1 };
    evidence.looks.push(found.look);
    evidence.holders = found.holders;
    evidence.listener = found.listener;
    found.around.add_to(evidence);
    evidence.elsewhere = found.elsewhere;
}

/// The side as the trace has seen it. Without that it stays what the surroundings tell.
fn add_role(evidence: &mut Evidence) {
    match (&evidence.opener, &evidence.role) {
        (Fact::Known(opener), _) => {
            evidence.role = Fact::Known(match opener.via {
                OpenedVia::Accept => Role::Server,
                OpenedVia::Connect => Role::Client,
            });
            evidence.role_by = None;
        }
        // It could not be looked at.
        (Fact::Unknown(why), Fact::Unknown(_)) if evidence.looks.is_empty() => {
            evidence.role = Fact::Unknown(why.clone());
        }
        _ => {}
    }
}

fn opener(opening: &Opening, stacks: &Stacks) -> Opener {
    let (stack, stack_note) = named(opening.task.pid, opening.stack, stacks);
    Opener { task: opening.task.clone(), via: opening.via, at: opening.at, fd: opening.fd, stack, stack_note }
}

fn eof_read(eof: &EofReading, stacks: &Stacks) -> EofRead {
    let (stack, stack_note) = named(eof.task.pid, eof.stack, stacks);
    EofRead { task: eof.task.clone(), at: eof.at, stack, stack_note }
}

/// The frames of a stack, and what is missing of them.
fn named(pid: u32, stack: StackRef, stacks: &Stacks) -> (Fact<Arc<Vec<Frame>>>, Option<String>) {
    let unknown = match stack {
        Ok(id) => match stacks.get(pid, id) {
            Fact::Known(stack) => return (Fact::Known(stack.frames.clone()), stack.note.clone()),
            Fact::Unknown(why) => why,
        },
        Err(0) => "stacks are off".into(),
        Err(errno) => stack::kernel_reason(errno).into(),
    };
    (Fact::Unknown(unknown), None)
}
