//! The verdict: why a socket is stuck, from evidence alone. Pure: a suspect, its
//! evidence and `now` in, one verdict out; no I/O, no clock, never a guess.
//!
//! Each code has a rule, a function from a case to what it found, if anything.
//! The rules are asked in the order of [`RULES`]; the first that can explain the
//! socket is the verdict, the others that hold go to [`Verdict::also`]. A rule
//! about change needs two looks at the same socket [`Policy::two_looks`] apart;
//! with one it may answer provisionally, of low confidence, never that it leaks.

mod case;
mod draining;
mod event_loop;
mod evidence;
mod explain;
mod ghost;
mod held_up;
mod holding;
mod kept;
mod looks;
mod packed;
mod pod;
mod pool;
mod reading;
mod rhythm;
mod sending;
#[cfg(test)]
mod tests;
mod threads;
mod usage;

pub use draining::Drained;
pub use evidence::*;
pub use explain::{Explanation, explain};
pub use kept::{Kept, Shared};
pub use packed::PackedLook;
pub use pod::{Pod, PodName};
pub use rhythm::{Rhythms, Sent};
pub use threads::{Doing, Group, Progress, Target, Thread, Threads};

use serde::{Deserialize, Serialize};

use crate::clock::MonoNs;
use crate::tcp::State;
use crate::tracker::{Since, Suspect, SuspectKind};

use case::{Case, Finding, Rank};

/// Verdict codes. Part of the contract with users' scripts.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
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
    /// Whether it is of a ghost.
    pub const fn is_ghost(self) -> bool {
        matches!(self, Self::GhostReset | Self::GhostShutdown | Self::GhostTimeout | Self::GhostDestroyed)
    }

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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Why it is stuck.
    pub code: Code,
    /// Other codes that hold too.
    pub also: Vec<Code>,
    /// How sure.
    pub confidence: Confidence,
    /// Whether it is a leak; `None` when the evidence cannot tell.
    pub leak: Option<bool>,
}

/// A verdict in sentences.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Words {
    /// What it rests on: short sentences with numbers.
    pub evidence: Vec<String>,
    /// What would have helped and is missing.
    pub missing: Vec<String>,
    /// One sentence on what to do.
    pub next: String,
}

/// The rules, in order.
const RULES: [fn(&Case) -> Option<Finding>; 11] = [
    holding::not_accepted,
    sending::peer_gone,
    sending::sending,
    sending::send_blocked,
    holding::unheld,
    holding::inherited,
    reading::eof_ignored,
    reading::slow_reader,
    reading::idle_pool,
    reading::not_reading,
    reading::eof_consumed,
];

/// Decides why `suspect` is stuck, or what made it a ghost.
pub fn verdict(suspect: &Suspect, evidence: &Evidence, now: MonoNs, policy: &Policy) -> Verdict {
    let (Finding { code, confidence, leak, .. }, also) = decide(&Case::new(suspect, evidence, now, policy));
    Verdict { code, also, confidence, leak }
}

/// What the same verdict rests on, in sentences that are read at `told`: what happened once was so
/// long ago then. What goes on is known up to `now` only.
pub fn words(suspect: &Suspect, evidence: &Evidence, now: MonoNs, told: MonoNs, policy: &Policy) -> Words {
    let case = Case { says: true, told, ..Case::new(suspect, evidence, now, policy) };
    decide(&case).0.words.unwrap_or_default()
}

/// The finding that is the verdict, and the other codes that hold.
fn decide(case: &Case) -> (Finding, Vec<Code>) {
    let suspect = case.suspect;
    if let SuspectKind::Ghost { closed, from } = suspect.kind {
        let ghost = ghost::ghost(case, closed, from);
        // Who shut it down did act on the EOF.
        let ignored = ghost.code != Code::GhostShutdown && ghost::was_told_eof(case);
        return (ghost, if ignored { vec![Code::EofIgnored] } else { Vec::new() });
    }
    let left = case.socket().filter(|socket| socket.state != State::CloseWait);
    let mut found: Vec<_> = match left {
        Some(_) => Vec::new(),
        None => RULES.iter().filter_map(|rule| rule(case)).collect(),
    };
    let first = found.iter().position(|finding| finding.rank != Rank::Also);
    let mut chosen = first.map_or_else(|| unknown(case), |index| found.remove(index));
    let also = found.iter().filter(|finding| finding.rank != Rank::Provisional).map(|finding| finding.code);
    let also = also.collect();
    how_to_see_more(case, &mut chosen);
    held_up::take_back(case, &mut chosen);
    if suspect.missed {
        chosen.missing(
            "the record of its entry into CLOSE_WAIT: it was lost, and a later look found the socket",
        );
    }
    (chosen, also)
}

/// Where the code that is to be mended is not known because the socket is older than the trace:
/// how to see that of the next one.
fn how_to_see_more(case: &Case, finding: &mut Finding) {
    let wants_stacks =
        matches!(finding.code, Code::EofConsumed | Code::NotReading | Code::Inherited | Code::Unheld);
    let is_older = !case.suspect.missed && !matches!(case.suspect.since, Since::Seen(_));
    let unknown = case.evidence.opener.known().is_none() && case.evidence.ended.is_none();
    if !(wants_stacks && is_older && unknown && finding.leak != Some(false)) {
        return;
    }
    match case.evidence.watching {
        Watching::Traced => finding.add_next("Leave this running: the next one shows the stack."),
        Watching::Snapshot => finding.add_next("For stacks of the next ones run `closewait-trace`."),
        Watching::Impossible | Watching::Unknown => {}
    }
}

/// No rule can explain it: says what was looked at, and what was not.
fn unknown(case: &Case) -> Finding {
    let next =
        "Run again with what is missing available; `closewait-trace doctor` tells what this kernel offers.";
    let finding = Finding::new(case, Code::Unknown, None, next).at_most(Confidence::Low);
    let mut finding = match case.socket() {
        Some(socket) if socket.state != State::CloseWait => {
            let mut finding = finding.because(format_args!("it is in {} by now", socket.state));
            finding.next("Nothing: it has left CLOSE_WAIT.");
            finding
        }
        Some(socket) => finding.because(format_args!(
            "Recv-Q {}, Send-Q {}, inode {}",
            socket.recv_q, socket.send_q, socket.inode
        )),
        None => finding,
    };
    if let looks::Looks::None(why) | looks::Looks::One(_, why) = &case.looks {
        finding.missing(why);
    }
    let facts = [
        ("opener", case.evidence.opener.reason()),
        ("holders", case.evidence.holders.reason()),
        ("EOF evidence", case.evidence.eof_read.reason()),
    ];
    for (what, reason) in facts {
        if let Some(reason) = reason {
            finding.missing(format_args!("{what}: {reason}"));
        }
    }
    finding
}
