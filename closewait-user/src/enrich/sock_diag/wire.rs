//! The bytes of NETLINK_SOCK_DIAG: requests out, messages in.
//!
//! In: what to ask or to destroy, and any bytes a socket gave. Out: bytes to send, messages,
//! sockets. Pure: no I/O, and no panic on any input. Layouts from
//! include/uapi/linux/{netlink,inet_diag,tcp}.h, in the machine's byte order but
//! for ports and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf, BufMut, TryGetError};

use crate::item::{DiagSocket, TcpInfo, Timer};
use crate::tcp::{Endpoint, State, Tuple};

/// `NLMSG_ERROR`: an errno, 0 for success.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump, with an errno.
pub const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile in a way the dump cannot follow.
pub const DUMP_INTERRUPTED: u16 = 0x10;

const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: an [`ERROR`] message answers, also on success.
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// `TCPDIAG_GETSOCK`: the only request that dumps both families in one walk.
const TCPDIAG_GETSOCK: u16 = 18;
/// `SOCK_DIAG_BY_FAMILY`: request for one family, and the kind of every answer.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`: ends the connection of one socket (tcp_abort), with ECONNABORTED for its owner.
const SOCK_DESTROY: u16 = 21;
/// `1 << (INET_DIAG_INFO - 1)`
const WANT_INFO: u8 = 1 << (INET_DIAG_INFO - 1);
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
/// `INET_DIAG_REQ_PROTOCOL`, a protocol that does not fit the request's byte.
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_RAW: u8 = 255;
const IPPROTO_MPTCP: u32 = 262;

const HEADER: usize = 16;
const SOCKID: usize = 48;

/// Which socket: its ends, the interface it is bound to and its cookie. What the kernel
/// finds by the first two must have the third (inet_diag_find_one_icsk).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Both ends.
    pub tuple: Tuple,
    /// Index of an interface; 0 for a socket that is bound to none.
    pub interface: u32,
    /// [`Identity::ANY`], or the cookie that it must have.
    pub cookie: u64,
}

impl Identity {
    /// `INET_DIAG_NOCOOKIE`: whichever socket has these ends.
    pub const ANY: u64 = u64::MAX;
}

