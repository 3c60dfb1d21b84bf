//! Sockets that went to CLOSE while a file referred to them. Most are closed a moment
//! later (an abort, an exit); one whose descriptor is still there after the threshold
//! is a ghost. Until that is known, the end of its stuck life is held back: it was
//! released, or it turned ghost.

use std::collections::HashMap;

use crate::item::FoundGhost;
use crate::tracker::{Outcome, Released, SocketId};

/// Ghosts in the making, by the id of their second life.
#[derive(Default)]
pub(super) struct Ghosts(HashMap<SocketId, Ghost>);

/// One of them.
#[derive(Default)]
pub(super) struct Ghost {
    /// Inode of the file; 0 when the kernel did not tell.
    pub(super) inode: u64,
    /// The error found on it, an errno, 0 for none; `None` when nobody could look.
    error: Option<u32>,
    /// The life in CLOSE_WAIT before it, when that had been reported.
    pub(super) before: Option<Released>,
}

impl Ghosts {
    /// Takes note of the ghosts that begin.
    pub(super) fn begin(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Outcome::ClosedWithFile { ghost, inode, .. } = outcome {
                self.0.entry(*ghost).or_default().inode = *inode;
            }
        }
    }

    /// Takes note of the errors that were found on them.
    pub(super) fn found(&mut self, found: &[FoundGhost]) {
        let errors: HashMap<_, _> = found.iter().map(|found| (found.inode, found.error)).collect();
        for ghost in self.0.values_mut() {
            // Once it is fetched it is not there any more.
            let error = errors.get(&ghost.inode).copied().flatten();
            ghost.error = ghost.error.filter(|&known| known != 0).or(error);
        }
    }

    /// The error found on it.
    pub(super) fn error(&self, id: SocketId) -> Option<u32> {
        self.0.get(&id)?.error
    }

    /// It had been reported as stuck, and this is how that ended.
    pub(super) fn hold(&mut self, id: SocketId, released: Released) {
        self.0.entry(id).or_default().before = Some(released);
    }

    /// The inode of its file; 0 when it is not known.
    pub(super) fn inode(&self, id: SocketId) -> u64 {
        self.0.get(&id).map_or(0, |ghost| ghost.inode)
    }

    /// It turned ghost; returns the stuck life that is no release then.
    pub(super) fn confirm(&mut self, id: SocketId) -> Option<Released> {
        self.0.get_mut(&id)?.before.take()
    }

    /// Its life in CLOSE_WAIT, when that had been reported and it is not confirmed yet.
    pub(super) fn before(&self, id: SocketId) -> Option<SocketId> {
        self.0.get(&id)?.before.as_ref().map(|released| released.id)
    }

    /// It is over.
    pub(super) fn end(&mut self, id: SocketId) -> Option<Ghost> {
        self.0.remove(&id)
    }
}
