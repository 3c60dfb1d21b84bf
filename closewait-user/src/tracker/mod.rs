//! The tracker: a timer for each socket in CLOSE_WAIT. Pure: Items and `now` in,
//! suspects and outcomes out; no I/O, no clock, no threads, no judgement.

use crate::clock::MonoNs;
use crate::item::{By, Netns, SkAddr};
use crate::tcp::{State, Tuple};

/// One life of a socket in the tracker. Equal ids name the same life, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SocketId {
    /// An id from its parts, for suspects that no tracker made (tests).
    /// Ids of different trackers say nothing about each other.
    pub const fn from_parts(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }
}

/// When a socket entered CLOSE_WAIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// The transition itself was seen.
    Seen(MonoNs),
    /// It was in CLOSE_WAIT when first seen (a snapshot): entered no later than this.
    NoLaterThan(MonoNs),
}

/// What a suspect is suspected of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SuspectKind {
    /// It sits in CLOSE_WAIT.
    Stuck,
    /// Its connection ended while a file referred to it: `ss` shows nothing any
    /// more, the descriptor may still be held.
    Ghost {
        /// When it went to CLOSE; the threshold counts from here.
        closed: MonoNs,
        /// From where: CLOSE_WAIT (reset, timeout, destroyed) or LAST_ACK (shut down, never closed).
        from: State,
    },
}

/// A socket that has been in CLOSE_WAIT, or a ghost, for at least the threshold.
#[derive(Clone, PartialEq, Debug)]
pub struct Suspect {
    /// Which life of which socket.
    pub id: SocketId,
    /// Its kernel address; `None` when only a snapshot has shown it.
    pub sk: Option<SkAddr>,
    /// Its network namespace.
    pub netns: Netns,
    /// Both ends.
    pub tuple: Tuple,
    /// Stuck, or a ghost.
    pub kind: SuspectKind,
    /// When it entered CLOSE_WAIT.
    pub since: Since,
    /// It cannot have entered before this; `None` when nothing bounds its age.
    pub not_before: Option<MonoNs>,
    /// An MPTCP socket.
    pub mptcp: bool,
    /// Records were lost since it entered: it may have left already, and must be
    /// confirmed before it is reported.
    pub tainted: bool,
}

/// A socket left CLOSE_WAIT.
#[derive(Clone, PartialEq, Debug)]
pub struct Released {
    /// Which life of which socket.
    pub id: SocketId,
    /// Its network namespace.
    pub netns: Netns,
    /// Both ends.
    pub tuple: Tuple,
    /// When it had entered.
    pub since: Since,
    /// When it left; the end of the snapshot that no longer showed it, when the edge itself was lost.
    pub at: MonoNs,
    /// Where to; `None` when only its absence from a snapshot tells.
    pub to: Option<State>,
    /// Who made the edge.
    pub by: Option<By>,
    /// It had been handed out as a suspect before.
    pub was_suspect: bool,
}
