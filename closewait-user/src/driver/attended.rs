//! The driver and who attends it while it runs: another filter in, a sign of life out.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::MonoNs;
use crate::filter::Filter;

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
