//! The verdict: why a socket is stuck, from evidence alone. Pure.

mod evidence;

pub use evidence::*;

use serde::{Deserialize, Serialize};

/// Verdict codes. Part of the contract with users' scripts.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Still in a listener's accept queue.
    NotAccepted,
    /// The peer is unreachable.
    PeerGone,
    /// A legitimate half-close: data is still going out.
    Sending,
    /// Wants to send and cannot.
    SendBlocked,
    /// No process has a file descriptor on it.
    Unheld,
    /// Held by a process other than the opener.
    Inherited,
    /// The application was told EOF and did not close.
    EofIgnored,
    /// Still reading.
    SlowReader,
    /// A client keeps connections that its server closed.
    IdlePool,
    /// Held, with unread data or FIN, and nothing reads it.
    NotReading,
    /// The EOF left the queue, no read of 0 was seen.
    EofConsumed,
    /// Not enough evidence.
    Unknown,
    /// Ghost: ended by a RST.
    GhostReset,
    /// Ghost: shut down, never closed.
    GhostShutdown,
    /// Ghost: ended by keepalive or user timeout.
    GhostTimeout,
    /// Ghost: destroyed from outside.
    GhostDestroyed,
}

impl Code {
    /// As it is printed, and as the contract spells it: `EOF_IGNORED`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAccepted => "NOT_ACCEPTED",
            Self::PeerGone => "PEER_GONE",
            Self::Sending => "SENDING",
            Self::SendBlocked => "SEND_BLOCKED",
            Self::Unheld => "UNHELD",
            Self::Inherited => "INHERITED",
            Self::EofIgnored => "EOF_IGNORED",
            Self::SlowReader => "SLOW_READER",
            Self::IdlePool => "IDLE_POOL",
            Self::NotReading => "NOT_READING",
            Self::EofConsumed => "EOF_CONSUMED",
            Self::Unknown => "UNKNOWN",
            Self::GhostReset => "GHOST_RESET",
            Self::GhostShutdown => "GHOST_SHUTDOWN",
            Self::GhostTimeout => "GHOST_TIMEOUT",
            Self::GhostDestroyed => "GHOST_DESTROYED",
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How sure a verdict is.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum Confidence {
    Low,
    Medium,
    High,
}

/// The decision about one socket.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Why it is stuck.
    pub code: Code,
    /// Other codes that hold too.
    pub also: Vec<Code>,
    /// How sure.
    pub confidence: Confidence,
    /// Whether it is a leak; `None` when the evidence cannot tell.
    pub leak: Option<bool>,
    /// What it rests on: short sentences with numbers.
    pub evidence: Vec<String>,
    /// What would have helped and is missing.
    pub missing: Vec<String>,
    /// One sentence on what to do.
    pub next: String,
}
