//! From suspects to findings. A suspect is looked at twice, far enough apart for
//! "constant" and "growing" to mean something, its stacks are waited for a bounded
//! time, and then the verdict is made from what there is.

use std::time::Duration;

use hashbrown::HashSet;

use super::family::LastWord;
use super::ghosts::Ghosts;
use super::outlook::{Outlook, Outlooks};
use super::pending::{Case, Pending, Stage, boxed, found_to, is_held};
use super::threads;
use super::watched::Watched;
use crate::clock::{Clock, MonoNs};
use crate::enrich::{Enricher, Gathered};
use crate::fact::Fact;
use crate::item::Gap;
use crate::kernel::load::Served;
use crate::report::Finding;
use crate::source::ring::RingSource;
use crate::stack::Stacks;
use crate::tcp::Tuple;
use crate::tracker::{SocketId, Suspect, Tracker};
use crate::verdict::{Evidence, Policy, Rhythms, Shared, verdict};

/// A finding waits for its stacks this long after the second look, at most. Reading
/// the symbols of a large program takes tens of milliseconds, once; an emulated or
/// starved machine takes a hundred times that.
const STACK_WAIT: Duration = Duration::from_secs(3);
/// Between two looks at what threads do.
const THREADS_APART: Duration = Duration::from_millis(250);
/// And this long when the run is about to end.
const LAST_STACK_WAIT: Duration = Duration::from_millis(500);

/// Suspects between their first look and their verdict.
pub(super) struct Judge {
    pending: Vec<Pending>,
    /// What the last look found gone.
    left: Vec<Pending>,
    /// What the evidence of those that wait has in common.
    shared: Shared,
    policy: Policy,
    watched: Watched,
    outlook: Outlook,
    /// What those that were judged have sent after the EOF.
    rhythms: Rhythms,
    /// The last wait for the stacks of one that has ended was in vain.
    impatient: bool,
}

/// What came of the suspects that were due.
#[derive(Default)]
pub(super) struct Judged {
    /// Those that wait for their verdict no more. Verdicts are made one by one, as they are
    /// told: the evidence and the words of a hundred thousand take hundreds of megabytes.
    pub(super) ready: Vec<Pending>,
    /// Not in CLOSE_WAIT any more.
    pub(super) gone: Vec<SocketId>,
}

impl Judge {
    /// A judge who knows what is watched; `served` is empty when nothing is, as where there is
    /// but one look.
    pub(super) fn new(served: &[Served], threshold: Duration, began: MonoNs, looks_once: bool) -> Self {
        let (pending, left, shared) = (Vec::new(), Vec::new(), Shared::default());
        let watched = Watched::new(served, began, looks_once);
        let (policy, outlook, rhythms) = (Policy::default(), Outlook::new(threshold), Rhythms::default());
        Self { pending, left, shared, policy, watched, outlook, rhythms, impatient: false }
    }

    /// What programs saw was lost: nothing that they did not tell is known since.
    pub(super) fn lost(&mut self, gap: &Gap) {
        self.watched.lost(gap);
    }

    /// Whether no suspect waits for its verdict.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When the next second look is due.
    pub(super) fn next_look(&self) -> Option<MonoNs> {
        let looks = self.pending.iter().filter_map(|pending| match pending.stage {
            Stage::Looked(at) => Some(at + self.policy.two_looks),
            Stage::Again | Stage::Naming(_) => None,
        });
        looks.min()
    }

    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many of them have not been reported, which `known` says.
    pub(super) fn unreported(&self, known: impl Fn(SocketId) -> bool) -> usize {
        self.pending.iter().filter(|pending| !known(pending.suspect.id)).count()
    }

