//! Evidence as it is kept while a socket waits for its verdict. Of a hundred thousand stuck
//! sockets of one program all but a few numbers is the same: that is kept once, and with each
//! socket what is its own. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::packed::PackedLook;
use super::{Evidence, Holder, Look};
use crate::fact::Fact;
use crate::tcp::Tuple;

/// The evidence of one socket, between two looks.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    /// What others have too: neither looks nor numbers of descriptors.
    common: Arc<Evidence>,
    looks: Vec<PackedLook>,
    /// The descriptors of its holders, in their order.
    fd: u32,
    more_fds: Option<Box<[u32]>>,
    /// The descriptor of its peer's holder.
    peer_fd: u32,
    /// Until keepalive ends it.
    ends_in: Option<Duration>,
}

impl Kept {
    /// In full, of the socket with these ends.
    pub fn evidence(&self, of: Tuple) -> Evidence {
        let mut evidence = (*self.common).clone();
        evidence.looks = self.looks.iter().map(|look| look.look(of)).collect();
        let fds = std::iter::once(self.fd).chain(self.more_fds.iter().flat_map(|fds| fds.iter().copied()));
        for (holder, fd) in holders(&mut evidence).iter_mut().zip(fds) {
            holder.fd = fd;
        }
        if let Some(holder) = peers_holder(&mut evidence) {
            holder.fd = self.peer_fd;
        }
        if let Fact::Known(keepalive) = &mut evidence.keepalive {
            keepalive.ends_in = self.ends_in;
        }
        evidence
    }

    /// What it has in common with others: numbers of descriptors are 0 in it, and it has no looks.
    pub fn common(&self) -> &Evidence {
        &self.common
    }

    /// The newest look.
    pub fn last(&self) -> Option<&PackedLook> {
        self.looks.last()
    }

    /// One more look.
    pub fn push(&mut self, look: PackedLook) {
        self.looks.push(look);
    }

    /// The first look anew.
    pub fn restart(&mut self, look: PackedLook) {
        self.looks.clear();
        self.looks.push(look);
    }
}

fn holders(evidence: &mut Evidence) -> &mut [Holder] {
    match &mut evidence.holders {
        Fact::Known(holders) => holders,
        Fact::Unknown(_) => &mut [],
    }
}

fn peers_holder(evidence: &mut Evidence) -> Option<&mut Holder> {
    match &mut evidence.local_peer {
        Fact::Known(Some(peer)) => peer.holder.as_mut(),
        _ => None,
    }
}

/// So many different ones are remembered at a time; more of them share less.
const REMEMBERED: usize = 4096;

/// What was kept last, to be shared with what comes.
#[derive(Debug, Default)]
pub struct Shared {
    /// By a hash of what tells most of them apart.
    known: HashMap<u64, Arc<Evidence>>,
}

impl Shared {
    /// Keeps the evidence of the socket with these ends.
    pub fn keep(&mut self, mut evidence: Evidence, of: Tuple) -> Kept {
        let mut looks = Vec::with_capacity(2.max(evidence.looks.len()));
        looks.extend(evidence.looks.drain(..).map(|look: Look| PackedLook::new(look, of)));
        evidence.looks = Vec::new();
        let mut take = |holder: &mut Holder| std::mem::take(&mut holder.fd);
        let mut fds = holders(&mut evidence).iter_mut().map(&mut take);
        let fd = fds.next().unwrap_or_default();
        let more_fds: Vec<_> = fds.collect();
        let peer_fd = peers_holder(&mut evidence).map(&mut take).unwrap_or_default();
        let ends_in = match &mut evidence.keepalive {
            Fact::Known(keepalive) => keepalive.ends_in.take(),
            Fact::Unknown(_) => None,
        };
        let more_fds = (!more_fds.is_empty()).then(|| more_fds.into());
        Kept { common: self.share(evidence), looks, fd, more_fds, peer_fd, ends_in }
    }

    /// Changes what one has in common with others: it has that in common with others from now on.
    pub fn change(&mut self, kept: &mut Kept, change: impl FnOnce(&mut Evidence)) {
        let mut evidence = (*kept.common).clone();
        change(&mut evidence);
        kept.common = self.share(evidence);
    }

    /// Nobody waits any more.
    pub fn forget(&mut self) {
        self.known = HashMap::new();
    }

    fn share(&mut self, evidence: Evidence) -> Arc<Evidence> {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let known = self.known.entry(likeness(&evidence)).or_insert_with(|| Arc::new(evidence.clone()));
        if **known != evidence {
            *known = Arc::new(evidence);
        }
        Arc::clone(known)
    }
}

