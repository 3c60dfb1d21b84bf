//! When a socket that a snapshot shows in CLOSE_WAIT can have entered it. In: what
//! the kernel says of the socket and when it was asked. Out: a latest and an earliest
//! moment, both certain. Pure.
//!
//! - The FIN carried an ACK: it came no later than the last ACK that was heard.
//! - No data follows a FIN: it came no earlier than the last data.
//! - When nothing can have been heard after the FIN, it was the last ACK.

use std::time::Duration;

use super::Since;
use super::again::AGAIN_WITHIN;
use crate::clock::MonoNs;
use crate::item::{DiagSocket, TcpInfo, Timer};

/// The kernel keeps these times in ticks, of 10 ms at most (HZ=100).
const TICK: Duration = Duration::from_millis(10);

/// A moment that is bounded this closely from both sides counts as known. Measured
/// on loopback at HZ=250, the error is within 3 ms.
pub const INFERRED_WITHIN: Duration = Duration::from_millis(20);

/// The peer may put off an ACK so long (`TCP_DELACK_MAX`).
const DELAYED_ACK_MS: u32 = 200;

/// The kernel tells milliseconds in 32 bits: after 49.7 days they begin again.
const WRAP_MS: u64 = 1 << 32;

/// Bounds of a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    pub(super) latest: MonoNs,
    /// 0: nothing bounds it.
    pub(super) earliest: MonoNs,
}

impl Bounds {
    /// Of a socket shown in CLOSE_WAIT by a dump from `began` to `ended`.
    pub(super) fn of(socket: &DiagSocket, began: MonoNs, ended: MonoNs) -> Self {
        let (mut latest, mut earliest) = (ended, after_data(socket, began, ended).unwrap_or_default());
        let Some(tcp) = socket.tcp else { return Self { latest, earliest } };
        if let Some(ack) = tcp.last_ack_recv_ms {
            latest = (ended - Duration::from_millis(ack.into()) + TICK).min(ended);
            if nothing_heard_since_fin(socket, &tcp) {
                earliest = earliest.max(at_most_ago(ack, began, ended));
            }
        }
        Self { latest, earliest }
    }

    /// What both say; `None` when they contradict each other.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let latest = self.latest.min(other.latest);
        let earliest = self.earliest.max(other.earliest);
        (earliest <= latest).then_some(Self { latest, earliest })
    }

    /// In words of the tracker: a moment, when the bounds are close enough.
    pub(super) fn since(self) -> Since {
        let width = self.latest.since(self.earliest);
        if self.earliest != MonoNs(0) && width <= 2 * INFERRED_WITHIN {
            Since::Inferred(self.earliest + width / 2)
        } else {
            Since::NoLaterThan(self.latest)
        }
    }
}

/// Times that contradict each other by less than this are not believed to be of two connections:
/// whoever closes one, and is closed by the peer of another between the same ends, needs longer.
const LATER_BY: Duration = Duration::from_millis(300);

/// Some, where a socket that a look from `began` to `ended` shows in CLOSE_WAIT is not the one that
/// had entered it at `since`, but a later connection between the same ends: it got data after
/// that, at this moment at the earliest. (Not by its last ACK, which may be that of a second FIN.)
pub(super) fn later_life(
    socket: &DiagSocket,
    (began, ended): (MonoNs, MonoNs),
    since: Since,
) -> Option<MonoNs> {
    let (Since::Seen(latest) | Since::Inferred(latest) | Since::NoLaterThan(latest)) = since;
    after_data(socket, began, ended).filter(|&data| data > latest + LATER_BY)
}

/// Whether that is so, and not because it entered again so soon that it is known as the same: that
/// is for snapshots to find out.
pub fn is_later_life(socket: &DiagSocket, look: (MonoNs, MonoNs), since: Since) -> bool {
    let (Since::Seen(latest) | Since::Inferred(latest) | Since::NoLaterThan(latest)) = since;
    later_life(socket, look, since).is_some_and(|data| data > latest + AGAIN_WITHIN)
}

/// When the last data came, at the earliest; the handshake counts as data.
fn after_data(socket: &DiagSocket, began: MonoNs, ended: MonoNs) -> Option<MonoNs> {
    Some(at_most_ago(socket.tcp?.last_data_recv_ms?, began, ended))
}

/// So long before a look, at the earliest.
fn at_most_ago(ms: u32, began: MonoNs, ended: MonoNs) -> MonoNs {
    began - age_at_most(ms, ended) - TICK
}