    /// Looks who still has a descriptor on sockets that closed with a file on them;
    /// returns those that nobody has.
    pub(super) fn take_ghosts(
        &mut self,
        suspects: Vec<Suspect>,
        ghosts: &Ghosts,
        enricher: &mut Enricher,
        source: Option<&RingSource>,
    ) -> Vec<SocketId> {
        let mut gone = Vec::new();
        let suspects = self.not_pending(suspects);
        if suspects.is_empty() {
            return gone;
        }
        let inode_of = |suspect: &Suspect| ghosts.inode(suspect.id);
        let inodes = suspects.iter().map(inode_of).filter(|&inode| inode != 0).collect();
        let holders = enricher.holders(&inodes);
        let until = Clock::mono_now() + STACK_WAIT;
        for suspect in suspects {
            let mut evidence = Evidence::unknown();
            evidence.holder_scans = 2;
            evidence.holders = match holders.get(&inode_of(&suspect)) {
                // Closed meanwhile, or never reachable by a descriptor: no ghost.
                Some(Fact::Known(nobody)) if nobody.is_empty() => {
                    gone.push(suspect.id);
                    continue;
                }
                Some(holders) => holders.clone(),
                None => Fact::unknown("the number of its inode is not known"),
            };
            let memory = source.zip(suspect.sk).and_then(|(source, sk)| source.memory(sk, &suspect.tuple));
            let mut memory = memory.unwrap_or_default();
            memory.error = memory.error.or(ghosts.error(suspect.id));
            if let Some(before) = ghosts.before(suspect.id) {
                self.haunts(before, suspect.id, Clock::mono_now());
            }
            let (kept, memory) = (self.shared.keep(evidence, suspect.tuple), boxed(memory));
            let threads = Fact::unknown("not gathered");
            self.pending.push(Pending { suspect, kept, threads, memory, stage: Stage::Naming(until) });
        }
        gone
    }

    /// Those that do not wait for their verdict already.
    fn not_pending(&self, mut suspects: Vec<Suspect>) -> Vec<Suspect> {
        if self.pending.is_empty() || suspects.is_empty() {
            return suspects;
        }
        let pending: HashSet<_> = self.pending.iter().map(|pending| pending.suspect.id).collect();
        suspects.retain(|suspect| !pending.contains(&suspect.id));
        suspects
    }

    /// Takes the first look at suspects that do not wait for their verdict already;
    /// returns those that are gone.
    pub(super) fn take(
        &mut self,
        suspects: Vec<Suspect>,
        enricher: &mut Enricher,
        source: Option<&RingSource>,
        now: MonoNs,
    ) -> Vec<SocketId> {
        let mut gone = Vec::new();
        let suspects = self.not_pending(suspects);
        if suspects.is_empty() {
            return gone;
        }
        self.pending.reserve_exact(suspects.len());
        let before = self.pending.len();
        let (pending, shared) = (&mut self.pending, &mut self.shared);
        enricher.gather_each(&suspects, now, |place, gathered| {
            let Some(suspect) = suspects.get(place) else { return };
            let mut evidence = Evidence::unknown();
            let mut sk = suspect.sk;
            match gathered {
                Gathered::Gone(_) => return gone.push(suspect.id),
                Gathered::Unseen(why) => evidence.look_failed = Some(why),
                Gathered::Found(found) => {
                    sk = sk.or(found.sk);
                    found_to(&mut evidence, *found);
                }
            }
            let memory = source.and_then(|source| match sk {
                Some(sk) => source.memory(sk, &suspect.tuple),
                None => source.memory_by_ports(&suspect.tuple).filter(|memory| is_held(memory, &evidence)),
            });
            let memory = memory.and_then(boxed);
            let stage = Stage::Looked(evidence.looks.first().map_or_else(Clock::mono_now, |look| look.at));
            let (kept, threads) = (shared.keep(evidence, suspect.tuple), Fact::unknown("not gathered"));
            pending.push(Pending {
                suspect: Suspect { sk, ..suspect.clone() },
                kept,
                threads,
                memory,
                stage,
            });
        });
        threads::look(&mut self.pending, |_| true, enricher, now);
        // Holders are looked for while the time between two looks passes; what threads do is
        // looked at last, and needs time of its own to change.
        let earliest = Clock::mono_now() + THREADS_APART - self.policy.two_looks;
        for pending in self.pending.iter_mut().skip(before) {
            if let Stage::Looked(at) = &mut pending.stage {
                *at = (*at).max(earliest);
            }
        }
        gone
    }

    /// Takes over what the tracker has learned of the suspects since they were handed out:
    /// that a record of them was lost shows only when it has not come in time.
    pub(super) fn refresh(&mut self, tracker: &Tracker) {
        for pending in &mut self.pending {
            if let Some(suspect) = tracker.suspect(pending.suspect.id) {
                // Its descriptor may have told where it is.
                let sk = suspect.sk.or(pending.suspect.sk);
                pending.suspect = Suspect { sk, ..suspect };
            }
        }
    }

