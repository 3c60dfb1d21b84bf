//! What the driver records, if it records: a thin front of the recorder that says
//! once when recording has failed.

use std::io;

use super::cost;
use crate::clock::{Clock, MonoNs};
use crate::item::Item;
use crate::recording::entry::{End, Ended};
use crate::recording::{Entry, Looked, Recorder, Written};
use crate::report::{Apart, Finding, Report};
use crate::source::ring::RingSource;
use crate::tracker::{SocketId, TrackerStats};

/// A recorder, or none.
pub(super) struct Tape(Option<Recorder>);

impl Tape {
    pub(super) const fn new(recorder: Option<Recorder>) -> Self {
        Self(recorder)
    }

    pub(super) fn item(&mut self, item: &Item, now: MonoNs) {
        if let Some(recorder) = &mut self.0 {
            recorder.item(item, now);
        }
    }

    pub(super) fn looked(&mut self, finding: &Finding, now: MonoNs, clock: &Clock) {
        self.entry(|| Entry::Looked(Box::new(Looked::of(finding))), now, clock);
    }

    pub(super) fn forgotten(&mut self, id: SocketId, now: MonoNs, clock: &Clock) {
        self.entry(|| Entry::Forgotten(id), now, clock);
    }

    /// Records a report that replay cannot work out for itself.
    pub(super) fn report(&mut self, report: &Report, now: MonoNs, clock: &Clock) {
        let entry = || match report {
            // Worked out anew from the looks.
            Report::Stuck(_) | Report::Ghost(_) => None,
            Report::Released(release) => Some(Entry::Released(Box::new(Ended::of(release)))),
            Report::FirstLook(first) => Some(Entry::FirstLook(*first)),
            Report::Loss(gap) => Some(Entry::Loss(*gap)),
            Report::Notice(notice) => Some(Entry::Notice(notice.clone())),
        };
        if self.0.is_some()
            && let Some(entry) = entry()
        {
            self.entry(|| entry, now, clock);
        }
    }

    /// So many namespaces cannot be looked into from now on.
    pub(super) fn unread(&mut self, namespaces: u64, now: MonoNs, clock: &Clock) {
        self.entry(|| Entry::Unread(namespaces), now, clock);
    }

    fn entry(&mut self, entry: impl FnOnce() -> Entry, now: MonoNs, clock: &Clock) {
        if let Some(recorder) = &mut self.0 {
            recorder.entry(entry(), now, clock);
        }
    }

    /// Hands on what has waited long enough. Some: recording is over, and why.
    pub(super) fn tick(&mut self, now: MonoNs, clock: &Clock) -> Option<io::Error> {
        let recorder = self.0.as_mut()?;
        if recorder.has_failed() {
            return self.0.take()?.finish().err();
        }
        let dropped = recorder.newly_dropped();
        if dropped > 0 {
            recorder.entry(Entry::Dropped(dropped), now, clock);
        }
        recorder.tick(now);
        None
    }

    /// Writes the end of the recording; `None` when there is none.
    pub(super) fn finish(
        self,
        began: MonoNs,
        degraded: &[String],
        stats: &TrackerStats,
        apart: Apart,
        source: Option<&RingSource>,
        clock: &Clock,
    ) -> Option<io::Result<Written>> {
        let mut recorder = self.0?;
        let at = Clock::mono_now();
        let (degraded, stats, cost) = (degraded.to_vec(), stats.clone(), cost::cost(source));
        let Apart { unread, unreached, failed_looks, .. } = apart;
        let end = End { began, at, degraded, stats, cost, unread, unreached, failed_looks };
        recorder.entry(Entry::End(Box::new(end)), at, clock);
        Some(recorder.finish())
    }
}
