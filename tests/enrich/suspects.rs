//! Snapshots and suspects as the tests need them.

use closewait_trace::clock::Clock;
use closewait_trace::enrich::netns::NetnsFilter;
use closewait_trace::enrich::{Enricher, Found, Gathered, Options};
use closewait_trace::item::{DiagSocket, Netns, Snapshot};
use closewait_trace::tracker::{Since, SocketId, Suspect, SuspectKind};

use super::net::{Net, looking};

/// Both ways to list sockets.
pub(super) const SOURCES: [Options; 2] =
    [Options { without_inet_diag: false }, Options { without_inet_diag: true }];

/// The snapshot of one namespace.
pub(super) fn snapshot(enricher: &mut Enricher, net: &Net) -> Snapshot {
    let all = enricher.snapshot(&NetnsFilter::All);
    let mut ours = all.into_iter().filter_map(Result::ok).filter(|s| s.netns == net.netns());
    let snapshot = ours.next().expect("the namespace is not among the snapshots");
    assert!(ours.next().is_none(), "two snapshots of one namespace");
    assert!(snapshot.complete && snapshot.began <= snapshot.ended);
    snapshot
}

/// A suspect for each socket, with its index as id.
pub(super) fn suspects<'a>(sockets: impl IntoIterator<Item = (Netns, &'a DiagSocket)>) -> Vec<Suspect> {
    let one = |(i, (netns, socket)): (u32, (Netns, &DiagSocket))| Suspect {
        id: SocketId::from_parts(i, 0),
        sk: None,
        netns,
        tuple: socket.tuple,
        kind: SuspectKind::Stuck,
        since: Since::NoLaterThan(Clock::mono_now()),
        missed: false,
        not_before: None,
        mptcp: socket.mptcp,
        tainted: false,
    };
    (0..).zip(sockets).map(one).collect()
}

/// The suspects that a snapshot makes.
pub(super) fn suspects_of(snapshot: &Snapshot) -> Vec<Suspect> {
    suspects(snapshot.sockets.iter().map(|s| (snapshot.netns, s)))
}

/// Gathers about suspects all of which are stuck, in their order.
pub(super) fn gather_all(enricher: &mut Enricher, suspects: &[Suspect]) -> Vec<Found> {
    let mut gathered = looking(|| enricher.gather(suspects, Clock::mono_now()));
    gathered.sort_by_key(|(id, _)| *id);
    assert_eq!(gathered.len(), suspects.len());
    let found = |(id, gathered)| match gathered {
        Gathered::Found(found) => *found,
        other => panic!("{id:?}: {other:?}"),
    };
    gathered.into_iter().map(found).collect()
}

/// Its holders' pids.
pub(super) fn pids(found: &Found) -> Vec<u32> {
    found.holders.known().unwrap_or_else(|| panic!("{:?}", found.holders)).iter().map(|h| h.pid).collect()
}
