//! Which sockets are of interest. Pure. The values of one option are alternatives,
//! different options must all hold; what can be decided from the tuple is decided
//! before a socket is tracked, what needs the holders when it is reported.

use crate::enrich::cgroup::CgroupFilter;
use crate::enrich::netns::NetnsFilter;
use crate::item::Netns;
use crate::tcp::Tuple;
use crate::verdict::{Evidence, Holder};

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
        let mut all = held_by(evidence);
        let excluded = |holder: &Holder| self.exclude_comms.iter().any(|comm| is_named(&holder.comm, comm));
        if all.clone().next().is_some() && all.clone().all(excluded) {
            return false;
        }
        if self.pids.is_empty() && self.comms.is_empty() && self.cgroups.is_empty() {
            return true;
        }
        self.has_listener_of(evidence)
            || all.any(|holder| {
                (self.pids.is_empty() || self.pids.contains(&holder.pid))
                    && (self.comms.is_empty() || self.comms.iter().any(|comm| is_named(&holder.comm, comm)))
                    && (self.cgroups.is_empty()
                        || self.cgroups.iter().any(|cgroup| cgroup.has(&holder.cgroups)))
            })
    }

    /// Whether one of the processes wanted may accept a socket that nobody has accepted: workers share
    /// their master's listener. (What others of them are called is not known.)
    fn has_listener_of(&self, evidence: &Evidence) -> bool {
        let in_queue = evidence.listener.known().is_some();
        let may_accept = evidence.listener_holders.known().filter(|_| in_queue);
        let wants = |pids: &Vec<u32>| self.pids.iter().any(|pid| pids.contains(pid));
        self.comms.is_empty() && self.cgroups.is_empty() && may_accept.is_some_and(wants)
    }

    /// The same for a gate, which lets no leak pass because something is not known: a socket
    /// that nobody is known to hold goes by who closed it, or ended with it, and by who opened
    /// it. (These may be two: descriptors are inherited.)
    pub fn wants_leak(&self, evidence: &Evidence) -> bool {
        if held_by(evidence).next().is_some() {
            return self.wants_evidence(evidence);
        }
        let closer = evidence.ended.as_ref().map(|end| &end.task);
        let opener = evidence.opener.known().map(|opener| &opener.task);
        let tasks = || closer.into_iter().chain(opener);
        // A process is called as its main thread is. None: that is not known.
        let is_of = |pid, comms: &[String]| {
            let main = tasks().find(|task| task.pid == pid && task.tid == pid)?;
            Some(comms.iter().any(|comm| is_named(&main.comm, comm)))
        };
        if tasks().next().is_none() {
            return true;
        }
        !tasks().all(|task| is_of(task.pid, &self.exclude_comms) == Some(true))
            && tasks().any(|task| {
                (self.pids.is_empty() || self.pids.contains(&task.pid))
                    && (self.comms.is_empty() || is_of(task.pid, &self.comms) != Some(false))
            })
    }

    /// The only namespace wanted, when there is just one.
    pub fn only_netns(&self) -> Option<Netns> {
        match &self.netns {
            NetnsFilter::Only(only) if only.len() == 1 => only.keys().next().copied(),
            _ => None,
        }
    }
}

