//! One slot of the tracker's slab. In: what is known of a socket. Out: the same,
//! small: a million of them, with their index, must stay under 128 bytes each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Since;
use super::bounds::Bounds;
use crate::clock::MonoNs;
use crate::item::Netns;
use crate::tcp::{Endpoint, State, Tuple};

/// What a slot is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// Nothing: the slot waits to be used.
    Free,
    /// The socket is in CLOSE_WAIT.
    Waiting {
        /// It did not enter before this; 0 when nothing bounds the age. Of one that was seen:
        /// when its beginning was told last (`again`).
        not_before: MonoNs,
        /// The newest moment at which something showed the socket in CLOSE_WAIT.
        verified: MonoNs,
        /// The edge into CLOSE_WAIT was seen at `since`; otherwise it entered no later than
        /// that, and no earlier than `not_before`.
        seen: bool,
        /// It entered while the trace ran, as its bounds tell, and no record of that has come.
        unrecorded: bool,
        /// Nor will one come: it was lost.
        missed: bool,
    },
    /// The socket went to CLOSE while a file referred to it.
    Ghost {
        /// When.
        closed: MonoNs,
        /// The deadline is this plus the threshold.
        counts_from: MonoNs,
        /// From where: CLOSE_WAIT or LAST_ACK; CLOSE when it was found there.
        from: State,
        /// As in `Waiting`.
        seen: bool,
    },
    /// It is over. The slot is kept for a while, because records of this life
    /// may still be on their way and a snapshot under way may still show it.
    Left {
        /// An entry into CLOSE_WAIT at this address up to here is known to be over.
        over_until: MonoNs,
        /// No later than this it had left.
        at: MonoNs,
        /// As in `Waiting`.
        seen: bool,
    },
}

impl Life {
    /// In CLOSE_WAIT since `at`, by the edge itself.
    pub(super) const fn entered(at: MonoNs, verified: MonoNs) -> Self {
        Self::Waiting { not_before: at, verified, seen: true, unrecorded: false, missed: false }
    }
}

/// A slot. It is always a member of exactly one list of the slab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Address of the `struct sock`; 0 when not known.
    pub(super) sk: u64,
    /// When it entered CLOSE_WAIT, as far as known.
    pub(super) since: MonoNs,
    pub(super) life: Life,
    pub(super) netns: Netns,
    /// Counts the lives of this slot.
    pub(super) generation: u32,
    pub(super) prev: u32,
    pub(super) next: u32,
    /// The list it is a member of.
    pub(super) list: u16,
    pub(super) tuple: PackedTuple,
}

impl Entry {
    /// A life at an address not known yet; the slab gives it generation and links.
    pub(super) fn new(netns: Netns, tuple: PackedTuple, since: MonoNs, life: Life) -> Self {
        Self { sk: 0, since, life, netns, generation: 0, prev: 0, next: 0, list: 0, tuple }
    }

    /// A record older than this is of an earlier life.
    pub(super) fn known_from(&self) -> MonoNs {
        match self.life {
            Life::Waiting { verified, seen: false, .. } => verified,
            Life::Ghost { closed, .. } => closed,
            _ => self.since,
        }
    }

    /// The newest record of its beginning; where none was seen, `since`.
    pub(super) fn last_told(&self) -> MonoNs {
        match self.life {
            Life::Waiting { seen: true, not_before: told, .. } => told,
            _ => self.since,
        }
    }

    pub(super) fn since(&self) -> Since {
        match self.life {
            Life::Waiting { seen: true, .. }
            | Life::Ghost { seen: true, .. }
            | Life::Left { seen: true, .. } => Since::Seen(self.since),
            Life::Waiting { not_before, .. } => Bounds { latest: self.since, earliest: not_before }.since(),
            _ => Since::NoLaterThan(self.since),
        }
    }

