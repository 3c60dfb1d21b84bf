//! Sockets by NETLINK_SOCK_DIAG.
//!
//! In: a network namespace, states or a tuple. Out: [`DiagSocket`]s, and whether
//! they are all there were. [`SockDiag::destroy`] ends one, for `kill` alone. A [`SockDiag`] stays bound to the namespace it was
//! opened in **and keeps that namespace alive**: whoever caches one drops it when
//! nothing else refers to the namespace. It never blocks for longer than `PATIENCE`.

pub mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

use super::netns::{NetnsError, NetnsRef};
use crate::clock::{Clock, MonoNs};
use crate::item::DiagSocket;
use crate::tcp::{Endpoint, State, Tuple};
use wire::{Identity, Malformed, Message, Messages, Request};

/// The kernel answers within the call that asks, unless it first loads a module.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel fills at most 32 KiB at a time (netlink_recvmsg).
const RECV_BUFFER: usize = 64 << 10;
/// Room for answers not yet read.
const SOCKET_BUFFER: usize = 1 << 20;

/// Why sockets could not be listed.
#[derive(thiserror::Error, Debug)]
pub enum DiagError {
    /// The kernel has no inet_diag or no tcp_diag, and could not load them. Read /proc/net/tcp instead.
    #[error("this kernel has no inet_diag for TCP here ({0}); load it with: modprobe tcp_diag")]
    Unavailable(io::Error),
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused the question.
    #[error("inet_diag: {0}")]
    Refused(io::Error),
    /// The netlink socket failed.
    #[error("netlink, {step}: {source}")]
    Netlink {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not what the kernel's headers promise.
    #[error("inet_diag: {0}")]
    Malformed(#[from] Malformed),
}

fn netlink(step: &'static str) -> impl FnOnce(io::Error) -> DiagError {
    move |source| DiagError::Netlink { step, source }
}

/// Why a dump may lack sockets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hole {
    /// The kernel says so (NLM_F_DUMP_INTR).
    Interrupted,
    /// Answers came faster than they were read (ENOBUFS).
    Overrun,
    /// An answer was longer than the receive buffer.
    Truncated,
    /// An answer could not be parsed.
    Malformed,
    /// The end of the dump did not come in time.
    Silent,
}

impl Hole {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Overrun => "overrun",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
        }
    }
}

/// Why not all sockets were counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uncounted {
    /// It took too long, and was given up: the socket has answers left and is of no more use.
    TookTooLong,
    /// Answers are missing.
    Hole(Hole),
}

/// The sockets that a dump found.
#[derive(Clone, PartialEq, Debug)]
pub struct Dump {
    /// The kernel's last tick before it was asked.
    pub began: MonoNs,
    /// Just after its last answer.
    pub ended: MonoNs,
    /// What it showed; empty when each was handed on.
    pub sockets: Vec<DiagSocket>,
    /// Of those that are bound to an interface: cookie, and index of the interface.
    pub bound: Vec<(u64, u32)>,
    /// Why some may be missing. The kernel walks its hash chain by chain and
    /// resumes by counting (inet_diag_dump_icsk), so that without any hole a socket
    /// may be missing, or shown twice, when its chain changed between two answers:
    /// one of 10,000 sockets in 1 of 1,500 dumps beside a connection storm.
    /// Absence is proved by [`SockDiag::one`] as well, or by a second dump.
    pub holes: Vec<Hole>,
}

impl Dump {
    /// Whether no answer is known to be missing.
    pub fn complete(&self) -> bool {
        self.holes.is_empty()
    }

    fn hole(&mut self, hole: Hole) {
        if !self.holes.contains(&hole) {
            self.holes.push(hole);
        }
    }
}

/// A netlink socket that asks one network namespace about its sockets.
pub struct SockDiag {
    socket: Socket,
    seq: u32,
    buf: Vec<u8>,
    /// Whether this kernel dumps MPTCP sockets.
    mptcp: bool,
}

impl SockDiag {
    /// Opens one in `netns`, and finds out whether the kernel answers there at
    /// all: later, "no such module" and "no such socket" are the same errno.
    pub fn open_in(netns: &NetnsRef) -> Result<Self, DiagError> {
        let mut diag = Self::open_like(netns, true)?;
        // No state matches, so the kernel walks nothing.
        diag.walk(Request::Tcp(&[]), &mut Dump::begin(), &mut drop).map_err(|e| match e {
            DiagError::Refused(e) if is_absent(&e) => DiagError::Unavailable(e),
            e => e,
        })?;
        match diag.walk(Request::Mptcp4(&[]), &mut Dump::begin(), &mut drop) {
            Ok(()) => {}
            Err(DiagError::Refused(_)) => diag.mptcp = false,
            Err(e) => return Err(e),
        }
        Ok(diag)
    }

