//! Whether the kernel would end a socket by itself: SO_KEEPALIVE and its times.
//!
//! In: a look at the socket, who holds it, the settings of its namespace. Out: on or
//! off, and an upper bound of the time it has left if its peer stays silent. For a
//! bounded number of sockets of a batch the options themselves are read, through a
//! duplicate of the holder's descriptor; nothing is changed, and the duplicate is
//! closed at once.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

use super::borrowed;
use super::procfs;
use super::surroundings::NetSettings;
use crate::fact::Fact;
use crate::item::{DiagSocket, Timer};
use crate::verdict::{Holder, Keepalive, LocalPeer};

/// Of so many sockets of a batch the options are read.
const ASKED_MAX: usize = 64;

/// How many were read already.
#[derive(Default)]
pub(super) struct Asked(usize);

/// The times of tcp(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Options {
    /// Silence before the first probe.
    idle: Duration,
    /// Between probes.
    interval: Duration,
    /// Unanswered probes that end it.
    count: u32,
    /// TCP_USER_TIMEOUT, which takes the place of `count`; 0 when not set.
    user_timeout: Duration,
}

impl Options {
    /// Those of the namespace of this /proc/sys/net/ipv4.
    pub(super) fn read(dir: BorrowedFd<'_>) -> Option<Self> {
        let sysctl = |name: &str| -> Option<u32> {
            procfs::read(dir, &format!("tcp_keepalive_{name}")).ok()?.trim().parse().ok()
        };
        let seconds = |name| Some(Duration::from_secs(sysctl(name)?.into()));
        Some(Self {
            idle: seconds("time")?,
            interval: seconds("intvl")?,
            count: sysctl("probes")?,
            user_timeout: Duration::ZERO,
        })
    }

    /// Time left when nothing has been heard from the peer for `silent`, `probes` have
    /// gone unanswered, and none will be answered (tcp_keepalive_timer).
    fn left(self, silent: Duration, probes: u8) -> Duration {
        if !self.user_timeout.is_zero() {
            // The timer looks after the first probe, and then at each.
            return (self.user_timeout.max(self.idle) + self.interval).saturating_sub(silent);
        }
        match u32::from(probes) {
            0 => self.idle.saturating_sub(silent) + self.interval * self.count,
            probes => self.interval * (self.count + 1).saturating_sub(probes),
        }
    }
}

/// What is known of a socket's keepalive.
pub(super) fn keepalive(
    socket: &DiagSocket,
    peer: Option<&Option<LocalPeer>>,
    asked: &mut Asked,
    holder: impl FnOnce() -> Option<Holder>,
    settings: &Fact<NetSettings>,
) -> Fact<Keepalive> {
    // One timer serves several purposes, and SO_KEEPALIVE keeps it running whenever
    // nothing else needs it (inet_csk_reset_keepalive_timer).
    let seen = match socket.timer {
        Timer::Off => return Fact::Known(off()),
        Timer::Keepalive => Some(true),
        _ => None,
    };
    let own = if asked.0 < ASKED_MAX { holder() } else { None };
    let own = own.map(|holder| {
        asked.0 += 1;
        options(&holder, socket.inode)
    });
    let (on, options, are_its_own) = match (own, seen, settings) {
        (Some(Ok((on, options))), ..) => (on, options, true),
        (_, Some(on), Fact::Known(settings)) => (on, settings.keepalive, false),
        (Some(Err(reason)), ..) => return Fact::unknown(reason),
        (None, ..) => return Fact::unknown("another timer hides it, and its options were not read"),
    };
    if !on {
        return Fact::Known(off());
    }
    let first_probe = are_its_own.then_some(options.idle);
    if let Some(Some(LocalPeer { has_file: true, .. })) = peer {
        let note = "the peer is still there and answers its probes: it never ends by itself".into();
        return Fact::Known(Keepalive { on, ends_in: None, first_probe, note });
    }
    let heard = socket.tcp.and_then(|tcp| Some(tcp.last_ack_recv_ms?.min(tcp.last_data_recv_ms?)));
    let probes = socket.tcp.and_then(|tcp| tcp.probes).unwrap_or(0);
    let ends_in = heard.map(|ms| options.left(Duration::from_millis(ms.into()), probes));
    let note = if are_its_own { UNLESS } else { UNLESS_BY_SETTINGS }.into();
    Fact::Known(Keepalive { on, ends_in, first_probe, note })
}

fn off() -> Keepalive {
    Keepalive { on: false, ends_in: None, first_probe: None, note: NEVER.into() }
}

const NEVER: &str = "never ends by itself";
const UNLESS: &str = "unless the peer answers its probes";
const UNLESS_BY_SETTINGS: &str = "unless the peer answers its probes (by the settings of its namespace)";

/// SO_KEEPALIVE and its times of the socket behind a holder's descriptor.
fn options(holder: &Holder, inode: u64) -> Result<(bool, Options), String> {
    let failed = |e: Errno| format!("its options cannot be read: {e}");
    let socket = borrowed::socket(holder.pid, holder.fd, inode).map_err(|errno| match errno {
        Errno::STALE | Errno::NOTSOCK => "its descriptor was closed meanwhile".into(),
        errno => failed(errno),
    })?;
    let read = || {
        let on = sockopt::socket_keepalive(&socket)?;
        let options = Options {
            idle: sockopt::tcp_keepidle(&socket)?,
            interval: sockopt::tcp_keepintvl(&socket)?,
            count: sockopt::tcp_keepcnt(&socket)?,
            user_timeout: Duration::from_millis(sockopt::tcp_user_timeout(&socket)?.into()),
        };
        Ok((on, options))
    };
    read().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Options = Options {
        idle: Duration::from_hours(2),
        interval: Duration::from_secs(75),
        count: 9,
        user_timeout: Duration::ZERO,
    };

    #[test]
    fn the_time_left_is_that_of_the_probes_to_come() {
        let quick =
            Options { user_timeout: Duration::from_secs(30), idle: Duration::from_secs(10), ..DEFAULT };
        let table = [
            (DEFAULT, 0, 0, 7200 + 675),
            (DEFAULT, 7000, 0, 200 + 675),
            (DEFAULT, 90_000, 0, 675),
            (DEFAULT, 7300, 2, 8 * 75),
            (DEFAULT, 8000, 9, 75),
            (DEFAULT, 9000, 200, 0),
            (quick, 0, 0, 105),
            (quick, 200, 3, 0),
        ];
        for (options, silent, probes, left) in table {
            let silent = Duration::from_secs(silent);
            assert_eq!(options.left(silent, probes), Duration::from_secs(left), "{silent:?} {probes}");
        }
        let dir = procfs::open_dir(rustix::fs::CWD, "/proc/sys/net/ipv4").unwrap();
        assert!(Options::read(std::os::fd::AsFd::as_fd(&dir)).is_some());
    }
}
