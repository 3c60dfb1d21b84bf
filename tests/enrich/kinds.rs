//! Every kind of socket, by both sources.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use closewait_trace::clock::Clock;
use closewait_trace::enrich::netns::NetnsFilter;
use closewait_trace::enrich::sock_diag::SockDiag;
use closewait_trace::enrich::{Enricher, Options};
use closewait_trace::fact::Fact;
use closewait_trace::item::{DiagSocket, Timer};
use closewait_trace::tcp::{Endpoint, Tuple};
use rustix::net::{AddressFamily, Protocol, SocketType};

use super::net::{Net, await_eof, bind_to, looking};
use super::suspects::{SOURCES, gather_all, pids, snapshot, suspects_of};

fn tuple(socket: &TcpStream) -> Tuple {
    let end = |at: SocketAddr| Endpoint { ip: at.ip(), port: at.port() };
    Tuple { local: end(socket.local_addr().unwrap()), remote: end(socket.peer_addr().unwrap()) }
}

#[test]
fn ipv4_ipv6_and_mapped_sockets_are_shown_as_they_are() {
    let net = Net::new();
    let leaks: Vec<_> = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")]
        .into_iter()
        .flat_map(|(listen, target)| net.leak(listen, target, 3))
        .collect();
    let mut expected: Vec<_> = leaks.iter().map(tuple).collect();
    expected.sort();
    assert_eq!(expected.iter().filter(|t| t.to_string().starts_with("[::ffff:127.0.0.1]")).count(), 3);
    let mut seen = Vec::new();
    for options in SOURCES {
        let mut enricher = Enricher::new(options).unwrap();
        let mut snapshot = snapshot(&mut enricher, &net);
        snapshot.sockets.sort_by_key(|s| s.tuple);
        let shown: Vec<_> = snapshot.sockets.iter().map(|s| s.tuple).collect();
        assert_eq!(shown, expected, "{options:?}");
        for found in gather_all(&mut enricher, &suspects_of(&snapshot)) {
            assert_eq!(pids(&found), [std::process::id()]);
        }
        seen.push(snapshot.sockets);
    }
    // The two sources agree in all that both know.
    let both_know = |s: &DiagSocket| DiagSocket { cookie: None, tcp: None, ..s.clone() };
    let [diag, proc] = &seen[..] else { unreachable!() };
    assert_eq!(diag.iter().map(both_know).collect::<Vec<_>>(), *proc);
    assert!(proc.iter().all(|s| s.recv_q == 1 && s.send_q == 0 && s.timer == Timer::Off));
}

#[test]
fn the_kernel_is_asked_for_one_socket_in_either_family() {
    let net = Net::new();
    let mut diag = SockDiag::open_in(net.at()).unwrap();
    for (listen, target) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
        let leaks = net.leak(listen, target, 1);
        let ends = tuple(&leaks[0]);
        let found = diag.one(ends).unwrap().unwrap();
        assert_eq!(found.tuple, ends);
        assert_eq!(diag.one(ends.canonical()).unwrap().unwrap().cookie, found.cookie);
        let port = ends.remote.port ^ 1;
        let other = Tuple { remote: Endpoint { port, ..ends.remote }, ..ends };
        assert_eq!(diag.one(other).unwrap(), None, "no socket has these ends");
    }
    // Without a socket of these ends the kernel's lookup comes to a listener.
    let listener = net.run(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let at = listener.local_addr().unwrap();
    let local = Endpoint { ip: at.ip(), port: at.port() };
    let nobody = Tuple { local, remote: Endpoint { port: 1, ..local } };
    assert_eq!(diag.one(nobody).unwrap(), None);
}

#[test]
fn a_socket_bound_to_the_loopback_interface_is_found_by_a_lookup_too() {
    let net = Net::new();
    let leaks = net.run(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bind_to(&listener, "lo");
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        await_eof(&server);
        server
    });
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let suspects = suspects_of(&snapshot(&mut enricher, &net));
    let looked_up = SockDiag::open_in(net.at()).unwrap().one(tuple(&leaks)).unwrap();
    assert_eq!(looked_up.map(|socket| socket.tuple), Some(tuple(&leaks)));
    assert_eq!(gather_all(&mut enricher, &suspects)[0].look.socket.tuple, tuple(&leaks));
}

