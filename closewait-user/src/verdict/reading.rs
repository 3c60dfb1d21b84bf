//! Rules about the EOF: ignored, not read yet, or gone from the queue unseen.

use super::case::{Case, Finding, Queue, Time, name};
use super::event_loop::EventLoop;
use super::looks::Looks;
use super::pool::{self, Kept, kept};
use super::{Code, Confidence, Role, draining, rhythm};
use crate::fact::Fact;

/// More unread bytes are no goodbye (a close_notify, a GOAWAY, a "408 Request
/// Timeout"), but an answer that nobody has read.
const GOODBYE: u32 = 4096;

/// The application was told EOF and did not close.
pub(super) fn eof_ignored(case: &Case) -> Option<Finding> {
    let read = case.evidence.eof_read.known()?.as_ref()?;
    if draining::closed_at(case, read.at) {
        return None;
    }
    let reader = name(&read.task);
    let event_loop = read.stack.known().and_then(|stack| EventLoop::of(stack));
    let finding = Finding::new(
        case,
        Code::EofIgnored,
        Some(true),
        match (case.holders(), &case.evidence.ended) {
            _ if let Some(event_loop) = event_loop => {
                case.say(format_args!("In {reader}, {}.", event_loop.look_at()))
            }
            ([], _) | (_, Some(_)) => {
                case.say(format_args!("Call close() where {reader} got 0 from its read (see the EOF stack)."))
            }
            _ => case.say(format_args!(
                "Call close() where {reader} got 0 from its read (see the EOF stack); {} has it.",
                case.who()
            )),
        },
    )
    .because(format_args!("a read by {reader} returned 0 (EOF) {} ago", Time(case.told.since(read.at))));
    let mut finding = rhythm::fell_silent(case, finding.if_still(case));
    let then = case.say(format_args!("close it where {reader} got 0 from its read (see the EOF stack)"));
    if may_be_waited_for(case, &mut finding, &then) {
        finding.leak = None;
    }
    Some(finding)
}

/// Still reading.
pub(super) fn slow_reader(case: &Case) -> Option<Finding> {
    let finding = Finding::new(
        case,
        Code::SlowReader,
        Some(false),
        format_args!("Nothing to fix: {} is reading what is left, and the EOF comes last.", case.who()),
    );
    // Nothing can arrive after a FIN, so only a read changes the queue; and with the FIN all is read.
    let is_all_read = |after: u32| after == 0 && case.evidence.ended.is_none();
    match (case.looks.both(|look| look.socket.recv_q), case.looks.span()) {
        (Some((before, after)), Some(span)) if after < before && !is_all_read(after) => {
            Some(finding.because(format_args!("Recv-Q went from {before} to {after} in {}", Time(span))))
        }
        _ => draining::goes_on(case, finding),
    }
}

/// A client keeps connections that its server closed.
pub(super) fn idle_pool(case: &Case) -> Option<Finding> {
    let recv_q = unread(case)?;
    let (pool, idle) = pool::idle(case)?;
    let remote = case.suspect.tuple.remote;
    let timeout = Time(idle.typical);
    let finding = Finding::new(
        case,
        Code::IdlePool,
        None,
        format_args!(
            "Let the pool of {} drop idle connections before {remote} does: set its idle timeout below {timeout}.",
            case.who()
        ),
    )
    .because("we connected, and nothing was read since the FIN")
    .because(pool::Habit(idle));
    let mut finding = with_fingerprint(finding, recv_q);
    match kept(case, pool) {
        Kept::Bounded(why) => {
            finding.leak = Some(false);
            finding = finding.because(why);
        }
        Kept::Growing(why) => {
            finding.leak = Some(true);
            finding.next(format_args!(
                "Find where {} drops connections to {remote} without closing them: they become more, which those \
                 of a pool do not.",
                case.who()
            ));
            finding = finding.because(why);
        }
        Kept::Unclear(missing) => {
            finding.next(format_args!(
                "See whether they become more: if not, set the idle timeout of the pool of {0} below {timeout}, after \
                 which {remote} closes; if so, find where {0} drops connections without closing them.",
                case.who()
            ));
            finding = finding.without(missing, Confidence::Medium);
        }
    }
    Some(finding.if_still(case))
}

