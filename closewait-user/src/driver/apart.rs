//! What is counted apart: stuck sockets that do not fit the filter, and namespaces that could
//! not be looked into. Without it "nothing is stuck" would be said of what nobody asked about.

use hashbrown::HashMap;

use super::Driver;
use crate::report;
use crate::tracker::{SocketId, Suspect, SuspectKind};

/// See the module.
#[derive(Default)]
pub(super) struct Apart {
    /// Judged, and not wanted by their holders; and whether each is a ghost.
    unfit: HashMap<SocketId, bool>,
    /// Not even tracked, by their ports: as the last look found them.
    by_ends: u64,
    /// Namespaces into which the last look could not be taken.
    unread: u64,
    /// And those that the only look did not come to before the end.
    pub(super) unreached: u64,
    /// Of all looks: namespaces that were not looked into, or of which not all was told.
    failed_looks: u64,
}

impl Apart {
    /// A socket was judged that is not wanted.
    pub(super) fn unfit(&mut self, suspect: &Suspect) {
        self.unfit.insert(suspect.id, suspect.kind != SuspectKind::Stuck);
    }

    /// One that is.
    pub(super) fn fits(&mut self, id: SocketId) {
        self.unfit.remove(&id);
    }

    /// Whether there was one.
    pub(super) fn has_unfit(&self) -> bool {
        !self.unfit.is_empty()
    }

    /// How many there are in CLOSE_WAIT.
    pub(super) fn count_unfit(&self) -> u64 {
        self.unfit.len() as u64 - self.count_ghosts()
    }

    fn count_ghosts(&self) -> u64 {
        self.unfit.values().filter(|is_ghost| **is_ghost).count() as u64
    }

    /// Whether this is one.
    pub(super) fn is_unfit(&self, id: SocketId) -> bool {
        self.unfit.contains_key(&id)
    }

    /// How many there are of each.
    pub(super) fn counts(&self) -> report::Apart {
        report::Apart {
            by_holder: self.count_unfit(),
            ended: 0,
            ghosts: self.count_ghosts(),
            by_ends: self.by_ends,
            unread: self.unread,
            unreached: self.unreached,
            failed_looks: self.failed_looks,
        }
    }

    /// Everything was looked at; of some namespaces the answer had holes. Whether more or fewer
    /// namespaces are unread than before.
    pub(super) const fn looked(&mut self, by_ends: u64, unread: u64, holes: u64) -> bool {
        let is_news = unread != self.unread;
        (self.by_ends, self.unread) = (by_ends, unread);
        self.failed_looks += unread + holes;
        is_news
    }
}

impl Driver {
    /// Has the reports tell what is counted apart. Who has left meanwhile is not.
    pub(super) fn count_apart(&mut self) {
        let tracker = &self.tracker;
        self.apart.unfit.retain(|id, _| tracker.suspect(*id).is_some());
        self.reporter.set_apart(self.apart.counts());
    }
}