    /// It cannot have entered before this; `None` when nothing bounds its age.
    pub(super) fn not_before(&self) -> Option<MonoNs> {
        match self.life {
            Life::Waiting { seen: false, not_before, .. } => (not_before != MonoNs(0)).then_some(not_before),
            Life::Waiting { .. } => Some(self.since),
            Life::Ghost { seen, .. } | Life::Left { seen, .. } => seen.then_some(self.since),
            Life::Free => None,
        }
    }

    /// Where the threshold counts from. The age of a socket that is older than the trace
    /// will never be known better: it counts from its earliest moment. What entered since
    /// can be waited for until it is old enough for certain.
    pub(super) fn counts_from(&self) -> MonoNs {
        match self.life {
            Life::Waiting { unrecorded: true, .. } | Life::Waiting { seen: true, .. } => self.since,
            Life::Waiting { not_before: counts_from, .. } | Life::Ghost { counts_from, .. } => counts_from,
            Life::Free | Life::Left { .. } => MonoNs(u64::MAX),
        }
    }
}

/// A [`Tuple`], and whether it is an MPTCP socket's (one of its subflows may have
/// the same tuple), in 37 bytes without alignment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PackedTuple {
    local: PackedEndpoint,
    remote: PackedEndpoint,
    /// Bit 0: the local address is IPv4; bit 1: the remote one is; bit 2: MPTCP.
    bits: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PackedEndpoint {
    ip: [u8; 16],
    port: [u8; 2],
}

impl PackedEndpoint {
    fn new(endpoint: Endpoint) -> (Self, u8) {
        let (ip, v4) = match endpoint.ip {
            IpAddr::V4(v4) => {
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&v4.octets());
                (ip, 1)
            }
            IpAddr::V6(v6) => (v6.octets(), 0),
        };
        (Self { ip, port: endpoint.port.to_ne_bytes() }, v4)
    }

    fn endpoint(self, v4: bool) -> Endpoint {
        let [a, b, c, d, ..] = self.ip;
        let ip = if v4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(self.ip).into() };
        Endpoint { ip, port: u16::from_ne_bytes(self.port) }
    }
}

impl From<PackedTuple> for Tuple {
    fn from(packed: PackedTuple) -> Self {
        Self {
            local: packed.local.endpoint(packed.bits & 1 != 0),
            remote: packed.remote.endpoint(packed.bits & 2 != 0),
        }
    }
}

impl PackedTuple {
    /// Of a socket whose tuple is not known.
    pub(super) const NONE: Self = {
        let nowhere = PackedEndpoint { ip: [0; 16], port: [0; 2] };
        Self { local: nowhere, remote: nowhere, bits: 0 }
    };

    pub(super) fn new(tuple: Tuple, mptcp: bool) -> Self {
        let (local, local_v4) = PackedEndpoint::new(tuple.local);
        let (remote, remote_v4) = PackedEndpoint::new(tuple.remote);
        Self { local, remote, bits: local_v4 | remote_v4 << 1 | u8::from(mptcp) << 2 }
    }

    pub(super) fn mptcp(&self) -> bool {
        self.bits & 4 != 0
    }

    /// Whether both name the same remote end. (A record's local port may be 0:
    /// the kernel has let go of it by the time a socket reaches CLOSE.)
    pub(super) fn same_remote(&self, other: &Self) -> bool {
        self.remote == other.remote
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_within_the_memory_budget() {
        // 96, an eighth of slack in the slab and 10.5 of index: under 128.
        assert_eq!(size_of::<Entry>(), 96);
    }

    #[test]
    fn every_family_survives_packing() {
        let ends = ["1.2.3.4:5", "[::ffff:1.2.3.4]:5", "[::]:0", "0.0.0.0:0", "[fe80::1]:65535"]
            .map(|text| text.parse::<std::net::SocketAddr>().unwrap())
            .map(|addr| Endpoint { ip: addr.ip(), port: addr.port() });
        for local in ends {
            for remote in ends {
                let tuple = Tuple { local, remote };
                for mptcp in [false, true] {
                    let packed = PackedTuple::new(tuple, mptcp);
                    assert_eq!((Tuple::from(packed), packed.mptcp()), (tuple, mptcp));
                }
            }
        }
    }
}