    /// Takes the second look where it is due, and gives the verdicts whose stacks are named.
    pub(super) fn due(
        &mut self,
        enricher: &mut Enricher,
        stacks: &Stacks,
        source: Option<&RingSource>,
        now: MonoNs,
    ) -> Judged {
        let gone = self.look_again(enricher, source, now);
        for pending in self.pending.iter().filter(|pending| matches!(pending.stage, Stage::Naming(_))) {
            pending.stacks().for_each(|(pid, stack)| stacks.name_methods(pid, stack));
        }
        self.look_elsewhere(enricher);
        let unfinished = enricher.looks_elsewhere();
        let ready = self
            .pending
            .extract_if(.., |pending| match pending.stage {
                Stage::Looked(_) | Stage::Again => false,
                Stage::Naming(until) => {
                    let waits =
                        pending.is_being_named(stacks) || (unfinished && pending.unheld_inode().is_some());
                    now >= until || !waits
                }
            })
            .collect();
        if self.pending.is_empty() {
            self.pending = Vec::new();
            self.shared.forget();
        }
        Judged { ready, gone }
    }

    /// Counts those that are judged together, all of them before any of them is judged; but
    /// for those that `is_young`, which are not stuck yet and are taken out.
    pub(super) fn count(
        &mut self,
        ready: &mut Vec<Pending>,
        stacks: &Stacks,
        now: MonoNs,
        mut is_young: impl FnMut(&Suspect) -> bool,
    ) -> Outlooks {
        ready.retain(|pending| {
            let (suspect, evidence) = pending.case(&self.watched, &self.rhythms, stacks);
            let stays = !is_young(&suspect);
            if stays {
                self.outlook.count(&suspect, &evidence, now);
                self.rhythms.note(&suspect, &evidence);
            }
            stays
        });
        Outlooks::default()
    }

    /// Goes on with what was cut short: to look for references to those that nobody holds.
    fn look_elsewhere(&mut self, enricher: &mut Enricher) {
        let mut unheld =
            self.pending.iter_mut().filter(|pending| pending.unheld_inode().is_some()).peekable();
        if unheld.peek().is_none() || !enricher.looks_elsewhere() {
            return;
        }
        enricher.look_elsewhere();
        for pending in unheld {
            if let Some(inode) = pending.unheld_inode() {
                let elsewhere = enricher.elsewhere(inode);
                if elsewhere != pending.kept.common().elsewhere {
                    self.shared.change(&mut pending.kept, |evidence| evidence.elsewhere = elsewhere);
                }
            }
        }
    }

    /// A socket that was stuck goes on as a ghost.
    pub(super) fn haunts(&mut self, before: SocketId, ghost: SocketId, now: MonoNs) {
        self.outlook.haunts(before, ghost, now);
        self.rhythms.forget(before);
    }

    /// A socket that may have been judged is gone.
    pub(super) fn ended(&mut self, id: SocketId, now: MonoNs) {
        self.outlook.ended(id, now);
        self.rhythms.forget(id);
    }

    /// The last chance of those that still wait: takes the second looks that are
    /// due within the time between two looks, and waits a little for stacks.
    pub(super) async fn finish(
        &mut self,
        enricher: &mut Enricher,
        stacks: &Stacks,
        source: Option<&RingSource>,
    ) -> Judged {
        let mut all = Judged::default();
        let until = Clock::mono_now() + self.policy.two_looks + LAST_STACK_WAIT;
        while !self.is_idle() {
            let now = Clock::mono_now();
            if now >= until {
                for pending in &mut self.pending {
                    pending.stage = Stage::Naming(now);
                }
            }
            let judged = self.due(enricher, stacks, source, now);
            all.ready.extend(judged.ready);
            all.gone.extend(judged.gone);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        all
    }

    /// Those that wait for their verdict.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter()
    }

    /// What was found out about one that needs no verdict any more.
    pub(super) fn withdraw(&mut self, id: SocketId) -> Option<Evidence> {
        Some(self.take_back(id)?.evidence())
    }

    /// One that waits for its verdict, or was found gone at the last look.
    fn take_back(&mut self, id: SocketId) -> Option<Pending> {
        let of = |all: &[Pending]| all.iter().position(|pending| pending.suspect.id == id);
        match of(&self.pending) {
            Some(at) => Some(self.pending.swap_remove(at)),
            None => Some(self.left.swap_remove(of(&self.left)?)),
        }
    }

