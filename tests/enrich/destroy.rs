//! Only the very socket that was chosen is destroyed, and only in CLOSE_WAIT.

use std::net::{SocketAddrV6, TcpListener, TcpStream};

use closewait_trace::commands::kill::Destroyer;
use closewait_trace::enrich::netns::NetnsFilter;
use closewait_trace::enrich::sock_diag::SockDiag;
use closewait_trace::item::DiagSocket;
use closewait_trace::report::kill::Outcome;
use closewait_trace::tcp::State;

use super::net::{Net, await_eof, looking, until};

/// The sockets of the namespace in one state; `None` where this kernel cannot destroy.
fn sockets(net: &Net, state: State) -> Option<Vec<DiagSocket>> {
    let mut diag = SockDiag::open_in(net.at()).unwrap();
    if !diag.can_destroy().unwrap() {
        return None;
    }
    Some(diag.dump(&[state]).unwrap().sockets)
}

fn destroy(net: &Net, socket: &DiagSocket, cookie: u64) -> Outcome {
    let only = NetnsFilter::Only([(net.netns(), net.at().clone())].into());
    Destroyer::new(only).destroy(net.netns(), socket.tuple, cookie)
}

#[test]
fn it_is_named_by_its_cookie_and_no_other_is_hit() {
    let net = Net::new();
    for (listen, target) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
        let leaked: Vec<TcpStream> = net.leak(listen, target, 3);
        let Some(found) = sockets(&net, State::CloseWait) else { return };
        assert_eq!(found.len(), 3, "{listen}");
        let cookie = found[1].cookie.unwrap();
        // A socket that got the ends of one that was chosen has another cookie.
        assert_eq!(destroy(&net, &found[1], cookie + 1_000), Outcome::Gone, "{listen}");
        assert_eq!(destroy(&net, &found[0], cookie), Outcome::Gone, "{listen}");
        assert_eq!(sockets(&net, State::CloseWait).unwrap().len(), 3, "{listen}");
        assert_eq!(destroy(&net, &found[1], cookie), Outcome::Destroyed, "{listen}");
        assert_eq!(destroy(&net, &found[1], cookie), Outcome::Gone, "{listen}");
        let left: Vec<_> = sockets(&net, State::CloseWait).unwrap().iter().map(|s| s.cookie).collect();
        assert_eq!(left.len(), 2, "{listen}");
        assert!(!left.contains(&Some(cookie)), "{listen}");
        looking(|| drop(leaked));
    }
}

#[test]
fn what_is_in_another_state_is_let_be() {
    let net = Net::new();
    let mut ends = net.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    });
    let Some(found) = sockets(&net, State::Established) else { return };
    assert_eq!(found.len(), 2);
    for socket in &found {
        let outcome = destroy(&net, socket, socket.cookie.unwrap());
        assert_eq!(outcome, Outcome::Left(State::Established));
    }
    std::io::Write::write_all(&mut ends.0, b".").unwrap();
    std::io::Read::read_exact(&mut ends.1, &mut [0]).expect("the connection is whole");
}

/// The kernel looks a socket that is bound to an interface up by that interface only; a
/// link-local one always is.
#[test]
fn one_that_is_bound_to_an_interface_is_reached() {
    const LOOPBACK: u32 = 1;
    let net = Net::new();
    net.add_address("fe80::1/64");
    let _leaked = net.run(|| {
        let end = |port| SocketAddrV6::new("fe80::1".parse().unwrap(), port, 0, LOOPBACK);
        let listener = TcpListener::bind(end(0)).unwrap();
        let to = end(listener.local_addr().unwrap().port());
        // The kernel makes the route to a new address a little later.
        let mut client = None;
        until("it can be reached", || {
            client = TcpStream::connect(to).ok();
            client.is_some()
        });
        let (server, _) = listener.accept().unwrap();
        drop(client);
        await_eof(&server);
        server
    });
    let Some(found) = sockets(&net, State::CloseWait) else { return };
    let [socket] = &found[..] else { panic!("{found:?}") };
    assert_eq!(SockDiag::open_in(net.at()).unwrap().one(socket.tuple).unwrap(), None, "by its ends alone");
    assert_eq!(destroy(&net, socket, socket.cookie.unwrap()), Outcome::Destroyed);
    assert!(sockets(&net, State::CloseWait).unwrap().is_empty());
}
