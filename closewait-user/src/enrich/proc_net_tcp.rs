//! Sockets by /proc/net/tcp and tcp6: for a kernel without inet_diag.
//!
//! In: a network namespace. Out: the same [`DiagSocket`]s, without cookie and
//! tcp_info. Never: a limit for a listener's queue, which this file does not have
//! (its `send_q` is 0 and means nothing), nor MPTCP sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netns::{NetnsError, NetnsRef};
use super::sock_diag::wire;
use crate::clock::{Clock, MonoNs};
use crate::item::DiagSocket;
use crate::tcp::{Endpoint, State, Tuple};

/// Why the files could not be read.
#[derive(thiserror::Error, Debug)]
pub enum ProcNetError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The sockets that the files showed.
#[derive(Clone, PartialEq, Debug)]
pub struct Listing {
    /// Just before the first was opened.
    pub began: MonoNs,
    /// Just after the last was read.
    pub ended: MonoNs,
    /// What they showed.
    pub sockets: Vec<DiagSocket>,
    /// Lines that could not be parsed.
    pub malformed: usize,
}

/// The sockets of `netns` in one of `states`.
pub fn list(netns: &NetnsRef, states: &[State]) -> Result<Listing, ProcNetError> {
    let began = Clock::mono_now();
    // The reading thread's own namespace decides what the file shows.
    let files = netns.run(|| {
        let tcp = read("/proc/thread-self/net/tcp")?;
        match read("/proc/thread-self/net/tcp6") {
            Ok(tcp6) => Ok([tcp, tcp6]),
            // A kernel without IPv6.
            Err(ProcNetError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok([tcp, Vec::new()])
            }
            Err(e) => Err(e),
        }
    })??;
    let mut listing = Listing { began, ended: Clock::mono_now(), sockets: Vec::new(), malformed: 0 };
    for file in &files {
        for line in file.split(|&b| b == b'\n').skip(1).filter(|line| !line.is_empty()) {
            match std::str::from_utf8(line).ok().and_then(parse) {
                Some(socket) if states.contains(&socket.state) => listing.sockets.push(socket),
                Some(_) => {}
                None => listing.malformed += 1,
            }
        }
    }
    Ok(listing)
}

fn read(path: &'static str) -> Result<Vec<u8>, ProcNetError> {
    std::fs::read(path).map_err(|source| ProcNetError::Read { path, source })
}

/// Reads one line but the heading (get_tcp4_sock, get_tcp6_sock); `None` when it is not one.
pub fn parse(line: &str) -> Option<DiagSocket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = endpoint(words.next()?)?;
    let remote = endpoint(words.next()?)?;
    let state = State::from_kernel(u8::from_str_radix(words.next()?, 16).ok()?)?;
    let (send_q, recv_q) = words.next()?.split_once(':')?;
    let (timer, _expires) = words.next()?.split_once(':')?;
    let retrans = u32::from_str_radix(words.next()?, 16).ok()?;
    let uid = words.next()?.parse().ok()?;
    let _probes = words.next()?;
    let inode = words.next()?.parse().ok()?;
    Some(DiagSocket {
        tuple: Tuple { local, remote },
        mptcp: false,
        state,
        inode,
        cookie: None,
        uid,
        recv_q: u32::from_str_radix(recv_q, 16).ok()?,
        send_q: u32::from_str_radix(send_q, 16).ok()?,
        timer: wire::timer(u8::from_str_radix(timer, 16).ok()?),
        retrans: u8::try_from(retrans).unwrap_or(u8::MAX),
        tcp: None,
    })
}

/// `0100007F:1F90`: words of the address in the machine's byte order, then the port.
fn endpoint(word: &str) -> Option<Endpoint> {
    let (address, port) = word.split_once(':')?;
    // Only hexadecimal digits: the slices below must fall between characters.
    if !address.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 16];
    let words = address.len() / 8;
    for (i, four) in bytes.chunks_exact_mut(4).take(words).enumerate() {
        let word = u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok()?;
        four.copy_from_slice(&word.to_ne_bytes());
    }
    let ip: IpAddr = match address.len() {
        8 => {
            let [a, b, c, d, ..] = bytes;
            Ipv4Addr::new(a, b, c, d).into()
        }
        32 => Ipv6Addr::from(bytes).into(),
        _ => return None,
    };
    Some(Endpoint { ip, port: u16::from_str_radix(port, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::item::Timer;

    const V4: &str = "   0: 0100007F:1F90 0200007F:C886 08 00000001:0000001A 04:000000C8 00000003  1000        7 48213 2 000000003b8e5a3c 20 4 30 10 -1";
    const MAPPED: &str = "  11: 0000000000000000FFFF00000100000A:0050 0000000000000000FFFF00000200000A:A0B1 0A 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 100 0 0 10 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_read_field_by_field() {
        let s = parse(V4).unwrap();
        assert_eq!(s.tuple.to_string(), "127.0.0.1:8080 <- 127.0.0.2:51334");
        assert_eq!((s.state, s.send_q, s.recv_q), (State::CloseWait, 1, 26));
        assert_eq!((s.timer, s.retrans, s.uid, s.inode), (Timer::Persist, 3, 1000, 48213));
        assert_eq!((s.cookie, s.tcp), (None, None));
        let m = parse(MAPPED).unwrap();
        assert_eq!(m.tuple.to_string(), "[::ffff:10.0.0.1]:80 <- [::ffff:10.0.0.2]:41137");
        assert_eq!((m.state, m.inode), (State::Listen, 0));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for len in 0..V4.find(" 2 0000").unwrap() - 5 {
            assert_eq!(parse(&V4[..len]), None, "{len} bytes");
        }
        for bad in [
            "0: 0100007F0:1F90 0200007F:C886 08 0:0 00:0 0 0 0 1",
            "0: 010000é7:1F90 0200007F:C886 08 0:0 00:0 0 0 0 1",
            "0: 0100007F:1F901 0200007F:C886 08 0:0 00:0 0 0 0 1",
            "0: 0100007F:1F90 0200007F:C886 3F 0:0 00:0 0 0 0 1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(line in "\\PC{0,200}", word in "[0-9A-Fé:]{0,40}") {
            let _ = (parse(&line), endpoint(&word));
        }
    }
}
