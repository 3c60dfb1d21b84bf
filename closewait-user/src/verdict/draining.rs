//! What was read after the FIN: whether a slow reader is at work although nothing was read
//! between the two looks, and when its silence becomes too long for that. Pure.
//!
//! Nothing follows a FIN, so a receive queue that is shorter than at any look before has been
//! read from, however far apart those looks are: what they told is remembered of a socket until
//! it ends. How fast it is read is up to the reader, who may work on a part for minutes.

use std::time::Duration;

use hashbrown::HashMap;

use super::case::{Case, Finding, Time};
use super::rhythm::{PAUSES, SILENCE};
use super::{Confidence, Evidence};
use crate::clock::MonoNs;
use crate::tracker::SocketId;

/// Who closes so soon after the EOF was told has not ignored it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What was read after the FIN, as far as looks told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Drained {
    /// The first look.
    pub from: MonoNs,
    /// Bytes read since then.
    pub bytes: u32,
    /// The look that told of the newest read.
    pub last: MonoNs,
    /// The longest time between two looks that told of a read.
    pub pause: Duration,
}

/// What looks have told of sockets with something to read.
#[derive(Debug, Default)]
pub(super) struct Readers(HashMap<SocketId, Reader>);

#[derive(Debug)]
struct Reader {
    /// Unread at the newest look.
    unread: u32,
    from: MonoNs,
    /// Most are read by nobody.
    drained: Option<Box<Drained>>,
}

impl Readers {
    /// Takes note of the looks in the evidence of a socket.
    pub(super) fn note(&mut self, id: SocketId, evidence: &Evidence) {
        for look in &evidence.looks {
            let unread = look.socket.recv_q;
            if let Some(known) = self.0.get_mut(&id) {
                known.note(look.at, unread);
            } else if unread > 1 {
                // Of the FIN alone there is nothing to be read slowly.
                self.0.insert(id, Reader { unread, from: look.at, drained: None });
            }
        }
    }

    /// What was read of one, if anything.
    pub(super) fn of(&self, id: SocketId) -> Option<Drained> {
        self.0.get(&id)?.drained.as_deref().copied()
    }

    /// It has ended.
    pub(super) fn forget(&mut self, id: SocketId) {
        self.0.remove(&id);
    }
}

impl Reader {
    fn note(&mut self, at: MonoNs, unread: u32) {
        let bytes = self.unread.saturating_sub(unread);
        if bytes == 0 {
            return;
        }
        self.unread = unread;
        let new = || Box::new(Drained { from: self.from, bytes: 0, last: at, pause: Duration::ZERO });
        let drained = self.drained.get_or_insert_with(new);
        drained.bytes = drained.bytes.saturating_add(bytes);
        drained.pause = drained.pause.max(at.since(drained.last));
        drained.last = at;
    }
}

/// `7000 bytes were read in the last 21.1 s, none in the last 10.3 s`
fn says(case: &Case, drained: &Drained) -> String {
    case.say(format_args!(
        "{} bytes were read in the last {}, none in the last {}",
        drained.bytes,
        Time(case.now.since(drained.from)),
        Time(case.now.since(drained.last))
    ))
}

/// For how long it may be silent. Who has ended without closing it does not go on: a pause at the end is
/// no longer than those before.
fn may_be_silent(case: &Case, drained: &Drained) -> Duration {
    let as_before = drained.pause.saturating_mul(PAUSES);
    let was_left = case.evidence.ended.as_ref().is_some_and(|end| end.closed_after.is_none());
    if was_left { as_before } else { SILENCE.max(as_before) }
}

/// `finding`, that it is still read, where it was not too long ago, and there is something left.
pub(super) fn goes_on(case: &Case, finding: Finding) -> Option<Finding> {
    let drained = case.evidence.drained?;
    let is_left = case.socket()?.recv_q > 0 || case.evidence.ended.is_some();
    let silent = case.now.since(drained.last);
    (is_left && silent <= may_be_silent(case, &drained)).then(|| finding.because(says(case, &drained)))
}

/// `finding`, that nobody reads it, less sure where somebody has.
pub(super) fn fell_silent(case: &Case, finding: Finding) -> Finding {
    match case.evidence.drained {
        Some(drained) => finding.because(says(case, &drained)).at_most(Confidence::Medium),
        None => finding,
    }
}

/// Whether it was closed, if late, as soon as whoever had read it slowly was told the EOF.
pub(super) fn closed_at(case: &Case, eof: MonoNs) -> bool {
    let was_closed = case.evidence.ended.as_ref().is_some_and(|end| end.closed_after.is_some());
    let soon = case.looks.last().is_some_and(|end| end.at.since(eof) <= AT_ONCE);
    case.evidence.drained.is_some() && was_closed && soon
}
