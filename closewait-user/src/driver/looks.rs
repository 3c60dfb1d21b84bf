//! Looks at everything: sockets, to be compared with what the tracker knows, and
//! descriptors, for ghosts that no record told of. What a look could not see is told.

use std::io;
use std::time::Duration;

use super::sweep::Sweeping;
use super::{Driver, RECONCILE_EVERY, SNAPSHOT_EVERY, counted, room};
use crate::clock::{Clock, MonoNs};
use crate::enrich::CountsFrom;
use crate::item::Item;
use crate::tracker::{SocketId, Suspect, SuspectKind};

/// So many are looked at for the first time when a signal has ended the run: whoever sent it
/// waits.
const LAST_ROUND: usize = 10_000;

impl Driver {
    /// Those that are old enough to be judged for the first time, as many as there is room for.
    pub(super) fn new_suspects(
        &mut self,
        now: MonoNs,
        last: bool,
        clock: &Clock,
    ) -> io::Result<Vec<Suspect>> {
        let (left, waiting) = (self.room_left(), self.tracker.stats().waiting);
        let room = if last && self.enricher.is_interrupted() {
            left.min(LAST_ROUND)
        } else if last {
            left.min(room::ROUND)
        } else {
            self.rounds.new_ones(now, waiting, self.judge.len(), left)
        };
        let mut suspects = Vec::new();
        self.tracker.expire_some(now, room, &mut suspects);
        let (left, waiting) = (left.saturating_sub(suspects.len()), self.tracker.stats().waiting);
        if last && waiting > 0 && left > 0 {
            let text = format!("the trace ended before {waiting} of the stuck sockets had been looked at");
            self.lose(text, clock, now)?;
        }
        if last && waiting > 0 {
            let most = counted::where_most_are(self.tracker.waiting(), self.reporter.ledger());
            if !most.is_empty() {
                self.lose(format!("of {waiting} sockets that were only counted: {most}"), clock, now)?;
            }
        }
        if waiting > 0 && left == 0 {
            let text = format!(
                "more than {} sockets are stuck, for which there is no room in memory: the others are \
                 counted, and told one by one only when some of those have ended",
                self.rounds.most()
            );
            self.lose(text, clock, now)?;
        }
        Ok(suspects)
    }

    /// How many more sockets may be reported one by one.
    pub(super) fn room_left(&self) -> usize {
        let ledger = self.reporter.ledger();
        let left = self.rounds.most().saturating_sub(ledger.sockets().len());
        let judged = self.judge.len();
        if left >= judged.saturating_mul(2) {
            return left - judged;
        }
        // Some of those that are judged have been reported before.
        left.saturating_sub(self.judge.unreported(|id| ledger.knows(id)))
    }

    /// Looks at some of those that are to be judged anew; returns those that are gone.
    pub(super) fn judge_again(&mut self, now: MonoNs, clock: &Clock) -> io::Result<Vec<SocketId>> {
        let (again, took) = self.rounds.next_again(now, self.judge.len(), RECONCILE_EVERY * 2);
        if again.is_empty() {
            return Ok(Vec::new());
        }
        let again = again.into_iter().filter_map(|id| self.tracker.suspect(id));
        let again = again.filter(|suspect| suspect.kind == SuspectKind::Stuck).collect();
        let began = Clock::mono_now();
        let gone = self.judge.take(again, &mut self.enricher, self.source.as_ref(), now);
        self.rounds.looked(false, began, Clock::mono_now());
        if let Some(took) = took {
            let text = format!(
                "there are so many stuck sockets that each of them is looked at again every {} s or more, not \
                 every {} s: that its verdict has changed is told later",
                took.as_secs(),
                RECONCILE_EVERY.as_secs()
            );
            self.lose(text, clock, now)?;
        }
        Ok(gone)
    }

    /// Compares the tracker with the kernel's tables, and has everything reported judged
    /// anew: what it said may have changed since.
    pub(super) fn reconcile(&mut self, now: MonoNs) {
        let every = if self.source.is_some() { RECONCILE_EVERY } else { SNAPSHOT_EVERY };
        self.next_reconcile = now + every;
        if self.looks_once {
            // Judging again what has been judged would never come to an end where that
            // takes longer than until the next time.
            self.next_reconcile = MonoNs(u64::MAX);
        }
        let all = || self.tracker.suspects();
        self.rounds.again(all().filter(|it| it.kind == SuspectKind::Stuck).map(|it| it.id), now);
        // Those wait for one more look before they are judged at all.
        let ghosts = all().filter(|it| it.kind != SuspectKind::Stuck && !self.found.contains(&it.id));
        let ghosts = ghosts.collect();
        let gone = self.judge.take_ghosts(ghosts, &self.ghosts, &mut self.enricher, self.source.as_ref());
        // As of the look, which takes seconds where there are a million descriptors.
        let gone_by = Clock::mono_now();
        for id in gone {
            self.tracker.retire(id, gone_by, &mut self.outcomes);
        }
        // The sockets of a command are all younger than the trace: nothing to be found,
        // unless records were lost.
        if self.kin.is_none() || std::mem::take(&mut self.unsure) {
            self.sweeping = Some(Sweeping::new(self.enricher.sweep(&self.filter.netns), now));
        }
    }