    /// The same where the kernel has answered before, in another namespace: `mptcp` is what
    /// [`Self::has_mptcp`] said there.
    pub fn open_like(netns: &NetnsRef, mptcp: bool) -> Result<Self, DiagError> {
        Ok(Self { socket: netns.run(connect)??, seq: 0, buf: Vec::new(), mptcp })
    }

    /// Gives it room for answers that another one has used; there may be a thousand of them,
    /// which are asked one after the other.
    pub fn swap_buffer(&mut self, buf: &mut Vec<u8>) {
        std::mem::swap(&mut self.buf, buf);
    }

    /// Whether that failed for want of descriptors, of this process or of the host.
    pub fn is_out_of_descriptors(error: &DiagError) -> bool {
        let (DiagError::Netns(NetnsError::Open { source, .. } | NetnsError::Thread(source))
        | DiagError::Netlink { source, .. }) = error
        else {
            return false;
        };
        matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }

    /// Whether dumps include MPTCP sockets.
    pub const fn has_mptcp(&self) -> bool {
        self.mptcp
    }

    /// All TCP and MPTCP sockets of the namespace in one of `states`, IPv4 and
    /// IPv6. Cost: a walk over the sockets of the whole host, whose hash all
    /// namespaces share.
    pub fn dump(&mut self, states: &[State]) -> Result<Dump, DiagError> {
        let mut sockets = Vec::new();
        let dump = self.dump_each(states, |socket| sockets.push(socket))?;
        Ok(Dump { sockets, ..dump })
    }

    /// The same, each handed to `each` as it comes and kept nowhere: there may be a million.
    pub fn dump_each(
        &mut self,
        states: &[State],
        mut each: impl FnMut(DiagSocket),
    ) -> Result<Dump, DiagError> {
        let mut dump = Dump::begin();
        self.walk(Request::Tcp(states), &mut dump, &mut each)?;
        if self.mptcp {
            self.walk(Request::Mptcp4(states), &mut dump, &mut each)?;
            self.walk(Request::Mptcp6(states), &mut dump, &mut each)?;
        }
        dump.ended = Clock::mono_now();
        Ok(dump)
    }

    /// The TCP sockets that listen. An MPTCP listener is among them by the TCP socket that it
    /// listens by, which has its queue and its inode (mptcp_subflow_create_socket); asking for
    /// itself takes a walk that locks every bucket of listeners, for each family.
    pub fn dump_listeners(&mut self) -> Result<Dump, DiagError> {
        self.listed(Request::Tcp(&[State::Listen]))
    }

    /// The TCP sockets in one of `states`, without `tcp_info`, and no MPTCP sockets.
    pub fn dump_brief(&mut self, states: &[State]) -> Result<Dump, DiagError> {
        self.listed(Request::Brief(states))
    }

    /// The same, each handed to `each` as it comes and kept nowhere.
    pub fn dump_brief_each(
        &mut self,
        states: &[State],
        mut each: impl FnMut(DiagSocket),
    ) -> Result<Dump, DiagError> {
        let mut dump = Dump::begin();
        self.walk(Request::Brief(states), &mut dump, &mut each)?;
        dump.ended = Clock::mono_now();
        Ok(dump)
    }

    /// The TCP sockets that are connected to one of `remotes`, in any state, without
    /// `tcp_info`: the kernel leaves out all others by itself. Cost: as of [`Self::dump`],
    /// less the filling in.
    pub fn dump_to(&mut self, remotes: &[Endpoint]) -> Result<Dump, DiagError> {
        self.listed(Request::To(remotes))
    }

    /// The TCP socket with these ends, in any state; `None` when the kernel's
    /// lookup finds none. The lookup does not see sockets bound to an interface
    /// (among them all link-local ones), unless [`is_seen`] says so; a dump does.
    pub fn one(&mut self, tuple: Tuple) -> Result<Option<DiagSocket>, DiagError> {
        // One that is bound to no interface is found on any (inet_bound_dev_eq).
        let interface = if is_seen(tuple) { LOOPBACK } else { 0 };
        let found = self.exactly(Identity { tuple, interface, cookie: Identity::ANY })?;
        // Without an exact match the kernel falls back to a listener.
        Ok(found.filter(|found| found.tuple.canonical() == tuple.canonical()))
    }

    /// This very socket, in any state; `None` when it is in no table any more.
    pub fn exactly(&mut self, which: Identity) -> Result<Option<DiagSocket>, DiagError> {
        self.ask(Request::One(which))?;
        match self.answer()? {
            Ok(found) => Ok(Some(found)),
            Err(libc::ENOENT) => Ok(None),
            Err(errno) => Err(DiagError::Refused(io::Error::from_raw_os_error(errno))),
        }
    }

