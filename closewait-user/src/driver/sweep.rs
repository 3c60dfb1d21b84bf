//! A look into all network namespaces, for sockets in CLOSE_WAIT that no record told of. It is
//! taken in parts, between which the loop turns: the ring is drained, what was found is looked
//! at, and a signal ends the run.
//!
//! The order in which things give way where there are many namespaces: parts become rarer first,
//! so that they take a tenth of a CPU at most, but for the first sweep, which waits for nothing;
//! those that could not be looked into, or not before the end, are counted. What they have stuck
//! is not known.

use std::io;
use std::time::Duration;

use super::failures::{Failures, Told};
use super::{Driver, RECONCILE_EVERY, SNAPSHOT_EVERY};
use crate::clock::{Clock, MonoNs};
use crate::enrich::Sweep;
use crate::item::Item;

/// A part takes so long, and one namespace more.
const PART: Duration = Duration::from_millis(100);

/// The tracker is given so many sockets at a time: it goes through all it knows for each part.
const SNAPSHOT_PART: usize = 1 << 18;

/// A sweep under way, and what came of it so far.
pub(super) struct Sweeping {
    sweep: Sweep,
    /// The state of before is compared with that of then.
    began: MonoNs,
    /// Time that its parts took.
    worked: Duration,
    /// Namespaces that could not be looked into.
    unread: Failures,
    /// Those of which not all was told.
    holes: Failures,
    by_ends: u64,
}

/// What came of all sweeps.
#[derive(Default)]
pub(super) struct Swept {
    /// At least one came to its end.
    pub(super) once: bool,
    /// What has been told of unread namespaces, and of holes.
    told: [Told; 2],
}

impl Sweeping {
    pub(super) fn new(sweep: Sweep, began: MonoNs) -> Self {
        let (unread, holes) = Default::default();
        Self { sweep, began, worked: Duration::ZERO, unread, holes, by_ends: 0 }
    }
}

impl Driver {
    /// Compares the tracker with the kernel's tables, when it is time, or goes on with that.
    pub(super) fn look_at_sockets(&mut self, now: MonoNs, last: bool, clock: &Clock) -> io::Result<()> {
        if last {
            return self.cut_sweep(clock, now);
        }
        if now >= self.next_reconcile && self.sweeping.is_none() && self.rests[0].is_over(now) {
            self.reconcile(now);
        }
        self.go_on_sweeping(now, clock)
    }

    /// Whether not all namespaces have been looked into even once.
    pub(super) const fn is_first_sweep(&self) -> bool {
        self.sweeping.is_some() && !self.swept.once
    }

    /// Takes the next part of the sweep under way, if there is one and it may be taken now.
    fn go_on_sweeping(&mut self, now: MonoNs, clock: &Clock) -> io::Result<()> {
        if !self.rests[0].is_over(now) {
            return Ok(());
        }
        let Some(mut sweeping) = self.sweeping.take() else { return Ok(()) };
        let began = Clock::mono_now();
        let (filter, tape, tracker) = (&self.filter, &mut self.tape, &mut self.tracker);
        let (unread, mut by_ends) = (&mut sweeping.unread, 0_u64);
        self.enricher.go_on(&mut sweeping.sweep, SNAPSHOT_PART, began + PART, |snapshot| match snapshot {
            Ok(mut snapshot) => {
                let netns = snapshot.netns;
                // A dump beside a storm of connections can miss a live socket without
                // saying so (1 of 1,500 did). What has left is found out by looking
                // at it twice.
                snapshot.proves_absence = false;
                let all = snapshot.sockets.len();
                snapshot.sockets.retain(|socket| filter.wants_socket(netns, &socket.tuple));
                by_ends += (all - snapshot.sockets.len()) as u64;
                let snapshot = Item::Snapshot(snapshot);
                tape.item(&snapshot, now);
                tracker.apply(&snapshot, &mut self.outcomes);
            }
            Err(error) => unread.add(&error),
        });
        let ended = Clock::mono_now();
        sweeping.worked += ended.since(began);
        sweeping.by_ends += by_ends;
        self.enricher.take_holes().iter().for_each(|hole| sweeping.holes.add(hole));
        if sweeping.sweep.left() > 0 {
            if self.swept.once {
                self.rests[0].after_part(ended.since(began), ended);
            }
            self.sweeping = Some(sweeping);
            return Ok(());
        }
        self.end_of_sweep(&sweeping, ended.since(began), clock, now)
    }

    /// Everything was looked into, the last part of which took so long.
    fn end_of_sweep(
        &mut self,
        sweeping: &Sweeping,
        last_part: Duration,
        clock: &Clock,
        now: MonoNs,
    ) -> io::Result<()> {
        let Sweeping { began, worked, by_ends, .. } = *sweeping;
        let (failed, holes) = (sweeping.unread.count(), sweeping.holes.count());
        self.lose_namespaces(sweeping, clock, now)?;
        if self.apart.looked(by_ends, failed, holes) {
            self.tape.unread(failed, now, clock);
        }
        self.count_apart();
        if failed + holes == 0 {
            self.reconciled = Some(began);
        }
        let (is_first, ended) = (!std::mem::replace(&mut self.swept.once, true), Clock::mono_now());
        self.rests[0].after_part(if is_first { worked } else { last_part }, ended);
        if self.looks_once {
            return Ok(());
        }
        let every = if self.source.is_some() { RECONCILE_EVERY } else { SNAPSHOT_EVERY };
        let turn = self.rests[0].turn(worked, every);
        self.is_late(0, turn, every, clock, now)
    }

    /// Tells of namespaces that could not be looked into, or not wholly.
    fn lose_namespaces(&mut self, sweeping: &Sweeping, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let all = sweeping.sweep.all;
        let [unread, holes] = &mut self.swept.told;
        let mut news = sweeping.unread.news(unread, all, "could not be looked into");
        news.extend(sweeping.holes.news(holes, all, "were not shown whole"));
        if sweeping.unread.count() + sweeping.holes.count() > 0 {
            self.look_soon(now);
        }
        news.iter().try_for_each(|why| self.lose_a_look(why, clock, now))
    }

    /// The run ends: tells what the sweep under way has not come to.
    fn cut_sweep(&mut self, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let Some(sweeping) = self.sweeping.take() else { return Ok(()) };
        // The one before has come to all of them, and its counts hold. A gate has another only
        // where records were lost, and nothing else finds what they told of.
        if self.swept.once && self.kin.is_none() {
            return Ok(());
        }
        let left = sweeping.sweep.left() as u64;
        let failed = sweeping.unread.count();
        self.lose_namespaces(&sweeping, clock, now)?;
        if self.apart.looked(sweeping.by_ends, failed, sweeping.holes.count()) {
            self.tape.unread(failed, now, clock);
        }
        self.apart.unreached = left;
        let text = format!(
            "the run ended before {left} of {} network namespaces had been looked into: stuck sockets there are not \
             found",
            sweeping.sweep.all
        );
        self.lose(text, clock, now)
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