/// Most that differ differ in this.
fn likeness(evidence: &Evidence) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Evidence { holders, listener, listener_holders, local_peer, ports, keepalive, .. } = evidence;
    let pids = holders.known().map(|all| all.iter().map(|holder| holder.pid).collect::<Vec<_>>());
    let cloexec = holders.known().and_then(|all| Some(all.first()?.cloexec.known().copied()));
    let waits = listener.known().map(|l| (l.queue, l.holder.as_ref().map(|holder| holder.pid)));
    let peer = local_peer.known().and_then(Option::as_ref);
    let peer = peer.map(|peer| (peer.state, peer.has_file, peer.holder.as_ref().map(|holder| holder.pid)));
    let used = ports.known().map(|ports| ports.used);
    let keepalive = keepalive.known().map(|keepalive| (keepalive.on, keepalive.first_probe));
    let (look_failed, role) = (&evidence.look_failed, evidence.role.known());
    (pids, cloexec, waits, listener_holders.known(), peer, used, keepalive, look_failed, role)
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoNs;
    use crate::item::{DiagSocket, TcpInfo, Timer};
    use crate::tcp::{Endpoint, State};
    use crate::verdict::{Keepalive, LocalPeer, Process};

    fn holder(pid: u32, fd: u32) -> Holder {
        Holder { process: Process::unknown(pid).into(), fd, cloexec: Fact::Known(true) }
    }

    fn tuple(port: u16) -> Tuple {
        let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
        Tuple { local: end(port), remote: end(443) }
    }

    fn look(at: u64, tuple: Tuple, tcp: Option<TcpInfo>) -> Look {
        let socket = DiagSocket {
            tuple,
            mptcp: tcp.is_none(),
            state: State::CloseWait,
            inode: at + 1,
            cookie: tcp.map(|_| at + 2),
            uid: 3,
            recv_q: 4,
            send_q: 5,
            timer: Timer::Other(9),
            retrans: 6,
            tcp,
        };
        Look { at: MonoNs(at), socket }
    }

    fn evidence(n: u32, of: Tuple) -> Evidence {
        let first = TcpInfo { bytes_sent: Some(u64::MAX), rto_us: Some(n), ..TcpInfo::default() };
        let second = TcpInfo {
            last_data_sent_ms: Some(1),
            last_data_recv_ms: Some(2),
            last_ack_recv_ms: Some(3),
            bytes_acked: Some(4),
            bytes_received: Some(5),
            bytes_sent: Some(0),
            bytes_retrans: Some(7),
            total_retrans: Some(8),
            snd_wnd: Some(9),
            notsent_bytes: Some(10),
            probes: Some(0),
            rto_us: None,
        };
        let keepalive = Keepalive {
            on: true,
            ends_in: Some(Duration::from_millis(n.into())),
            first_probe: None,
            note: "test".into(),
        };
        let peer = LocalPeer { state: State::FinWait2, has_file: true, holder: Some(holder(8, n + 200)) };
        Evidence {
            looks: vec![look(1, of, Some(first)), look(2, of, Some(second)), look(3, tuple(1), None)],
            holders: Fact::Known(vec![holder(7, n), holder(9, n + 100)]),
            local_peer: Fact::Known(Some(peer)),
            keepalive: Fact::Known(keepalive),
            ..Evidence::unknown()
        }
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let mut shared = Shared::default();
        let of = tuple(40_000);
        for (whole, what) in [
            (evidence(5, of), "everything"),
            (Evidence::unknown(), "nothing"),
            (Evidence { holders: Fact::Known(Vec::new()), ..evidence(1, of) }, "nobody"),
            (Evidence { looks: Vec::new(), look_failed: Some("EPERM".into()), ..evidence(1, of) }, "no look"),
        ] {
            assert_eq!(shared.keep(whole.clone(), of).evidence(of), whole, "{what}");
        }
    }

    #[test]
    fn sockets_of_one_process_share_all_that_is_not_their_own() {
        let mut shared = Shared::default();
        let kept: Vec<_> = (1..50).map(|n| shared.keep(evidence(n.into(), tuple(n)), tuple(n))).collect();
        assert!(kept.iter().all(|one| Arc::ptr_eq(&one.common, &kept[0].common)));
        let mut others = Evidence { holder_scans: 2, ..evidence(1, tuple(1)) };
        let one = shared.keep(others.clone(), tuple(1));
        assert!(!Arc::ptr_eq(&one.common, &kept[0].common), "another one that is alike at first sight");
        assert_eq!(one.evidence(tuple(1)), others);
        let (mut a, mut b) = (one.clone(), one);
        for kept in [&mut a, &mut b] {
            shared.change(kept, |evidence| evidence.look_failed = Some("EPERM".into()));
        }
        assert!(Arc::ptr_eq(&a.common, &b.common));
        others.look_failed = Some("EPERM".into());
        assert_eq!(b.evidence(tuple(1)), others);
    }

    #[test]
    fn what_is_kept_of_a_socket_is_small() {
        assert!(size_of::<Kept>() <= 80, "{}", size_of::<Kept>());
        eprintln!(
            "evidence {} look {} packed {}",
            size_of::<Evidence>(),
            size_of::<Look>(),
            size_of::<PackedLook>()
        );
    }
}
