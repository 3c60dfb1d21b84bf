//! Replay: the reports that a recording gives by today's rules.
//!
//! In: entries, in order. Out: reports to a [`Reporter`]. Pure but for the reporter's
//! sinks. A socket that was in CLOSE_WAIT for the threshold asked for, but not for the
//! one recorded with, was never looked at: it is reported as UNKNOWN, which says so.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use super::entry::{Entry, Header, Line, Looked};
use super::reader::Reading;
use crate::clock::{Clock, MonoNs};
use crate::filter::Filter;
use crate::item::{Gap, Item};
use crate::report::{Age, Apart, Cost, Finding, Release, Report, Reporter, Summary, Totals};
use crate::tracker::{Outcome, Released, Since, SocketId, Suspect, SuspectKind, Tracker, TrackerStats};
use crate::verdict::{Evidence, Policy, verdict};

/// So many stuck sockets are kept of the time before the wanted part: a recording of any
/// size is to be replayed in a bounded memory.
const BEFORE_MAX: usize = 10_000;

/// What of a recording is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// A socket is reported once it had been in CLOSE_WAIT this long.
    pub threshold: Duration,
    /// Which sockets.
    pub filter: Filter,
    /// Only what was stuck then, and what was seen from then on.
    pub from: MonoNs,
    /// Only what was seen until then.
    pub to: MonoNs,
}

impl Wanted {
    /// Whether the recording's own counts are about exactly this.
    fn is_everything(&self, header: &Header) -> bool {
        let Filter { netns: _, local_ports, remote_ports, exclude_ports, .. } = &self.filter;
        local_ports.is_empty()
            && remote_ports.is_empty()
            && exclude_ports.is_empty()
            && self.threshold == header.threshold
            && self.from == MonoNs(0)
            && self.to == MonoNs(u64::MAX)
    }
}

/// A replay under way.
pub struct Replay {
    wanted: Wanted,
    header: Header,
    tracker: Tracker,
    reporter: Reporter,
    now: MonoNs,
    clock: Clock,
    lost: Gap,
    degraded: Vec<String>,
    cost: Cost,
    stats: Option<TrackerStats>,
    dropped: u64,
    /// What was stuck before that is wanted, as it was last looked at.
    before: BTreeMap<SocketId, Looked>,
    /// Not all of that was kept.
    too_many_before: bool,
    /// Looked at, not ended, and not wanted by the filter.
    unfit: HashMap<SocketId, SuspectKind>,
    /// What was counted of network namespaces when it was recorded.
    recorded: Apart,
}

impl Replay {
    /// Begins. `clock`: that of the recording's first line.
    pub fn new(wanted: Wanted, header: Header, clock: Clock, reporter: Reporter) -> Self {
        Self {
            tracker: Tracker::new(wanted.threshold),
            wanted,
            reporter,
            now: header.began,
            clock,
            lost: Gap { from: header.began, to: header.began, ..Gap::default() },
            degraded: header.degraded.clone(),
            cost: Cost::default(),
            stats: None,
            dropped: 0,
            header,
            before: BTreeMap::new(),
            too_many_before: false,
            unfit: HashMap::new(),
            recorded: Apart::default(),
        }
    }

    /// Takes the next entry. Returns false when it lies beyond what is wanted.
    pub fn take(&mut self, reading: Reading) -> io::Result<bool> {
        match reading {
            Reading::Item(item) => self.item(&item)?,
            Reading::Line(line) => {
                if line.now > self.wanted.to {
                    return Ok(false);
                }
                self.line(line)?;
            }
        }
        Ok(true)
    }

    fn item(&mut self, item: &Item) -> io::Result<()> {
        if let Item::Transition(transition) = item
            && !self.wanted.filter.wants_socket(transition.netns, &transition.tuple)
        {
            return Ok(());
        }
        let mut outcomes = Vec::new();
        self.tracker.apply(item, &mut outcomes);
        for outcome in outcomes {
            if let Outcome::Released(released) = outcome {
                self.never_looked_at(released)?;
            }
        }
        Ok(())
    }

    /// Reports a socket that was stuck for long enough, but ended before it was looked at.
    fn never_looked_at(&mut self, released: Released) -> io::Result<()> {
        let Since::Seen(entered) = released.since else { return Ok(()) };
        let dwell = released.at.since(entered);
        if dwell < self.wanted.threshold || dwell >= self.header.threshold || !self.is_wanted(released.at) {
            return Ok(());
        }
        let suspect = Suspect {
            id: own(released.id),
            sk: None,
            netns: released.netns,
            tuple: released.tuple,
            kind: SuspectKind::Stuck,
            since: released.since,
            not_before: Some(entered),
            missed: false,
            mptcp: false,
            tainted: false,
        };
        let recorded = humantime::format_duration(self.header.threshold);
        let mut evidence = Evidence::unknown();
        evidence.look_failed =
            Some(format!("it ended before it was looked at: recorded with --threshold {recorded}"));
        self.looked(Looked { at: entered + self.wanted.threshold, suspect, evidence })?;
        let (clock, now) = (self.clock, released.at);
        let unknown = || crate::fact::Fact::unknown("it ended before it was looked at");
        let released = Released { id: own(released.id), ..released };
        let release = Release {
            released,
            how: unknown(),
            closer: crate::fact::Fact::unknown("not recorded"),
            before: None,
            cause: None,
        };
        let id = release.released.id;
        self.release(release, &clock, now)?;
        self.unfit.remove(&id);
        Ok(())
    }

