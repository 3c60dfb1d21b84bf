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

/// When a socket entered CLOSE_WAIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// The transition itself was seen.
    Seen(MonoNs),
    /// It was in CLOSE_WAIT when first seen (a snapshot): entered no later than this.
    NoLaterThan(MonoNs),
}

/// A socket that has been in CLOSE_WAIT for at least the threshold.
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
    /// When it entered CLOSE_WAIT.
    pub since: Since,
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