/// What to ask the kernel for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// All TCP sockets in one of these states.
    Tcp(&'a [State]),
    /// The same without `tcp_info`, which is most of what there is to fill in and read.
    Brief(&'a [State]),
    /// All MPTCP sockets over IPv4 in one of these states.
    Mptcp4(&'a [State]),
    /// All MPTCP sockets over IPv6 in one of these states.
    Mptcp6(&'a [State]),
    /// This TCP socket.
    One(Identity),
    /// End this TCP socket.
    Destroy(Identity),
    /// All TCP sockets connected to one of these, in any state, without `tcp_info`.
    /// At most 2,000: the kernel counts in 16 bits.
    To(&'a [Endpoint]),
}

impl Request<'_> {
    /// The message, numbered `seq`.
    pub fn encode(self, seq: u32) -> Vec<u8> {
        let mut body = Vec::with_capacity(72);
        let (kind, flags) = match self {
            Self::Tcp(states) | Self::Brief(states) => {
                // struct inet_diag_req: family, src_len, dst_len, ext, id, states, dbs
                body.put_slice(&[0, 0, 0, if matches!(self, Self::Tcp(_)) { WANT_INFO } else { 0 }]);
                body.put_slice(&[0; SOCKID]);
                body.put_u32_ne(mask(states));
                body.put_u32_ne(0);
                (TCPDIAG_GETSOCK, REQUEST | DUMP)
            }
            Self::To(remotes) => {
                // struct inet_diag_req, and INET_DIAG_REQ_BYTECODE.
                body.put_slice(&[0; 4 + SOCKID]);
                body.put_u32_ne(mask(&State::CONNECTED));
                body.put_u32_ne(0);
                let program = connected_to(remotes);
                body.put_u16_ne(u16::try_from(4 + program.len()).unwrap_or(u16::MAX));
                body.put_u16_ne(INET_DIAG_REQ_BYTECODE);
                body.put_slice(&program);
                (TCPDIAG_GETSOCK, REQUEST | DUMP)
            }
            Self::Mptcp4(states) | Self::Mptcp6(states) => {
                let family = if matches!(self, Self::Mptcp4(_)) { AF_INET } else { AF_INET6 };
                // INET_DIAG_INFO of an MPTCP socket is struct mptcp_info: not asked for.
                body.put_slice(&[family, IPPROTO_RAW, 0, 0]);
                body.put_u32_ne(mask(states));
                body.put_slice(&[0; SOCKID]);
                body.put_u16_ne(8);
                body.put_u16_ne(INET_DIAG_REQ_PROTOCOL);
                body.put_u32_ne(IPPROTO_MPTCP);
                (SOCK_DIAG_BY_FAMILY, REQUEST | DUMP)
            }
            Self::One(which) => {
                exact(&mut body, which);
                (SOCK_DIAG_BY_FAMILY, REQUEST)
            }
            Self::Destroy(which) => {
                exact(&mut body, which);
                (SOCK_DESTROY, REQUEST | ACK)
            }
        };
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.put_u32_ne(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX));
        message.put_u16_ne(kind);
        message.put_u16_ne(flags);
        message.put_u32_ne(seq);
        message.put_u32_ne(0);
        message.put_slice(&body);
        message
    }
}

/// struct inet_diag_req_v2: family, protocol, ext, pad, states, id. The states are not
/// looked at where one socket is asked for.
fn exact(body: &mut Vec<u8>, Identity { tuple, interface, cookie }: Identity) {
    let v4 = tuple.local.ip.is_ipv4() && tuple.remote.ip.is_ipv4();
    body.put_slice(&[if v4 { AF_INET } else { AF_INET6 }, IPPROTO_TCP, WANT_INFO, 0]);
    body.put_u32_ne(u32::MAX);
    body.put_u16(tuple.local.port);
    body.put_u16(tuple.remote.port);
    for ip in [tuple.local.ip, tuple.remote.ip] {
        body.put_slice(&address(ip, v4));
    }
    body.put_u32_ne(interface);
    // Two native words, the low one first (sock_diag_check_cookie).
    let [high, low] = [cookie >> 32, cookie & 0xffff_ffff];
    for word in [low, high] {
        body.put_u32_ne(u32::try_from(word).unwrap_or(u32::MAX));
    }
}

/// A program for the kernel's filter (inet_diag_bc_run) that lets pass what is
/// connected to one of `remotes`: a condition for each, which leads to the end where
/// it holds, by a jump, and past the jump where it does not.
fn connected_to(remotes: &[Endpoint]) -> Vec<u8> {
    const JMP: u8 = 1;
    const D_COND: u8 = 8;
    const OP: u16 = 4;
    let mut program = Vec::new();
    // From the last to the first, since jumps are relative to the end.
    for (nth, remote) in remotes.iter().rev().enumerate() {
        let (family, bits, address) = match remote.ip {
            IpAddr::V4(ip) => (AF_INET, 32, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AF_INET6, 128, ip.octets().to_vec()),
        };
        // struct inet_diag_bc_op and struct inet_diag_hostcond.
        let len = OP + 8 + u16::try_from(address.len()).unwrap_or(0);
        let mut condition = vec![D_COND, u8::try_from(len).unwrap_or(0)];
        condition.put_u16_ne(len + OP);
        condition.put_slice(&[family, bits, 0, 0]);
        condition.put_i32_ne(remote.port.into());
        condition.put_slice(&address);
        if nth > 0 {
            // JMP always takes "no"; "yes" only leads the kernel's audit on.
            condition.put_slice(&[JMP, 4]);
            condition.put_u16_ne(OP + u16::try_from(program.len()).unwrap_or(0));
        }
        condition.append(&mut program);
        program = condition;
    }
    program
}

/// `1 << state` for each.
fn mask(states: &[State]) -> u32 {
    states.iter().fold(0, |mask, &state| mask | 1 << (state as u8))
}

fn address(ip: IpAddr, v4: bool) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) if v4 => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        // The kernel looks a pair of mapped addresses up as IPv4 (inet_diag_find_one_icsk).
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Bytes that are not what the kernel's headers promise.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("malformed netlink message")]
pub struct Malformed;

impl From<TryGetError> for Malformed {
    fn from(_: TryGetError) -> Self {
        Self
    }
}

/// One netlink message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// [`ERROR`], [`DONE`] or the kind of an answer.
    pub kind: u16,
    /// Flags, of which [`DUMP_INTERRUPTED`] matters.
    pub flags: u16,
    /// Number of the request it answers.
    pub seq: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The errno of an [`ERROR`] or [`DONE`] message; 0 is success. A DONE
    /// without one is a success.
    pub fn errno(&self) -> Result<i32, Malformed> {
        let mut payload = self.payload;
        if self.kind == DONE && payload.is_empty() {
            return Ok(0);
        }
        payload.try_get_i32_ne()?.checked_neg().ok_or(Malformed)
    }
}

/// The messages in what one `recv` gave. After a malformed one there is no next:
/// its length cannot be trusted.
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = header(self.0);
        self.0 = match &message {
            // Messages are padded to 4 bytes; the last one need not be.
            Ok(m) => self.0.get((HEADER + m.payload.len()).next_multiple_of(4)..).unwrap_or_default(),
            Err(Malformed) => &[],
        };
        Some(message)
    }
}

