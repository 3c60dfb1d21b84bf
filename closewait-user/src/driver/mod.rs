//! The loop: one current-thread runtime that drains the source, lets the tracker
//! keep time, hands suspects to the [`judge`] and its findings to the reporter.
//! All effects meet here; every decision is made in a room that has none.

mod alarm;
mod apart;
mod attended;
mod cost;
mod counted;
mod endings;
mod failures;
mod family;
mod first_look;
mod ghosts;
mod judge;
mod looks;
mod losses;
mod outlook;
mod pending;
mod release;
mod rest;
mod room;
mod rounds;
mod shut;
mod stop;
mod sweep;
mod tape;
mod threads;
mod watched;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::{Clock, MonoNs};
use crate::enrich::Enricher;
use crate::filter::Filter;
use crate::item::{Gap, Item};
use crate::kernel::family::Family;
use crate::kernel::load::Loaded;
use crate::metrics::{Answers, Ask, Own};
use crate::progress;
use crate::recording::{Recorder, Written};
use crate::report::escape::escape;
use crate::report::{Finding, FirstLook, Level, Notice, Report, Reporter, Summary, Totals};
use crate::source::ring::RingSource;
use crate::stack::Stacks;
use crate::tracker::{Outcome, SocketId, Suspect, SuspectKind, Tracker};
use alarm::Alarm;
use family::Kin;
use ghosts::Ghosts;
use judge::Judge;
use rest::Rest;
use rounds::Rounds;
use shut::Shut;
use sweep::{Sweeping, Swept};
use tape::Tape;

pub use attended::{Attendant, Attended, attended};
pub use stop::Stop;

/// The source is drained at least this often.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
/// Loss counters are read this often.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The tracker is compared with the kernel's tables this often while tracing.
const RECONCILE_EVERY: Duration = Duration::from_secs(10);
/// And this often when snapshots are all there is.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);
/// The first screen comes at the latest so long after the start.
const FIRST_SCREEN: Duration = Duration::from_millis(900);

/// So many different losses are told; namespaces come and go, and each failure names one.
const DEGRADED_MAX: usize = 64;

/// What the driver runs with.
pub struct Parts {
    /// Keeps the programs attached, and their log.
    pub loaded: Option<Loaded>,
    /// The live source; `None` when only snapshots are possible.
    pub source: Option<RingSource>,
    /// Looks at sockets and processes.
    pub enricher: Enricher,
    /// Names stacks.
    pub stacks: Stacks,
    /// Writes reports.
    pub reporter: Reporter,
    /// What is of interest.
    pub filter: Filter,
    /// A socket is reported once it has been in CLOSE_WAIT this long.
    pub threshold: Duration,
    /// When to stop.
    pub ends: Ends,
    /// What is off, and why: for the summary.
    pub degraded: Vec<String>,
    /// Writes down what the tracker and the verdicts are given.
    pub recorder: Option<Recorder>,
    /// With `run`.
    pub only: Option<Only>,
    /// Whoever asks for metrics.
    pub metrics: Option<Answers>,
    /// What is to be said when the run begins.
    pub notices: Vec<Notice>,
}

/// Only the sockets of one family of processes count.
pub struct Only {
    /// The processes.
    pub family: Rc<Family>,
    /// What had been stuck for less when its process ended does not count.
    pub least: Duration,
}

/// When a run ends, besides by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// By a signal only.
    BySignal,
    /// After this long.
    After(Duration),
    /// When everything present at the start has been judged.
    AfterFirstLook,
}

