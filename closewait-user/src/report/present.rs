//! What the ledger tells of each socket that was reported and has not ended, for whoever
//! counts them by something else than their cause. Names of owners are kept once: thousands
//! of stuck sockets share a few.

use std::sync::Arc;

use hashbrown::HashSet;

use crate::clock::MonoNs;
use crate::growth::Growth;
use crate::item::Netns;
use crate::tcp::Tuple;
use crate::verdict::{Nofile, PortUse, Process};

use super::cause::CauseId;
use super::model::Finding;

/// Local ports towards one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortsLeft {
    /// Not in use.
    pub left: u32,
    /// In all.
    pub total: u32,
}

impl PortsLeft {
    pub(super) fn of(finding: &Finding) -> Option<Self> {
        let &PortUse { used, total, .. } = finding.evidence.ports.known()?;
        Some(Self { left: total.saturating_sub(used), total })
    }
}

/// What is remembered of a socket that was reported and has not ended.
#[derive(Debug)]
pub struct Member {
    /// What it is stuck by.
    pub cause: CauseId,
    /// Of what makes a finding news.
    pub(super) fingerprint: u64,
    /// Whether it is a leak.
    pub leak: Option<bool>,
    /// When it got stuck: not after, not before.
    pub entered: (MonoNs, Option<MonoNs>),
    /// Both ends.
    pub tuple: Tuple,
    /// Its network namespace.
    pub netns: Netns,
    /// The process to blame.
    pub pid: Option<u32>,
    /// Its descriptor.
    pub fd: Option<u32>,
    /// Number of its inode; 0 when it is not known.
    pub inode: u64,
    /// Whom to blame, if known.
    pub owner: Option<Arc<Owner>>,
    /// Descriptors of the process, when last looked at.
    pub nofile: Option<Nofile>,
    /// Ports towards its server, when last looked at.
    pub ports: Option<PortsLeft>,
    /// Whether the process' stuck sockets become more, when last looked at.
    pub(super) growth: Option<Arc<Growth>>,
    /// When it was last looked at.
    pub at: MonoNs,
}

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
