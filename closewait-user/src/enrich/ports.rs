//! Ports that connect() chooses from, and how many of them are used towards a server.
//!
//! In: a namespace and servers. Out: counts per (source, destination, port). The
//! kernel counts nothing itself: it is asked for the sockets towards these servers.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::procfs;
use super::sockets::Sockets;
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::Netns;
use crate::tcp::Endpoint;

/// Counts are used for so long.
const FRESH: Duration = Duration::from_secs(2);
/// Ports towards so many servers of one namespace are counted.
pub(super) const SERVERS_MAX: usize = 256;

/// Ports that connect() chooses from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ports {
    low: u16,
    high: u16,
    /// Those of them that are never chosen.
    reserved: u32,
}

impl Ports {
    /// From `low` to `high`; `None` when there are none.
    pub(super) fn new(low: u16, high: u16, reserved: u32) -> Option<Self> {
        (low <= high).then_some(Self { low, high, reserved })
    }

    /// Those of the namespace of this /proc/sys/net/ipv4.
    pub(super) fn read(dir: BorrowedFd<'_>) -> Option<Self> {
        let sysctl = |name: &str| procfs::read(dir, name);
        let range = sysctl("ip_local_port_range").ok()?;
        let mut ends = range.split_ascii_whitespace().map(str::parse);
        let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
        let reserved = sysctl("ip_local_reserved_ports").unwrap_or_default();
        Self::new(low, high, reserved_in(&reserved, low, high))
    }

    pub(super) fn contains(self, port: u16) -> bool {
        (self.low..=self.high).contains(&port)
    }

    /// How many there are to choose from.
    pub(super) fn total(self) -> u32 {
        (u32::from(self.high - self.low) + 1).saturating_sub(self.reserved)
    }
}

/// How many of a list like `8080,9000-9010` are from `low` to `high`.
fn reserved_in(list: &str, low: u16, high: u16) -> u32 {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        (u32::from(to.min(high)) + 1).checked_sub(u32::from(from.max(low)))
    });
    ranges.sum()
}

/// Local ports used, by source, destination and its port.
pub(super) type Used = HashMap<(IpAddr, IpAddr, u16), u32>;

/// Counts of a moment ago.
#[derive(Default)]
pub(super) struct PortsUsed(HashMap<Netns, (MonoNs, HashSet<Endpoint>, Fact<Used>)>);

impl PortsUsed {
    /// Before a batch: what is not of a moment ago is not used.
    pub(super) fn forget_old(&mut self, now: MonoNs) {
        self.0.retain(|_, (at, ..)| now.since(*at) < FRESH);
    }

    /// Counts the ports used towards `servers`: one dump, unless that was made just now.
    pub(super) fn count(
        &mut self,
        sockets: &mut Sockets,
        netns: Netns,
        servers: Vec<Endpoint>,
        ports: Ports,
        now: MonoNs,
    ) -> Fact<Used> {
        let canonical = |server: Endpoint| Endpoint { ip: server.ip.to_canonical(), ..server };
        let servers: HashSet<_> = servers.into_iter().map(canonical).collect();
        if let Some((_, known, used)) = self.0.get(&netns)
            && servers.is_subset(known)
        {
            return used.clone();
        }
        let used = if servers.len() > SERVERS_MAX {
            Fact::unknown(format!("only counted towards {SERVERS_MAX} servers"))
        } else {
            let all: Vec<_> = servers.iter().copied().collect();
            match sockets.connected_to(netns, &all) {
                Ok(tuples) => {
                    let mut local = HashMap::<_, HashSet<u16>>::new();
                    for tuple in tuples.into_iter().map(crate::tcp::Tuple::canonical) {
                        if servers.contains(&tuple.remote) && ports.contains(tuple.local.port) {
                            let key = (tuple.local.ip, tuple.remote.ip, tuple.remote.port);
                            local.entry(key).or_default().insert(tuple.local.port);
                        }
                    }
                    let count = |ports: HashSet<u16>| u32::try_from(ports.len()).unwrap_or(u32::MAX);
                    Fact::Known(local.into_iter().map(|(key, ports)| (key, count(ports))).collect())
                }
                Err(reason) => Fact::unknown(reason),
            }
        };
        self.0.insert(netns, (now, servers, used.clone()));
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_not_to_choose_from() {
        let table = [
            ("\n", 0),
            ("8080\n", 0),
            ("32768,40000-40009,60999-61005\n", 12),
            ("1-65535", 28_232),
            ("40009-40000", 0),
            ("x,40000,70000", 1),
        ];
        for (list, want) in table {
            assert_eq!(reserved_in(list, 32_768, 60_999), want, "{list:?}");
        }
        assert_eq!(Ports::new(32_768, 60_999, 12).unwrap().total(), 28_220);
        assert_eq!(Ports::new(0, u16::MAX, 0).unwrap().total(), 65_536);
        assert_eq!(Ports::new(5, 4, 0), None);
        let dir = procfs::open_dir(rustix::fs::CWD, "/proc/sys/net/ipv4").unwrap();
        assert!(Ports::read(std::os::fd::AsFd::as_fd(&dir)).unwrap().total() > 0);
    }
}
