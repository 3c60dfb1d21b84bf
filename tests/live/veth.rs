//! Two network namespaces joined by a wire. It can be cut, and its receiving ends can
//! hand packets to a CPU of our choice: then the task on the CPU when a FIN arrives is
//! neither the server nor the client.

use super::leaked::Leaked;
use super::netns::{Netns, ip};
use super::workload::Workload;

/// Address of the server's end.
pub(crate) const SERVER_IP: &str = "10.97.0.1";
const CLIENT_IP: &str = "10.97.0.2";

/// Both ends.
pub(crate) struct Veth {
    pub(crate) server: Netns,
    pub(crate) client: Netns,
}

impl Veth {
    /// Joins two new namespaces.
    pub(crate) fn new() -> Self {
        let (server, client) = (Netns::new(), Netns::new());
        ip(&[
            "-n",
            server.name(),
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "wire",
            "netns",
            client.name(),
        ]);
        for (end, address) in [(&server, SERVER_IP), (&client, CLIENT_IP)] {
            ip(&["-n", end.name(), "address", "add", &format!("{address}/24"), "dev", "wire"]);
            ip(&["-n", end.name(), "link", "set", "wire", "up"]);
        }
        Self { server, client }
    }

    /// The same; every packet to either end is handled on CPU 0.
    pub(crate) fn steered_to_cpu_0() -> Self {
        let wire = Self::new();
        for end in [&wire.server, &wire.client] {
            end.steer_to_cpu_0("wire");
        }
        wire
    }

    /// 101 leaks of the side that `of` says, among 97 connections that close in time, from
    /// end to end. Both programs are bound to a CPU that is not 0, unless there is no other.
    pub(crate) fn leak_elsewhere(&self, of: Workload) -> Leaked<'_> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cpu = (cpus - 1).to_string();
        let workload = Workload {
            server: &["--bind", SERVER_IP, "--cpu", &cpu],
            client: &["--to", SERVER_IP, "--cpu", &cpu],
            leak: 101,
            close: 97,
            ..of
        };
        workload.run(&self.server, &self.client)
    }

    /// From now on nothing gets through, and neither end is told.
    pub(crate) fn cut(&self) {
        ip(&["-n", self.client.name(), "link", "set", "wire", "down"]);
    }
}
