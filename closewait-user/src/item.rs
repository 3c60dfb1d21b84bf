//! [`Item`]: the one stream that every source produces and the tracker consumes.
//! Live rings, snapshots and recordings all speak it; nothing else enters.

use std::fmt;

use crate::clock::MonoNs;
use crate::stack::capture::Capture;
use crate::stack::python::Walk;
use crate::tcp::{State, Tuple};
use crate::text::Text;

/// Address of a `struct sock`. The kernel reuses it at once, so it names a
/// socket only together with a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SkAddr(pub u64);

impl fmt::Debug for SkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sk:{:x}", self.0)
    }
}

/// Inode number of a network namespace, as in `/proc/PID/ns/net`; 0 on a kernel
/// without namespaces.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Netns(pub u32);

/// A task, at the moment it did something.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Task {
    /// Process id (the kernel's tgid).
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Thread name; the kernel gives any bytes, these are made UTF-8 lossily.
    pub comm: Text,
}

/// Id of a user stack, valid with the process it was taken from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct StackId(pub u32);

/// A user stack id, or the errno for which the kernel gave none.
pub type StackRef = Result<StackId, i32>;

/// Something learned about sockets.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Item {
    /// A socket changed state.
    Transition(Transition),
    /// A socket that had closed with a file on it is gone: the file was closed.
    Destroyed(Destroyed),
    /// A process opened a socket by a call path not seen before.
    Path(Path),
    /// The process of a socket ends, and the socket with it: the record of that is next.
    Ended(Box<Ended>),
    /// Records were lost.
    Gap(Gap),
    /// What one network namespace looked like at one moment.
    Snapshot(Snapshot),
    /// Which descriptors were on sockets that TCP had ended, at one moment.
    Ghosts(GhostLook),
}

/// One edge of `inet_sock_set_state`.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Transition {
    /// When, by the kernel.
    pub at: MonoNs,
    /// The socket's address.
    pub sk: SkAddr,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Both ends.
    pub tuple: Tuple,
    /// Its network namespace.
    pub netns: Netns,
    /// An MPTCP socket (not one of its subflows).
    pub mptcp: bool,
    /// Whether a file could still refer to the socket. At an edge into CLOSE_WAIT: it is told as
    /// of the socket's accept, and may have been told before.
    pub has_socket: bool,
    /// Inode number of that file, told at the edge to CLOSE; 0 when not told.
    pub inode: u64,
    /// Who did it and from where. `None` at the edge into CLOSE_WAIT, where
    /// whoever happened to be running says nothing.
    pub by: Option<By>,
}

/// The task that made an edge, and its user stack.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct By {
    /// The task.
    pub task: Task,
    /// Its user stack.
    pub stack: StackRef,
    /// Whether the task was ending; `None` where the kernel does not tell.
    pub exiting: Option<bool>,
    /// The socket's error at the edge, an errno, 0 for none; `None` where the kernel does not tell.
    pub error: Option<u32>,
}

/// A socket that ends with its process, or by a close that came late: nothing can be
/// asked of it any more.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ended {
    /// When.
    pub at: MonoNs,
    /// The socket's address.
    pub sk: SkAddr,
    /// The task that ends, or closed it.
    pub by: Task,
    /// Whether its process ends.
    pub exiting: bool,
    /// Inode number of its file; 0 when nobody accepted it, or TCP had ended before.
    pub inode: u64,
    /// Received and not read, the FIN counting one.
    pub unread: u32,
    /// Written and not acknowledged, bytes.
    pub unsent: u32,
    /// Written since it entered CLOSE_WAIT, bytes; means nothing when that was not seen.
    pub written: u32,
    /// What is remembered of the socket, in wire form.
    pub remembered: Vec<u8>,
}

/// `tcp_destroy_sock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Destroyed {
    /// When.
    pub at: MonoNs,
    /// The socket's address.
    pub sk: SkAddr,
    /// Whether the task that closed the file was ending; `None` where the kernel does not tell.
    pub exiting: Option<bool>,
}

/// First sight of a call path of a process.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Path {
    /// When.
    pub at: MonoNs,
    /// The task.
    pub task: Task,
    /// The stack's id.
    pub stack: StackId,
    /// Its addresses, innermost first; empty where there is a copy instead.
    pub addrs: Vec<u64>,
    /// The stack as it was. Memory of another process: never written down.
    #[serde(skip)]
    pub copy: Option<Capture>,
    /// The Python functions in it, if the kernel side knew its interpreter. Likewise.
    #[serde(skip)]
    pub python: Option<Walk>,
}

/// Records that were lost between two moments. All counts are records, not sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Gap {
    /// Nothing was known to be lost before this.
    pub from: MonoNs,
    /// The losses had happened by now.
    pub to: MonoNs,
    /// Entries into CLOSE_WAIT (ring full).
    pub enter: u64,
    /// Exits from CLOSE_WAIT (ring full).
    pub leave: u64,
    /// Ends of life (ring full).
    pub destroy: u64,
    /// First sights of a path (ring full).
    pub path: u64,
    /// Openers not remembered (map full).
    pub opener: u64,
    /// Runs of a program that the kernel skipped because it was already running on that CPU.
    pub recursion: u64,
    /// Records that could not be parsed.
    pub malformed: u64,
    /// Edges of sockets whose protocol or namespace the program could not read.
    #[serde(default)]
    pub unreadable: u64,
    /// Sockets, not records: a later look found them in CLOSE_WAIT, which they must
    /// have entered while the trace ran. What else is counted here may be why.
    #[serde(default)]
    pub missed: u64,
}

impl Gap {
    /// All records lost, of any kind, and the entries found missing.
    pub fn total(&self) -> u64 {
        self.records().saturating_add(self.missed)
    }

