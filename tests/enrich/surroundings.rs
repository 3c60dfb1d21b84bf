//! What is around a socket: its side, its peer, the ports and the time it uses up.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use closewait_trace::enrich::sock_diag::SockDiag;
use closewait_trace::enrich::{Enricher, Options};
use closewait_trace::fact::Fact;
use closewait_trace::tcp::{Endpoint, State};
use closewait_trace::verdict::{Evidence, PortUse, Role};

use super::net::{Net, await_eof, bind_to, half_close, looking};
use super::suspects::{SOURCES, gather_all, snapshot, suspects_of};

/// The evidence about every socket in CLOSE_WAIT of the namespace.
fn around(enricher: &mut Enricher, net: &Net) -> Vec<Evidence> {
    let suspects = suspects_of(&snapshot(enricher, net));
    let found = gather_all(enricher, &suspects);
    found
        .into_iter()
        .map(|found| {
            let mut evidence = Evidence::unknown();
            found.around.add_to(&mut evidence);
            evidence
        })
        .collect()
}

fn new(options: Options) -> Enricher {
    Enricher::new(options).unwrap()
}

fn own_range(net: &Net, range: &str) {
    let write = || std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
    net.run(write);
}

/// `count` connections to `to`: (clients, servers).
fn connect(
    net: &Net,
    listener: &TcpListener,
    to: SocketAddr,
    count: usize,
) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let one = |_| {
        let client = net.run(|| TcpStream::connect(to).unwrap());
        (client, listener.accept().unwrap().0)
    };
    (0..count).map(one).unzip()
}

#[test]
fn a_server_whose_peer_only_half_closed() {
    let net = Net::new();
    for options in SOURCES {
        for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let listener = net.run(|| TcpListener::bind(listen).unwrap());
            let mut to = listener.local_addr().unwrap();
            if to.ip().is_unspecified() {
                to.set_ip([127, 0, 0, 1].into());
            }
            let (clients, servers) = connect(&net, &listener, to, 1);
            half_close(&clients[0], &servers[0]);
            let mut enricher = new(options);
            let evidence = around(&mut enricher, &net).remove(0);
            assert_eq!(evidence.role, Fact::Known(Role::Server));
            assert_eq!(evidence.role_by.as_deref(), Some("by the listener on its local port"));
            assert_eq!(evidence.listener_holders, Fact::Known(vec![std::process::id()]));
            assert_eq!(evidence.ports.known(), None);
            let peer = evidence.local_peer.known().unwrap().clone().unwrap();
            assert_eq!((peer.state, peer.has_file), (State::FinWait2, true));
            let holder = peer.holder.unwrap();
            assert_eq!(
                (holder.pid, i32::try_from(holder.fd)),
                (std::process::id(), Ok(clients[0].as_raw_fd()))
            );
            assert_eq!(evidence.keepalive.known().map(|k| (k.on, k.ends_in)), Some((false, None)));

            looking(|| drop((listener, clients)));
            let evidence = around(&mut enricher, &net).remove(0);
            // Both ports are of those that connect() chooses from.
            assert_eq!(evidence.role.known(), None, "{:?}", evidence.role_by);
            assert_eq!(evidence.listener_holders, Fact::Known(vec![]));
            let peer = evidence.local_peer.known().unwrap().clone().unwrap();
            assert!(!peer.has_file && peer.holder.is_none(), "{peer:?}");
            looking(|| drop(servers));
        }
    }
}

#[test]
fn a_client_and_the_ports_it_uses_up() {
    let net = Net::new();
    own_range(&net, "40000 40099");
    let listener = net.run(|| TcpListener::bind("127.0.0.1:80").unwrap());
    let other = net.run(|| TcpListener::bind("127.0.0.1:81").unwrap());
    let (clients, servers) = connect(&net, &listener, listener.local_addr().unwrap(), 7);
    let others = connect(&net, &other, other.local_addr().unwrap(), 3);
    // Five are closed by the server, two are in use.
    looking(|| drop(servers.into_iter().take(5).collect::<Vec<_>>()));
    clients.iter().take(5).for_each(await_eof);
    for options in SOURCES {
        for evidence in around(&mut new(options), &net) {
            assert_eq!(evidence.role, Fact::Known(Role::Client), "{options:?}");
            assert_eq!(evidence.role_by.as_deref(), Some("by the listener on its remote end"));
            assert_eq!(
                evidence.ports,
                Fact::Known(PortUse { used: 7, total: 100, growth: None }),
                "{options:?}"
            );
            assert!(!evidence.local_peer.known().unwrap().as_ref().unwrap().has_file);
        }
    }
    looking(|| drop(listener));
    for evidence in around(&mut new(Options::default()), &net) {
        assert_eq!(evidence.role, Fact::Known(Role::Client));
        assert_eq!(evidence.role_by.as_deref(), Some("by its ports"));
        assert_eq!(evidence.ports, Fact::Known(PortUse { used: 7, total: 100, growth: None }));
    }
    looking(|| drop((clients, others)));
}