    /// Ends the connection of this very socket, whatever its state; `false` when it is in
    /// no table any more. Its owner is told ECONNABORTED, its peer gets a RST; a
    /// descriptor on it stays open. Needs CAP_NET_ADMIN over the namespace (EPERM) and a
    /// kernel with CONFIG_INET_DIAG_DESTROY (EOPNOTSUPP), see [`Self::can_destroy`].
    pub fn destroy(&mut self, which: Identity) -> Result<bool, DiagError> {
        self.ask(Request::Destroy(which))?;
        match self.answer()? {
            Err(0) => Ok(true),
            Err(libc::ENOENT) => Ok(false),
            Err(errno) => Err(DiagError::Refused(io::Error::from_raw_os_error(errno))),
            Ok(_) => Err(Malformed.into()),
        }
    }

    /// Whether this kernel was built to destroy sockets. It is asked to destroy one that
    /// cannot be, without ports, and refuses before it looks for it where it cannot.
    pub fn can_destroy(&mut self) -> Result<bool, DiagError> {
        let nowhere = Endpoint { ip: Ipv4Addr::UNSPECIFIED.into(), port: 0 };
        let tuple = Tuple { local: nowhere, remote: nowhere };
        match self.destroy(Identity { tuple, interface: 0, cookie: 0 }) {
            Ok(_) => Ok(true),
            Err(DiagError::Refused(error)) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The answer to a question about one socket: the socket, or an errno, 0 for success.
    fn answer(&mut self) -> Result<Result<DiagSocket, i32>, DiagError> {
        loop {
            if self.receive()?.is_none() {
                return Err(netlink("waiting for an answer")(Errno::TIMEDOUT.into()));
            }
            for message in Messages(&self.buf) {
                let message = message?;
                if message.seq != self.seq {
                    continue;
                }
                if message.kind == wire::ERROR {
                    return Ok(Err(message.errno()?));
                }
                return Ok(Ok(wire::socket(message.payload, false)?));
            }
        }
    }

    fn ask(&mut self, request: Request<'_>) -> Result<(), DiagError> {
        self.seq = self.seq.wrapping_add(1);
        self.socket.send(&request.encode(self.seq), 0).map_err(netlink("asking"))?;
        Ok(())
    }

    /// Receives into `buf`. `None`: no answer came in time. What was longer than
    /// the buffer has been cut.
    fn receive(&mut self) -> Result<Option<Received>, DiagError> {
        self.buf.clear();
        self.buf.reserve(RECV_BUFFER);
        match self.socket.recv(&mut self.buf, libc::MSG_TRUNC) {
            Ok(len) if len > self.buf.len() => Ok(Some(Received::Cut)),
            Ok(_) => Ok(Some(Received::Whole)),
            Err(e) => match e.raw_os_error() {
                Some(libc::EINTR) => self.receive(),
                Some(libc::ENOBUFS) => Ok(Some(Received::Overrun)),
                Some(libc::EAGAIN) => Ok(None),
                _ => Err(netlink("receiving")(e)),
            },
        }
    }

    /// Adds the TCP sockets in one of `states` to their number, by the kernel's number of
    /// the state; without looking further at them. Where not all were counted: why.
    pub fn count(
        &mut self,
        states: &[State],
        give_up: MonoNs,
        counts: &mut [u64; 16],
    ) -> Result<Result<(), Uncounted>, DiagError> {
        let mut whole = Ok(());
        self.answers(Request::Brief(states), |answer| {
            let message = match answer {
                Ok(message) => message,
                Err(hole) => {
                    whole = whole.and(Err(Uncounted::Hole(hole)));
                    return Ok(Walk::On);
                }
            };
            if message.flags & wire::DUMP_INTERRUPTED != 0 {
                whole = whole.and(Err(Uncounted::Hole(Hole::Interrupted)));
            }
            if let Some(walk) = end_of(&message)? {
                return Ok(walk);
            }
            let state = wire::state(message.payload).map(usize::from);
            match state.and_then(|state| counts.get_mut(state)) {
                Some(count) => *count += 1,
                None => whole = whole.and(Err(Uncounted::Hole(Hole::Malformed))),
            }
            if Clock::mono_now() < give_up {
                return Ok(Walk::On);
            }
            whole = Err(Uncounted::TookTooLong);
            Ok(Walk::Done)
        })?;
        Ok(whole)
    }

    /// What a request is answered with.
    fn listed(&mut self, request: Request<'_>) -> Result<Dump, DiagError> {
        let mut dump = Dump::begin();
        let mut sockets = Vec::new();
        self.walk(request, &mut dump, &mut |socket| sockets.push(socket))?;
        dump.ended = Clock::mono_now();
        Ok(Dump { sockets, ..dump })
    }

    /// Asks for a dump and hands on what it shows; what else it tells goes to `dump`.
    fn walk(
        &mut self,
        request: Request<'_>,
        dump: &mut Dump,
        each: &mut dyn FnMut(DiagSocket),
    ) -> Result<(), DiagError> {
        let mptcp = matches!(request, Request::Mptcp4(_) | Request::Mptcp6(_));
        self.answers(request, |answer| match answer {
            Ok(message) => take(message, mptcp, dump, each),
            Err(hole) => {
                dump.hole(hole);
                Ok(Walk::On)
            }
        })
    }

    /// Asks for a dump and hands on the answers, and that some are missing.
    fn answers(
        &mut self,
        request: Request<'_>,
        mut each: impl FnMut(Result<Message<'_>, Hole>) -> Result<Walk, DiagError>,
    ) -> Result<(), DiagError> {
        self.ask(request)?;
        loop {
            match self.receive()? {
                None => return each(Err(Hole::Silent)).map(drop),
                Some(Received::Cut) => {
                    each(Err(Hole::Truncated))?;
                }
                Some(Received::Overrun) => {
                    each(Err(Hole::Overrun))?;
                }
                Some(Received::Whole) => {}
            }
            for message in Messages(&self.buf) {
                match message {
                    Ok(m) if m.seq == self.seq => match each(Ok(m))? {
                        Walk::On => {}
                        Walk::Done => return Ok(()),
                    },
                    // The rest of a dump that was given up.
                    Ok(_) => {}
                    Err(Malformed) => {
                        each(Err(Hole::Malformed))?;
                    }
                }
            }
        }
    }
}

/// Index of the loopback interface in every namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// Whether [`SockDiag::one`] finds a socket with these ends also where it is bound to an
/// interface: both are of the loopback, which is the one it is bound to, unless it is in a VRF:
/// these have a 127.0.0.1 of their own (vrf.rst).
pub fn is_seen(tuple: Tuple) -> bool {
    [tuple.local, tuple.remote].iter().all(|end| end.ip.to_canonical().is_loopback())
}

/// What `receive` left in the buffer.
enum Received {
    Whole,
    Cut,
    /// Nothing: the socket's own queue was full, and messages were dropped.
    Overrun,
}

enum Walk {
    On,
    Done,
}

/// What to do at a message that ends a dump; `None` for one that does not.
fn end_of(message: &Message<'_>) -> Result<Option<Walk>, DiagError> {
    if !matches!(message.kind, wire::ERROR | wire::DONE) {
        return Ok(None);
    }
    match message.errno()? {
        0 => Ok(Some(Walk::Done)),
        errno => Err(DiagError::Refused(io::Error::from_raw_os_error(errno))),
    }
}

fn take(
    message: Message<'_>,
    mptcp: bool,
    dump: &mut Dump,
    each: &mut dyn FnMut(DiagSocket),
) -> Result<Walk, DiagError> {
    if message.flags & wire::DUMP_INTERRUPTED != 0 {
        dump.hole(Hole::Interrupted);
    }
    if let Some(walk) = end_of(&message)? {
        return Ok(walk);
    }
    match wire::socket(message.payload, mptcp) {
        Ok(socket) => {
            let bound = wire::interface(message.payload).unwrap_or(0);
            dump.bound.extend(socket.cookie.filter(|_| bound != 0).map(|cookie| (cookie, bound)));
            each(socket);
        }
        Err(Malformed) => dump.hole(Hole::Malformed),
    }
    Ok(Walk::On)
}

impl Dump {
    fn begin() -> Self {
        // What the dump tells of times counts from a tick, this one or a later one.
        let began = Clock::last_tick();
        Self { began, ended: Clock::mono_now(), sockets: Vec::new(), bound: Vec::new(), holes: Vec::new() }
    }
}

fn connect() -> Result<Socket, DiagError> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(|e| match e.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => DiagError::Unavailable(e),
        _ => netlink("opening a socket")(e),
    })?;
    socket.bind_auto().map_err(netlink("binding"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(netlink("connecting"))?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))
        .map_err(|e| netlink("setting a timeout")(e.into()))?;
    // Without the right to exceed the limit, the limit is what there is.
    if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
        socket.set_rx_buf_sz(SOCKET_BUFFER).map_err(netlink("setting the buffer size"))?;
    }
    Ok(socket)
}

/// What the kernel says without the modules: EOPNOTSUPP without inet_diag,
/// ENOENT without tcp_diag, EINVAL without sock_diag's family.
fn is_absent(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL))
}
