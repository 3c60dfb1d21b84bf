//! Snapshots of all namespaces, one after the other: in parts, since there may be ten thousand,
//! and each costs a walk over the sockets of the host.
//!
//! In: which namespaces are wanted. Out: a [`Snapshot`] of each, or why there is none. One that
//! ended while others were looked at is neither: nothing is stuck there.

use std::vec::IntoIter;

use super::gather::{Enricher, SnapshotError};
use super::netns::{NetnsFilter, NetnsRef};
use super::sight;
use super::sockets::Listed;
use crate::clock::{Clock, MonoNs};
use crate::item::{Netns, Snapshot};
use crate::tcp::State;

/// Namespaces, and how many of them are left.
#[derive(Debug)]
pub struct Sweep {
    left: IntoIter<Netns>,
    /// Where there was no way into them any more: they may be found by another.
    out_of_sight: Vec<Netns>,
    are_searched: bool,
    /// How many there were.
    pub all: usize,
}

impl Sweep {
    fn new(wanted: Vec<Netns>) -> Self {
        let all = wanted.len();
        Self { left: wanted.into_iter(), out_of_sight: Vec::new(), are_searched: false, all }
    }

    /// How many have not been looked into.
    pub fn left(&self) -> usize {
        self.left.len() + self.out_of_sight.len()
    }
}

impl Enricher {
    /// Begins to look into the namespaces that `filter` allows; where they cannot be listed,
    /// into those that were listed before, and that is told as a hole.
    pub fn sweep(&mut self, filter: &NetnsFilter) -> Sweep {
        if let NetnsFilter::Only(only) = filter {
            for netns in only.values() {
                self.sockets.give(netns);
            }
        }
        let refreshed = self.sockets.refresh(Clock::mono_now());
        if let NetnsFilter::Only(only) = filter {
            return Sweep::new(only.keys().copied().collect());
        }
        if let Err(e) = refreshed {
            self.holes
                .push(format!("network namespaces that were not known before are not looked into: {e}"));
        }
        Sweep::new(self.sockets.namespaces().iter().map(NetnsRef::netns).collect())
    }

    /// Goes on until then, or until the run is interrupted, with at least one namespace. Each
    /// snapshot is handed to `each` when it has been taken, and those of more than `part`
    /// sockets in parts, none of which proves that a socket has left: only the last one tells
    /// whether there was no hole in any of them.
    pub fn go_on(
        &mut self,
        sweep: &mut Sweep,
        part: usize,
        until: MonoNs,
        mut each: impl FnMut(Result<Snapshot, SnapshotError>),
    ) {
        loop {
            if self.sockets.interrupt().is_raised() {
                return;
            }
            let Some(netns) = self.next_of(sweep) else { return };
            self.snapshot_of(netns, part, &mut each);
            if Clock::mono_now() >= until {
                return;
            }
        }
    }

    /// The next that there is a way into; of the others, once all have been looked into, those
    /// to which another way leads.
    fn next_of(&mut self, sweep: &mut Sweep) -> Option<Netns> {
        loop {
            for netns in sweep.left.by_ref() {
                if !self.sockets.is_out_of_sight(netns) {
                    return Some(netns);
                }
                sweep.out_of_sight.push(netns);
            }
            let lost = std::mem::take(&mut sweep.out_of_sight);
            if std::mem::replace(&mut sweep.are_searched, true) || lost.is_empty() {
                return None;
            }
            if let Err(e) = self.sockets.list_anew() {
                log::debug!("{} network namespaces are taken to have ended: {e}", lost.len());
            }
            sweep.left = lost.into_iter();
        }
    }

    fn snapshot_of(
        &mut self,
        netns: Netns,
        part: usize,
        each: &mut dyn FnMut(Result<Snapshot, SnapshotError>),
    ) {
        let states: &[State] = if self.looks_once { &sight::STUCK_AND_PEERS } else { &[State::CloseWait] };
        let began = Clock::last_tick();
        let (mut sockets, mut is_whole) = (Vec::new(), true);
        let mut copies = self.looks_once.then(|| self.sockets.left.copies());
        let listed = self.sockets.list_each(netns, states, |socket| {
            if let Some(copies) = &mut copies {
                copies.add(&socket);
            }
            if socket.state != State::CloseWait {
                return;
            }
            if sockets.len() >= part {
                is_whole = false;
                let (sockets, ended) = (std::mem::take(&mut sockets), Clock::mono_now());
                let (complete, proves_absence) = (false, false);
                each(Ok(Snapshot { began, ended, netns, complete, proves_absence, sockets }));
            }
            sockets.push(socket);
        });
        let snapshot = listed.map_err(|reason| SnapshotError { netns, reason }).map(|listed| {
            let hole = |reason: &String| format!("network namespace {}: {reason}", netns.0);
            self.holes.extend(listed.incomplete.iter().map(hole));
            let complete = listed.incomplete.is_none();
            if let Some(copies) = copies {
                self.sockets.left.leave(netns, states, copies, &listed);
            }
            let Listed { began, ended, .. } = listed;
            Snapshot { began, ended, netns, complete, proves_absence: complete && is_whole, sockets }
        });
        each(snapshot);
    }
}
