//! Which sockets are of interest. Pure. The values of one option are alternatives,
//! different options must all hold; what can be decided from the tuple is decided
//! before a socket is tracked, what needs the holders when it is reported.

use crate::enrich::cgroup::CgroupFilter;
use crate::enrich::netns::NetnsFilter;
use crate::item::Netns;
use crate::tcp::Tuple;
use crate::verdict::{Evidence, Holder, ProcessEnd};

/// The filters, validated. The default lets everything pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these network namespaces.
    pub netns: NetnsFilter,
    /// Only these local ports, if any.
    pub local_ports: Vec<u16>,
    /// Only these remote ports, if any.
    pub remote_ports: Vec<u16>,
    /// Not these ports, at either end.
    pub exclude_ports: Vec<u16>,
    /// Only sockets held by these processes, if any.
    pub pids: Vec<u32>,
    /// Only sockets held by processes of these names, if any.
    pub comms: Vec<String>,
    /// Only sockets held by processes in these cgroups, or below them, if any.
    pub cgroups: Vec<CgroupFilter>,
    /// Not sockets held by processes of these names.
    pub exclude_comms: Vec<String>,
}

impl Filter {
    /// Whether a socket with these ends can be of interest.
    pub fn wants_socket(&self, netns: Netns, tuple: &Tuple) -> bool {
        let (local, remote) = (tuple.local.port, tuple.remote.port);
        self.netns.allows(netns)
            && (self.local_ports.is_empty() || self.local_ports.contains(&local))
            && (self.remote_ports.is_empty() || self.remote_ports.contains(&remote))
            && !self.exclude_ports.contains(&local)
            && !self.exclude_ports.contains(&remote)
    }

    /// As much of it as the ends of a socket tell.
    #[must_use]
    pub fn by_ends(&self) -> Self {
        let all = self.clone();
        Self { pids: Vec::new(), comms: Vec::new(), cgroups: Vec::new(), exclude_comms: Vec::new(), ..all }
    }

    /// Whether a socket with this evidence is of interest: by its holders, or by its
    /// listener when nobody accepted it. With a filter by process, a socket whose
    /// holders are unknown is not.
    pub fn wants_evidence(&self, evidence: &Evidence) -> bool {
        let listener = evidence.listener.known().and_then(|listener| listener.holder.as_ref());
        let holders = evidence.holders.known().map(Vec::as_slice).unwrap_or_default();
        let mut all = holders.iter().chain(listener);
        if let (Some(end), None) = (&evidence.ended, all.clone().next()) {
            return self.wants_ended(end, evidence);
        }
        let excluded = |holder: &Holder| self.exclude_comms.iter().any(|comm| is_named(&holder.comm, comm));
        if all.clone().next().is_some() && all.clone().all(excluded) {
            return false;
        }
        if self.pids.is_empty() && self.comms.is_empty() && self.cgroups.is_empty() {
            return true;
        }
        all.any(|holder| {
            (self.pids.is_empty() || self.pids.contains(&holder.pid))
                && (self.comms.is_empty() || self.comms.iter().any(|comm| is_named(&holder.comm, comm)))
                && (self.cgroups.is_empty() || self.cgroups.iter().any(|cgroup| cgroup.has(&holder.cgroups)))
        })
    }

    /// The same of a socket that has ended with its process, or by its close, before anybody
    /// looked who holds it. What is not known does not keep a leak from a gate.
    fn wants_ended(&self, end: &ProcessEnd, evidence: &Evidence) -> bool {
        let opener = evidence.opener.known().map(|opener| &opener.task);
        let tasks = [Some(&end.task), opener.filter(|task| task.pid == end.task.pid)];
        // A process is called as its main thread is.
        let main = tasks.into_iter().flatten().find(|task| task.tid == task.pid);
        let is_of = |comms: &[String]| main.map(|main| comms.iter().any(|comm| is_named(&main.comm, comm)));
        (self.pids.is_empty() || self.pids.contains(&end.task.pid))
            && (self.comms.is_empty() || is_of(&self.comms) != Some(false))
            && is_of(&self.exclude_comms) != Some(true)
    }

    /// The only namespace wanted, when there is just one.
    pub fn only_netns(&self) -> Option<Netns> {
        match &self.netns {
            NetnsFilter::Only(only) if only.len() == 1 => only.keys().next().copied(),
            _ => None,
        }
    }
}

