//! What is around a batch of suspects: which side of its connection each is, by
//! listeners and ports, the other end where it is on this host, and the ports that
//! are used towards its server.
//!
//! In: sockets that were just looked at. Out: inodes whose holders are of interest,
//! and after the walk over fd tables a [`Surrounding`] for each socket. At most one
//! dump for listeners, one for peers and one for ports per namespace and batch.

use std::os::fd::AsFd;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use rustix::fs::CWD;

use super::addresses::Addresses;
use super::holders::Scan;
use super::keepalive::{self, Asked};
use super::listener::Queues;
use super::peers::Peers;
use super::ports::{Ports, PortsUsed, Used};
use super::procfs;
use super::sight::Beside;
use super::sockets::Sockets;
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::{DiagSocket, Netns, Timer};
use crate::verdict::{Evidence, Keepalive, LocalPeer, PortUse, Role};

/// Settings of a namespace are read anew after so long.
const SETTINGS: Duration = Duration::from_mins(1);

/// What was found out about the surroundings of one socket.
#[derive(Clone, PartialEq, Debug)]
pub struct Surrounding {
    /// Which side it is, and by what.
    role: Fact<(Role, &'static str)>,
    listener_holders: Fact<Vec<u32>>,
    peer: Fact<Option<LocalPeer>>,
    ports: Fact<PortUse>,
    keepalive: Fact<Keepalive>,
}

impl Surrounding {
    /// Adds it to the evidence.
    pub fn add_to(self, evidence: &mut Evidence) {
        match self.role {
            Fact::Known((role, by)) => {
                evidence.role = Fact::Known(role);
                evidence.role_by = Some(by.into());
            }
            Fact::Unknown(reason) => evidence.role = Fact::Unknown(reason),
        }
        evidence.listener_holders = self.listener_holders;
        evidence.local_peer = self.peer;
        evidence.ports = self.ports;
        evidence.keepalive = self.keepalive;
    }
}

/// What is remembered from batch to batch: settings of namespaces.
#[derive(Default)]
pub(super) struct Settings {
    by_netns: HashMap<Netns, (MonoNs, Fact<NetSettings>)>,
    addresses: Addresses,
    used: PortsUsed,
}

/// Settings of one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NetSettings {
    pub(super) ports: Ports,
    pub(super) keepalive: keepalive::Options,
}

impl NetSettings {
    /// Those of the caller's namespace. Its directory is looked up once: see
    /// [`is_about_settings`].
    fn read() -> Option<Self> {
        let dir = procfs::open_dir(CWD, "/proc/sys/net/ipv4").ok()?;
        let (ports, keepalive) = (Ports::read(dir.as_fd())?, keepalive::Options::read(dir.as_fd())?);
        Some(Self { ports, keepalive })
    }
}

impl Settings {
    /// Once for each batch: there may be ten thousand namespaces in it.
    fn forget_old(&mut self, now: MonoNs) {
        self.by_netns.retain(|_, (at, _)| now.since(*at) < SETTINGS);
        self.used.forget_old(now);
    }

    fn of(&mut self, sockets: &mut Sockets, netns: Netns, now: MonoNs) -> Fact<NetSettings> {
        let read = || {
            let settings = sockets.locate(netns).and_then(|at| {
                // /proc/sys/net shows the namespace of the thread that opens it.
                at.run(NetSettings::read)
                    .map_err(|e| e.to_string())?
                    .ok_or_else(|| "its settings in /proc/sys/net/ipv4 cannot be read".to_owned())
            });
            (now, settings.map_or_else(Fact::unknown, Fact::Known))
        };
        self.by_netns.entry(netns).or_insert_with(read).1.clone()
    }
}

/// Hands the sockets of a batch to whom it is given, each with its namespace: there may be
/// too many of them to have them side by side.
pub(super) type Here<'a> = dyn Fn(&mut dyn FnMut(Netns, &DiagSocket)) + 'a;

/// See the module.
pub(super) struct Surroundings {
    settings: HashMap<Netns, Fact<NetSettings>>,
    peers: Peers,
    used: HashMap<Netns, Fact<Used>>,
    asked: Asked,
}

impl Surroundings {
    /// Looks around those that are `here`, sockets in CLOSE_WAIT.
    pub(super) fn look(
        here: &Here<'_>,
        beside: &Beside,
        sockets: &mut Sockets,
        queues: &Queues,
        known: &mut Settings,
        now: MonoNs,
    ) -> Self {
        known.forget_old(now);
        let mut settings = HashMap::new();
        here(&mut |netns, socket| {
            if is_about_settings(netns, socket, queues) {
                settings.entry(netns).or_insert_with(|| known.of(sockets, netns, now));
            }
        });
        let peers = Peers::look(here, beside, sockets, &mut known.addresses, now);
        let mut around = Self { settings, peers, used: HashMap::new(), asked: Asked::default() };
        let mut servers = HashMap::<Netns, HashSet<_>>::new();
        here(&mut |netns, socket| {
            if let Fact::Known((Role::Client, _)) = around.role(netns, socket, queues) {
                servers.entry(netns).or_default().insert(socket.tuple.remote);
            }
        });
        for (netns, servers) in servers {
            if let Some(Fact::Known(settings)) = around.settings.get(&netns) {
                let used =
                    known.used.count(sockets, netns, servers.into_iter().collect(), settings.ports, now);
                around.used.insert(netns, used);
            }
        }
        around
    }

