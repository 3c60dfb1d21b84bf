//! Names of owners, each kept once: thousands of stuck sockets share a few.

use std::sync::Arc;

use hashbrown::HashSet;

use crate::verdict::Process;

/// Unused names are looked for when there are twice as many as after the last time, and
/// at least so many.
const FEW: usize = 1024;

/// What the processes of one program in one place have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner {
    /// Name of the process, as it is.
    pub comm: Box<str>,
    /// Container or unit; empty when it is in none.
    pub container: Box<str>,
}

/// All that are in use, and some that were.
#[derive(Debug, Default)]
pub(super) struct Owners {
    known: HashSet<Arc<Owner>>,
    after_purge: usize,
}

impl Owners {
    /// The owner that `process` is an instance of.
    pub(super) fn of(&mut self, process: &Process) -> Arc<Owner> {
        let owner = Owner {
            comm: (*process.comm).into(),
            container: process.container.as_deref().unwrap_or_default().into(),
        };
        if let Some(known) = self.known.get(&owner) {
            return Arc::clone(known);
        }
        if self.known.len() >= FEW.max(2 * self.after_purge) {
            self.known.retain(|owner| Arc::strong_count(owner) > 1);
            self.after_purge = self.known.len();
        }
        let owner = Arc::new(owner);
        self.known.insert(Arc::clone(&owner));
        owner
    }
}
