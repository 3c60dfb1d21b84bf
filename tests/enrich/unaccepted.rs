//! Sockets that nobody accepted: blame the listener.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use closewait_trace::enrich::{Enricher, Options};
use closewait_trace::fact::Fact;
use closewait_trace::verdict::Evidence;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::net::{Net, PATIENCE};
use super::suspects::{SOURCES, gather_all, pids, snapshot, suspects_of};

const LIMIT: u32 = 7;

/// A listener with room for [`LIMIT`] that accepts nothing.
fn listener(at: &str) -> (OwnedFd, SocketAddr) {
    let at: SocketAddr = at.parse().unwrap();
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&socket, true).unwrap();
    rustix::net::bind(&socket, &at).unwrap();
    rustix::net::listen(&socket, i32::try_from(LIMIT).unwrap()).unwrap();
    let at = std::net::TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap();
    (socket, at)
}

/// Connects and closes `count` times, and waits until all are in CLOSE_WAIT.
fn come_and_go(net: &Net, to: SocketAddr, count: usize) {
    net.run(|| (0..count).for_each(|_| drop(TcpStream::connect(to).unwrap())));
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    let deadline = Instant::now() + PATIENCE;
    let waiting = || net.ss(&["-Htan", "state", "close-wait", &format!("sport = :{}", to.port())]).len();
    while waiting() != count {
        #[expect(clippy::disallowed_methods, reason = "a deadline")]
        let now = Instant::now();
        assert!(now < deadline, "{} of {count} in CLOSE_WAIT", waiting());
    }
}

#[test]
fn the_listener_is_named_with_its_queue_and_its_limit() {
    for (bind, connect) in
        [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
    {
        let net = Net::new();
        let (socket, at) = net.run(|| listener(bind));
        let held = net.hold([socket]);
        come_and_go(&net, SocketAddr::new(connect.parse().unwrap(), at.port()), 5);
        let shown = net.ss(&["-Hltn"]);
        let words: Vec<_> = shown[0].split_whitespace().collect();
        assert_eq!((words[1], words[2]), ("5", "7"), "{shown:?}");
        for options in SOURCES {
            let mut enricher = Enricher::new(options).unwrap();
            let suspects = suspects_of(&snapshot(&mut enricher, &net));
            assert_eq!(suspects.len(), 5, "{bind}");
            for found in gather_all(&mut enricher, &suspects) {
                assert_eq!((found.look.socket.inode, pids(&found)), (0, vec![]));
                if options.without_inet_diag {
                    let reason = found.listener.reason().unwrap();
                    assert!(reason.ends_with(&format!("cat[{}] has 5 waiting", held.pid())), "{reason}");
                } else {
                    let listener = found.listener.known().unwrap_or_else(|| panic!("{:?}", found.listener));
                    assert_eq!((listener.queue, listener.limit), (5, LIMIT), "{bind} {connect}");
                    assert_eq!(listener.holder.as_ref().unwrap().pid, held.pid());
                }
            }
        }
    }
}

#[test]
fn of_two_processes_on_one_port_the_one_with_the_queue_is_named() {
    let net = Net::new();
    let (first, at) = net.run(|| listener("127.0.0.1:0"));
    let first = net.hold([first]);
    come_and_go(&net, at, 3);
    let (second, _) = net.run(|| listener(&at.to_string()));
    let _second = net.hold([second]);
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let suspects = suspects_of(&snapshot(&mut enricher, &net));
    assert_eq!(suspects.len(), 3);
    for found in gather_all(&mut enricher, &suspects) {
        let listener = found.listener.known().unwrap_or_else(|| panic!("{:?}", found.listener));
        assert_eq!((listener.queue, listener.holder.as_ref().unwrap().pid), (3, first.pid()));
        // The other one has a queue of its own.
        let mut evidence = Evidence::unknown();
        found.around.add_to(&mut evidence);
        assert_eq!(evidence.listener_holders, Fact::Known(vec![first.pid()]));
    }
}
