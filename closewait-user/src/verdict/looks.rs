//! What looks at a socket prove: values from one, change and constancy only from
//! two of the same socket that are far enough apart.

use std::time::Duration;

use crate::item::TcpInfo;

use super::{Evidence, Look, Policy};

/// `last_ack_recv` counts in kernel ticks of up to 10 ms, on both looks.
const TICKS: Duration = Duration::from_millis(20);

/// The looks there are.
pub(super) enum Looks<'a> {
    /// None; why.
    None(String),
    /// One that counts; why not two.
    One(&'a Look, String),
    /// The newest, and the oldest far enough before it of the same socket.
    Two(&'a Look, &'a Look),
}

impl<'a> Looks<'a> {
    pub(super) fn new(evidence: &'a Evidence, policy: &Policy) -> Self {
        let why = |what: &str| match &evidence.look_failed {
            Some(reason) => format!("{what}: {reason}"),
            None => format!("{what} at least {} ms after the first", policy.two_looks.as_millis()),
        };
        let Some((last, before)) = evidence.looks.split_last() else {
            let reason = evidence.look_failed.as_deref().unwrap_or("not gathered");
            return Self::None(format!("a look at the socket: {reason}"));
        };
        let first = before
            .iter()
            .find(|look| last.at.since(look.at) >= policy.two_looks && look.socket.same_life(&last.socket));
        match first {
            Some(first) => Self::Two(first, last),
            None => Self::One(last, why("a second look")),
        }
    }

    /// The newest look.
    pub(super) fn last(&self) -> Option<&'a Look> {
        match self {
            Self::None(_) => None,
            Self::One(last, _) | Self::Two(_, last) => Some(last),
        }
    }

    /// Time between the two looks; `None` when there are not two.
    pub(super) fn span(&self) -> Option<Duration> {
        match self {
            Self::Two(first, last) => Some(last.at.since(first.at)),
            _ => None,
        }
    }

    /// A value of the queues at both looks.
    pub(super) fn both(&self, value: impl Fn(&Look) -> u32) -> Option<(u32, u32)> {
        match self {
            Self::Two(first, last) => Some((value(first), value(last))),
            _ => None,
        }
    }

    /// How much a counter of `tcp_info` grew between the looks; `None` when it
    /// is not known at both.
    pub(super) fn growth(&self, counter: impl Fn(&TcpInfo) -> Option<u64>) -> Option<u64> {
        let Self::Two(first, last) = self else { return None };
        let at = |look: &Look| look.socket.tcp.as_ref().and_then(&counter);
        Some(at(last)?.saturating_sub(at(first)?))
    }

    /// Whether an ACK arrived between the looks; `None` when that is not known.
    pub(super) fn ack_came(&self) -> Option<bool> {
        let Self::Two(first, last) = self else { return None };
        let since_ack = |look: &Look| {
            let ms = look.socket.tcp?.last_ack_recv_ms?;
            Some(Duration::from_millis(u64::from(ms)))
        };
        // Without an ACK the time since the last one grew by the time between the looks.
        Some(since_ack(last)? + TICKS < since_ack(first)? + last.at.since(first.at))
    }
}

/// Bytes sent for the first time: a peer that vanished makes `bytes_sent` grow by
/// retransmissions alone.
pub(super) fn first_time_sent(tcp: &TcpInfo) -> Option<u64> {
    tcp.bytes_sent?.checked_sub(tcp.bytes_retrans?)
}