/// The longest that a time of `ms` milliseconds can be: where the machine runs for
/// longer than the kernel counts, it may have begun again.
fn age_at_most(ms: u32, now: MonoNs) -> Duration {
    let up_ms = now.0 / 1_000_000;
    let laps = up_ms.saturating_sub(ms.into()) / WRAP_MS;
    Duration::from_millis(u64::from(ms) + laps * WRAP_MS)
}

/// How long ago the FIN came, of a socket whose first keepalive probe goes out after
/// `first_probe` of silence; `None` when that cannot be told. A socket in [`Bounds::of`]
/// has kept its options to itself.
pub fn since_fin(socket: &DiagSocket, first_probe: Duration) -> Option<Duration> {
    let tcp = socket.tcp?;
    let data = Duration::from_millis(tcp.last_data_recv_ms?.into());
    let ack = Duration::from_millis(tcp.last_ack_recv_ms?.into());
    // Data is the youngest sign of life that is certain, so no probe went out before.
    let unprobed = data < first_probe && matches!(socket.timer, Timer::Off | Timer::Keepalive);
    (unprobed && nothing_asked(socket, &tcp)).then_some(ack)
}

/// Whether the last ACK was that of the FIN: nothing has since made the peer send one.
/// (A FIN that came twice, because our ACK of it was lost, is not excluded.)
fn nothing_heard_since_fin(socket: &DiagSocket, tcp: &TcpInfo) -> bool {
    socket.timer == Timer::Off && nothing_asked(socket, tcp)
}

