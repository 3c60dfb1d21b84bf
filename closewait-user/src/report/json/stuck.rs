//! The lines about one socket: `stuck`, `ghost`, which has its shape, and `released`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Clock, MonoNs};
use crate::report::model::{Age, Ending, Finding, Release, bounds, entered};
use crate::tcp::State;
use crate::text::Text;
use crate::tracker::{INFERRED_WITHIN, Since, SuspectKind};
use crate::verdict::{self, Code, Confidence};

use super::holders::{Holder, Listener};
use super::limits::{Growth, Limits};
use super::socket::{Keepalive, Peer, Queues, Socket};
use super::tasks::{CloserLine, EofRead, Opener};
use super::threads::Threads;
use super::values::{AgeMs, millis, split, timestamp};

#[derive(Serialize, JsonSchema)]
pub(crate) struct Stuck {
    /// When the verdict was made, RFC 3339, UTC.
    ts: String,
    /// Only there when true: the socket was reported before, and its verdict or
    /// holders have changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    update: bool,
    /// The kernel's name of the state. Null: the socket left, its new state was not seen.
    state: Option<&'static str>,
    socket: Socket,
    /// When it entered CLOSE_WAIT; null when that is known only as bounds (see `age_ms`).
    since: Option<String>,
    /// Only there when the edge itself was not seen, and the kernel's own times of the
    /// socket tell `since` (and `age_ms`): it is right within so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_within_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_unknown: Option<&'static str>,
    /// Only there when true: it entered CLOSE_WAIT while the trace ran, the record of
    /// that was lost, and a later look found it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
    age_ms: AgeMs,
    /// Who accepted or connected it.
    opener: Option<Opener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opener_unknown: Option<Text>,
    /// The read that returned 0 because the peer had closed. Null without
    /// `eof_read_unknown`: reads were watched, and there was none.
    eof_read: Option<EofRead>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eof_read_unknown: Option<Text>,
    /// Who has a file descriptor on it.
    holders: Vec<Holder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holders_unknown: Option<Text>,
    /// What the threads of the process to blame do, where that explains the socket
    /// (NOT_ACCEPTED, NOT_READING, EOF_IGNORED).
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<Threads>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads_unknown: Option<Text>,
    /// In whose accept queue it waits; null for a socket that was accepted or connected.
    listener: Option<Listener>,
    /// The other end of the connection; null when it is not on this host.
    peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_unknown: Option<Text>,
    /// Null when the socket could not be looked at.
    keepalive: Option<Keepalive>,
    /// Null when the socket could not be looked at.
    queues: Option<Queues>,
    /// Why the socket could not be looked at, or not twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    look_unknown: Option<Text>,
    limits: Limits,
    /// How fast the stuck sockets of the process to blame become more; null with the
    /// reason in `growth_unknown`, as before they were counted for a minute.
    growth: Option<Growth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_unknown: Option<Text>,
    /// Null only in `released`, when what was reported has not been kept.
    verdict: Option<Verdict>,
    /// Names the cause; the same after a restart and on another host.
    cause: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    code: Code,
    /// Other codes that hold too.
    also: Vec<Code>,
    confidence: Confidence,
    /// Null: the evidence cannot tell.
    leak: Option<bool>,
    evidence: Vec<String>,
    /// Evidence that would have helped.
    missing: Vec<String>,
    /// What to do.
    next: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Released {
    #[serde(flatten)]
    socket: Stuck,
    /// How it ended.
    how: Option<Ending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    how_unknown: Option<Text>,
    /// The error the connection ended with, an errno: 32 or 104 a reset by the peer, 110
    /// a timeout, 103 destroyed by `closer`. Only there when it ended with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<u32>,
    /// Who ended it.
    closer: Option<CloserLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closer_unknown: Option<Text>,
}

impl Stuck {
    pub(super) fn new(f: &Finding, clock: &Clock) -> Self {
        let evidence = &f.evidence;
        let look = evidence.looks.last().map(|l| &l.socket);
        let ghost = matches!(f.suspect.kind, SuspectKind::Ghost { .. });
        let (since, since_unknown) = since(entered(&f.suspect), f.suspect.missed, clock);
        let (opener, opener_unknown) = split(&evidence.opener, Opener::from);
        let (eof_read, eof_read_unknown) =
            split(&evidence.eof_read, |read| read.as_ref().map(|read| EofRead::new(read, clock)));
        let listener = evidence.listener.known().map(Listener::from);
        // A socket nobody accepted has no holders: that is known, whatever a scan said.
        let (holders, holders_unknown) = if listener.is_some() {
            (None, None)
        } else {
            split(&evidence.holders, |holders| holders.iter().map(Holder::from).collect())
        };
        let (threads, threads_unknown) = match f.threads() {
            Some(threads) => split(threads, |threads| Threads::from(&**threads)),
            None => (None, None),
        };
        let nofile = f.owner().known().and_then(|h| h.nofile.known().copied());
        let (growth, growth_unknown) = split(&evidence.growth, |growth| Growth::new(growth, nofile));
        let (peer, peer_unknown) = split(&evidence.local_peer, |peer| peer.as_ref().map(Peer::from));
        Self {
            ts: timestamp(clock, f.at),
            update: f.update,
            state: Some(if ghost { "CLOSE" } else { "CLOSE_WAIT" }),
            socket: Socket::new(f.suspect.tuple, f.suspect.netns, f.suspect.mptcp, Some(f)),
            since,
            since_within_ms: if ghost { None } else { within(f.suspect.since) },
            since_unknown,
            missed: f.suspect.missed,
            age_ms: f.age().into(),
            opener,
            opener_unknown,
            eof_read: eof_read.flatten(),
            eof_read_unknown,
            holders: holders.unwrap_or_default(),
            holders_unknown,
            threads,
            threads_unknown,
            listener,
            peer: peer.flatten(),
            peer_unknown,
            keepalive: look.map(|_| Keepalive::from(&evidence.keepalive)),
            queues: look.map(Queues::from),
            look_unknown: evidence.look_failed.as_ref().map(Text::from),
            limits: Limits::new(f),
            growth,
            growth_unknown,
            verdict: Some(Verdict::from(f)),
            cause: Some(f.cause.to_string()),
        }
    }

