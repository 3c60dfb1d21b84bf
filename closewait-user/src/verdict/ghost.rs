//! Ghosts: TCP is gone, a file descriptor is not. Why TCP ended names the code.

use super::case::{Case, Finding, Time, name};
use super::pool::{self, Kept};
use super::{Code, Confidence, Role};
use std::fmt;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::tcp::State;

/// A socket found closed is not called a leak before it has been so for this long: what polls
/// for events, as Java does and Tomcat once a second, gives a descriptor back at its next turn.
const WATCHED: Duration = Duration::from_secs(2);

/// The verdict on a ghost that closed at `closed`, from `from`.
pub(super) fn ghost(case: &Case, closed: MonoNs, from: State) -> Finding {
    let who = case.who();
    let error = case.evidence.sock_error.known().and_then(|error| i32::try_from(*error).ok());
    let (code, how, next) = match (from, error) {
        (State::LastAck, _) => (
            Code::GhostShutdown,
            "it was shut down, and both sides finished",
            case.say(format_args!(
                "Call close() in {who}: shutdown() ends the connection, not the descriptor."
            )),
        ),
        (_, Some(libc::ECONNABORTED)) => (
            Code::GhostDestroyed,
            "it was destroyed from outside (SOCK_DESTROY, as by ss -K)",
            case.say(format_args!(
                "Close it in {who}: destroying the socket freed its memory, not the descriptor."
            )),
        ),
        (_, Some(libc::ETIMEDOUT)) => (
            Code::GhostTimeout,
            "keepalive or the user timeout gave up on the peer",
            case.say(format_args!("Have {who} watch for errors (EPOLLERR, SO_ERROR), and close.")),
        ),
        (State::Close, Some(0)) => (
            Code::GhostShutdown,
            "no error is left on it, as after a shutdown (or whoever reset it was told already)",
            case.say(format_args!(
                "Call close() in {who}: shutdown() ends the connection, not the descriptor."
            )),
        ),
        (State::Close, None) => (
            Code::GhostReset,
            "reset by the peer or shut down, it cannot be told which",
            case.say(format_args!("Have {who} watch for errors (EPOLLERR, SO_ERROR), and close.")),
        ),
        _ => (
            Code::GhostReset,
            "the peer reset it",
            case.say(format_args!("Have {who} watch for errors (EPOLLERR, SO_ERROR), and close.")),
        ),
    };
    let (ago, at_least) = (Time(case.told.since(closed)), Time(case.now.since(closed)));
    let mut finding = Finding::new(case, code, Some(true), next).because(match from {
        State::CloseWait | State::LastAck => case.say(format_args!("{from} -> CLOSE {ago} ago: {how}")),
        _ => case.say(format_args!(
            "in CLOSE for {at_least} at least: {how}; it may have come from another state than CLOSE_WAIT"
        )),
    });
    if from == State::Close && case.suspect.tuple.remote.port == 0 {
        finding = finding.without("the remote end: a closed socket does not tell it", Confidence::Medium);
    }
    if from == State::Close && case.now.since(closed) < WATCHED {
        finding.leak = None;
        finding = finding.without("a longer watch: it may be about to be closed", Confidence::Low);
    }
    if from != State::LastAck {
        finding = match &case.evidence.sock_error {
            Fact::Known(0) => finding.without("a cause: the socket has no error", Confidence::Low),
            Fact::Known(error) => finding.because(format_args!("the kernel reported {}", Errno(*error))),
            Fact::Unknown(reason) => {
                finding.without(format_args!("the socket's error: {reason}"), Confidence::Low)
            }
        };
    }
    match &case.evidence.holders {
        Fact::Known(holders) if holders.is_empty() => {
            finding.leak = None;
            finding = finding.because("no process has a descriptor on it any more").at_most(Confidence::Low);
        }
        Fact::Known(_) => finding = finding.because(format_args!("held by {who}")),
        Fact::Unknown(reason) => {
            finding.leak = None;
            finding = finding.without(format_args!("holders: {reason}"), Confidence::Low);
        }
    }
    if code != Code::GhostShutdown
        && let Fact::Known(Some(read)) = &case.evidence.eof_read
    {
        let reader = name(&read.task);
        let ago = Time(case.told.since(read.at));
        finding = finding.because(format_args!("a read by {reader} had returned 0 {ago} ago"));
        finding.next(format_args!(
            "Call close() where {reader} got 0 from its read (see the EOF stack): it was due there, before the \
             connection ended."
        ));
    }
    of_idle_pool(case, finding)
}

/// An errno by its name, where a connection can end with it.
struct Errno(u32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match i32::try_from(self.0) {
            Ok(libc::EPIPE) => "EPIPE",
            Ok(libc::ECONNRESET) => "ECONNRESET",
            Ok(libc::ETIMEDOUT) => "ETIMEDOUT",
            Ok(libc::ECONNABORTED) => "ECONNABORTED",
            Ok(libc::ECONNREFUSED) => "ECONNREFUSED",
            Ok(libc::EHOSTUNREACH) => "EHOSTUNREACH",
            Ok(libc::ENETUNREACH) => "ENETUNREACH",
            _ => return write!(f, "error {}", self.0),
        };
        write!(f, "{name} ({})", self.0)
    }
}

/// Whether the application had been told EOF: then a reset is a consequence of its not closing.
pub(super) fn was_told_eof(case: &Case) -> bool {
    matches!(case.evidence.eof_read, Fact::Known(Some(_)))
}

/// What an idle pool keeps is no more of a leak when the rest of the connection is gone:
/// a keepalive probe after the peer has forgotten its end is answered by a reset, and
/// some servers reset what is idle.
fn of_idle_pool(case: &Case, mut finding: Finding) -> Finding {
    let lost_its_peer = matches!(finding.code, Code::GhostReset | Code::GhostTimeout);
    let told_eof = was_told_eof(case);
    let is_client = case.evidence.role.known() == Some(&Role::Client);
    if !lost_its_peer || told_eof || !is_client || finding.leak != Some(true) {
        return finding;
    }
    let kept = match pool::idle(case) {
        Some((pool, idle)) => {
            finding = finding.because(pool::Habit(idle));
            pool::kept(case, pool)
        }
        None => pool::few_or_many(case),
    };
    match (kept, &case.evidence.eof_read) {
        (Kept::Growing(why), _) => finding = finding.because(why),
        (Kept::Bounded(why), Fact::Known(_)) => {
            finding.leak = Some(false);
            finding.next(format_args!(
                "Nothing, while they do not become more: {} will notice at its next use.",
                case.who()
            ));
            finding = finding.because(why);
        }
        (Kept::Bounded(why), Fact::Unknown(reason)) => {
            finding.leak = None;
            finding =
                finding.because(why).without(format_args!("EOF evidence: {reason}"), Confidence::Medium);
        }
        (Kept::Unclear(missing), _) => {
            finding.leak = None;
            finding = finding.without(missing, Confidence::Medium);
        }
    }
    finding
}
