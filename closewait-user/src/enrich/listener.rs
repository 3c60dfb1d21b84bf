//! The listener in whose queue an unaccepted socket waits.
//!
//! In: the listening sockets of namespaces, the local ends of sockets, a walk over
//! fd tables. Out: the listener and its holder, or why it cannot be told.

use hashbrown::HashMap;

use super::holders::Scan;
use super::sockets::Sockets;
use crate::fact::Fact;
use crate::item::{DiagSocket, Netns};
use crate::tcp::Endpoint;
use crate::verdict::{Holder, Listener};

/// The listeners that a batch of sockets may wait for, or have come from.
#[derive(Default)]
pub(super) struct Queues {
    by_netns: HashMap<Netns, Result<Listeners, String>>,
}

/// Those of one namespace.
struct Listeners {
    by_port: HashMap<u16, Vec<DiagSocket>>,
    /// By the ends that were asked for.
    ends: HashMap<Endpoint, Vec<DiagSocket>>,
}

impl Queues {
    /// Lists those that a socket with this end may wait for, or have come from: one
    /// dump for each namespace.
    pub(super) fn list(&mut self, sockets: &mut Sockets, netns: Netns, end: Endpoint) {
        let listeners = self.by_netns.entry(netns).or_insert_with(|| {
            let mut by_port = HashMap::<_, Vec<_>>::new();
            for socket in sockets.listeners(netns)? {
                by_port.entry(socket.tuple.local.port).or_default().push(socket);
            }
            Ok(Listeners { by_port, ends: HashMap::new() })
        });
        if let Ok(Listeners { by_port, ends }) = listeners
            && let Some(on_port) = by_port.get(&end.port)
        {
            ends.entry(end).or_insert_with(|| candidates(on_port, end));
        }
    }

    /// Those at an end that was listed, more than one where they share the port; or
    /// why they cannot be listed.
    pub(super) fn on(&self, netns: Netns, end: Endpoint) -> Result<&[DiagSocket], String> {
        match self.by_netns.get(&netns) {
            Some(Ok(listeners)) if listeners.by_port.contains_key(&end.port) => {
                Ok(listeners.ends.get(&end).map(Vec::as_slice).unwrap_or_default())
            }
            Some(Err(reason)) => Err(format!("cannot list listeners: {reason}")),
            Some(Ok(_)) | None => Ok(&[]),
        }
    }

    /// Those of them that a socket which nobody has accepted waits for: the one whose queue it is in,
    /// where that is known.
    pub(super) fn awaited(
        &self,
        netns: Netns,
        end: Endpoint,
        scan: Option<&Scan>,
    ) -> Result<&[DiagSocket], String> {
        let all = self.on(netns, end)?;
        Ok(chosen(all, scan).map_or(all, std::slice::from_ref))
    }

    /// Their inodes.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        let all = self.by_netns.values().filter_map(|listed| listed.as_ref().ok());
        all.flat_map(|listeners| listeners.ends.values().flatten()).map(|listener| listener.inode)
    }

    /// The listener of one of the sockets. `scan`: the walk that looked for
    /// [`Self::inodes`]. `has_limit`: the source knows the limit of a queue.
    pub(super) fn listener(
        &self,
        netns: Netns,
        local: Endpoint,
        scan: Option<&Scan>,
        has_limit: bool,
    ) -> Fact<Listener> {
        let candidates = match self.on(netns, local) {
            Ok(candidates) => candidates,
            Err(reason) => return Fact::unknown(reason),
        };
        let holder = |l: &DiagSocket| scan.and_then(|scan| scan.first(l.inode));
        match chosen(candidates, scan) {
            Some(l) if has_limit => {
                Fact::Known(Listener { holder: holder(l), queue: l.recv_q, limit: l.send_q })
            }
            Some(l) => Fact::unknown(format!(
                "the limit of the queue is not in /proc/net/tcp; {}",
                described(l, holder(l).as_ref())
            )),
            None if candidates.is_empty() => {
                Fact::unknown(format!("nothing listens on {local}, and the socket has no inode"))
            }
            None => {
                let all: Vec<_> = candidates.iter().map(|l| described(l, holder(l).as_ref())).collect();
                Fact::unknown(format!(
                    "{} listeners share {local} (SO_REUSEPORT): {}",
                    all.len(),
                    all.join(", ")
                ))
            }
        }
    }
}

fn described(listener: &DiagSocket, holder: Option<&Holder>) -> String {
    let who = holder.map_or_else(|| "an unknown process".into(), |h| format!("{}[{}]", h.comm, h.pid));
    format!("{who} has {} waiting", listener.recv_q)
}