/// Who is known to hold a socket, or the listener that it waits in.
fn held_by(evidence: &Evidence) -> impl Iterator<Item = &Holder> + Clone {
    let listener = evidence.listener.known().and_then(|listener| listener.holder.as_ref());
    evidence.holders.known().into_iter().flatten().chain(listener)
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
    use crate::verdict::{OpenedVia, Opener, Process, ProcessEnd};
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

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

    /// Who opened a socket, and who closed it or ended with it: process, thread and name, if known.
    type Known = Option<(u32, u32, &'static str)>;

    fn known(opener: Known, closer: Known) -> Evidence {
        let task = |(pid, tid, comm)| Task { pid, tid, comm: Text::of(comm) };
        let mut evidence = Evidence::unknown();
        if let Some(opener) = opener {
            let (task, via, at, fd) = (task(opener), OpenedVia::Accept, MonoNs(1), None);
            let (stack, stack_note) = (Fact::unknown("test"), None);
            evidence.opener = Fact::Known(Opener { task, via, at, fd, stack, stack_note });
        }
        let written = Fact::unknown("test");
        evidence.ended =
            closer.map(|it| ProcessEnd { task: task(it), closed_after: None, clean_up: None, written });
        evidence
    }

    #[test]
    fn a_leak_that_nobody_is_known_to_hold_is_left_out_only_if_its_processes_are_known() {
        let (java, make, sleep) = (Some((7, 7, "java")), Some((7, 7, "make")), Some((9, 9, "sleep")));
        let thread = Some((7, 8, "worker-1"));
        let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        for (opener, closer, only_java, not_java) in [
            (None, java, true, false),
            (None, make, false, true),
            (None, thread, true, true),
            (java, thread, true, false),
            (make, thread, false, true),
            // A descriptor that somebody else has inherited.
            (java, sleep, true, true),
            (sleep, java, true, true),
            (make, sleep, false, true),
            (thread, sleep, true, true),
            // It is there, and the scan for its holders failed.
            (java, None, true, false),
            (make, None, false, true),
            (thread, None, true, true),
            (None, None, true, true),
        ] {
            for holders in [Fact::unknown("the scan failed"), Fact::Known(Vec::new())] {
                let evidence = Evidence { holders, ..known(opener, closer) };
                let only = Filter { comms: of(&["java"]), ..Filter::default() };
                assert_eq!(only.wants_leak(&evidence), only_java, "{evidence:?}");
                let but = Filter { exclude_comms: of(&["java"]), ..Filter::default() };
                assert_eq!(but.wants_leak(&evidence), not_java, "{evidence:?}");
                assert!(only.by_ends().wants_leak(&evidence));
            }
        }
        let both = Filter { exclude_comms: of(&["java", "sleep"]), ..Filter::default() };
        assert!(!both.wants_leak(&known(java, sleep)));
        assert!(both.wants_leak(&known(thread, sleep)), "what the thread's process is called is not known");
        let pid = |pid, opener, closer| {
            Filter { pids: vec![pid], ..Filter::default() }.wants_leak(&known(opener, closer))
        };
        assert_eq!([7, 8, 9].map(|it| pid(it, thread, sleep)), [true, false, true]);
        assert_eq!([7, 8].map(|it| pid(it, None, thread)), [true, false]);
        // One process has to be both.
        let java_9 = Filter { pids: vec![9], comms: of(&["java"]), ..Filter::default() };
        assert!(!java_9.wants_leak(&known(java, sleep)));
    }

    #[test]
    fn what_a_worker_may_accept_is_of_interest_to_who_wants_that_worker() {
        let holder =
            |pid| Holder { process: Arc::new(Process::unknown(pid)), fd: 3, cloexec: Fact::unknown("test") };
        let listener = crate::verdict::Listener { holder: Some(holder(7)), queue: 1, limit: 5 };
        let waiting = Evidence {
            holders: Fact::Known(Vec::new()),
            listener: Fact::Known(listener),
            listener_holders: Fact::Known(vec![7, 8, 9]),
            ..Evidence::unknown()
        };
        let accepted = Evidence {
            holders: Fact::Known(vec![holder(7)]),
            listener: Fact::unknown("it was accepted"),
            ..waiting.clone()
        };
        let only = |pid| Filter { pids: vec![pid], ..Filter::default() };
        for (pid, may_accept, holds) in [(7, true, true), (9, true, false), (10, false, false)] {
            assert_eq!(only(pid).wants_evidence(&waiting), may_accept, "{pid}");
            assert_eq!(only(pid).wants_evidence(&accepted), holds, "{pid}");
        }
        let named = Filter { comms: vec!["worker".to_owned()], ..only(9) };
        assert!(!named.wants_evidence(&waiting), "what that is called is not known");
    }

    #[test]
    fn a_leak_with_a_holder_goes_by_it() {
        let process = Process { comm: Text::of("sleep"), ..Process::unknown(9) };
        let holder = Holder { process: Arc::new(process), fd: 3, cloexec: Fact::unknown("test") };
        let evidence = Evidence { holders: Fact::Known(vec![holder]), ..known(Some((7, 7, "java")), None) };
        let only = |comm: &str| Filter { comms: vec![comm.to_owned()], ..Filter::default() };
        assert!(only("sleep").wants_leak(&evidence) && !only("java").wants_leak(&evidence));
        assert!(!only("java").wants_evidence(&Evidence { holders: Fact::unknown("test"), ..evidence }));
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