fn header(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut buf = bytes;
    let len = usize::try_from(buf.try_get_u32_ne()?).map_err(|_| Malformed)?;
    let (kind, flags, seq) = (buf.try_get_u16_ne()?, buf.try_get_u16_ne()?, buf.try_get_u32_ne()?);
    let payload = bytes.get(HEADER..len).ok_or(Malformed)?;
    Ok(Message { kind, flags, seq, payload })
}

/// The kernel's number of the state in the payload of an answer.
pub fn state(payload: &[u8]) -> Option<u8> {
    payload.get(1).copied()
}

/// Reads the payload of an answer (struct inet_diag_msg and attributes).
pub fn socket(payload: &[u8], mptcp: bool) -> Result<DiagSocket, Malformed> {
    let mut buf = payload;
    let family = buf.try_get_u8()?;
    let state = State::from_kernel(buf.try_get_u8()?).ok_or(Malformed)?;
    let timer = timer(buf.try_get_u8()?);
    let retrans = buf.try_get_u8()?;
    let (local_port, remote_port) = (buf.try_get_u16()?, buf.try_get_u16()?);
    let (local, remote) = (ip(family, &mut buf)?, ip(family, &mut buf)?);
    let _interface = buf.try_get_u32_ne()?;
    // Two native words, the low one first (sock_diag_save_cookie).
    let (cookie_low, cookie_high) = (buf.try_get_u32_ne()?, buf.try_get_u32_ne()?);
    let _expires_ms = buf.try_get_u32_ne()?;
    let (recv_q, send_q) = (buf.try_get_u32_ne()?, buf.try_get_u32_ne()?);
    let uid = buf.try_get_u32_ne()?;
    let inode = buf.try_get_u32_ne()?.into();
    let mut tcp = None;
    while buf.has_remaining() {
        let (kind, value) = attribute(&mut buf)?;
        if kind == INET_DIAG_INFO && !mptcp {
            tcp = Some(tcp_info(value));
        }
    }
    Ok(DiagSocket {
        tuple: Tuple {
            local: Endpoint { ip: local, port: local_port },
            remote: Endpoint { ip: remote, port: remote_port },
        },
        mptcp,
        state,
        inode,
        cookie: Some(u64::from(cookie_high) << 32 | u64::from(cookie_low)),
        uid,
        recv_q,
        send_q,
        timer,
        retrans,
        tcp,
    })
}

/// The interface that the socket of an answer is bound to; 0 for none.
pub fn interface(payload: &[u8]) -> Result<u32, Malformed> {
    // Four bytes, then struct inet_diag_sockid: ports and addresses, 36 bytes, precede it.
    Ok(payload.get(40..).ok_or(Malformed)?.try_get_u32_ne()?)
}

/// The kernel's number of a timer (also in /proc/net/tcp).
pub fn timer(n: u8) -> Timer {
    match n {
        0 => Timer::Off,
        1 => Timer::On,
        2 => Timer::Keepalive,
        3 => Timer::TimeWait,
        4 => Timer::Persist,
        n => Timer::Other(n),
    }
}

fn ip(family: u8, buf: &mut &[u8]) -> Result<IpAddr, Malformed> {
    let mut bytes = [0; 16];
    buf.try_copy_to_slice(&mut bytes)?;
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Ok(Ipv4Addr::new(a, b, c, d).into())
        }
        AF_INET6 => Ok(Ipv6Addr::from(bytes).into()),
        _ => Err(Malformed),
    }
}

fn attribute<'a>(buf: &mut &'a [u8]) -> Result<(u16, &'a [u8]), Malformed> {
    const HEAD: usize = 4;
    let whole = *buf;
    let len = usize::from(buf.try_get_u16_ne()?);
    let kind = buf.try_get_u16_ne()?;
    let value = whole.get(HEAD..len).ok_or(Malformed)?;
    *buf = whole.get(len.next_multiple_of(4)..).unwrap_or_default();
    Ok((kind, value))
}

/// Reads what a struct tcp_info of this length has.
pub fn tcp_info(bytes: &[u8]) -> TcpInfo {
    let u32_at = |at: usize| bytes.get(at..)?.try_get_u32_ne().ok();
    let u64_at = |at: usize| bytes.get(at..)?.try_get_u64_ne().ok();
    TcpInfo {
        probes: bytes.get(3).copied(),
        rto_us: u32_at(8),
        last_data_sent_ms: u32_at(44),
        last_data_recv_ms: u32_at(52),
        last_ack_recv_ms: u32_at(56),
        total_retrans: u32_at(100),
        bytes_acked: u64_at(120),
        bytes_received: u64_at(128),
        notsent_bytes: u32_at(144),
        bytes_sent: u64_at(200),
        bytes_retrans: u64_at(208),
        snd_wnd: u32_at(228),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
