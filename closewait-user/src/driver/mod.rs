//! The loop: one current-thread runtime that drains the source, lets the tracker
//! keep time, hands suspects to the [`judge`] and its findings to the reporter.
//! All effects meet here; every decision is made in a room that has none.

mod alarm;
mod attended;
mod cost;
mod family;
mod ghosts;
mod judge;
mod outlook;
mod release;
mod rest;
mod tape;
mod threads;
mod watched;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::clock::{Clock, MonoNs};
use crate::enrich::{CountsFrom, Enricher};
use crate::filter::Filter;
use crate::item::{Gap, Item};
use crate::kernel::family::Family;
use crate::kernel::load::Loaded;
use crate::metrics::{Answers, Ask, Own};
use crate::recording::{Recorder, Written};
use crate::report::escape::escape;
use crate::report::{Finding, FirstLook, Level, Notice, Report, Reporter, Summary, Totals};
use crate::source::ring::RingSource;
use crate::stack::Stacks;
use crate::tracker::{Outcome, Released, Since, SocketId, Suspect, SuspectKind, Tracker};
use alarm::Alarm;
use family::Kin;
use ghosts::Ghosts;
use judge::Judge;
use rest::Rest;
use tape::Tape;

pub use attended::{Attendant, Attended, attended};

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
    ghosts: Ghosts,
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
}

/// What ends the run.
pub struct Stop(By);

enum By {
    Signals { interrupt: Signal, terminate: Signal },
    Hand(Rc<Notify>),
}

impl Stop {
    /// Takes over SIGINT and SIGTERM. Before anything is attached, so that a signal
    /// during start ends the run in order too.
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self(By::Signals { interrupt, terminate: signal(SignalKind::terminate())? }))
    }

    /// No signal ends the run, but a notice.
    pub fn by_hand() -> (Self, Rc<Notify>) {
        let notify = Rc::new(Notify::new());
        (Self(By::Hand(Rc::clone(&notify))), notify)
    }

    /// Resolves when it is to end.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            By::Signals { interrupt, terminate } => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            By::Hand(notify) => notify.notified().await,
        }
    }
}

