//! A [`Look`] in half of the space, for the hundreds of thousands of sockets that wait for
//! their second look at the same time: what is not known takes a bit, not a word, and the
//! ends of the socket are those of its suspect.

use super::Look;
use crate::clock::MonoNs;
use crate::item::{DiagSocket, TcpInfo, Timer};
use crate::tcp::{State, Tuple};

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct PackedLook {
    at: MonoNs,
    inode: u64,
    cookie: u64,
    /// bytes_acked, bytes_received, bytes_sent, bytes_retrans
    bytes: [u64; 4],
    /// The ends, where they are not written as those of the suspect.
    tuple: Option<Box<Tuple>>,
    /// last_data_sent_ms, last_data_recv_ms, last_ack_recv_ms, total_retrans, snd_wnd,
    /// notsent_bytes, rto_us
    words: [u32; 7],
    uid: u32,
    recv_q: u32,
    send_q: u32,
    /// Which of `bytes` (from bit 0) and `words` (from bit 4) are known, and the bits below.
    known: u16,
    probes: u8,
    retrans: u8,
    state: State,
    timer: Timer,
}

const WORDS: usize = 4;
const PROBES: u16 = 1 << 11;
const COOKIE: u16 = 1 << 12;
const TCP: u16 = 1 << 13;
const MPTCP: u16 = 1 << 14;

const _: () = assert!(size_of::<PackedLook>() <= 112 && size_of::<Option<PackedLook>>() <= 112);

impl PackedLook {
    /// A look at the socket of a suspect with these ends.
    pub fn new(Look { at, socket }: Look, of: Tuple) -> Self {
        let DiagSocket { tuple, mptcp, state, inode, cookie, uid, recv_q, send_q, timer, retrans, tcp } =
            socket;
        let mut known = 0;
        let mut flag = |is_set: bool, bit: u16| known |= if is_set { bit } else { 0 };
        flag(mptcp, MPTCP);
        flag(cookie.is_some(), COOKIE);
        flag(tcp.is_some(), TCP);
        let TcpInfo {
            last_data_sent_ms,
            last_data_recv_ms,
            last_ack_recv_ms,
            bytes_acked,
            bytes_received,
            bytes_sent,
            bytes_retrans,
            total_retrans,
            snd_wnd,
            notsent_bytes,
            probes,
            rto_us,
        } = tcp.unwrap_or_default();
        flag(probes.is_some(), PROBES);
        let bytes = [bytes_acked, bytes_received, bytes_sent, bytes_retrans];
        let words = [
            last_data_sent_ms,
            last_data_recv_ms,
            last_ack_recv_ms,
            total_retrans,
            snd_wnd,
            notsent_bytes,
            rto_us,
        ];
        let are_known = bytes.iter().map(Option::is_some).chain(words.iter().map(Option::is_some));
        for (bit, is_known) in are_known.enumerate() {
            flag(is_known, 1 << bit);
        }
        Self {
            at,
            inode,
            cookie: cookie.unwrap_or_default(),
            bytes: bytes.map(Option::unwrap_or_default),
            tuple: (tuple != of).then(|| Box::new(tuple)),
            words: words.map(Option::unwrap_or_default),
            uid,
            recv_q,
            send_q,
            known,
            probes: probes.unwrap_or_default(),
            retrans,
            state,
            timer,
        }
    }

    /// Bytes that nobody has read, and the FIN.
    pub const fn recv_q(&self) -> u32 {
        self.recv_q
    }

    /// The same in full, of the suspect with these ends.
    pub fn look(&self, of: Tuple) -> Look {
        let is_set = |bit: u16| self.known & bit != 0;
        let bytes = |n: usize| self.bytes.get(n).copied().filter(|_| is_set(1 << n));
        let words = |n: usize| self.words.get(n).copied().filter(|_| is_set(1 << (WORDS + n)));
        let tcp = || TcpInfo {
            last_data_sent_ms: words(0),
            last_data_recv_ms: words(1),
            last_ack_recv_ms: words(2),
            bytes_acked: bytes(0),
            bytes_received: bytes(1),
            bytes_sent: bytes(2),
            bytes_retrans: bytes(3),
            total_retrans: words(3),
            snd_wnd: words(4),
            notsent_bytes: words(5),
            probes: is_set(PROBES).then_some(self.probes),
            rto_us: words(6),
        };
        let socket = DiagSocket {
            tuple: self.tuple.as_deref().copied().unwrap_or(of),
            mptcp: is_set(MPTCP),
            state: self.state,
            inode: self.inode,
            cookie: is_set(COOKIE).then_some(self.cookie),
            uid: self.uid,
            recv_q: self.recv_q,
            send_q: self.send_q,
            timer: self.timer,
            retrans: self.retrans,
            tcp: is_set(TCP).then(tcp),
        };
        Look { at: self.at, socket }
    }

    /// Number of the socket's inode.
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// The socket's state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it was looked at.
    pub const fn at(&self) -> MonoNs {
        self.at
    }

    /// The same, looked at then: a dump tells when it has ended only in the end.
    #[must_use]
    pub fn taken(self, at: MonoNs) -> Self {
        Self { at, ..self }
    }
}