/// Those that a connection to `local` may wait for: one bound to the very address
/// comes before one bound to all (compute_score in the kernel), and a socket has
/// its listener's family, an IPv4-mapped one an IPv6 listener. More than one
/// remains where they share the port (SO_REUSEPORT).
fn candidates(on_port: &[DiagSocket], local: Endpoint) -> Vec<DiagSocket> {
    let with = |fits: &dyn Fn(&DiagSocket) -> bool| {
        let same_family = |l: &&DiagSocket| l.tuple.local.ip.is_ipv4() == local.ip.is_ipv4();
        on_port.iter().filter(same_family).filter(|l| fits(l)).cloned().collect::<Vec<_>>()
    };
    let exact = with(&|l| l.tuple.local.ip == local.ip);
    if exact.is_empty() { with(&|l| l.tuple.local.ip.to_canonical().is_unspecified()) } else { exact }
}

/// Which of several listeners on one port it is, by their queues and who has them.
fn chosen<'a>(candidates: &'a [DiagSocket], scan: Option<&Scan>) -> Option<&'a DiagSocket> {
    let pid = |l: &DiagSocket| Some(scan?.first(l.inode)?.pid);
    let same_process = candidates.windows(2).all(|two| match two {
        [a, b] => pid(a).is_some() && pid(a) == pid(b),
        _ => true,
    });
    choose(candidates, same_process)
}

/// Which of several listeners on one port it is: the only one with a queue, or,
/// when one process has them all (`same_process`), the fullest.
fn choose(candidates: &[DiagSocket], same_process: bool) -> Option<&DiagSocket> {
    let mut waiting = candidates.iter().filter(|l| l.recv_q > 0);
    match (candidates, waiting.next(), waiting.next()) {
        ([only], _, _) => Some(only),
        (_, Some(only), None) => Some(only),
        _ if same_process => candidates.iter().max_by_key(|l| l.recv_q),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Timer;
    use crate::tcp::{State, Tuple};

    fn end(text: &str) -> Endpoint {
        let end: std::net::SocketAddr = text.parse().unwrap();
        Endpoint { ip: end.ip(), port: end.port() }
    }

    fn listening(local: &str, queue: u32) -> DiagSocket {
        let local = end(local);
        let remote = Endpoint { port: 0, ..local };
        DiagSocket {
            tuple: Tuple { local, remote },
            mptcp: false,
            state: State::Listen,
            inode: 1,
            cookie: None,
            uid: 0,
            recv_q: queue,
            send_q: 128,
            timer: Timer::Off,
            retrans: 0,
            tcp: None,
        }
    }

    #[test]
    fn the_most_specific_listener_of_the_same_family_counts() {
        let on_port = ["0.0.0.0:80", "10.0.0.1:80", "[::]:80", "[::1]:80"].map(|local| listening(local, 0));
        for (local, want) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.2:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
            ("[2001:db8::1]:80", "[::]:80"),
            ("[::ffff:10.0.0.1]:80", "[::]:80"),
        ] {
            let found = candidates(&on_port, end(local));
            let found: Vec<_> = found.iter().map(|l| l.tuple.local.to_string()).collect();
            assert_eq!(found, [want], "{local}");
        }
        let mapped = [listening("[::ffff:0.0.0.0]:80", 0), listening("[::ffff:10.0.0.3]:80", 0)];
        assert_eq!(candidates(&mapped, end("[::ffff:10.0.0.1]:80")), mapped[..1]);
        assert_eq!(candidates(&mapped, end("[::ffff:10.0.0.3]:80")), mapped[1..]);
        assert_eq!(candidates(&mapped, end("10.0.0.1:80")), []);
    }

    /// Of programs that share a port, each with a listener of its own, only the one may accept it in
    /// whose queue it is.
    #[test]
    fn what_nobody_has_accepted_waits_for_one_of_those_that_share_the_port() {
        let at = end("10.0.0.1:80");
        let awaited = |queues: &[u32]| {
            let all = queues.iter().map(|&queue| listening("10.0.0.1:80", queue)).collect();
            let listeners =
                Listeners { by_port: HashMap::from([(80, Vec::new())]), ends: [(at, all)].into() };
            let queues = Queues { by_netns: [(Netns(1), Ok(listeners))].into() };
            let awaited = queues.awaited(Netns(1), at, None).unwrap();
            awaited.iter().map(|l| l.recv_q).collect::<Vec<_>>()
        };
        assert_eq!(awaited(&[0, 3, 0]), [3]);
        assert_eq!(awaited(&[5]), [5]);
        assert_eq!(awaited(&[2, 3, 0]), [2, 3, 0], "it is not known which");
        assert!(awaited(&[]).is_empty());
    }

    #[test]
    fn a_shared_port_is_told_apart_only_by_the_queues() {
        let [empty, full, fuller] = [0, 3, 7].map(|queue| listening("0.0.0.0:80", queue));
        let queue = |of: &[&DiagSocket], same_process| {
            let of: Vec<_> = of.iter().copied().cloned().collect();
            choose(&of, same_process).map(|l| l.recv_q)
        };
        assert_eq!(queue(&[], true), None);
        assert_eq!(queue(&[&empty], false), Some(0));
        assert_eq!(queue(&[&empty, &full], false), Some(3));
        assert_eq!(queue(&[&empty, &full, &fuller], false), None);
        assert_eq!(queue(&[&empty, &full, &fuller], true), Some(7));
    }
}