#[test]
fn every_process_with_a_descriptor_is_a_holder() {
    let net = Net::new();
    let socket = net.leak("127.0.0.1", "127.0.0.1", 1).remove(0);
    let again = socket.try_clone().unwrap();
    let children = [net.hold([socket.try_clone().unwrap()]), net.hold([socket.try_clone().unwrap()])];
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let suspects = suspects_of(&snapshot(&mut enricher, &net));
    let found = gather_all(&mut enricher, &suspects).remove(0);
    let holders = found.holders.known().unwrap();
    let mut expected = vec![std::process::id(), children[0].pid(), children[1].pid()];
    expected.sort_unstable();
    assert_eq!(pids(&found), expected);
    for holder in holders {
        let mine = holder.pid == std::process::id();
        // The children got theirs by inheritance; ours would not be.
        assert_eq!(holder.cloexec, Fact::Known(mine));
        assert_eq!(holder.comm == "cat", !mine);
        assert_eq!(holder.uid, Fact::Known(0));
        if mine {
            let lowest = socket.as_raw_fd().min(again.as_raw_fd());
            assert_eq!(i32::try_from(holder.fd).unwrap(), lowest);
        } else {
            assert_eq!(holder.cmdline, Fact::Known("cat".into()));
            assert!(
                holder.exe.known().unwrap().ends_with("cat") || holder.exe.known().unwrap().contains("box")
            );
            let fds = std::fs::read_dir(format!("/proc/{}/fd", holder.pid)).unwrap().count();
            assert_eq!(holder.nofile.known().unwrap().used, u64::try_from(fds).unwrap());
        }
    }
}

#[test]
fn mptcp_sockets_are_listed_beside_their_subflows() {
    let mptcp = || {
        let protocol = Protocol::from_raw(rustix::net::RawProtocol::new(262).unwrap());
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(protocol))
    };
    let net = Net::new();
    let leak = net.run(|| -> Option<TcpStream> {
        let listener = match mptcp() {
            Ok(listener) => listener,
            Err(e) => {
                println!("this kernel makes no MPTCP sockets: {e}");
                return None;
            }
        };
        rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 5).unwrap();
        let at = std::net::TcpListener::from(listener.try_clone().unwrap()).local_addr().unwrap();
        let client: OwnedFd = mptcp().unwrap();
        rustix::net::connect(&client, &at).unwrap();
        let server =
            TcpStream::from(rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC).unwrap());
        // Data first: only then does the kernel know that both ends speak MPTCP.
        rustix::io::write(&client, b".").unwrap();
        std::io::Read::read_exact(&mut &server, &mut [0]).unwrap();
        drop(client);
        await_eof(&server);
        Some(server)
    });
    let Some(leak) = leak else { return };
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let snapshot = snapshot(&mut enricher, &net);
    if !SockDiag::open_in(net.at()).unwrap().has_mptcp() {
        println!("this kernel lists no MPTCP sockets");
        return;
    }
    let [socket] = &snapshot.sockets[..] else { panic!("{snapshot:?}") };
    assert!(socket.mptcp && socket.tuple == tuple(&leak));
    let found = gather_all(&mut enricher, &suspects_of(&snapshot)).remove(0);
    assert_eq!(pids(&found), [std::process::id()]);
    looking(|| drop(leak));
    // A child that another test has just forked has a copy of the descriptor until it runs.
    let mut looks =
        std::iter::repeat_with(|| enricher.look(&suspects_of(&snapshot), Clock::mono_now()).remove(0).1);
    assert!(looks.by_ref().take(20_000).any(|look| look == Ok(None)));
    assert_eq!(enricher.snapshot(&NetnsFilter::All).iter().filter(|s| s.is_err()).count(), 0);
}
