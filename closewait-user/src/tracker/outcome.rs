//! What the tracker hands out: suspects, and what came of items.

use crate::clock::MonoNs;
use crate::item::{By, Netns, SkAddr};
use crate::tcp::{State, Tuple};

/// One life of a socket in the tracker. Equal ids name the same life, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Since {
    /// The transition itself was seen.
    Seen(MonoNs),
    /// It was in CLOSE_WAIT when first seen, and the times that the kernel keeps of it
    /// tell when it entered, within [`INFERRED_WITHIN`].
    Inferred(MonoNs),
    /// It was in CLOSE_WAIT when first seen (a snapshot): entered no later than this.
    NoLaterThan(MonoNs),
}

/// What a suspect is suspected of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum SuspectKind {
    /// It sits in CLOSE_WAIT.
    Stuck,
    /// Its connection ended while a file referred to it: `ss` shows nothing any
    /// more, the descriptor may still be held.
    Ghost {
        /// When it went to CLOSE; the threshold counts from here.
        closed: MonoNs,
        /// From where: CLOSE_WAIT (reset, timeout, destroyed) or LAST_ACK (shut down, never
        /// closed). CLOSE: it was found closed, by `closed` at the latest.
        from: State,
    },
}

/// A socket that has been in CLOSE_WAIT, or a ghost, for at least the threshold.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
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
    /// It entered while the trace ran and the record of that was lost: only a look
    /// found it.
    #[serde(default)]
    pub missed: bool,
    /// An MPTCP socket.
    pub mptcp: bool,
    /// Records were lost since it entered: it may have left already, and must be
    /// confirmed before it is reported.
    pub tainted: bool,
}

impl Suspect {
    /// Whether it is a ghost whose close was not seen.
    pub fn was_found_closed(&self) -> bool {
        matches!(self.kind, SuspectKind::Ghost { from: State::Close, .. })
    }
}

/// A socket left CLOSE_WAIT.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Released {
    /// Which life of which socket.
    pub id: SocketId,
    /// Its network namespace.
    pub netns: Netns,
    /// Both ends.
    pub tuple: Tuple,
    /// When it had entered.
    pub since: Since,
    /// It cannot have entered before this; `None` when nothing bounds its age.
    #[serde(default)]
    pub not_before: Option<MonoNs>,
    /// When it left; the end of the snapshot that no longer showed it, when the edge itself was lost.
    pub at: MonoNs,
    /// Where to; `None` when only its absence from a snapshot tells.
    pub to: Option<State>,
    /// Who made the edge.
    pub by: Option<By>,
    /// It had been handed out as a suspect before.
    pub was_suspect: bool,
}

/// What came of an item.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// A socket left CLOSE_WAIT.
    Released(Released),
    /// A socket went to CLOSE while a file referred to it. An application that
    /// aborts does this too: its [`Outcome::GhostEnded`] follows at once.
    ClosedWithFile {
        /// The life that begins.
        ghost: SocketId,
        /// The life in CLOSE_WAIT before it, when that is remembered.
        was: Option<SocketId>,
        /// When.
        at: MonoNs,
        /// From CLOSE_WAIT or LAST_ACK; CLOSE when it was found there.
        from: State,
        /// Number of the file's inode; 0 when not told.
        inode: u64,
    },
    /// A ghost is over.
    GhostEnded {
        /// The life that ends.
        ghost: SocketId,
        /// Its network namespace.
        netns: Netns,
        /// Both ends.
        tuple: Tuple,
        /// When it had closed.
        closed: MonoNs,
        /// When it ended.
        at: MonoNs,
        /// Its end was seen; otherwise it was inferred, and came no later than `at`.
        seen: bool,
        /// Whether the task that closed the file was ending; `None` when not known.
        exiting: Option<bool>,
        /// It had been handed out as a suspect.
        was_suspect: bool,
    },
}
