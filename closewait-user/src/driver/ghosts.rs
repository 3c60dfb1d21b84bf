//! Sockets that went to CLOSE while a file referred to them. Most are closed a moment
//! later (an abort, an exit); one whose descriptor is still there after the threshold
//! is a ghost. Until that is known, the end of its stuck life is held back: it was
//! released, or it turned ghost.

use std::collections::HashMap;

use crate::tracker::{Released, SocketId};

/// Ghosts in the making, by the id of their second life.
#[derive(Default)]
pub(super) struct Ghosts(HashMap<SocketId, Ghost>);

/// One of them.
#[derive(Default)]
pub(super) struct Ghost {
    /// Inode of the file; 0 when the kernel did not tell.
    pub(super) inode: u64,
    /// The life in CLOSE_WAIT before it, when that had been reported.
    pub(super) before: Option<Released>,
}

impl Ghosts {
    /// A socket closed with this file on it.
    pub(super) fn begin(&mut self, id: SocketId, inode: u64) {
        self.0.entry(id).or_default().inode = inode;
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
