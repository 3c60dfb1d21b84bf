//! Ends of sockets that had been reported, and the last word on those of a gate's command.

use std::io;

use super::{Driver, release};
use crate::clock::{Clock, MonoNs};
use crate::enrich::holders::still_holds;
use crate::fact::Fact;
use crate::report::{Member, Report};
use crate::tcp::State;
use crate::tracker::{Outcome, Released, Since, SocketId};

impl Driver {
    /// Reports the ends of sockets that had been reported.
    pub(super) async fn release(&mut self, clock: &Clock, now: MonoNs, last: bool) -> io::Result<()> {
        let mut outcomes = std::mem::take(&mut self.outcomes).into_iter().peekable();
        // Of all of them together: the ring is not drained meanwhile.
        let until = Clock::mono_now() + release::STACK_WAIT;
        while let Some(outcome) = outcomes.next() {
            let (released, ending) = match outcome {
                Outcome::Released(released) if self.has_ended(released.id) => {
                    if let Some(Outcome::ClosedWithFile { .. }) = outcomes.peek() {
                        // Its descriptor went with its process: no ghost.
                        outcomes.next();
                    }
                    self.last_word(&released, clock, now).await?;
                    (released, None)
                }
                Outcome::Released(released) => match outcomes.peek() {
                    Some(Outcome::ClosedWithFile { ghost, was: Some(was), .. }) if *was == released.id => {
                        let ghost = *ghost;
                        self.haunts(ghost, released, clock, now);
                        continue;
                    }
                    _ if self.is_only_shut(&released) => {
                        self.shut.hold(released, now);
                        continue;
                    }
                    _ => {
                        self.closed(&released, clock, now).await?;
                        (released, None)
                    }
                },
                Outcome::ClosedWithFile { ghost, was, .. } => {
                    if let Some(released) = was.and_then(|was| self.shut.take(was)) {
                        self.haunts(ghost, released, clock, now);
                    }
                    continue;
                }
                Outcome::GhostEnded { ghost, netns, tuple, closed, at, seen, exiting, was_suspect } => {
                    self.judge.ended(ghost, now);
                    let since = Since::Seen(closed);
                    let life = Released {
                        id: ghost,
                        netns,
                        tuple,
                        since,
                        not_before: None,
                        at,
                        to: None,
                        by: None,
                        was_suspect,
                    };
                    if self.kin.as_ref().is_some_and(|kin| kin.has_ended(ghost) || kin.was_closed(ghost)) {
                        self.ghost_last_word(&life, clock, now).await?;
                    }
                    let Some(known) = self.ghosts.end(ghost) else { continue };
                    if let Some(before) = known.before {
                        // Its file was closed soon after, and it never was a ghost: what
                        // matters is the edge to CLOSE.
                        self.closed(&before, clock, now).await?;
                        (before, None)
                    } else {
                        (life, Some(release::ghost_ending(seen, exiting)))
                    }
                }
            };
            self.judge.ended(released.id, now);
            if let Some(kin) = &mut self.kin {
                kin.forget(released.id);
            }
            if !self.reporter.ledger().knows(released.id) {
                if self.apart.is_unfit(released.id) {
                    // A replay has its looks, and would take it to be there still.
                    self.tape.forgotten(released.id, now, clock);
                }
                continue;
            }
            let mut release = release::release(released, &self.stacks, until).await;
            if let Some(ending) = ending {
                release.how = ending;
            }
            self.report(Report::Released(Box::new(release)), clock, now)?;
        }
        let ledger = self.reporter.ledger();
        for (released, is_held) in self.shut.due(now, last, |id| ledger.member(id).is_some_and(is_held)) {
            self.judge.ended(released.id, now);
            let mut release = release::release(released, &self.stacks, until).await;
            if is_held {
                release.how = Fact::unknown(
                    "it was shut down and not closed: its descriptor is still open, and its peer has not answered",
                );
            }
            self.report(Report::Released(Box::new(release)), clock, now)?;
        }
        Ok(())
    }

    /// A socket closed while a file referred to it. Until it is reported as a ghost the end of its stuck
    /// life is held back; it may have been by now, where records come late (a tool that was stopped).
    fn haunts(&mut self, ghost: SocketId, stuck: Released, clock: &Clock, now: MonoNs) {
        if self.reporter.ledger().knows(ghost) {
            self.goes_on_as_ghost(stuck.id, ghost, clock, now);
        } else {
            self.ghosts.hold(ghost, stuck);
        }
    }

    /// What had been reported as stuck is reported as a ghost: that is no release.
    pub(super) fn goes_on_as_ghost(&mut self, stuck: SocketId, ghost: SocketId, clock: &Clock, now: MonoNs) {
        self.judge.haunts(stuck, ghost, now);
        self.tape.forgotten(stuck, now, clock);
        self.reporter.forget(stuck);
        if let Some(kin) = &mut self.kin {
            kin.forget(stuck);
        }
    }

    /// Whether a socket that had been reported has left CLOSE_WAIT and kept its descriptor. A
    /// gate looks at this when its process ends.
    fn is_only_shut(&self, released: &Released) -> bool {
        let known = self.reporter.ledger().member(released.id);
        released.to == Some(State::LastAck) && self.kin.is_none() && known.is_some_and(is_held)
    }

    /// Reports a socket of the family that was closed: how long it was stuck and who closed
    /// it may count, whether it was looked at in time or not.
    pub(super) async fn closed(&mut self, life: &Released, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let Some(kin) = &mut self.kin else { return Ok(()) };
        if kin.was_closed(life.id) {
            return self.last_word(life, clock, now).await;
        }
        match self.judge.closed(life.id, &self.stacks).await {
            Some(finding) if kin.wants(&finding) => {
                self.reporter.report(Report::Stuck(Box::new(finding)), clock, now)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn has_ended(&self, id: SocketId) -> bool {
        self.kin.as_ref().is_some_and(|kin| kin.has_ended(id))
    }

    /// Reports a socket that ended with its process or was closed late, if it counts.
    pub(super) async fn last_word(&mut self, life: &Released, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let Some(kin) = &mut self.kin else { return Ok(()) };
        let word = kin.at_end(life, self.judge.withdraw(life.id));
        let Some(word) = word else { return Ok(()) };
        let finding = self.judge.last_word(word, &self.stacks).await;
        // The last word is news, even if it is the same verdict.
        self.reporter.forget(life.id);
        self.reporter.report(Report::Stuck(Box::new(finding)), clock, now)
    }

    /// The same of a ghost.
    pub(super) async fn ghost_last_word(
        &mut self,
        life: &Released,
        clock: &Clock,
        now: MonoNs,
    ) -> io::Result<()> {
        let Some(kin) = &mut self.kin else { return Ok(()) };
        let word = kin.ghost_at_end(life, self.judge.withdraw(life.id));
        let Some(word) = word else { return Ok(()) };
        let finding = self.judge.last_word(word, &self.stacks).await;
        if let Some(before) = self.ghosts.confirm(life.id) {
            self.reporter.forget(before.id);
        }
        self.reporter.forget(life.id);
        self.reporter.report(Report::Ghost(Box::new(finding)), clock, now)
    }
}

/// Whether its holder has it still. (close() takes the descriptor out of the table first.)
fn is_held(member: &Member) -> bool {
    match (member.pid, member.fd, member.inode) {
        (Some(pid), Some(fd), inode) if inode != 0 => still_holds(pid, fd, inode),
        _ => false,
    }
}