impl Driver {
    /// A driver that begins now.
    pub fn new(parts: Parts) -> Self {
        let began = Clock::mono_now();
        let mut tracker = Tracker::new(parts.threshold);
        if parts.source.is_some() {
            tracker.watched_from(began);
        }
        Self {
            judge: Judge::new(parts.loaded.as_ref().map_or(&[], |loaded| &loaded.served), began),
            ghosts: Ghosts::default(),
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
            looks_once: parts.ends == Ends::AfterFirstLook,
            degraded: parts.degraded,
            lost: Gap { from: began, to: began, ..Gap::default() },
            next_count: began + COUNT_EVERY,
            next_reconcile: began,
            next_ghosts: began,
            rests: Default::default(),
            looked: None,
            first_look_done: false,
            outcomes: Vec::new(),
            kin: parts.only.map(|only| Kin::new(only.family, only.least, parts.threshold)),
            unsure: false,
            metrics: parts.metrics,
            reconciled: None,
            attended: Attended::default(),
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
        let ran = self.watch(stop).await;
        let clock = Clock::read();
        let now = Clock::mono_now();
        let last = match ran {
            Ok(()) => self.pump(now, true).await,
            Err(error) => Err(error),
        };
        self.end_recording(&clock);
        let totals = self.totals(Clock::mono_now());
        let (summary, written) = self.reporter.finish(totals, &clock);
        (summary, last.and(written))
    }

    async fn watch(&mut self, stop: &mut Stop) -> io::Result<()> {
        let mut alarm = Alarm::new()?;
        // The sinks learn when it began: what got stuck later was not there before.
        self.reporter.tick(&Clock::read(), self.began)?;
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
        let own = Own { tracing: self.source.is_some(), reconciled: self.reconciled };
        if let Some(metrics) = &mut self.metrics {
            metrics.answer(ask, now, &Clock::read(), &totals, self.reporter.ledger(), own);
        }
    }

    fn next_wake(&self, now: MonoNs) -> MonoNs {
        let drain = now + if self.kin.is_some() { family::DRAIN_EVERY } else { DRAIN_EVERY };
        let others =
            [self.tracker.next_deadline(), self.judge.next_look(), self.reporter.deadline(), self.ends];
        others.into_iter().flatten().fold(drain, MonoNs::min)
    }

    /// Everything there is to do at `now`.
    async fn pump(&mut self, now: MonoNs, last: bool) -> io::Result<()> {
        self.drain(now);
        let clock = Clock::read();
        self.count(now, last, &clock)?;
        if now >= self.next_reconcile && self.rests[0].is_over(now) && !last {
            self.reconcile(now, &clock)?;
            self.take_a_rest(0, now, &clock)?;
        }
        if now >= self.next_ghosts && self.rests[1].is_over(now) && !last && self.kin.is_none() {
            let began = Clock::mono_now();
            self.look_for_ghosts(now, &clock)?;
            self.take_a_rest(1, began, &clock)?;
        }
        let looked = *self.looked.get_or_insert_with(Clock::mono_now);
        let mut suspects = Vec::new();
        self.tracker.expire(now, &mut suspects);
        suspects.retain(|suspect| self.filter.wants_socket(suspect.netns, &suspect.tuple));
        for suspect in &suspects {
            if let (Some(source), Some(sk)) = (&mut self.source, suspect.sk) {
                source.mark(sk, suspect.kind);
            }
        }
        let (mut ghosts, suspects): (Vec<_>, Vec<_>) =
            suspects.into_iter().partition(|suspect| suspect.kind != SuspectKind::Stuck);
        if ghosts.iter().any(Suspect::was_found_closed) {
            self.look_for_ghosts(now, &clock)?;
            ghosts.retain(|suspect| self.tracker.suspect(suspect.id).is_some());
        }
        let mut gone = self.judge.take_ghosts(ghosts, &self.ghosts, &mut self.enricher, self.source.as_ref());
        gone.extend(self.judge.take(suspects, &mut self.enricher, self.source.as_ref(), now));
        self.judge.refresh(&self.tracker);
        if let Some(kin) = &mut self.kin {
            self.judge.waiting().for_each(|(id, evidence)| kin.keep(id, evidence));
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
        for id in judged.gone {
            self.tracker.retire(id, now, &mut self.outcomes);
        }
        for finding in judged.findings {
            self.found(finding, &clock, now)?;
        }
        self.release(&clock, now).await?;
        // New suspects may come without a pause: then the screen does not wait for them.
        let late = now.since(self.began) >= FIRST_SCREEN && !self.looks_once;
        let screen = looked + FIRST_SCREEN;
        let more_to_come = self.looks_once && self.tracker.next_deadline().is_some_and(|at| at <= screen);
        if !self.first_look_done && (late || (self.judge.is_idle() && !more_to_come)) {
            self.first_look_done = true;
            if self.looks_once {
                // The report at the end is the only one.
                return Ok(());
            }
            let stats = self.tracker.stats();
            let first =
                FirstLook { watched: stats.tracked, young: stats.tracked.saturating_sub(stats.suspects) };
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
        self.reporter.tick(&clock, now)
    }

    fn end_recording(&mut self, clock: &Clock) {
        let tape = std::mem::replace(&mut self.tape, Tape::new(None));
        let stats = self.tracker.stats();
        match tape.finish(self.began, &self.degraded, stats, self.source.as_ref(), clock) {
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
            Item::Transition(transition) if !filter.wants_socket(transition.netns, &transition.tuple) => {}
            Item::Path(path) => {
                if let Some(copy) = &path.copy {
                    let (bytes, task) = (copy.stack.len(), &path.task);
                    log::info!("copied {bytes} bytes of the stack of {}[{}]", escape(&task.comm), task.pid);
                }
                stacks.remember(path);
            }
            item => {
                let before = outcomes.len();
                tape.item(&item, now);
                tracker.apply(&item, outcomes);
                ghosts.begin(&outcomes[before..]);
                if let Some(kin) = kin {
                    match &item {
                        Item::Ended(ended) => kin.announce(ended),
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
        self.tape.looked(&finding, now, clock);
        let suspect = &finding.suspect;
        if !self.filter.wants_socket(suspect.netns, &suspect.tuple)
            || !self.filter.wants_evidence(&finding.evidence)
        {
            self.leave_out(id, now);
            return Ok(());
        }
        if self.kin.as_mut().is_some_and(|kin| !kin.wants(&finding)) {
            return Ok(());
        }
        if finding.suspect.kind == SuspectKind::Stuck {
            return self.report(Report::Stuck(Box::new(finding)), clock, now);
        }
        if let Some(before) = self.ghosts.confirm(id) {
            self.tape.forgotten(before.id, now, clock);
            self.reporter.forget(before.id);
        }
        self.report(Report::Ghost(Box::new(finding)), clock, now)
    }

    /// Turns growth of the loss counters into a gap, which taints what it touches
    /// and brings the next reconcile forward; entries found missing go with it.
    fn count(&mut self, now: MonoNs, last: bool, clock: &Clock) -> io::Result<()> {
        if now < self.next_count && !last {
            return Ok(());
        }
        self.next_count = now + COUNT_EVERY;
        if !last {
            self.see_all_eof_reads(now, clock)?;
        }
        let gap = self.source.as_mut().and_then(|source| source.gap(now));
        let missed = self.tracker.stats().missed - self.lost.missed;
        if gap.is_none() && missed == 0 {
            return Ok(());
        }
        let since = Gap { from: self.lost.to, to: now, ..Gap::default() };
        let gap = Gap { missed, ..gap.unwrap_or(since) };
        self.lost.add(&gap);
        self.tape.item(&Item::Gap(gap), now);
        self.unsure = true;
        self.tracker.apply(&Item::Gap(gap), &mut self.outcomes);
        self.judge.lost(&gap);
        if gap.records() > 0 {
            self.next_reconcile = now;
        }
        self.report(Report::Loss(gap), clock, now)
    }

    /// Attaches a second program for reads of EOF where the first is not enough.
    fn see_all_eof_reads(&mut self, now: MonoNs, clock: &Clock) -> io::Result<()> {
        let (Some(loaded), Some(source)) = (&mut self.loaded, &mut self.source) else { return Ok(()) };
        let Some(counters) = source.wants_eof_again() else { return Ok(()) };
        match loaded.attach_eof_again(counters) {
            Ok(()) => {
                log::info!("reads of EOF were skipped by the kernel: a second program watches them too");
                Ok(())
            }
            Err(why) => {
                let text = format!("some reads of EOF are not seen: a second program for them: {why}");
                self.lose(text, clock, now)
            }
        }
    }

    /// Compares the tracker with the kernel's tables, and has everything reported judged
    /// anew: what it said may have changed since.
    fn reconcile(&mut self, now: MonoNs, clock: &Clock) -> io::Result<()> {
        let every = if self.source.is_some() { RECONCILE_EVERY } else { SNAPSHOT_EVERY };
        self.next_reconcile = now + every;
        if self.looks_once {
            // Judging again what has been judged would never come to an end where that
            // takes longer than until the next time.
            self.next_reconcile = MonoNs(u64::MAX);
        }
        let (again, ghosts): (Vec<_>, Vec<_>) =
            self.tracker.suspects().partition(|suspect| suspect.kind == SuspectKind::Stuck);
        let mut gone = self.judge.take(again, &mut self.enricher, self.source.as_ref(), now);
        gone.extend(self.judge.take_ghosts(ghosts, &self.ghosts, &mut self.enricher, self.source.as_ref()));
        for id in gone {
            self.tracker.retire(id, now, &mut self.outcomes);
        }
        // The sockets of a command are all younger than the trace: nothing to be found,
        // unless records were lost.
        if self.kin.is_some() && !std::mem::take(&mut self.unsure) {
            return Ok(());
        }
        let mut saw_all = true;
        for snapshot in self.enricher.snapshot(&self.filter.netns) {
            match snapshot {
                Ok(mut snapshot) => {
                    let netns = snapshot.netns;
                    // A dump beside a storm of connections can miss a live socket without
                    // saying so (1 of 1,500 did). What has left is found out by looking
                    // at it twice, above.
                    snapshot.proves_absence = false;
                    snapshot.sockets.retain(|socket| self.filter.wants_socket(netns, &socket.tuple));
                    let snapshot = Item::Snapshot(snapshot);
                    self.tape.item(&snapshot, now);
                    self.tracker.apply(&snapshot, &mut self.outcomes);
                }
                Err(error) => {
                    saw_all = false;
                    self.lose_a_look(&error.to_string(), clock, now)?;
                }
            }
        }
        for hole in self.enricher.take_holes() {
            saw_all = false;
            self.lose_a_look(&hole, clock, now)?;
        }
        if saw_all {
            self.reconciled = Some(now);
        }
        Ok(())
    }

    /// Tells that sockets may be missing in the snapshots, and has them taken again soon.
    fn lose_a_look(&mut self, why: &str, clock: &Clock, now: MonoNs) -> io::Result<()> {
        if !self.looks_once {
            self.next_reconcile = self.next_reconcile.min(now + SNAPSHOT_EVERY);
        }
        let text = format!("{why}: sockets that no record told of may be found late");
        self.lose(text, clock, now)
    }

    /// Looks for ghosts that no record told of; of those found before, the ones that are
    /// not found any more are over.
    fn look_for_ghosts(&mut self, now: MonoNs, clock: &Clock) -> io::Result<()> {
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
        let lost = "/proc has too many descriptors to look for ghosts among all of them at once: some are \
                    found late, and the end of one may not be noticed";
        self.lose(lost.to_owned(), clock, now)
    }

    /// A look has ended: the next may come after a rest, and if that is late, it is said.
    fn take_a_rest(&mut self, which: usize, began: MonoNs, clock: &Clock) -> io::Result<()> {
        let every = if self.source.is_some() { RECONCILE_EVERY } else { SNAPSHOT_EVERY };
        let ended = Clock::mono_now();
        let Some(turn) = self.rests[which].after(began, ended, every) else { return Ok(()) };
        let what = ["sockets", "descriptors"][which];
        let text = format!(
            "there are so many {what} that all of them are looked at every {} s or more, not every {} s: what \
             no record told of is found later",
            turn.as_secs(),
            every.as_secs()
        );
        self.lose(text, clock, ended)
    }

    /// Tells once that something is lost.
    fn lose(&mut self, text: String, clock: &Clock, now: MonoNs) -> io::Result<()> {
        if self.degraded.contains(&text) || self.degraded.len() > DEGRADED_MAX {
            return Ok(());
        }
        let text = match self.degraded.len() {
            DEGRADED_MAX => "more is lost than is told here: so many different things go wrong".to_owned(),
            _ => text,
        };
        self.degraded.push(text.clone());
        self.report(Report::Notice(Notice { level: Level::Warning, text, hint: None }), clock, now)
    }

    /// Reports the ends of sockets that had been reported.
    async fn release(&mut self, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let mut outcomes = std::mem::take(&mut self.outcomes).into_iter().peekable();
        // Of all of them together: the ring is not drained meanwhile.
        let until = Clock::mono_now() + release::STACK_WAIT;
        while let Some(outcome) = outcomes.next() {
            let (released, ending) = match outcome {
                Outcome::Released(released) if self.has_ended(released.id) => {
                    if let Some(Outcome::ClosedWithFile { .. }) = outcomes.peek() {
                        // Its descriptor went with its process: no ghost.
                        outcomes.next();
                    }
                    self.last_word(&released, clock, now).await?;
                    (released, None)
                }
                Outcome::Released(released) => match outcomes.peek() {
                    Some(Outcome::ClosedWithFile { ghost, was: Some(was), .. }) if *was == released.id => {
                        self.ghosts.hold(*ghost, released);
                        continue;
                    }
                    _ => {
                        self.closed(&released, clock, now).await?;
                        (released, None)
                    }
                },
                Outcome::ClosedWithFile { .. } => continue,
                Outcome::GhostEnded { ghost, netns, tuple, closed, at, seen, exiting, was_suspect } => {
                    self.judge.ended(ghost, now);
                    let since = Since::Seen(closed);
                    let life = Released {
                        id: ghost,
                        netns,
                        tuple,
                        since,
                        not_before: None,
                        at,
                        to: None,
                        by: None,
                        was_suspect,
                    };
                    if self.kin.as_ref().is_some_and(|kin| kin.has_ended(ghost) || kin.was_closed(ghost)) {
                        self.ghost_last_word(&life, clock, now).await?;
                    }
                    let Some(known) = self.ghosts.end(ghost) else { continue };
                    if let Some(before) = known.before {
                        // Its file was closed soon after, and it never was a ghost: what
                        // matters is the edge to CLOSE.
                        self.closed(&before, clock, now).await?;
                        (before, None)
                    } else {
                        (life, Some(release::ghost_ending(seen, exiting)))
                    }
                }
            };
            self.judge.ended(released.id, now);
            if let Some(kin) = &mut self.kin {
                kin.forget(released.id);
            }
            if !self.reporter.ledger().knows(released.id) {
                continue;
            }
            let mut release = release::release(released, &self.stacks, until).await;
            if let Some(ending) = ending {
                release.how = ending;
            }
            self.report(Report::Released(Box::new(release)), clock, now)?;
        }
        Ok(())
    }

    /// Reports a socket of the family that was closed: how long it was stuck and who closed
    /// it may count, whether it was looked at in time or not.
    async fn closed(&mut self, life: &Released, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let Some(kin) = &mut self.kin else { return Ok(()) };
        if kin.was_closed(life.id) {
            return self.last_word(life, clock, now).await;
        }
        match self.judge.closed(life.id, &self.stacks).await {
            Some(finding) if kin.wants(&finding) => {
                self.reporter.report(Report::Stuck(Box::new(finding)), clock, now)
            }
            _ => Ok(()),
        }
    }

    fn has_ended(&self, id: SocketId) -> bool {
        self.kin.as_ref().is_some_and(|kin| kin.has_ended(id))
    }

    /// Reports a socket that ended with its process or was closed late, if it counts.
    async fn last_word(&mut self, life: &Released, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let Some(kin) = &mut self.kin else { return Ok(()) };
        let word = kin.at_end(life, self.judge.withdraw(life.id));
        let Some(word) = word else { return Ok(()) };
        let finding = self.judge.last_word(word, &self.stacks).await;
        // The last word is news, even if it is the same verdict.
        self.reporter.forget(life.id);
        self.reporter.report(Report::Stuck(Box::new(finding)), clock, now)
    }

    /// The same of a ghost.
    async fn ghost_last_word(&mut self, life: &Released, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let Some(kin) = &mut self.kin else { return Ok(()) };
        let word = kin.ghost_at_end(life, self.judge.withdraw(life.id));
        let Some(word) = word else { return Ok(()) };
        let finding = self.judge.last_word(word, &self.stacks).await;
        if let Some(before) = self.ghosts.confirm(life.id) {
            self.reporter.forget(before.id);
        }
        self.reporter.forget(life.id);
        self.reporter.report(Report::Ghost(Box::new(finding)), clock, now)
    }

    fn totals(&self, ended: MonoNs) -> Totals {
        let stats = self.tracker.stats();
        Totals {
            began: self.began,
            ended,
            threshold: self.threshold,
            watched: stats.entered,
            tracker: stats.clone(),
            lost: Gap { missed: stats.missed, ..self.lost },
            degraded: self.degraded.clone(),
            cost: cost::cost(self.source.as_ref()),
        }
    }
}