    /// The verdict on a socket that has ended, when its stacks are named.
    pub(super) async fn last_word(&mut self, word: LastWord, stacks: &Stacks) -> Finding {
        let LastWord { suspect, evidence, memory } = word;
        let (stage, threads) = (Stage::Naming(Clock::mono_now()), evidence.threads.clone());
        let (kept, memory) = (Shared::default().keep(evidence, suspect.tuple), boxed(memory));
        self.verdict_now(Pending { suspect, kept, threads, memory, stage }, stacks).await
    }

    /// The verdict on a socket that was closed while it waited for one.
    pub(super) async fn closed(&mut self, id: SocketId, stacks: &Stacks) -> Option<Finding> {
        let pending = self.take_back(id)?;
        Some(self.verdict_now(pending, stacks).await)
    }

    async fn verdict_now(&mut self, pending: Pending, stacks: &Stacks) -> Finding {
        let until = Clock::mono_now() + if self.impatient { LAST_STACK_WAIT } else { STACK_WAIT };
        while pending.is_being_named(stacks) && Clock::mono_now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.impatient = pending.is_being_named(stacks);
        self.found(pending.case(&self.watched, &self.rhythms, stacks))
    }

    /// Takes the second look at those that are due; returns those that are gone. One that
    /// was accepted meanwhile is looked at from the start: who holds it was not asked. One that
    /// was read to its EOF meanwhile is looked at once more: that changes what it is.
    fn look_again(
        &mut self,
        enricher: &mut Enricher,
        source: Option<&RingSource>,
        now: MonoNs,
    ) -> Vec<SocketId> {
        let two_looks = self.policy.two_looks;
        let is_again = |pending: &Pending| matches!(pending.stage, Stage::Again);
        self.left.clear();
        for pending in &mut self.pending {
            if matches!(pending.stage, Stage::Looked(at) if now >= at + two_looks) {
                pending.stage = Stage::Again;
            }
        }
        let (mut gone, mut accepted) = (Vec::new(), Vec::new());
        let due: Vec<_> = self.pending.iter().filter(|pending| is_again(pending)).collect();
        if due.is_empty() {
            return gone;
        }
        let mut looks = Vec::with_capacity(due.len());
        enricher.look_each(&due, now, |_, look| looks.push(look));
        threads::look(&mut self.pending, is_again, enricher, now);
        let until = Clock::mono_now() + STACK_WAIT;
        let mut looks = looks.into_iter();
        let (shared, left) = (&mut self.shared, &mut self.left);
        let over = self.pending.extract_if(.., |pending| {
            if !is_again(pending) {
                return false;
            }
            pending.stage = Stage::Naming(until);
            match looks.next() {
                // Another connection between the same ends: this one is over.
                Some(Ok(Some(look))) if !pending.is_shown_by(&look) => {
                    pending.stage = Stage::Again;
                    true
                }
                Some(Ok(Some(look))) if pending.was_not_accepted() && look.inode() != 0 => true,
                Some(Ok(Some(look))) => {
                    let memory = |sk, tuple: &Tuple| source.and_then(|source| source.memory(sk, tuple));
                    if pending.learns_of_eof(&look, memory) || pending.is_read_by(&look) {
                        pending.stage = Stage::Looked(look.at());
                        pending.kept.restart(look);
                    } else {
                        pending.kept.push(look);
                    }
                    false
                }
                Some(Ok(None)) | None => {
                    pending.stage = Stage::Again;
                    true
                }
                Some(Err(why)) => {
                    shared.change(&mut pending.kept, |evidence| evidence.look_failed = Some(why));
                    false
                }
            }
        });
        for pending in over {
            if is_again(&pending) {
                gone.push(pending.suspect.id);
                left.push(pending);
            } else {
                accepted.push(pending.suspect);
            }
        }
        gone.extend(self.take(accepted, enricher, source, now));
        gone
    }

    /// The verdict on one of those that were counted together, now. `known`: what became of
    /// others of them.
    pub(super) fn verdict(
        &mut self,
        pending: &Pending,
        known: &mut Outlooks,
        stacks: &Stacks,
        now: MonoNs,
    ) -> Finding {
        let mut case = pending.case(&self.watched, &self.rhythms, stacks);
        self.outlook.add_to(&mut case, known, now);
        self.found(case)
    }

    fn found(&self, (suspect, evidence): Case) -> Finding {
        let at = Clock::mono_now();
        let verdict = verdict(&suspect, &evidence, at, &self.policy);
        Finding::new(at, suspect, evidence, verdict)
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