    fn line(&mut self, line: Line) -> io::Result<()> {
        let Line { now, clock, entry } = line;
        let clock = clock.clock();
        // Between two entries a screen may have been due. (One: a recording whose times lie
        // must not make many.)
        if let Some(due) = self.reporter.deadline().filter(|&due| due < now) {
            self.reporter.tick(&clock, due)?;
        }
        (self.now, self.clock) = (now, clock);
        self.tracker.expire(now, &mut Vec::new());
        let wanted = self.is_wanted(now);
        if wanted {
            for looked in std::mem::take(&mut self.before).into_values() {
                self.looked(looked)?;
            }
        }
        match entry {
            Entry::Looked(looked) if wanted => self.looked(*looked)?,
            Entry::Looked(looked) => self.keep(*looked),
            Entry::Header(_) => {}
            Entry::Forgotten(id) => {
                self.before.remove(&id);
                self.unfit.remove(&id);
                self.reporter.forget(id);
            }
            Entry::Released(ended) => {
                let release = ended.release();
                self.before.remove(&release.released.id);
                self.unfit.remove(&release.released.id);
                self.release(release, &clock, now)?;
            }
            Entry::FirstLook(first) if wanted => {
                self.reporter.report(Report::FirstLook(first), &clock, now)?;
            }
            Entry::FirstLook(_) => {}
            Entry::Unread(namespaces) => {
                self.recorded.unread = namespaces;
                // At least these: only changes are recorded before the end.
                self.recorded.failed_looks = self.recorded.failed_looks.saturating_add(namespaces);
                self.count_apart();
            }
            Entry::Loss(gap) => {
                self.lost.add(&gap);
                if wanted {
                    self.reporter.report(Report::Loss(gap), &clock, now)?;
                }
            }
            Entry::Notice(notice) if wanted => self.reporter.report(Report::Notice(notice), &clock, now)?,
            Entry::Notice(_) => {}
            Entry::Dropped(entries) => self.dropped = self.dropped.saturating_add(entries),
            Entry::End(end) => {
                (self.degraded, self.cost, self.stats) = (end.degraded, end.cost, Some(end.stats));
                (self.header.began, self.now) = (end.began, end.at);
                let (unread, unreached) = (end.unread, end.unreached);
                // Older recordings do not end with it.
                let failed_looks = end.failed_looks.max(self.recorded.failed_looks);
                self.recorded = Apart { unread, unreached, failed_looks, ..Apart::default() };
            }
        }
        self.reporter.tick(&clock, now)
    }

    /// Keeps what may be stuck still where the wanted part begins.
    fn keep(&mut self, looked: Looked) {
        let id = looked.suspect.id;
        if self.before.len() < BEFORE_MAX || self.before.contains_key(&id) {
            self.before.insert(id, looked);
            return;
        }
        self.too_many_before = true;
    }

    fn looked(&mut self, looked: Looked) -> io::Result<()> {
        let Looked { at, suspect, evidence } = looked;
        let filter = &self.wanted.filter;
        let long = Age::of(&suspect, at).max.is_none_or(|age| age >= self.wanted.threshold);
        if !long {
            return Ok(());
        }
        if !filter.wants_socket(suspect.netns, &suspect.tuple) || !filter.wants_evidence(&evidence) {
            self.unfit.insert(suspect.id, suspect.kind);
            return Ok(());
        }
        self.unfit.remove(&suspect.id);
        let verdict = verdict(&suspect, &evidence, at, &Policy::default());
        let stuck = suspect.kind == SuspectKind::Stuck;
        let finding = Box::new(Finding::new(at, suspect, evidence, verdict));
        let report = if stuck { Report::Stuck(finding) } else { Report::Ghost(finding) };
        self.reporter.report(report, &self.clock, self.now)
    }

    fn release(&mut self, release: Release, clock: &Clock, now: MonoNs) -> io::Result<()> {
        if self.reporter.ledger().knows(release.released.id) {
            self.reporter.report(Report::Released(Box::new(release)), clock, now)?;
        }
        Ok(())
    }

    /// Has the reports tell what is counted apart.
    fn count_apart(&mut self) {
        let by_holder = self.unfit.values().filter(|kind| **kind == SuspectKind::Stuck).count() as u64;
        let ghosts = self.unfit.len() as u64 - by_holder;
        self.reporter.set_apart(Apart { by_holder, ghosts, ..self.recorded });
    }

    fn is_wanted(&self, at: MonoNs) -> bool {
        (self.wanted.from..=self.wanted.to).contains(&at)
    }

    /// Has the sinks look at what there is now.
    pub fn show(&mut self) -> io::Result<()> {
        self.reporter.tick(&self.clock, self.now)
    }

    /// When the recording began.
    pub const fn began(&self) -> MonoNs {
        self.header.began
    }

    /// Where its time stands.
    pub const fn now(&self) -> MonoNs {
        self.now
    }

    /// Entries that were dropped when they were recorded.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes the end of every sink. `incomplete`: what the reading has shown to be missing.
    pub fn finish(mut self, incomplete: Vec<String>) -> (Summary, io::Result<()>) {
        self.count_apart();
        let whole = self.wanted.is_everything(&self.header);
        let tracker = self.stats.filter(|_| whole).unwrap_or_else(|| self.tracker.stats().clone());
        self.degraded.extend(incomplete);
        if self.too_many_before {
            self.degraded
                .push(format!("more than {BEFORE_MAX} sockets were stuck before --from: not all are shown"));
        }
        let totals = Totals {
            began: self.header.began.max(self.wanted.from),
            ended: self.now,
            threshold: self.wanted.threshold,
            running: None,
            watched: tracker.lives(),
            tracker,
            lost: self.lost,
            degraded: self.degraded,
            cost: self.cost,
        };
        self.reporter.finish(totals, &self.clock)
    }
}

/// An id of the replay's own tracker, told apart from those of the recording.
const fn own(id: SocketId) -> SocketId {
    SocketId { slot: id.slot | 1 << 31, ..id }
}