/// Bytes of a name that the kernel keeps (TASK_COMM_LEN less the NUL, include/linux/sched.h).
const COMM_MAX: usize = 15;

/// Whether a process that the kernel calls `comm` is the one that somebody calls `wanted`:
/// the kernel has cut its name.
pub fn is_named(comm: &str, wanted: &str) -> bool {
    let cut = wanted.as_bytes().get(..COMM_MAX);
    comm == wanted || cut.is_some_and(|cut| *comm == *String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoNs;
    use crate::enrich::netns::NetnsRef;
    use crate::fact::Fact;
    use crate::item::Task;
    use crate::tcp::Endpoint;
    use crate::text::Text;
    use crate::verdict::{OpenedVia, Opener};
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    fn tuple(local: u16, remote: u16) -> Tuple {
        let end = |port| Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port };
        Tuple { local: end(local), remote: end(remote) }
    }

    #[test]
    fn names_are_compared_as_far_as_the_kernel_keeps_them() {
        let table = [
            ("nginx", "nginx", true),
            ("nginx", "ngin", false),
            ("order-service-w", "order-service-worker", true),
            ("order-service-w", "order-service-w", true),
            ("order-service-w", "order-service-", false),
            ("order-service-w", "order-service-xy", false),
            // Cut within a letter, and read lossily.
            ("aaaaaaaaaaaaaa\u{fffd}", "aaaaaaaaaaaaaaé", true),
            ("", "", true),
        ];
        for (comm, wanted, is) in table {
            assert_eq!(is_named(comm, wanted), is, "{comm} {wanted}");
        }
    }

    #[test]
    fn what_ended_before_it_was_looked_at_is_left_out_only_if_its_process_is_known() {
        let task = |tid, comm| Task { pid: 7, tid, comm: Text::of(comm) };
        let ended = |tid, comm| {
            let written = Fact::unknown("test");
            let ended = Some(ProcessEnd { task: task(tid, comm), closed_after: None, written });
            Evidence { ended, ..Evidence::unknown() }
        };
        let opened = |mut evidence: Evidence, comm| {
            let (via, at, fd) = (OpenedVia::Accept, MonoNs(1), None);
            let (stack, stack_note) = (Fact::unknown("test"), None);
            evidence.opener = Fact::Known(Opener { task: task(7, comm), via, at, fd, stack, stack_note });
            evidence
        };
        let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        for (evidence, only_java, not_java) in [
            (ended(7, "java"), true, false),
            (ended(7, "make"), false, true),
            (ended(8, "worker-1"), true, true),
            (opened(ended(8, "worker-1"), "java"), true, false),
            (opened(ended(8, "worker-1"), "make"), false, true),
        ] {
            let only = Filter { comms: of(&["java"]), ..Filter::default() };
            assert_eq!(only.wants_evidence(&evidence), only_java, "{evidence:?}");
            let but = Filter { exclude_comms: of(&["java"]), ..Filter::default() };
            assert_eq!(but.wants_evidence(&evidence), not_java, "{evidence:?}");
            assert!(only.by_ends().wants_evidence(&evidence));
        }
        let pid = |pid| Filter { pids: vec![pid], ..Filter::default() }.wants_evidence(&ended(8, "x"));
        assert_eq!((pid(7), pid(8)), (true, false));
    }

    #[test]
    fn values_of_one_option_are_alternatives_and_different_options_must_all_hold() {
        let own = NetnsRef::own().unwrap();
        let here = own.netns();
        let filter = Filter {
            local_ports: vec![80, 443],
            remote_ports: vec![5000],
            exclude_ports: vec![443],
            netns: NetnsFilter::Only(BTreeMap::from([(here, own)])),
            ..Filter::default()
        };
        let elsewhere = Netns(here.0 + 1);
        let table = [
            (here, 80, 5000, true),
            (here, 80, 5001, false),
            (here, 81, 5000, false),
            (here, 443, 5000, false),
            (elsewhere, 80, 5000, false),
        ];
        for (netns, local, remote, want) in table {
            assert_eq!(filter.wants_socket(netns, &tuple(local, remote)), want, "{netns:?} {local} {remote}");
        }
        assert_eq!(filter.only_netns(), Some(here));
        assert!(Filter::default().wants_socket(elsewhere, &tuple(1, 2)));
        assert_eq!(Filter::default().only_netns(), None);
    }
}