    /// Peers of whom the holder is of interest.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        self.peers.inodes()
    }

    /// What is around one of the sockets. `scan`: the walk that looked for [`Self::inodes`].
    pub(super) fn of(
        &mut self,
        netns: Netns,
        socket: &DiagSocket,
        queues: &Queues,
        scan: Result<&Scan, &String>,
    ) -> Surrounding {
        let peer = self.peers.of(netns, socket, scan.ok());
        let settings = self.settings.get(&netns).cloned().unwrap_or_else(|| Fact::unknown("not looked at"));
        let holder = || scan.ok()?.first(socket.inode);
        let keepalive = keepalive::keepalive(socket, peer.known(), &mut self.asked, holder, &settings);
        let listeners = match socket.inode {
            0 => queues.awaited(netns, socket.tuple.local, scan.ok()),
            _ => queues.on(netns, socket.tuple.local),
        };
        let listener_holders = match scan {
            Ok(scan) => listeners.map(|all| {
                let mut pids: Vec<_> = all.iter().flat_map(|l| scan.pids(l.inode)).collect();
                pids.sort_unstable();
                pids.dedup();
                pids
            }),
            Err(reason) => Err(reason.clone()),
        };
        Surrounding {
            role: self.role(netns, socket, queues),
            listener_holders: listener_holders.map_or_else(Fact::unknown, Fact::Known),
            ports: self.ports(netns, socket),
            peer,
            keepalive,
        }
    }

    /// Which side a socket is whose opening was not seen.
    fn role(&self, netns: Netns, socket: &DiagSocket, queues: &Queues) -> Fact<(Role, &'static str)> {
        let (local, remote) = (socket.tuple.local, socket.tuple.remote);
        let local_listener = queues.on(netns, local).is_ok_and(|listeners| !listeners.is_empty());
        let remote_listener = self.peers.is_in(netns, remote.ip)
            && queues.on(netns, remote).is_ok_and(|listeners| !listeners.is_empty());
        let ports = self.settings.get(&netns).and_then(Fact::known).map(|settings| settings.ports);
        side(local_listener, remote_listener, ports, (local.port, remote.port))
    }

    fn ports(&self, netns: Netns, socket: &DiagSocket) -> Fact<PortUse> {
        let settings = match self.settings.get(&netns) {
            Some(Fact::Known(settings)) => settings,
            Some(Fact::Unknown(reason)) => return Fact::unknown(reason),
            // A server's: nobody asked.
            None => return Fact::unknown("it is not a client's"),
        };
        let tuple = socket.tuple.canonical();
        match self.used.get(&netns) {
            _ if !settings.ports.contains(tuple.local.port) => {
                Fact::unknown("its local port is not of those that connect() chooses from")
            }
            Some(Fact::Known(used)) => {
                let key = (tuple.local.ip, tuple.remote.ip, tuple.remote.port);
                let used = used.get(&key).copied();
                used.map_or_else(
                    || Fact::unknown("it is not a client's"),
                    |used| Fact::Known(PortUse { used, total: settings.ports.total(), growth: None }),
                )
            }
            Some(Fact::Unknown(reason)) => Fact::unknown(reason),
            None => Fact::unknown("it is not a client's"),
        }
    }
}

/// Whether anything of a socket depends on the settings of its namespace: its side, the ports
/// that are left to a client, or its keepalive. Those of ten thousand namespaces are not read
/// for nothing: all have the same name in one directory of the kernel (proc_sys_compare), so
/// that looking up the one takes longer the more there are.
fn is_about_settings(netns: Netns, socket: &DiagSocket, queues: &Queues) -> bool {
    let is_server = queues.on(netns, socket.tuple.local).is_ok_and(|listeners| !listeners.is_empty());
    !is_server || socket.timer != Timer::Off
}

/// Which side of a connection has this listener, or these ports.
fn side(
    local_listener: bool,
    remote_listener: bool,
    ephemeral: Option<Ports>,
    (local, remote): (u16, u16),
) -> Fact<(Role, &'static str)> {
    match (local_listener, remote_listener) {
        (true, true) => Fact::unknown("listeners are on both its ends, and its opening was not seen"),
        (true, false) => Fact::Known((Role::Server, "by the listener on its local port")),
        (false, true) => Fact::Known((Role::Client, "by the listener on its remote end")),
        (false, false) => match ephemeral {
            Some(ports) if ports.contains(local) && !ports.contains(remote) => {
                Fact::Known((Role::Client, "by its ports"))
            }
            Some(_) => Fact::unknown("neither listeners nor its ports tell, and its opening was not seen"),
            None => Fact::unknown("its opening was not seen, and net.ipv4.ip_local_port_range is not known"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_told_by_listeners_first_and_then_by_ports() {
        let range = Ports::new(32_768, 60_999, 0);
        let (server, client) = (Some(Role::Server), Some(Role::Client));
        let table = [
            ((true, false), range, (8080, 51_334), server),
            ((true, false), range, (40_000, 80), server),
            ((false, true), range, (40_000, 50_000), client),
            ((true, true), range, (40_000, 80), None),
            ((false, false), range, (40_000, 80), client),
            ((false, false), range, (40_000, 50_000), None),
            ((false, false), range, (80, 40_000), None),
            ((false, false), range, (80, 81), None),
            ((false, false), None, (40_000, 80), None),
        ];
        for ((local, remote), range, ports, want) in table {
            let side = side(local, remote, range, ports);
            assert_eq!(side.known().map(|(role, _)| *role), want, "{local} {remote} {ports:?}");
        }
    }
}
