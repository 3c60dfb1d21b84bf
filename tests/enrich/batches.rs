//! Large batches: nothing is missed, nothing is mixed up.

use std::collections::BTreeMap;
use std::time::Duration;

use closewait_trace::clock::Clock;
use closewait_trace::enrich::netns::NetnsFilter;
use closewait_trace::enrich::{Enricher, Gathered, Options, Source};
use closewait_trace::tracker::Since;

use super::net::{Holding, Net};
use super::suspects::{SOURCES, gather_all, pids, snapshot, suspects, suspects_of};

#[test]
fn forty_namespaces_with_25_sockets_each_are_found_with_their_holders() {
    let nets: Vec<_> = (0..40).map(|_| Net::new()).collect();
    let holdings: Vec<_> = nets.iter().map(|net| net.hold(net.leak("127.0.0.1", "127.0.0.1", 25))).collect();
    let holder: BTreeMap<_, _> = nets.iter().map(Net::netns).zip(holdings.iter().map(Holding::pid)).collect();
    assert_eq!(holder.len(), 40);
    for options in SOURCES {
        let mut enricher = Enricher::new(options).unwrap();
        let snapshots: Vec<_> = enricher
            .snapshot(&NetnsFilter::All)
            .into_iter()
            .filter_map(Result::ok)
            .filter(|s| holder.contains_key(&s.netns))
            .collect();
        for (net, snapshot) in nets.iter().zip(&snapshots) {
            let shown = snapshots.iter().find(|s| s.netns == net.netns()).unwrap().sockets.len();
            assert_eq!((shown, net.ss(&["-Htan", "state", "close-wait"]).len()), (25, 25), "{snapshot:?}");
        }
        let sockets: Vec<_> =
            snapshots.iter().flat_map(|s| s.sockets.iter().map(|socket| (s.netns, socket))).collect();
        let suspects = suspects(sockets.iter().copied());
        assert_eq!(suspects.len(), 1000);
        let found = gather_all(&mut enricher, &suspects);
        for (found, (netns, socket)) in found.iter().zip(&sockets) {
            assert_eq!((found.look.socket.tuple, found.look.socket.inode), (socket.tuple, socket.inode));
            assert_eq!(pids(found), [holder[netns]], "{options:?}");
        }
        // Nobody is called unreadable who can be read.
        for unread in &enricher.last_scan().unread {
            assert!(std::fs::read_link(format!("/proc/{}/fd/0", unread.pid)).is_err(), "{unread:?}");
        }
    }
}

#[test]
fn many_in_one_namespace_come_from_one_dump_and_are_the_same() {
    let net = Net::new();
    let held = net.hold(net.leak("127.0.0.1", "127.0.0.1", 97));
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let snapshot = snapshot(&mut enricher, &net);
    assert_eq!(enricher.source(), Source::InetDiag, "{:?}", enricher.degraded());
    let suspects = suspects_of(&snapshot);
    assert_eq!(suspects.len(), 97);
    // One dump for all, then a lookup for each of a few.
    let many = gather_all(&mut enricher, &suspects);
    let few: Vec<_> = suspects.chunks(16).flat_map(|few| gather_all(&mut enricher, few)).collect();
    for (many, few) in many.iter().zip(&few) {
        let (a, b) = (&many.look.socket, &few.look.socket);
        assert!(a.same_life(b) && a.cookie.is_some());
        assert_eq!((a.inode, a.recv_q, pids(many)), (b.inode, 1, vec![held.pid()]));
        assert!(many.look.at < few.look.at);
        let (before, after) = (a.tcp.unwrap(), b.tcp.unwrap());
        assert!(before.last_ack_recv_ms <= after.last_ack_recv_ms && before.snd_wnd.is_some());
    }
}

#[test]
fn a_socket_that_was_closed_is_gone_by_every_way_to_look() {
    for options in SOURCES {
        let net = Net::new();
        let kept = net.leak("127.0.0.1", "127.0.0.1", 2);
        let held = net.hold(net.leak("127.0.0.1", "127.0.0.1", 41));
        let mut enricher = Enricher::new(options).unwrap();
        let suspects = suspects_of(&snapshot(&mut enricher, &net));
        assert_eq!(suspects.len(), 43);
        drop(held);
        let now = Clock::mono_now();
        let looks = enricher.look(&suspects, now);
        let there = |looks: &[(_, Result<Option<_>, String>)]| {
            looks.iter().filter(|(_, look)| look.as_ref().unwrap().is_some()).count()
        };
        assert_eq!((looks.len(), there(&looks)), (43, 2), "{options:?}");
        let few: usize = suspects.chunks(11).map(|few| there(&enricher.look(few, now))).sum();
        assert_eq!(few, 2, "{options:?}");
        let gone = enricher.gather(&suspects, now);
        assert_eq!(gone.iter().filter(|(_, g)| matches!(g, Gathered::Gone(_))).count(), 41);
        drop(kept);
    }
}

/// A socket that got data after a suspect had entered CLOSE_WAIT is another connection between
/// the same ends: whatever it does is not to be told of the one before.
#[test]
fn a_later_connection_between_the_same_ends_is_not_the_suspect() {
    let net = Net::new();
    for count in [2, 40] {
        let kept = net.leak("127.0.0.1", "127.0.0.1", count);
        let mut enricher = Enricher::new(Options::default()).unwrap();
        let mut suspects = suspects_of(&snapshot(&mut enricher, &net));
        assert_eq!(suspects.len(), count);
        suspects[0].since = Since::Seen(Clock::mono_now() - Duration::from_mins(1));
        let now = Clock::mono_now();
        let looks = enricher.look(&suspects, now);
        let gathered = enricher.gather(&suspects, now);
        for (place, ((_, look), (_, gathered))) in looks.iter().zip(&gathered).enumerate() {
            let is_gone = (look.as_ref().unwrap().is_none(), matches!(gathered, Gathered::Gone(None)));
            assert_eq!(is_gone, (place == 0, place == 0), "{place} of {count}");
        }
        drop(kept);
    }
}