#[test]
fn a_peer_in_another_namespace() {
    let (here, there) = (Net::new(), Net::new());
    Net::wire(&here, "10.77.0.1", &there, "10.77.0.2");
    let listener = here.run(|| TcpListener::bind("10.77.0.1:8080").unwrap());
    let client = there.run(|| TcpStream::connect("10.77.0.1:8080").unwrap());
    let (server, _) = listener.accept().unwrap();
    half_close(&client, &server);
    let mut enricher = new(Options::default());
    let evidence = around(&mut enricher, &here).remove(0);
    let peer = evidence.local_peer.known().unwrap().clone().unwrap();
    assert_eq!((peer.state, peer.has_file), (State::FinWait2, true));
    let fd = u32::try_from(client.as_raw_fd()).unwrap();
    assert_eq!(peer.holder.map(|holder| (holder.pid, holder.fd)), Some((std::process::id(), fd)));
    looking(|| drop((client, server, listener)));
}

/// As in a VRF, which has a 127.0.0.1 of its own and both ends of a connection to it.
#[test]
fn a_peer_at_the_loopback_that_is_bound_to_another_interface() {
    let (net, other) = (Net::new(), Net::new());
    let interface = Net::wire(&net, "10.77.0.1", &other, "10.77.0.2");
    let listener = net.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let (clients, servers) = connect(&net, &listener, listener.local_addr().unwrap(), 1);
    half_close(&clients[0], &servers[0]);
    net.run(|| [&clients[0], &servers[0]].map(|end| bind_to(end, &interface)));
    let peer = around(&mut new(Options::default()), &net).remove(0).local_peer;
    assert!(peer.known().unwrap().as_ref().unwrap().has_file, "{peer:?}");
    looking(|| drop((clients, servers, listener)));
}

#[test]
fn keepalive_ends_it_in_time_unless_the_peer_is_there() {
    use rustix::net::sockopt;
    let net = Net::new();
    let listener = net.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let (clients, servers) = connect(&net, &listener, listener.local_addr().unwrap(), 1);
    let seconds = Duration::from_secs;
    sockopt::set_tcp_keepidle(&servers[0], seconds(600)).unwrap();
    sockopt::set_tcp_keepintvl(&servers[0], seconds(10)).unwrap();
    sockopt::set_tcp_keepcnt(&servers[0], 3).unwrap();
    sockopt::set_socket_keepalive(&servers[0], true).unwrap();
    half_close(&clients[0], &servers[0]);
    let mut enricher = new(Options::default());
    let mut keepalive = || around(&mut enricher, &net).remove(0).keepalive.known().cloned().unwrap();
    let there = keepalive();
    assert_eq!((there.on, there.ends_in), (true, None), "{there:?}");
    assert!(there.note.contains("the peer is still there"), "{there:?}");
    looking(|| drop(clients));
    let gone = keepalive();
    assert!(gone.on && gone.ends_in.is_some_and(|t| (seconds(560)..=seconds(630)).contains(&t)), "{gone:?}");
}

#[test]
fn the_kernel_itself_leaves_out_what_is_connected_elsewhere() {
    let net = Net::new();
    let mut diag = SockDiag::open_in(net.at()).unwrap();
    let pairs: Vec<_> = ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "127.0.0.3:0", "127.0.0.4:0"]
        .into_iter()
        .map(|listen| {
            let listener = net.run(|| TcpListener::bind(listen).unwrap());
            let at = listener.local_addr().unwrap();
            (at, connect(&net, &listener, at, 2), listener)
        })
        .collect();
    for wanted in [vec![0], vec![2], vec![1, 2], vec![0, 2, 4], vec![4, 3, 2, 1, 0]] {
        let ends: Vec<_> = wanted
            .iter()
            .map(|&i: &usize| Endpoint { ip: pairs[i].0.ip(), port: pairs[i].0.port() })
            .collect();
        let dump = diag.dump_to(&ends).unwrap();
        assert!(dump.complete());
        let mut to: Vec<_> = dump.sockets.iter().map(|socket| socket.tuple.remote).collect();
        to.sort();
        let mut twice: Vec<_> = ends.iter().chain(&ends).copied().collect();
        twice.sort();
        assert_eq!(to, twice);
    }
    let many: Vec<_> = (1..=256).map(|port| Endpoint { ip: [127, 0, 0, 1].into(), port }).collect();
    assert_eq!(diag.dump_to(&many).unwrap().sockets, []);
    looking(|| drop(pairs));
}