    /// All records lost, of any kind.
    pub fn records(&self) -> u64 {
        let full = [self.enter, self.leave, self.destroy, self.path, self.opener];
        let others = [self.recursion, self.malformed, self.unreadable];
        full.into_iter().chain(others).fold(0, u64::saturating_add)
    }

    /// Widens this gap by another one, which may come from a recording: counts saturate.
    pub fn add(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.enter = self.enter.saturating_add(other.enter);
        self.leave = self.leave.saturating_add(other.leave);
        self.destroy = self.destroy.saturating_add(other.destroy);
        self.path = self.path.saturating_add(other.path);
        self.opener = self.opener.saturating_add(other.opener);
        self.recursion = self.recursion.saturating_add(other.recursion);
        self.malformed = self.malformed.saturating_add(other.malformed);
        self.unreadable = self.unreadable.saturating_add(other.unreadable);
        self.missed = self.missed.saturating_add(other.missed);
    }
}

/// The sockets of one network namespace that a dump found.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// The dump began at; a socket that changed after this may be shown either way.
    pub began: MonoNs,
    /// The dump ended at.
    pub ended: MonoNs,
    /// Which namespace.
    pub netns: Netns,
    /// Whether the dump is not known to have holes (an interrupted dump proves presence, not absence).
    /// Even a dump without holes may miss a socket beside a connection storm, about
    /// one in 15 million: one absence is a hint, two in a row are proof enough.
    pub complete: bool,
    /// Whether a socket that it does not show is taken to have left.
    #[serde(default)]
    pub proves_absence: bool,
    /// The sockets in CLOSE_WAIT.
    pub sockets: Vec<DiagSocket>,
}

/// The descriptors on sockets that were connected once and are in CLOSE now, in all
/// network namespaces of interest.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct GhostLook {
    /// Just before the fd tables were walked.
    pub began: MonoNs,
    /// Just after.
    pub ended: MonoNs,
    /// Whether the walk came to its end: then who is not shown has no descriptor any more.
    pub complete: bool,
    /// The sockets, each once.
    pub ghosts: Vec<FoundGhost>,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct FoundGhost {
    /// Number of its inode.
    pub inode: u64,
    /// Its address, where the walk could tell.
    pub sk: Option<SkAddr>,
    /// Its network namespace.
    pub netns: Netns,
    /// Both ends; all zero for one that could not be told.
    pub tuple: Tuple,
    /// It was in CLOSE by then.
    pub closed: MonoNs,
    /// The threshold counts from here: `closed`, or the last moment at which it can
    /// still have been open where the upper bound of its age is to count.
    pub counts_from: MonoNs,
    /// The error nobody has fetched yet, an errno, 0 for none; `None` when it could not be
    /// looked at without fetching it.
    pub error: Option<u32>,
}

/// What inet_diag (or /proc/net/tcp) says of one socket.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct DiagSocket {
    /// Both ends.
    pub tuple: Tuple,
    /// An MPTCP socket; its subflows are sockets of their own, with the same tuple.
    pub mptcp: bool,
    /// Its state.
    pub state: State,
    /// Inode number; 0 when no file was ever made for it (not accepted) or it is gone.
    pub inode: u64,
    /// The kernel's socket cookie, when the source gives one.
    pub cookie: Option<u64>,
    /// Owner's user id.
    pub uid: u32,
    /// Unread bytes, the FIN counting one; for a listener the accept queue's length.
    pub recv_q: u32,
    /// Unsent or unacknowledged bytes; for a listener the accept queue's limit.
    pub send_q: u32,
    /// Which timer runs.
    pub timer: Timer,
    /// Retransmissions or probes unanswered so far.
    pub retrans: u8,
    /// The parts of `tcp_info` used here, when the source gives them.
    pub tcp: Option<TcpInfo>,
}

impl DiagSocket {
    /// Whether `later` shows the same life of the same socket, and not a new
    /// connection between the same ports. The cookie decides; a source without
    /// cookies leaves the inode, which is 0 until the socket is accepted.
    pub fn same_life(&self, later: &Self) -> bool {
        match (self.cookie, later.cookie) {
            (Some(before), Some(after)) => before == after,
            _ => self.inode == later.inode || self.inode == 0,
        }
    }
}

/// `idiag_timer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Timer {
    /// None.
    #[default]
    Off,
    /// Retransmission (also early retransmit and loss probe).
    On,
    /// Keepalive.
    Keepalive,
    /// TIME_WAIT.
    TimeWait,
    /// Zero window probe.
    Persist,
    /// A number this tool does not know.
    Other(u8),
}

/// The parts of `struct tcp_info` that verdicts rest on; a member is `None`
/// where the kernel's structure is too short to have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct TcpInfo {
    /// Since data was last sent, ms.
    pub last_data_sent_ms: Option<u32>,
    /// Since data was last received, ms.
    pub last_data_recv_ms: Option<u32>,
    /// Since an ACK was last received, ms.
    pub last_ack_recv_ms: Option<u32>,
    /// Bytes acknowledged by the peer.
    pub bytes_acked: Option<u64>,
    /// Bytes received.
    pub bytes_received: Option<u64>,
    /// Bytes sent, retransmissions included.
    pub bytes_sent: Option<u64>,
    /// Bytes retransmitted.
    pub bytes_retrans: Option<u64>,
    /// Segments retransmitted in total.
    pub total_retrans: Option<u32>,
    /// The peer's advertised window.
    pub snd_wnd: Option<u32>,
    /// Not yet sent.
    pub notsent_bytes: Option<u32>,
    /// Unanswered probes.
    pub probes: Option<u8>,
    /// Retransmission timeout, us.
    #[serde(default)]
    pub rto_us: Option<u32>,
}
