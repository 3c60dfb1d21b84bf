use proptest::prelude::*;

use super::*;

/// An answer as a 6.18 kernel lays it out: header, inet_diag_msg, two attributes.
fn answer() -> Vec<u8> {
    let mut payload = vec![AF_INET6, 8, 4, 3];
    payload.put_u16(8080);
    payload.put_u16(51_334);
    payload.put_slice(&Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets());
    payload.put_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    payload.put_u32_ne(0);
    payload.put_u32_ne(0x5566_7788);
    payload.put_u32_ne(0x1122_3344);
    for word in [5000, 11, 12, 1000, 4_294_967_295] {
        payload.put_u32_ne(word);
    }
    // INET_DIAG_SHUTDOWN, one byte padded to four
    payload.put_slice(&[5, 0, 8, 0, 1, 0, 0, 0]);
    let info: Vec<u8> = (0..=255).chain(0..24).collect();
    payload.put_u16_ne(u16::try_from(info.len() + 4).unwrap());
    payload.put_u16_ne(INET_DIAG_INFO);
    payload.put_slice(&info);
    message(SOCK_DIAG_BY_FAMILY, 7, &payload)
}

fn message(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32_ne(u32::try_from(HEADER + payload.len()).unwrap());
    bytes.put_u16_ne(kind);
    bytes.put_u16_ne(DUMP_INTERRUPTED);
    bytes.put_u32_ne(seq);
    bytes.put_u32_ne(99);
    bytes.put_slice(payload);
    bytes
}

#[test]
fn an_answer_is_read_field_by_field() {
    let bytes = answer();
    let messages: Vec<_> = Messages(&bytes).collect();
    let [Ok(message)] = messages[..] else { panic!("{messages:?}") };
    assert_eq!((message.kind, message.flags, message.seq), (SOCK_DIAG_BY_FAMILY, DUMP_INTERRUPTED, 7));
    let s = socket(message.payload, false).unwrap();
    assert_eq!(s.tuple.to_string(), "[::ffff:10.0.0.1]:8080 <- [2001:db8::7]:51334");
    assert_eq!((s.state, s.timer, s.retrans), (State::CloseWait, Timer::Persist, 3));
    assert_eq!((s.recv_q, s.send_q, s.uid, s.inode), (11, 12, 1000, 4_294_967_295));
    assert_eq!(s.cookie, Some(0x1122_3344_5566_7788));
    let le = |at: u8| u32::from_le_bytes([at, at + 1, at + 2, at + 3]);
    let tcp = s.tcp.unwrap();
    assert_eq!(tcp.probes, Some(3));
    assert_eq!(tcp.last_data_sent_ms, Some(le(44)));
    assert_eq!(tcp.last_data_recv_ms, Some(le(52)));
    assert_eq!(tcp.last_ack_recv_ms, Some(le(56)));
    assert_eq!(tcp.bytes_sent, Some(u64::from(le(204)) << 32 | u64::from(le(200))));
    assert_eq!(tcp.snd_wnd, Some(le(228)));
    // The attribute of an MPTCP socket is another structure.
    assert_eq!(socket(message.payload, true).unwrap().tcp, None);
}

#[test]
fn a_shorter_tcp_info_lacks_its_last_members_and_nothing_else() {
    let info: Vec<u8> = (0..232).collect();
    assert!(tcp_info(&info).snd_wnd.is_some());
    let older = tcp_info(&info[..231]);
    assert!(older.snd_wnd.is_none() && older.bytes_retrans.is_some());
    assert_eq!(tcp_info(&[]), TcpInfo::default());
}

#[test]
fn every_truncation_is_an_error_or_fewer_attributes_never_a_panic() {
    let bytes = answer();
    for len in 1..bytes.len() {
        assert_eq!(Messages(&bytes[..len]).collect::<Vec<_>>(), [Err(Malformed)], "{len} bytes");
    }
    let payload = &bytes[HEADER..];
    let whole = socket(payload, false).unwrap();
    for len in 0..payload.len() {
        // Cut exactly between attributes, all that is there is whole.
        let between = matches!(len, 72 | 77..=80);
        match socket(&payload[..len], false) {
            Ok(s) => assert!(between && s.tuple == whole.tuple && s.tcp.is_none(), "{len} bytes"),
            Err(Malformed) => assert!(!between, "{len} bytes"),
        }
    }
}

