//! Snapshots of all namespaces, one after the other: in parts, since there may be ten thousand,
//! and each costs a walk over the sockets of the host.
//!
//! In: which namespaces are wanted. Out: a [`Snapshot`] of each, or why there is none. One that
//! ended while others were looked at is neither: nothing is stuck there. But for one that the
//! user named, of which that is told.

use std::vec::IntoIter;

use super::gather::{Enricher, SnapshotError};
use super::netns::{NetnsError, NetnsFilter, NetnsRef};
use super::sight;
use super::sockets::{Listed, nothing_refers_to};
use crate::clock::{Clock, MonoNs};
use crate::item::{Netns, Snapshot};
use crate::tcp::State;

/// Namespaces, and how many of them are left.
#[derive(Debug)]
pub struct Sweep {
    left: IntoIter<Netns>,
    /// Where there was no way into them any more: they may be found by another.
    out_of_sight: Vec<Netns>,
    /// Once these were searched for: why processes and threads could not be listed for that.
    searched: Option<Result<(), String>>,
    /// The user has named them.
    are_named: bool,
    /// How many there were.
    pub all: usize,
}

impl Sweep {
    fn new(wanted: Vec<Netns>, are_named: bool) -> Self {
        let all = wanted.len();
        Self { left: wanted.into_iter(), out_of_sight: Vec::new(), searched: None, are_named, all }
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
            return Sweep::new(only.keys().copied().collect(), true);
        }
        if let Err(e) = refreshed {
            self.holes
                .push(format!("network namespaces that were not known before are not looked into: {e}"));
        }
        Sweep::new(self.sockets.namespaces().iter().map(NetnsRef::netns).collect(), false)
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
            let Some((netns, way)) = self.next_of(sweep) else { return };
            match way {
                Ok(()) => self.snapshot_of(netns, part, &mut each),
                Err(reason) => each(Err(SnapshotError { netns, reason })),
            }
            if Clock::mono_now() >= until {
                return;
            }
        }
    }

    /// The next that there is a way into; of the others, once all have been looked into, those
    /// to which another way leads, or of which it is to be told why none was found.
    fn next_of(&mut self, sweep: &mut Sweep) -> Option<(Netns, Result<(), String>)> {
        loop {
            for netns in sweep.left.by_ref() {
                if !self.sockets.is_out_of_sight(netns) {
                    return Some((netns, Ok(())));
                }
                let way = match &sweep.searched {
                    None => {
                        sweep.out_of_sight.push(netns);
                        continue;
                    }
                    Some(_) if self.sockets.by_thread(netns).is_some() => Ok(()),
                    Some(Err(why)) => Err(why.clone()),
                    Some(Ok(())) if sweep.are_named => Err(nothing_refers_to(netns)),
                    // It has ended.
                    Some(Ok(())) => continue,
                };
                return Some((netns, way));
            }
            let lost = std::mem::take(&mut sweep.out_of_sight);
            if sweep.searched.is_some() || lost.is_empty() {
                return None;
            }
            sweep.searched = Some(self.search_for(&lost).map_err(|e| e.to_string()));
            sweep.left = lost.into_iter();
        }
    }

    /// Lists what leads to namespaces anew: threads, which takes longer, only where it must be.
    fn search_for(&mut self, lost: &[Netns]) -> Result<(), NetnsError> {
        self.sockets.list_anew()?;
        if lost.iter().any(|&netns| self.sockets.is_out_of_sight(netns)) {
            self.sockets.list_threads_anew()?;
        }
        Ok(())
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
