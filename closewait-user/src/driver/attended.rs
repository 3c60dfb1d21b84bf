//! The driver and who attends it while it runs: another filter in, a sign of life out.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Driver;
use crate::clock::{Clock, MonoNs};
use crate::filter::Filter;
use crate::tracker::{SocketId, Suspect};

/// The driver's end; the default is one that nobody attends.
#[derive(Default)]
pub struct Attended {
    filters: Option<UnboundedReceiver<Filter>>,
    beat: Rc<Cell<MonoNs>>,
}

/// The other end.
pub struct Attendant {
    filters: UnboundedSender<Filter>,
    beat: Rc<Cell<MonoNs>>,
}

/// Both ends.
pub fn attended() -> (Attended, Attendant) {
    let (give, take) = unbounded_channel();
    let beat = Rc::default();
    (Attended { filters: Some(take), beat: Rc::clone(&beat) }, Attendant { filters: give, beat })
}

impl Attended {
    /// The next filter to use; never resolves when nobody attends.
    pub(super) async fn filter(&mut self) -> Filter {
        match &mut self.filters {
            Some(filters) => match filters.recv().await {
                Some(filter) => filter,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Everything there was to do has been done.
    pub(super) fn goes_on(&self, now: MonoNs) {
        self.beat.set(now);
    }
}

impl Driver {
    /// Uses `filter` from now on. What it leaves out of what was reported is not spoken of
    /// any more; what it lets pass may have been there before, and is looked for at once.
    /// (Processes and cgroups are those of the next look: see `found`.)
    pub(super) fn use_filter(&mut self, filter: Filter, now: MonoNs) {
        self.filter = filter;
        self.tracker.watches_others(now);
        (self.next_reconcile, self.next_ghosts) = (now, now);
        // It would go on through the namespaces that the filter of before allowed.
        self.sweeping = None;
        let left_out = |suspect: &Suspect| !self.filter.wants_socket(suspect.netns, &suspect.tuple);
        let left_out: Vec<_> = self.tracker.suspects().filter(left_out).map(|suspect| suspect.id).collect();
        for id in left_out {
            self.leave_out(id, now);
        }
    }

    /// A socket that the filter does not want (any more).
    pub(super) fn leave_out(&mut self, id: SocketId, now: MonoNs) {
        if self.reporter.ledger().knows(id) {
            let clock = Clock::read();
            self.tape.forgotten(id, now, &clock);
            self.reporter.leave_out(id, &clock, now);
        }
    }
}

impl Attendant {
    /// Has it use this filter from now on.
    pub fn give(&self, filter: Filter) {
        // Without a driver there is nothing to filter.
        let _ = self.filters.send(filter);
    }

    /// When it last had nothing left to do; 0 before it began.
    pub fn last_beat(&self) -> MonoNs {
        self.beat.get()
    }
}