/// The loop's state.
pub struct Driver {
    loaded: Option<Loaded>,
    source: Option<RingSource>,
    enricher: Enricher,
    stacks: Stacks,
    reporter: Reporter,
    filter: Filter,
    tracker: Tracker,
    judge: Judge,
    rounds: Rounds,
    ghosts: Ghosts,
    shut: Shut,
    tape: Tape,
    threshold: Duration,
    began: MonoNs,
    ends: Option<MonoNs>,
    looks_once: bool,
    degraded: Vec<String>,
    lost: Gap,
    next_count: MonoNs,
    next_reconcile: MonoNs,
    next_ghosts: MonoNs,
    /// After looks at sockets, and at descriptors.
    rests: [Rest; 2],
    /// The look at sockets under way.
    sweeping: Option<Sweeping>,
    swept: Swept,
    /// Ghosts that were found and are old enough: to be looked at once more.
    found: Vec<SocketId>,
    /// When the first look at sockets and descriptors had been taken.
    looked: Option<MonoNs>,
    first_look_done: bool,
    outcomes: Vec<Outcome>,
    kin: Option<Kin>,
    /// Records were lost since the last snapshots.
    unsure: bool,
    metrics: Option<Answers>,
    /// When the tracker was last compared with all of the kernel's tables.
    reconciled: Option<MonoNs>,
    attended: Attended,
    apart: apart::Apart,
    /// To be said when the run begins.
    notices: Vec<Notice>,
}

impl Driver {
    /// A driver that begins now.
    pub fn new(mut parts: Parts) -> Self {
        let began = Clock::mono_now();
        let looks_once = parts.ends == Ends::AfterFirstLook;
        if looks_once {
            parts.enricher.look_once();
        }
        let mut tracker = Tracker::new(parts.threshold);
        if parts.source.is_some() {
            tracker.watched_from(began);
        }
        Self {
            judge: Judge::new(
                parts.loaded.as_ref().map_or(&[], |loaded| &loaded.served),
                parts.threshold,
                began,
                looks_once,
            ),
            rounds: Rounds::new(room::Memory::read().sockets(), began),
            ghosts: Ghosts::default(),
            shut: Shut::default(),
            tape: Tape::new(parts.recorder),
            tracker,
            loaded: parts.loaded,
            source: parts.source,
            enricher: parts.enricher,
            stacks: parts.stacks,
            reporter: parts.reporter,
            filter: parts.filter,
            threshold: parts.threshold,
            began,
            ends: match parts.ends {
                Ends::After(duration) => Some(began + duration),
                Ends::BySignal | Ends::AfterFirstLook => None,
            },
            looks_once,
            degraded: parts.degraded,
            lost: Gap { from: began, to: began, ..Gap::default() },
            next_count: began + COUNT_EVERY,
            next_reconcile: began,
            next_ghosts: began,
            rests: Default::default(),
            sweeping: None,
            swept: Swept::default(),
            found: Vec::new(),
            looked: None,
            first_look_done: false,
            outcomes: Vec::new(),
            kin: parts.only.map(|only| Kin::new(only.family, only.least, parts.threshold)),
            unsure: false,
            metrics: parts.metrics,
            reconciled: None,
            attended: Attended::default(),
            apart: apart::Apart::default(),
            notices: parts.notices,
        }
    }

    /// The same, with somebody who may give it another filter and sees that it goes on.
    #[must_use]
    pub fn attended(self, attended: Attended) -> Self {
        Self { attended, ..self }
    }

    /// Runs until a signal, the end of the duration, or an error of a writer (a
    /// broken pipe among them).
    pub async fn run(mut self, stop: &mut Stop) -> (Summary, io::Result<()>) {
        self.enricher.heed(stop.interrupt());
        let ran = self.watch(stop).await;
        let clock = Clock::read();
        let now = Clock::mono_now();
        // The last looks and names, which a report waits for.
        let naming = progress::begin("taking the last looks and naming stacks", None);
        let last = match ran {
            Ok(()) => self.pump(now, true).await,
            Err(error) => Err(error),
        };
        self.end_recording(&clock);
        drop(naming);
        self.count_apart();
        let totals = self.totals(Clock::mono_now());
        let (summary, written) = self.reporter.finish(totals, &clock);
        (summary, last.and(written))
    }

