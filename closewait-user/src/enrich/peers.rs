//! The other ends of connections, where they are on this host.
//!
//! In: sockets in CLOSE_WAIT. Out: for each whose remote address is of this host (in
//! any of its network namespaces) the socket with the same ends swapped. A few are
//! looked up one by one, many are found in one dump for each namespace.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::addresses::Addresses;
use super::holders::Scan;
use super::sight::{Beside, LOOKUPS_MAX};
use super::sock_diag::is_seen;
use super::sockets::Sockets;
use super::surroundings::Here;
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::{DiagSocket, Netns};
use crate::tcp::{State, Tuple};
use crate::text::Text;
use crate::verdict::LocalPeer;

/// States in which the peer of a socket in CLOSE_WAIT can be: it has sent its FIN and not got ours.
pub(super) const STATES: [State; 2] = [State::FinWait1, State::FinWait2];

/// State and inode.
pub(super) type Peer = (State, u64);

/// See the module.
pub(super) struct Peers {
    addresses: Addresses,
    /// Those that were found.
    found: HashMap<(Netns, Tuple), Peer>,
    /// The namespaces that could not be searched, and why.
    unsearched: HashMap<Netns, Text>,
}

impl Peers {
    pub(super) fn look(
        here: &Here<'_>,
        beside: &Beside,
        sockets: &mut Sockets,
        known: &mut Addresses,
        now: MonoNs,
    ) -> Self {
        let mut elsewhere = false;
        here(&mut |_, socket| elsewhere |= !socket.tuple.remote.ip.to_canonical().is_loopback());
        if elsewhere {
            known.refresh(sockets, now);
        }
        let mut wanted = BTreeMap::<Netns, Vec<(Netns, Tuple)>>::new();
        here(&mut |netns, socket| {
            let tuple = socket.tuple.canonical();
            if !socket.mptcp {
                for at in known.namespaces(netns, tuple.remote.ip) {
                    wanted.entry(at).or_default().push((netns, tuple));
                }
            }
        });
        let mut peers = Self { addresses: known.clone(), found: HashMap::new(), unsearched: HashMap::new() };
        for (at, wanted) in wanted {
            match search(sockets, at, &wanted, beside.get(&at)) {
                // The address may be of several namespaces, the connection is of one.
                Ok(found) => {
                    let found = wanted.iter().zip(found).filter_map(|(&whose, peer)| Some((whose, peer?)));
                    for (whose, peer) in found {
                        peers.found.entry(whose).or_insert(peer);
                    }
                }
                Err(reason) => {
                    peers.unsearched.insert(at, reason.into());
                }
            }
        }
        peers
    }

    /// Inodes of those to which a file refers.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        self.found.values().map(|(_, inode)| *inode)
    }

    /// Whether an address is known to be of this namespace.
    pub(super) fn is_in(&self, netns: Netns, ip: IpAddr) -> bool {
        self.addresses.has(netns, ip.to_canonical())
    }

    /// The peer of one of the sockets. `scan`: the walk that looked for [`Self::inodes`].
    pub(super) fn of(
        &self,
        netns: Netns,
        socket: &DiagSocket,
        scan: Option<&Scan>,
    ) -> Fact<Option<LocalPeer>> {
        if socket.mptcp {
            return Fact::unknown("peers of MPTCP sockets are not looked for");
        }
        let tuple = socket.tuple.canonical();
        let found = if self.found.is_empty() { None } else { self.found.get(&(netns, tuple)) };
        let peer = if let Some(&(state, inode)) = found {
            LocalPeer { state, has_file: inode != 0, holder: scan.and_then(|scan| scan.first(inode)) }
        } else {
            let mut searched = self.addresses.namespaces(netns, tuple.remote.ip).peekable();
            if searched.peek().is_none() {
                return self.addresses.is_known(tuple.remote.ip);
            }
            if let Some(reason) = searched.find_map(|at| self.unsearched.get(&at)) {
                return Fact::unknown(reason);
            }
            // FIN_WAIT2 without a file lasts no longer than tcp_fin_timeout.
            LocalPeer { state: State::Close, has_file: false, holder: None }
        };
        Fact::Known(Some(peer))
    }
}

/// The peers of `wanted` in a namespace, in the same order.
fn search(
    sockets: &mut Sockets,
    at: Netns,
    wanted: &[(Netns, Tuple)],
    beside: Option<&HashMap<Tuple, Peer>>,
) -> Result<Vec<Option<Peer>>, String> {
    let swapped = |tuple: Tuple| Tuple { local: tuple.remote, remote: tuple.local };
    let mut found = vec![None; wanted.len()];
    let mut all_seen = false;
    if beside.is_none() && wanted.len() <= LOOKUPS_MAX {
        for ((_, tuple), found) in wanted.iter().zip(&mut found) {
            *found = sockets.one(at, swapped(*tuple))?.map(|peer| (peer.state, peer.inode));
        }
        // Most peers that are gone were of the loopback: a dump is a walk over all sockets of the
        // host, which beside ten thousand namespaces would be made ten thousand times.
        all_seen = sockets.without_diag().is_none() && wanted.iter().all(|(_, tuple)| is_seen(*tuple));
        // Both ends of a connection in a VRF are bound to it, and then a lookup finds neither.
        for ((_, tuple), _) in wanted.iter().zip(&found).filter(|(_, found)| found.is_none()) {
            all_seen = all_seen && sockets.one(at, *tuple)?.is_some();
        }
    }
    if found.contains(&None) && !all_seen {
        let listed;
        let by_ends = if let Some(by_ends) = beside {
            by_ends
        } else {
            let all = sockets.list_brief(at, &STATES)?.into_iter();
            listed = all.map(|s| (s.tuple.canonical(), (s.state, s.inode))).collect::<HashMap<_, _>>();
            &listed
        };
        if by_ends.is_empty() {
            return Ok(found);
        }
        for ((_, tuple), found) in wanted.iter().zip(&mut found) {
            *found = found.or_else(|| by_ends.get(&swapped(*tuple)).copied());
        }
    }
    Ok(found)
}