#[test]
fn errors_and_ends_carry_an_errno() {
    let errno = |kind, payload: &[u8]| {
        let bytes = message(kind, 1, payload);
        let first = Messages(&bytes).next().unwrap().unwrap();
        first.errno()
    };
    assert_eq!(errno(ERROR, &(-2_i32).to_ne_bytes()), Ok(2));
    assert_eq!(errno(DONE, &(-95_i32).to_ne_bytes()), Ok(95));
    assert_eq!(errno(DONE, &0_i32.to_ne_bytes()), Ok(0));
    assert_eq!(errno(DONE, &[]), Ok(0));
    assert_eq!(errno(ERROR, &[]), Err(Malformed));
    assert_eq!(errno(ERROR, &i32::MIN.to_ne_bytes()), Err(Malformed));
}

#[test]
fn requests_have_the_sizes_the_kernel_checks() {
    let tuple = |l: &str, r: &str| Tuple {
        local: Endpoint { ip: l.parse().unwrap(), port: 80 },
        remote: Endpoint { ip: r.parse().unwrap(), port: 0x1234 },
    };
    let any = |l, r| Identity { tuple: tuple(l, r), interface: 0, cookie: Identity::ANY };
    for (request, len) in [
        (Request::Tcp(&[State::CloseWait]), 16 + 60),
        (Request::Brief(&[State::CloseWait]), 16 + 60),
        (Request::Mptcp4(&[]), 16 + 56 + 8),
        (Request::Mptcp6(&[]), 16 + 56 + 8),
        (Request::One(any("10.0.0.1", "10.0.0.2")), 16 + 56),
        (Request::Destroy(any("10.0.0.1", "10.0.0.2")), 16 + 56),
    ] {
        let bytes = request.encode(3);
        assert_eq!(bytes.len(), len, "{request:?}");
        let first = Messages(&bytes).next().unwrap().unwrap();
        assert_eq!((first.seq, first.payload.len()), (3, len - 16));
    }
    let v4 = Request::One(any("10.0.0.1", "10.0.0.2")).encode(1);
    assert_eq!(v4[16], AF_INET);
    assert_eq!(v4[24..32], [0, 80, 0x12, 0x34, 10, 0, 0, 1]);
    let mapped = Request::One(any("::ffff:10.0.0.1", "::ffff:10.0.0.2")).encode(1);
    assert_eq!(mapped[16], AF_INET6);
    assert_eq!(mapped[38..44], [0xff, 0xff, 10, 0, 0, 1]);
    assert_eq!(mask(&[State::CloseWait, State::Listen]), 1 << 8 | 1 << 10);
    // INET_DIAG_NOCOOKIE is all ones.
    assert_eq!(v4[64..72], [0xff; 8]);
}

#[test]
fn what_is_to_be_destroyed_is_named_as_an_answer_names_it() {
    let bytes = answer();
    let found = socket(&bytes[HEADER..], false).unwrap();
    assert_eq!(interface(&bytes[HEADER..]), Ok(0));
    let which = Identity { tuple: found.tuple, interface: 7, cookie: found.cookie.unwrap() };
    let request = Request::Destroy(which).encode(5);
    let message = Messages(&request).next().unwrap().unwrap();
    assert_eq!((message.kind, message.flags, message.seq), (21, REQUEST | ACK, 5));
    // struct inet_diag_sockid is the same in both: of the answer behind 4 bytes, of the
    // request behind 8; the interface is ours.
    let (asked, told) = (&message.payload[8..], &bytes[HEADER + 4..]);
    assert_eq!(asked[..36], told[..36]);
    assert_eq!(asked[36..40], 7_u32.to_ne_bytes());
    assert_eq!(asked[40..48], told[40..48]);
    assert_eq!(interface(&bytes[HEADER..HEADER + 43]), Err(Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for message in Messages(&bytes).flatten() {
            let _ = (message.errno(), socket(message.payload, false));
        }
        let _ = (socket(&bytes, false), tcp_info(&bytes));
    }

    #[test]
    fn a_damaged_answer_is_read_to_the_end(at in 0_usize..380, byte in any::<u8>()) {
        let mut bytes = answer();
        let at = at % bytes.len();
        bytes[at] = byte;
        let all: Vec<_> = Messages(&bytes).collect();
        prop_assert!(!all.is_empty() && all.len() < bytes.len());
        for message in all.into_iter().flatten() {
            let _ = (message.errno(), socket(message.payload, false));
        }
    }
}
