//! The JSON lines of `kill`: each socket that was destroyed or not, and its owners.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Clock, MonoNs};
use crate::report::kill::{After, Fate, Killed, Outcome};
use crate::report::{Ledger, Moment, Notice};
use crate::text::Text;

use super::holders::{Holder, Listener};
use super::line::Body;
use super::socket::{Peer, Socket};
use super::stuck::Verdict;
use super::totals::NoticeLine;
use super::values::{AgeMs, split, timestamp};

#[derive(Serialize, JsonSchema)]
pub(crate) struct KilledLine {
    /// When, RFC 3339, UTC.
    pub ts: String,
    pub outcome: OutcomeWord,
    /// Why it was spared, let be or not destroyed.
    pub reason: Option<String>,
    pub socket: Socket,
    /// The kernel's cookie of the socket, decimal, by which it was named to the kernel;
    /// null when it is not known.
    pub cookie: Option<String>,
    /// How long it had been in CLOSE_WAIT when the verdict was made.
    pub age_ms: AgeMs,
    /// Who had a file descriptor on it.
    pub holders: Vec<Holder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders_unknown: Option<Text>,
    /// The other end, where it is on this host; null when it is not.
    pub peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_unknown: Option<Text>,
    /// In whose accept queue it waits; null for a socket that was accepted or connected.
    pub listener: Option<Listener>,
    pub verdict: Verdict,
    /// Names the cause; the same after a restart and on another host.
    pub cause: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeWord {
    /// A dry run (without --yes): it would have been destroyed.
    WouldDestroy,
    /// The kernel has ended its connection.
    Destroyed,
    /// It was in another state by then, and was let be.
    Left,
    /// It was in no table any more.
    Gone,
    /// It was not to be destroyed: see `reason`.
    Spared,
    /// It should have been destroyed and was not: see `reason`.
    Failed,
}

impl From<&Outcome> for OutcomeWord {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::WouldDestroy => Self::WouldDestroy,
            Outcome::Destroyed => Self::Destroyed,
            Outcome::Left(_) => Self::Left,
            Outcome::Gone => Self::Gone,
            Outcome::Spared(_) => Self::Spared,
            Outcome::Failed(_) => Self::Failed,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct OwnerLine {
    /// RFC 3339, UTC.
    pub ts: String,
    pub pid: u32,
    pub comm: Text,
    /// As of a holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Text>,
    /// Destroyed sockets that it held or did not accept; in a dry run, those that would be.
    pub sockets: u64,
    /// The most descriptors it may have; null when not known.
    pub soft: Option<u64>,
    /// Its descriptors before.
    pub fds_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fds_before_unknown: Option<Text>,
    /// Its descriptors after it had time to react; null in a dry run, and when it has ended.
    pub fds_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fds_after_unknown: Option<Text>,
    /// How many of the destroyed sockets it still has a descriptor on; null as above.
    pub open: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_unknown: Option<Text>,
    /// Only there when true: it has ended meanwhile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

impl From<&Fate> for OwnerLine {
    fn from(owner: &Fate) -> Self {
        let (before, fds_before_unknown) = split(&owner.before, |nofile| *nofile);
        let (after, open) = match &owner.after {
            Some(After::Runs { used, open }) => (split(used, |n| *n), split(open, |n| *n)),
            Some(After::Ended) | None => ((None, None), (None, None)),
        };
        Self {
            ts: String::new(),
            pid: owner.pid,
            comm: owner.comm.clone(),
            program: owner.program.clone(),
            sockets: owner.sockets,
            soft: before.map(|nofile| nofile.soft),
            fds_before: before.map(|nofile| nofile.used),
            fds_before_unknown,
            fds_after: after.0,
            fds_after_unknown: after.1,
            open: open.0,
            open_unknown: open.1,
            ended: owner.after == Some(After::Ended),
        }
    }
}

/// Writes what became of one socket.
pub fn killed(out: &mut dyn Write, killed: &Killed<'_>, clock: &Clock) -> io::Result<()> {
    let finding = killed.finding;
    let (holders, holders_unknown) =
        split(&finding.evidence.holders, |holders| holders.iter().map(Holder::from).collect());
    let (peer, peer_unknown) = split(&finding.evidence.local_peer, |peer| peer.as_ref().map(Peer::from));
    let line = KilledLine {
        ts: timestamp(clock, killed.at),
        outcome: (&killed.outcome).into(),
        reason: killed.outcome.reason(),
        socket: Socket::new(
            finding.suspect.tuple,
            finding.suspect.netns,
            finding.suspect.mptcp,
            Some(finding),
        ),
        cookie: killed.cookie().map(|cookie| cookie.to_string()),
        age_ms: finding.age().into(),
        holders: holders.unwrap_or_default(),
        holders_unknown,
        peer: peer.flatten(),
        peer_unknown,
        listener: finding.evidence.listener.known().map(Listener::from),
        verdict: finding.into(),
        cause: finding.cause.to_string(),
    };
    super::write_line(out, Body::Killed(Box::new(line)))
}

/// Writes what became of an owner's descriptors.
pub fn owner(out: &mut dyn Write, owner: &Fate, clock: &Clock, at: MonoNs) -> io::Result<()> {
    let line = OwnerLine { ts: timestamp(clock, at), ..owner.into() };
    super::write_line(out, Body::Owner(line))
}

/// Writes something about the whole.
pub fn notice(out: &mut dyn Write, notice: &Notice, clock: &Clock, now: MonoNs) -> io::Result<()> {
    let at = Moment { now, clock, ledger: &Ledger::default() };
    super::write_line(out, Body::Notice(NoticeLine::new(notice, at)))
}
