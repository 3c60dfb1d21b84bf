//! Rules about data that still goes out, or tries to.

use crate::item::Timer;

use super::case::{Case, Finding, Time};
use super::looks::{Looks, first_time_sent};
use super::{Code, Confidence, rhythm};

/// So many unanswered transmissions in a row: 200 + 400 + 800 ms at the least.
const UNANSWERED: u32 = 3;

/// The peer is unreachable.
pub(super) fn peer_gone(case: &Case) -> Option<Finding> {
    let socket = case.socket()?;
    if socket.send_q == 0 && socket.timer != Timer::Keepalive {
        return None;
    }
    let probes = socket.tcp.and_then(|tcp| tcp.probes).unwrap_or(0);
    let unanswered = u32::from(socket.retrans.max(probes));
    let finding = Finding::new(
        case,
        Code::PeerGone,
        Some(false),
        "Nothing to fix in the holder: the kernel ends the socket when its retries or keepalive probes run out; \
         see why the peer vanished, and set TCP_USER_TIMEOUT where that takes too long.",
    )
    .because(format_args!(
        "{unanswered} transmissions or probes in a row unanswered, Send-Q {}",
        socket.send_q
    ));

    let Looks::Two(first, last) = case.looks else {
        let Looks::One(_, why) = &case.looks else { return None };
        return (unanswered >= UNANSWERED).then(|| finding.until(why));
    };
    let retransmitted = case.looks.growth(|tcp| tcp.total_retrans.map(u64::from)).unwrap_or(0);
    let grew = retransmitted > 0 || last.socket.retrans > first.socket.retrans;
    let grew = grew || case.looks.growth(|tcp| tcp.probes.map(u64::from)).unwrap_or(0) > 0;
    let span = Time(last.at.since(first.at));
    match case.looks.ack_came() {
        Some(true) => None,
        Some(false) if grew => {
            Some(finding.because(format_args!(
                "{retransmitted} more retransmitted in {span} and no ACK in that time"
            )))
        }
        Some(false) if unanswered >= UNANSWERED => {
            Some(finding.because(format_args!("no ACK in {span}")).at_most(Confidence::Medium))
        }
        None if unanswered >= UNANSWERED => Some(finding.until("last_ack_recv: this source does not tell")),
        _ => None,
    }
}

/// A legitimate half-close: data is still going out.
pub(super) fn sending(case: &Case) -> Option<Finding> {
    let finding = Finding::new(
        case,
        Code::Sending,
        Some(false),
        format_args!("Nothing to fix: {} still sends to a peer that has finished sending.", case.who()),
    );
    if let Some(end) = &case.evidence.ended {
        // What it did last cannot be looked at twice; that it answered is known.
        let written = *end.written.known()?;
        return (written > 0).then(|| {
            finding
                .because(format_args!("{written} bytes were written to it after the peer's FIN"))
                .because(match end.closed_after {
                    None => case.say(format_args!("{} ended", case.process(&end.task))),
                    Some(_) => super::case::closed_by(end),
                })
                .at_most(Confidence::Medium)
        });
    }
    let span = match &case.looks {
        Looks::None(_) => return None,
        Looks::One(look, why) => {
            let moving = look.socket.send_q > 0
                && look.socket.timer != Timer::Persist
                && u32::from(look.socket.retrans) < UNANSWERED;
            return rhythm::goes_on(case, finding.clone()).or_else(|| {
                moving.then(|| {
                    finding.because(format_args!("{} bytes in Send-Q", look.socket.send_q)).until(why)
                })
            });
        }
        Looks::Two(first, last) => Time(last.at.since(first.at)),
    };
    let acked = case.looks.growth(|tcp| tcp.bytes_acked);
    let sent = case.looks.growth(first_time_sent);
    if let Some(acked @ 1..) = acked {
        return Some(finding.because(format_args!("{acked} more bytes acknowledged in {span}")));
    }
    if let Some(finding) = rhythm::goes_on(case, finding.clone()) {
        return Some(finding);
    }
    match (acked, sent) {
        (_, Some(sent @ 1..)) => {
            let finding =
                finding.because(format_args!("{sent} more bytes sent for the first time in {span}"));
            Some(finding.without("an acknowledgement of them", Confidence::Medium))
        }
        (Some(_), _) | (_, Some(0)) => None,
        (None, None) => {
            // A source without tcp_info: only the queue can tell.
            let (before, after) = case.looks.both(|look| look.socket.send_q)?;
            let finding = finding.because(format_args!("Send-Q went from {before} to {after} in {span}"));
            (before != after)
                .then(|| finding.without("bytes_acked: this source does not tell", Confidence::Medium))
        }
    }
}

/// Wants to send and cannot.
pub(super) fn send_blocked(case: &Case) -> Option<Finding> {
    let socket = case.socket()?;
    let window = socket.tcp.and_then(|tcp| tcp.snd_wnd);
    let persist = socket.timer == Timer::Persist;
    if socket.send_q == 0 || !(persist || window == Some(0)) {
        return None;
    }
    let why = match (persist, window) {
        (true, Some(window)) => {
            case.say(format_args!("zero-window probes run, the peer's window is {window}"))
        }
        (true, None) => "zero-window probes run".into(),
        (false, _) => "the peer's window is 0".into(),
    };
    let finding = Finding::new(
        case,
        Code::SendBlocked,
        None,
        format_args!(
            "See why the peer does not read; give {} a send timeout, and close when it passes.",
            case.who()
        ),
    )
    .because(format_args!("{} bytes in Send-Q, {why}", socket.send_q));
    Some(match (&case.looks, case.looks.ack_came(), case.looks.span()) {
        (_, Some(true), Some(span)) => {
            finding.because(format_args!("the peer answered within {}", Time(span)))
        }
        (Looks::One(_, why), ..) => finding.until(why),
        _ => finding.without(
            "whether the peer still answers: no ACK came between the looks (probes may be 2 min apart)",
            Confidence::Medium,
        ),
    })
}