    async fn watch(&mut self, stop: &mut Stop) -> io::Result<()> {
        let mut alarm = Alarm::new()?;
        // The sinks learn when it began: what got stuck later was not there before.
        self.reporter.tick(&Clock::read(), self.began)?;
        for notice in std::mem::take(&mut self.notices) {
            self.report(Report::Notice(notice), &Clock::read(), self.began)?;
        }
        loop {
            let now = Clock::mono_now();
            self.pump(now, false).await?;
            self.attended.goes_on(Clock::mono_now());
            if self.ends.is_some_and(|ends| now >= ends) || (self.looks_once && self.first_look_done) {
                return Ok(());
            }
            let wake = self.next_wake(now).since(now).max(Duration::from_millis(1));
            let filling = async {
                match &mut self.source {
                    Some(source) => source.filling().await,
                    None => std::future::pending().await,
                }
            };
            let asked = async {
                match &mut self.metrics {
                    Some(metrics) => metrics.asked().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.wait() => return Ok(()),
                filled = filling => filled?,
                ask = asked => self.tell(ask),
                filter = self.attended.filter() => self.use_filter(filter, now),
                rung = alarm.after(wake) => rung?,
            }
        }
    }

    /// Answers whoever asks for metrics.
    fn tell(&mut self, ask: Ask) {
        let now = Clock::mono_now();
        let totals = self.totals(now);
        let (tracing, swept) = (self.source.is_some(), self.swept.once);
        let own = Own { tracing, reconciled: self.reconciled, swept };
        if let Some(metrics) = &mut self.metrics {
            metrics.answer(ask, now, &Clock::read(), &totals, self.reporter.ledger(), own);
        }
    }

    fn next_wake(&self, now: MonoNs) -> MonoNs {
        let drain = now + if self.kin.is_some() { family::DRAIN_EVERY } else { DRAIN_EVERY };
        // Those for whom there was no room wait for it, not for a time.
        let deadline = self.tracker.next_deadline().filter(|_| self.tracker.stats().waiting == 0);
        let part = self.sweeping.as_ref().map(|_| self.rests[0].until());
        let others = [deadline, self.judge.next_look(), self.reporter.deadline(), self.ends, part];
        others.into_iter().flatten().fold(drain, MonoNs::min)
    }

    /// Everything there is to do at `now`.
    async fn pump(&mut self, now: MonoNs, last: bool) -> io::Result<()> {
        self.drain(now);
        let clock = Clock::read();
        self.count(now, last, &clock)?;
        self.look_at_sockets(now, last, &clock)?;
        let first_sweep = self.is_first_sweep();
        self.look_at_descriptors(now, last, &clock)?;
        let looked = match self.looked {
            None if first_sweep => now,
            _ => *self.looked.get_or_insert_with(Clock::mono_now),
        };
        let mut gone = if last { Vec::new() } else { self.judge_again(now, &clock)? };
        let mut suspects = self.new_suspects(now, last, &clock)?;
        suspects.retain(|suspect| self.filter.wants_socket(suspect.netns, &suspect.tuple));
        for suspect in &suspects {
            if let (Some(source), Some(sk)) = (&mut self.source, suspect.sk) {
                source.mark(sk, suspect.kind);
            }
        }
        let (ghosts, suspects): (Vec<_>, Vec<_>) =
            suspects.into_iter().partition(|suspect| suspect.kind != SuspectKind::Stuck);
        let ghosts = self.found_again(ghosts, now, last, &clock)?;
        gone.extend(self.judge.take_ghosts(ghosts, &self.ghosts, &mut self.enricher, self.source.as_ref()));
        if !suspects.is_empty() {
            let began = Clock::mono_now();
            gone.extend(self.judge.take(suspects, &mut self.enricher, self.source.as_ref(), now));
            self.rounds.looked(true, began, Clock::mono_now());
        }
        self.judge.refresh(&self.tracker);
        if let Some(kin) = &mut self.kin {
            self.judge.waiting().for_each(|pending| kin.keep(pending));
        }
        let mut judged = if last {
            self.judge.finish(&mut self.enricher, &self.stacks, self.source.as_ref()).await
        } else {
            let source = self.source.as_ref();
            self.judge.due(&mut self.enricher, &self.stacks, source, Clock::mono_now())
        };
        judged.gone.extend(gone);
        if last || self.kin.is_some() {
            // What left while the last looks were taken is not to be reported; and how it
            // left is told by its record, if there is one.
            self.drain(now);
        }
        // It may have left at any time until it was looked for, which takes seconds where there
        // are a million sockets.
        let gone_by = Clock::mono_now();
        for id in judged.gone {
            self.tracker.retire(id, gone_by, &mut self.outcomes);
        }
        let mut ready = judged.ready;
        // Who has ended since is not to be counted among those that are.
        ready.retain(|pending| self.kin.is_some() || self.tracker.suspect(pending.suspect.id).is_some());
        let ledger = self.reporter.ledger();
        // What was found out before the signal holds, more than what was not looked at after it.
        ready.retain(|pending| !(ledger.knows(pending.suspect.id) && pending.was_cut_short()));
        // A look had found it, and nothing bounded its age then.
        let is_young = |suspect: &Suspect| {
            !ledger.knows(suspect.id) && self.tracker.is_younger(suspect.id, suspect.not_before, now)
        };
        let mut known = self.judge.count(&mut ready, &self.stacks, now, is_young);
        for pending in ready {
            let finding = self.judge.verdict(&pending, &mut known, &self.stacks, now);
            self.found(finding, &clock, now)?;
        }
        self.release(&clock, now, last).await?;
        // New suspects may come without a pause: then the screen does not wait for them.
        let late = now.since(self.began) >= FIRST_SCREEN && !self.looks_once;
        let screen = looked + FIRST_SCREEN;
        let more_to_come = self.looks_once
            && match self.tracker.stats().waiting {
                0 => self.tracker.next_deadline().is_some_and(|at| at <= screen),
                _ => self.room_left() > 0,
            };
        let more_to_come = more_to_come || first_sweep;
        let so_far = first_look::SoFar {
            sockets: self.reporter.ledger().sockets().len(),
            has_unfit: self.apart.has_unfit(),
            first_sweep,
            judging: !self.judge.is_idle() || self.tracker.stats().waiting > 0,
        };
        let late = late && !so_far.would_seem_all_clear();
        if !self.first_look_done && (late || (self.judge.is_idle() && !more_to_come)) {
            self.first_look_done = true;
            if self.looks_once {
                // The report at the end is the only one.
                return Ok(());
            }
            self.count_apart();
            let first = self.watching();
            self.report(Report::FirstLook(first), &clock, now)?;
        }
        if let Some(failure) = self.enricher.take_failure() {
            self.lose(failure, &clock, now)?;
        }
        if let Some(error) = self.tape.tick(now, &clock) {
            let text = format!("recording has stopped: {error}");
            self.degraded.push(text.clone());
            let hint = Some("what was recorded until then can be replayed".into());
            self.report(Report::Notice(Notice { level: Level::Warning, text, hint }), &clock, now)?;
        }
        if self.reporter.deadline().is_some_and(|due| now >= due) {
            // A screen that is repeated tells of now.
            self.count_apart();
            self.reporter.set_watching(self.watching());
        }
        self.reporter.tick(&clock, now)
    }

    /// What is watched now, of which nothing has been reported.
    fn watching(&self) -> FirstLook {
        let stats = self.tracker.stats();
        let old = self.reporter.ledger().sockets().len() as u64 + self.apart.count_unfit();
        let young = stats.tracked.saturating_sub(old.saturating_add(stats.waiting));
        FirstLook { watched: stats.lives(), young }
    }

    fn end_recording(&mut self, clock: &Clock) {
        let tape = std::mem::replace(&mut self.tape, Tape::new(None));
        let (stats, apart) = (self.tracker.stats(), self.apart.counts());
        match tape.finish(self.began, &self.degraded, stats, apart, self.source.as_ref(), clock) {
            None => {}
            Some(Ok(Written { entries, bytes, dropped: 0 })) => {
                log::info!("recorded {entries} entries in {bytes} bytes");
            }
            Some(Ok(Written { dropped, .. })) => {
                self.degraded
                    .push(format!("{dropped} entries are missing in the recording: the disk was too slow"));
            }
            Some(Err(error)) => self.degraded.push(format!("the recording is not whole: {error}")),
        }
    }

    fn report(&mut self, report: Report, clock: &Clock, now: MonoNs) -> io::Result<()> {
        self.tape.report(&report, now, clock);
        self.reporter.report(report, clock, now)
    }

    fn drain(&mut self, now: MonoNs) {
        if let Some(logger) = self.loaded.as_mut().and_then(|loaded| loaded.logger.as_mut()) {
            logger.flush();
        }
        let Some(source) = &mut self.source else { return };
        let (tracker, stacks, filter, outcomes, ghosts, tape, kin) = (
            &mut self.tracker,
            &self.stacks,
            &self.filter,
            &mut self.outcomes,
            &mut self.ghosts,
            &mut self.tape,
            &mut self.kin,
        );
        source.drain(|item| match item {
            Item::Transition(transition) if !filter.wants_socket(transition.netns, &transition.tuple) => {
                if let Some(kin) = kin {
                    kin.know(transition.sk);
                }
            }
            Item::Path(path) => {
                if let Some(copy) = &path.copy {
                    let (bytes, task) = (copy.stack.len(), &path.task);
                    log::info!("copied {bytes} bytes of the stack of {}[{}]", escape(&task.comm), task.pid);
                }
                stacks.remember(path);
            }
            item => {
                let (before, duplicates) = (outcomes.len(), tracker.stats().duplicates);
                tape.item(&item, now);
                tracker.apply(&item, outcomes);
                ghosts.begin(&outcomes[before..]);
                if let Some(kin) = kin {
                    match &item {
                        Item::Ended(ended) => kin.announce(ended),
                        Item::Transition(edge) if tracker.stats().duplicates > duplicates => {
                            kin.know(edge.sk);
                        }
                        Item::Transition(transition) => {
                            let stray = kin.join_edge(transition, &outcomes[before..]);
                            outcomes.extend(stray.map(Outcome::Released));
                        }
                        Item::Destroyed(destroyed) => kin.join(destroyed.sk, &outcomes[before..]),
                        _ => {}
                    }
                }
            }
        });
    }

    /// Reports a verdict.
    fn found(&mut self, finding: Finding, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let id = finding.suspect.id;
        // It may have left while it was looked at; to a gate it matters all the same, and
        // what ended with its process gets a last word.
        let was_stuck = self.kin.is_some() && finding.suspect.kind == SuspectKind::Stuck;
        if self.tracker.suspect(id).is_none() && (!was_stuck || self.has_ended(id)) {
            return Ok(());
        }
        let suspect = &finding.suspect;
        self.tape.looked(&finding, now, clock);
        let fits = self.filter.wants_socket(suspect.netns, &suspect.tuple);
        if !fits || !self.filter.wants_evidence(&finding.evidence) {
            // What does not fit by its ends was counted by the look that found it.
            if fits {
                self.apart.unfit(suspect);
            } else {
                self.apart.fits(id);
            }
            if let Some(before) = self.ghosts.confirm(id) {
                self.goes_on_as_ghost(before.id, id, clock, now);
            }
            self.leave_out(id, now);
            return Ok(());
        }
        self.apart.fits(id);
        if self.kin.as_mut().is_some_and(|kin| !kin.wants(&finding)) {
            return Ok(());
        }
        if finding.suspect.kind == SuspectKind::Stuck {
            return self.report(Report::Stuck(Box::new(finding)), clock, now);
        }
        if let Some(before) = self.ghosts.confirm(id) {
            self.goes_on_as_ghost(before.id, id, clock, now);
        }
        self.report(Report::Ghost(Box::new(finding)), clock, now)
    }

    fn totals(&self, ended: MonoNs) -> Totals {
        let stats = match &self.kin {
            Some(kin) => kin.own(self.tracker.stats(), |id| {
                self.tracker.suspect(id).is_some_and(|suspect| suspect.kind == SuspectKind::Stuck)
            }),
            None => self.tracker.stats().clone(),
        };
        Totals {
            began: self.began,
            ended,
            threshold: self.threshold,
            running: None,
            watched: stats.lives(),
            lost: Gap { missed: stats.missed, ..self.lost },
            tracker: stats,
            degraded: self.degraded.clone(),
            cost: cost::cost(self.source.as_ref()),
        }
    }
}