    /// Tells that sockets may be missing in the snapshots, and has them taken again soon.
    pub(super) fn lose_a_look(&mut self, why: &str, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let lost = match (self.looks_once, self.source.is_some()) {
            (true, _) => "stuck sockets there are not found",
            (false, true) => "sockets that no record told of may be found late",
            (false, false) => "stuck sockets may be found late, or not at all",
        };
        self.look_soon(now);
        let text = format!("{why}: {lost}");
        self.lose(text, clock, now)
    }

    /// Has snapshots taken again soon.
    pub(super) fn look_soon(&mut self, now: MonoNs) {
        if !self.looks_once {
            self.next_reconcile = self.next_reconcile.min(now + SNAPSHOT_EVERY);
        }
    }

    /// Looks for ghosts, when it is time, and sockets have been looked at.
    pub(super) fn look_at_descriptors(&mut self, now: MonoNs, last: bool, clock: &Clock) -> io::Result<()> {
        if last {
            return self.cut_look_for_ghosts(clock, now);
        }
        let may_look = !self.is_first_sweep() && self.kin.is_none();
        if now < self.next_ghosts || !self.rests[1].is_over(now) || !may_look {
            return Ok(());
        }
        let began = Clock::mono_now();
        self.look_for_ghosts(now, clock)?;
        self.take_a_rest(1, began, clock)
    }

    /// Looks for ghosts that no record told of; of those found before, the ones that are
    /// not found any more are over.
    pub(super) fn look_for_ghosts(&mut self, now: MonoNs, clock: &Clock) -> io::Result<()> {
        self.next_ghosts = now + RECONCILE_EVERY;
        let counts_from = if self.looks_once { CountsFrom::LastSign } else { CountsFrom::Closed };
        let mut look = match self.enricher.ghosts(&self.filter.netns, counts_from) {
            Ok(look) => look,
            Err(error) => {
                let text = format!(
                    "cannot look for ghosts ({error}): those that no record told of are not found, and the \
                     end of one may not be noticed"
                );
                return self.lose(text, clock, now);
            }
        };
        let complete = look.complete;
        look.ghosts.retain(|ghost| self.filter.wants_socket(ghost.netns, &ghost.tuple));
        let before = self.outcomes.len();
        let item = Item::Ghosts(look);
        self.tape.item(&item, now);
        self.tracker.apply(&item, &mut self.outcomes);
        self.ghosts.begin(&self.outcomes[before..]);
        if let Item::Ghosts(look) = item {
            self.ghosts.found(&look.ghosts);
        }
        if complete {
            return Ok(());
        }
        if self.enricher.is_interrupted() {
            // Beside a trace it is one of many looks.
            return if self.looks_once { self.lose_ghosts(clock, now) } else { Ok(()) };
        }
        let lost = "/proc has too many descriptors to look for ghosts among all of them at once: some are \
                    found late, and the end of one may not be noticed";
        self.lose(lost.to_owned(), clock, now)
    }

    /// The run ends: tells that it has not come to the only look at descriptors, if so.
    pub(super) fn cut_look_for_ghosts(&mut self, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let has_begun = self.next_ghosts != self.began;
        if has_begun || !self.looks_once { Ok(()) } else { self.lose_ghosts(clock, now) }
    }

    fn lose_ghosts(&mut self, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let lost = "the run ended before all descriptors had been looked at: ghosts may be missing";
        self.lose(lost.to_owned(), clock, now)
    }

    /// The ghosts that are old enough to be reported. Those that were found, and whose end no
    /// record would tell, wait for one more look at descriptors; it may come only after the
    /// rest of the one before.
    pub(super) fn found_again(
        &mut self,
        due: Vec<Suspect>,
        now: MonoNs,
        last: bool,
        clock: &Clock,
    ) -> io::Result<Vec<Suspect>> {
        let (found, mut ghosts): (Vec<_>, Vec<_>) = due.into_iter().partition(Suspect::was_found_closed);
        self.found.extend(found.iter().map(|suspect| suspect.id));
        if self.found.is_empty() || !(last || self.looks_once || self.rests[1].is_over(now)) {
            return Ok(ghosts);
        }
        let began = Clock::mono_now();
        self.look_for_ghosts(now, clock)?;
        self.take_a_rest(1, began, clock)?;
        ghosts.extend(self.found.drain(..).filter_map(|id| self.tracker.suspect(id)));
        Ok(ghosts)
    }

    /// A look has ended: the next may come after a rest, and if that is late, it is said.
    pub(super) fn take_a_rest(&mut self, which: usize, began: MonoNs, clock: &Clock) -> io::Result<()> {
        if self.looks_once {
            return Ok(());
        }
        let every = if self.source.is_some() { RECONCILE_EVERY } else { SNAPSHOT_EVERY };
        let ended = Clock::mono_now();
        let turn = self.rests[which].after(began, ended, every);
        self.is_late(which, turn, every, clock, ended)
    }

    /// Says that looks come after so much time, if that is news.
    pub(super) fn is_late(
        &mut self,
        which: usize,
        turn: Option<Duration>,
        every: Duration,
        clock: &Clock,
        now: MonoNs,
    ) -> io::Result<()> {
        let Some(turn) = turn else { return Ok(()) };
        let what = ["sockets", "descriptors"][which];
        let text = format!(
            "there are so many {what} that all of them are looked at every {} s or more, not every {} s: what \
             no record told of is found later",
            turn.as_secs(),
            every.as_secs()
        );
        self.lose(text, clock, now)
    }
}