/// Whether nothing but probes can have made the peer send an ACK since its FIN.
fn nothing_asked(socket: &DiagSocket, tcp: &TcpInfo) -> bool {
    let pending = socket.send_q > 0;
    // An answer to data comes within the retransmission timeout; else it is sent again.
    let answered = match (tcp.last_data_sent_ms, tcp.last_ack_recv_ms, tcp.rto_us) {
        (Some(sent), Some(ack), Some(rto)) => sent.saturating_sub(ack) <= (rto / 1000).max(DELAYED_ACK_MS),
        _ => true,
    };
    // A peer that reads late what fills half of its window tells of the room it made.
    let room_made = match (tcp.bytes_acked, tcp.snd_wnd) {
        (Some(acked), Some(window)) => acked >= u64::from(window / 2),
        _ => true,
    };
    !pending && !answered && !room_made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::{Endpoint, State, Tuple};

    const NOW: MonoNs = MonoNs(1_000_000_000_000);

    fn ago(ms: u64) -> MonoNs {
        NOW - Duration::from_millis(ms)
    }

    /// Heard last `ack` ms ago; data came `recv` and went `sent` ms ago.
    fn socket(ack: u32, recv: u32, sent: u32) -> DiagSocket {
        let end = Endpoint { ip: [127, 0, 0, 1].into(), port: 1 };
        DiagSocket {
            tuple: Tuple { local: end, remote: end },
            mptcp: false,
            state: State::CloseWait,
            inode: 1,
            cookie: None,
            uid: 0,
            recv_q: 0,
            send_q: 0,
            timer: Timer::Off,
            retrans: 0,
            tcp: Some(TcpInfo {
                last_ack_recv_ms: Some(ack),
                last_data_recv_ms: Some(recv),
                last_data_sent_ms: Some(sent),
                rto_us: Some(204_000),
                bytes_acked: Some(1000),
                snd_wnd: Some(65_536),
                ..TcpInfo::default()
            }),
        }
    }

    fn since(socket: &DiagSocket) -> Since {
        Bounds::of(socket, NOW, NOW).since()
    }

    #[test]
    fn the_last_ack_was_that_of_the_fin_unless_something_can_have_asked_for_another() {
        let exact = Since::Inferred(ago(5000));
        let interval = Since::NoLaterThan(ago(4990));
        let of = |change: fn(&mut DiagSocket, &mut TcpInfo)| {
            let mut socket = socket(5000, 60_000, 60_000);
            let mut tcp = socket.tcp.unwrap();
            change(&mut socket, &mut tcp);
            socket.tcp = Some(tcp);
            since(&socket)
        };
        assert_eq!(of(|_, _| {}), exact);
        assert_eq!(of(|s, _| s.timer = Timer::Keepalive), interval, "a probe was answered");
        assert_eq!(of(|s, _| s.timer = Timer::Persist), interval, "a probe was answered");
        assert_eq!(of(|s, _| s.send_q = 1), interval, "data may be acknowledged in part");
        assert_eq!(of(|_, t| t.last_data_sent_ms = Some(5199)), interval, "data was acknowledged");
        assert_eq!(of(|_, t| t.last_data_sent_ms = Some(100)), interval, "it sends still");
        assert_eq!(of(|_, t| t.last_data_sent_ms = Some(5205)), exact);
        assert_eq!(of(|_, t| (t.last_data_sent_ms, t.rto_us) = (Some(5900), Some(1_000_000))), interval);
        assert_eq!(of(|_, t| t.bytes_acked = Some(40_000)), interval, "the peer may have read late");
        assert_eq!(of(|_, t| t.snd_wnd = Some(0)), interval);
        assert_eq!(of(|_, t| t.last_data_sent_ms = None), interval);
        assert_eq!(of(|_, t| t.rto_us = None), interval);
        // Data came with the FIN: both bounds are the same, whatever else there was.
        assert_eq!(
            of(|s, t| (t.last_data_recv_ms, s.timer) = (Some(5004), Timer::Keepalive)),
            Since::Inferred(ago(5002))
        );
    }

    #[test]
    fn before_its_first_probe_a_socket_with_keepalive_is_as_good() {
        let since = |change: fn(&mut DiagSocket)| {
            let mut socket = socket(5000, 60_000, 60_000);
            socket.timer = Timer::Keepalive;
            change(&mut socket);
            since_fin(&socket, Duration::from_secs(61)).map(|ago| ago.as_millis())
        };
        assert_eq!(since(|_| {}), Some(5000));
        assert_eq!(since(|s| s.timer = Timer::Off), Some(5000));
        assert_eq!(since(|s| s.timer = Timer::Persist), None);
        assert_eq!(since(|s| s.send_q = 1), None);
        assert_eq!(since(|s| s.tcp = None), None);
        let probed = socket(5000, 61_000, 61_000);
        assert_eq!(since_fin(&probed, Duration::from_secs(61)), None, "a probe may have been answered");
    }

    #[test]
    fn nothing_known_is_no_bound() {
        let mut unknown = socket(1, 1, 1);
        unknown.tcp = None;
        assert_eq!(since(&unknown), Since::NoLaterThan(NOW));
        unknown.tcp = Some(TcpInfo::default());
        assert_eq!(Bounds::of(&unknown, NOW, NOW), Bounds { latest: NOW, earliest: MonoNs(0) });
    }

    #[test]
    fn a_long_dump_widens_the_bounds() {
        let socket = socket(5000, 60_000, 60_000);
        let Bounds { latest, earliest } = Bounds::of(&socket, NOW, NOW + Duration::from_secs(1));
        assert_eq!((earliest, latest), (ago(5010), ago(3990)));
        let young = self::socket(5, 60_000, 60_000);
        assert_eq!(Bounds::of(&young, NOW, NOW).latest, NOW, "nothing enters after it was seen");
    }

    #[test]
    fn after_49_days_a_short_time_may_be_a_long_one() {
        let lap = Duration::from_millis(WRAP_MS);
        let later = NOW + lap;
        let socket = socket(5000, 60_000, 60_000);
        let Bounds { latest, earliest } = Bounds::of(&socket, later, later);
        assert_eq!(later.since(latest), Duration::from_millis(4990));
        assert_eq!(later.since(earliest), Duration::from_millis(5010) + lap);
        // It cannot be older than the machine.
        let recv = u32::try_from(WRAP_MS - 1).unwrap();
        let unread = self::socket(5000, recv, recv);
        let Bounds { earliest, .. } = Bounds::of(&unread, later, later);
        assert_eq!(later.since(earliest).as_millis(), u128::from(recv) + 10);
    }

    #[test]
    fn what_got_data_after_it_had_entered_is_another_connection() {
        let is_later = |recv, since: Since| {
            let socket = socket(1000, recv, 60_000);
            is_later_life(&socket, (NOW, NOW + Duration::from_millis(5)), since)
        };
        for since in [Since::Seen, Since::Inferred, Since::NoLaterThan] {
            assert!(!is_later(5000, since(ago(5000))), "with the FIN");
            assert!(!is_later(5000, since(ago(5200))), "too close to be told apart");
            assert!(!is_later(5000, since(ago(5900))), "its entry may have been taken for that of the first");
            assert!(is_later(5000, since(ago(6100))));
            assert!(!is_later(60_000, since(ago(5000))), "before the FIN; the last ACK was of a second FIN");
        }
        let mut unknown = socket(1, 1, 1);
        unknown.tcp = None;
        assert!(!is_later_life(&unknown, (NOW, NOW), Since::Seen(ago(60_000))), "nothing is told");
    }

    #[test]
    fn bounds_are_refined_and_never_widened() {
        let bounds = |earliest, latest| Bounds { latest: MonoNs(latest), earliest: MonoNs(earliest) };
        assert_eq!(bounds(3, 9).and(bounds(5, 20)), Some(bounds(5, 9)));
        assert_eq!(bounds(3, 9).and(bounds(10, 20)), None);
    }
}