/// Held, with unread data or FIN, and nothing reads it.
pub(super) fn not_reading(case: &Case) -> Option<Finding> {
    let recv_q = unread(case)?;
    if slow_reader(case).is_some() || case.evidence.holders.known().is_some_and(Vec::is_empty) {
        return None;
    }
    let mut finding = Finding::new(
        case,
        Code::NotReading,
        Some(true),
        format_args!("See what {} does instead of reading: it must read to the end, or close().", case.who()),
    );
    if let Looks::One(..) = case.looks {
        finding = finding.because(format_args!("Recv-Q {}", Queue(recv_q)));
    }
    finding = with_fingerprint(finding, recv_q);
    if let (Fact::Unknown(reason), None) = (&case.evidence.holders, &case.evidence.ended) {
        finding = finding.without(format_args!("holders: {reason}"), Confidence::Medium);
    }
    // What a pool keeps looks just like this, and need not be a leak; but a pool
    // keeps no connection with an answer unread.
    if case.evidence.role.known() != Some(&Role::Server) && recv_q <= GOODBYE {
        match pool::few_or_many(case) {
            Kept::Bounded(why) => {
                finding.leak = Some(false);
                finding.next(format_args!(
                    "Nothing, while they stay so few: {} will notice at its next use. Else set its idle timeout \
                     below that of {}.",
                    case.who(),
                    case.suspect.tuple.remote
                ));
                finding = finding.because(why).at_most(Confidence::Medium);
            }
            Kept::Growing(why) => finding = finding.because(why),
            Kept::Unclear(missing) => {
                finding.leak = None;
                finding = finding.without(missing, Confidence::Medium);
            }
        }
    }
    Some(rhythm::fell_silent(case, draining::fell_silent(case, finding.if_still(case))))
}

/// The EOF left the queue, no read of 0 was seen.
pub(super) fn eof_consumed(case: &Case) -> Option<Finding> {
    let socket = case.socket()?;
    if socket.recv_q != 0 || !case.has_file()? || matches!(case.evidence.eof_read, Fact::Known(Some(_))) {
        return None;
    }
    let finding = Finding::new(
        case,
        Code::EofConsumed,
        None,
        format_args!(
            "Check that {} reads once more after a short read and closes at 0: one read may have taken the last \
             bytes and the FIN together.",
            case.who()
        ),
    )
    .because("Recv-Q 0: the FIN was taken from the queue");
    let finding = match &case.evidence.eof_read {
        Fact::Known(_) => finding.because("reads were watched, and none returned 0"),
        Fact::Unknown(reason) => finding.without(format_args!("EOF evidence: {reason}"), Confidence::Medium),
    };
    let mut finding = rhythm::fell_silent(case, finding);
    may_be_waited_for(case, &mut finding, "have it read once more, and close at 0");
    Some(finding)
}

/// Whether a process of this host may wait for an answer on it. Then closing it is no cure
/// before that has come: `then` is what to do if none will.
fn may_be_waited_for(case: &Case, finding: &mut Finding, then: &str) -> bool {
    let Some(peer) = case.evidence.waiting_peer() else { return false };
    finding.say_because(format_args!("the peer, {peer}, only half-closed and may wait for an answer"));
    if case.evidence.ended.is_none() {
        finding.next(format_args!(
            "Check whether {} still answers {peer}, which has only half-closed; if it will not, {then}.",
            case.who()
        ));
    }
    true
}

/// Bytes in the receive queue of a socket with a file.
fn unread(case: &Case) -> Option<u32> {
    let socket = case.socket()?;
    (socket.inode != 0 && socket.recv_q > 0).then_some(socket.recv_q)
}

/// What OpenSSL 3 leaves unread when the peer ends an idle TLS connection: a
/// close_notify and the FIN (measured, but for the last, which is from a public issue).
fn with_fingerprint(finding: Finding, recv_q: u32) -> Finding {
    let tls = match recv_q {
        25 => "TLS 1.3",
        24 => "TLS 1.2 with ChaCha20",
        32 => "TLS 1.2 with GCM",
        54 => "TLS with CBC",
        _ => return finding,
    };
    finding.because(format_args!("Recv-Q {recv_q} is consistent with a close_notify of {tls}"))
}
