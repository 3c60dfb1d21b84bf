//! What was lost: growth of the counters, as gaps; and what cannot be seen, as notices.

use std::io;

use super::{COUNT_EVERY, DEGRADED_MAX, Driver};
use crate::clock::{Clock, MonoNs};
use crate::item::{Gap, Item};
use crate::report::{Level, Notice, Report};
use crate::source::ring::RingSource;

impl Driver {
    /// Turns growth of the loss counters into a gap, which taints what it touches
    /// and brings the next reconcile forward; entries found missing go with it.
    pub(super) fn count(&mut self, now: MonoNs, last: bool, clock: &Clock) -> io::Result<()> {
        if now < self.next_count && !last {
            return Ok(());
        }
        self.next_count = now + COUNT_EVERY;
        if !last {
            self.see_all_eof_reads(now, clock)?;
        }
        let gap = self.source.as_mut().and_then(RingSource::gap);
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
    pub(super) fn see_all_eof_reads(&mut self, now: MonoNs, clock: &Clock) -> io::Result<()> {
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

    /// Tells once that something is lost.
    pub(super) fn lose(&mut self, text: String, clock: &Clock, now: MonoNs) -> io::Result<()> {
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
}
