//! Namespaces that are named, chosen, hidden and gone.

use std::sync::mpsc;
use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use closewait_trace::enrich::netns::{Namespaces, NetnsArg, NetnsFilter};
use closewait_trace::enrich::{Enricher, Gathered, Options};

use super::net::Net;
use super::suspects::{SOURCES, gather_all, pids, snapshot, suspects_of};

#[test]
fn a_filter_looks_only_where_it_says() {
    let (here, there) = (Net::new(), Net::new());
    let leaks = (here.leak("127.0.0.1", "127.0.0.1", 3), there.leak("127.0.0.1", "127.0.0.1", 5));
    let inside = here.hold::<std::net::TcpStream>([]);
    let by_path = NetnsArg::Path(there.at().path().to_owned());
    for (args, expected) in [
        (vec![NetnsArg::Pid(inside.pid())], vec![(here.netns(), 3)]),
        (vec![by_path.clone()], vec![(there.netns(), 5)]),
        (vec![NetnsArg::Pid(inside.pid()), by_path], vec![(here.netns(), 3), (there.netns(), 5)]),
    ] {
        let filter = NetnsFilter::resolve(&args).unwrap();
        let mut shown: Vec<_> = Enricher::new(Options::default())
            .unwrap()
            .snapshot(&filter)
            .into_iter()
            .map(|snapshot| snapshot.map(|s| (s.netns, s.sockets.len())).unwrap())
            .collect();
        let mut expected = expected;
        shown.sort();
        expected.sort();
        assert_eq!(shown, expected);
        assert!(expected.iter().all(|(netns, _)| filter.allows(*netns)));
    }
    drop(leaks);
}

#[test]
fn a_namespace_that_only_a_thread_is_in_is_entered_by_the_thread() {
    let net = Net::new();
    let leaks = net.leak("127.0.0.1", "127.0.0.1", 2);
    let suspects = suspects_of(&snapshot(&mut Enricher::new(Options::default()).unwrap(), &net));
    let (inside, is_inside) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let at = net.at();
        scope.spawn(move || {
            at.run(move || {
                inside.send(()).unwrap();
                let _ = left.recv();
            })
        });
        is_inside.recv().unwrap();
        net.unname();
        assert!(Namespaces::list().unwrap().find(net.netns()).is_none());
        for options in SOURCES {
            let mut enricher = Enricher::new(options).unwrap();
            for found in gather_all(&mut enricher, &suspects) {
                assert_eq!(pids(&found), [std::process::id()]);
            }
        }
        drop(leave);
    });
    drop(leaks);
}

fn gone(net: &Net) -> String {
    let number = net.netns().0;
    format!("no process, thread or mount referred to network namespace {number} when they were last listed")
}

/// What a sweep that has begun tells of `net`, once that has been changed: how many sockets, or
/// why they are not known.
fn swept(net: &Net, filter: &NetnsFilter, change: impl FnOnce()) -> Vec<Result<usize, String>> {
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let mut sweep = enricher.sweep(filter);
    change();
    let mut told = Vec::new();
    enricher.go_on(&mut sweep, usize::MAX, MonoNs(u64::MAX), |snapshot| match snapshot {
        Ok(snapshot) if snapshot.netns == net.netns() => told.push(Ok(snapshot.sockets.len())),
        Err(error) if error.netns == net.netns() => told.push(Err(error.reason)),
        _ => {}
    });
    assert_eq!(sweep.left(), 0);
    told
}

#[test]
fn a_namespace_that_only_a_thread_is_in_by_the_time_it_is_come_to_is_looked_into() {
    let net = Net::new();
    let leaks = net.leak("127.0.0.1", "127.0.0.1", 2);
    let (leave, left) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (inside, is_inside) = mpsc::channel();
        let at = net.at();
        scope.spawn(move || {
            at.run(move || {
                inside.send(()).unwrap();
                let _ = left.recv();
            })
        });
        is_inside.recv().unwrap();
        assert_eq!(swept(&net, &NetnsFilter::All, || net.unname()), [Ok(2)]);
        drop(leave);
    });
    drop(leaks);
}

#[test]
fn a_namespace_that_ended_before_it_was_come_to_is_told_of_if_it_was_named() {
    let net = Net::new();
    assert_eq!(swept(&net, &NetnsFilter::All, || net.unname()), []);
    let net = Net::new();
    let named = NetnsFilter::resolve(&[NetnsArg::Path(net.at().path().to_owned())]).unwrap();
    assert_eq!(swept(&net, &named, || net.unname()), [Err(gone(&net))]);
}

#[test]
fn a_namespace_that_ended_is_let_go_and_said_to_be_gone() {
    for options in SOURCES {
        let net = Net::new();
        let held = net.hold(net.leak("127.0.0.1", "127.0.0.1", 2));
        let mut enricher = Enricher::new(options).unwrap();
        let suspects = suspects_of(&snapshot(&mut enricher, &net));
        assert_eq!(suspects.len(), 2);
        net.unname();
        // A process is still in it.
        assert_eq!(gather_all(&mut enricher, &suspects).len(), 2);
        drop(held);
        // The cached netlink socket alone must not keep it in view.
        let later = Clock::mono_now() + Duration::from_secs(5);
        for (_, gathered) in enricher.gather(&suspects, later) {
            let Gathered::Unseen(reason) = gathered else { panic!("{gathered:?}") };
            assert_eq!(reason, gone(&net));
        }
    }
}