    /// Of a socket whose finding is not at hand any more.
    fn not_kept(r: &Release) -> Self {
        let unknown = || Some(Text::from(NOT_KEPT));
        Self {
            ts: String::new(),
            update: false,
            state: None,
            socket: Socket::new(r.released.tuple, r.released.netns, false, None),
            since: None,
            since_within_ms: None,
            since_unknown: None,
            missed: false,
            age_ms: AgeMs { min: 0, max: None },
            opener: None,
            opener_unknown: unknown(),
            eof_read: None,
            eof_read_unknown: unknown(),
            holders: Vec::new(),
            holders_unknown: unknown(),
            threads: None,
            threads_unknown: None,
            listener: None,
            peer: None,
            peer_unknown: unknown(),
            keepalive: None,
            queues: None,
            look_unknown: unknown(),
            limits: Limits { nofile: None, nofile_unknown: unknown(), ports: None, ports_unknown: unknown() },
            growth: None,
            growth_unknown: unknown(),
            verdict: None,
            cause: None,
        }
    }
}

impl From<&Finding> for Verdict {
    fn from(f: &Finding) -> Self {
        let verdict::Verdict { code, also, confidence, leak } = f.verdict.clone();
        let verdict::Words { evidence, missing, next } = f.says().into_owned();
        Self { code, also, confidence, leak, evidence, missing, next }
    }
}

impl Released {
    pub(super) fn new(r: &Release, clock: &Clock) -> Self {
        let released = &r.released;
        let mut socket = match &r.before {
            Some(f) => Stuck::new(f, clock),
            None => Stuck::not_kept(r),
        };
        socket.ts = timestamp(clock, released.at);
        socket.update = false;
        socket.state = released.to.map(State::name);
        let entered = bounds(released.since, released.not_before);
        (socket.since, socket.since_unknown) = since(entered, false, clock);
        socket.since_within_ms = within(released.since);
        socket.age_ms = Age::between(entered.0, entered.1, released.at).into();
        socket.cause = r.cause.map(|c| c.to_string());
        let (how, how_unknown) = split(&r.how, |h| *h);
        let (closer, closer_unknown) = split(&r.closer, CloserLine::from);
        Self { socket, how, how_unknown, error: r.error(), closer, closer_unknown }
    }
}

const SINCE_UNKNOWN: &str = "it was there before this trace began; age_ms holds what is known";
const SINCE_MISSED: &str = "the record of its entry was lost; age_ms holds what is known";
const NOT_KEPT: &str = "see the line that reported this socket";

/// When it got stuck, if that is known exactly.
fn since(
    (latest, earliest): (MonoNs, Option<MonoNs>),
    missed: bool,
    clock: &Clock,
) -> (Option<String>, Option<&'static str>) {
    if earliest == Some(latest) {
        return (Some(timestamp(clock, latest)), None);
    }
    (None, Some(if missed { SINCE_MISSED } else { SINCE_UNKNOWN }))
}

/// How closely `since` is known, when it is not the edge itself that tells.
fn within(since: Since) -> Option<u64> {
    matches!(since, Since::Inferred(_)).then(|| millis(INFERRED_WITHIN))
}
