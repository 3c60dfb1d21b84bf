//! What is known about a suspect when the verdict is made.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::{Drained, Pod, Sent, Threads};
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::growth::Growth;
use crate::item::{DiagSocket, Task};
use crate::tcp::State;
use crate::text::Text;

/// Everything gathered about one suspect.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// The socket as the kernel showed it, one or two looks, oldest first;
    /// empty with a reason in `look_failed` when it could not be looked at.
    pub looks: Vec<Look>,
    /// Why there is no look, or no second one.
    pub look_failed: Option<String>,
    /// Who accepted or connected it.
    pub opener: Fact<Opener>,
    /// Who has a file descriptor on it. Known and empty: scanned, nobody found.
    pub holders: Fact<Vec<Holder>>,
    /// The listener it waits in; known only for a socket nobody accepted.
    pub listener: Fact<Listener>,
    /// Whether we accepted it or connected it.
    pub role: Fact<Role>,
    /// What tells the role of a socket whose opening was not seen, as in "by its ports".
    pub role_by: Option<Text>,
    /// How many scans of the fd tables `holders` rests on.
    pub holder_scans: u32,
    /// Where else a reference to the socket was found. Known and empty: looked, nothing.
    pub elsewhere: Fact<Vec<Elsewhere>>,
    /// The processes that have a descriptor on a listener at its local end; where nobody has
    /// accepted it, on the one that it waits for, if that is known. Known and empty: there is no
    /// listener, or it is not known who has it.
    pub listener_holders: Fact<Vec<u32>>,
    /// The read that told the application EOF. Known `None`: reads were watched
    /// since before it entered CLOSE_WAIT, and there was none.
    pub eof_read: Fact<Option<EofRead>>,
    /// Whether reads and opens are seen from now on.
    pub watching: Watching,
    /// What looks since the first have told that it sent after the EOF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// What looks since the first have told that was read after the FIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drained: Option<Drained>,
    /// The other end. Known `None`: it is not on this host.
    pub local_peer: Fact<Option<LocalPeer>>,
    /// The sockets that its holder keeps to the same remote.
    pub pool: Fact<Pool>,
    /// What the threads of its owner do: of the listener's process when nobody accepted
    /// it, else of the holder.
    pub threads: Fact<Arc<Threads>>,
    /// How fast the stuck sockets of its owner become more.
    pub growth: Fact<Growth>,
    /// Local ports used towards its server, for a client.
    pub ports: Fact<PortUse>,
    /// Whether the kernel would end it by itself.
    pub keepalive: Fact<Keepalive>,
    /// Its process ended, and it with it; or it was closed, too late.
    pub ended: Option<ProcessEnd>,
    /// `sk_err` as last reported by the kernel, an errno; 0 for none.
    pub sock_error: Fact<u32>,
}

impl Evidence {
    /// Nothing gathered yet.
    pub fn unknown() -> Self {
        fn fact<T>() -> Fact<T> {
            Fact::unknown("not gathered")
        }
        Self {
            looks: Vec::new(),
            look_failed: None,
            opener: fact(),
            holders: fact(),
            listener: fact(),
            role: fact(),
            role_by: None,
            holder_scans: 0,
            elsewhere: fact(),
            listener_holders: fact(),
            eof_read: fact(),
            watching: Watching::Unknown,
            sent: None,
            drained: None,
            local_peer: fact(),
            pool: fact(),
            threads: fact(),
            growth: fact(),
            ports: fact(),
            keepalive: fact(),
            ended: None,
            sock_error: fact(),
        }
    }
}

impl Evidence {
    /// The peer, where it is a process of this host that has only half-closed: it may wait
    /// for an answer.
    pub fn waiting_peer(&self) -> Option<&LocalPeer> {
        let peer = self.local_peer.known()?.as_ref()?;
        (peer.state == State::FinWait2 && peer.has_file).then_some(peer)
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self::unknown()
    }
}

/// Whether reads and opens are seen from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Watching {
    /// Not told, as in recordings of versions before 0.2.
    #[default]
    Unknown,
    /// By programs in the kernel.
    Traced,
    /// One look is all there is.
    Snapshot,
    /// Looks are all there is: tracing cannot run here.
    Impossible,
}

/// A process that ended with a socket that it had not closed, or closed it late.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ProcessEnd {
    /// The task that ended, or closed it.
    pub task: Task,
    /// How long after the peer it closed the socket, at least; `None` when the process ended.
    #[serde(default)]
    pub closed_after: Option<Duration>,
    /// What of its runtime closed it, where the program itself did not; `None` also where the
    /// stack of the close is not known.
    #[serde(default)]
    pub clean_up: Option<CleanUp>,
    /// Bytes written to the socket after the peer's FIN.
    pub written: Fact<u32>,
}

/// What of a runtime closes sockets that their program has forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum CleanUp {
    /// The finalizer of an object that nothing referred to any more.
    Finalizer,
    /// What closes all that is open when the program has ended.
    AtEnd,
}

/// A reference to a socket that is no descriptor of a process.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Elsewhere {
    /// In flight: sent over a unix socket and not received yet (SCM_RIGHTS).
    InFlight {
        /// Who may receive it.
        receiver: Task,
        /// The receiver's descriptor of the unix socket.
        fd: u32,
    },
    /// Registered with an io_uring.
    IoUring {
        /// Who owns the ring.
        owner: Task,
        /// The ring's descriptor.
        fd: u32,
    },
    /// A thread is in a system call on it, and its descriptor was closed meanwhile.
    Blocked {
        /// The thread.
        task: Task,
        /// The system call.
        syscall: String,
    },
}

/// A read that returned 0 because the peer had closed.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct EofRead {
    /// Who was told.
    pub task: Task,
    /// When.
    pub at: MonoNs,
    /// Its user stack, innermost frame first.
    pub stack: Fact<Arc<Vec<Frame>>>,
    /// What is missing from that stack and why, as of [`Opener`].
    #[serde(default)]
    pub stack_note: Option<String>,
}

/// The other end of the connection, on this host.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct LocalPeer {
    /// Its state.
    pub state: State,
    /// Whether a file refers to it: then it only half-closed, and may still read.
    pub has_file: bool,
    /// Who has a descriptor on it, when known.
    pub holder: Option<Holder>,
}

impl std::fmt::Display for LocalPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.holder {
            Some(holder) => holder.fmt(f),
            None => f.write_str("a process of this host"),
        }
    }
}

/// The sockets of one holder to one remote, watched over time.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pool {
    /// How many of them are in CLOSE_WAIT.
    pub stuck: u32,
    /// The time most of them had been idle when the peer closed; `None` when
    /// there are too few of them, or no such time.
    pub idle_before_fin: Option<IdleBeforeFin>,
    /// For how long births and closes were watched.
    pub watched: Duration,
    /// How fast they become more; `None` before that was watched for a minute.
    pub growth: Option<Growth>,
}

/// How long sockets of a pool had been idle when their peer closed them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct IdleBeforeFin {
    /// The typical time.
    pub typical: Duration,
    /// How many are within a few per cent of it.
    pub sockets: u32,
    /// Of how many for which it is known.
    pub of: u32,
}

/// Local ports in use from one address to one address and port, against those that
/// connect() chooses from.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct PortUse {
    /// In use, by sockets in any state.
    pub used: u32,
    /// To choose from: net.ipv4.ip_local_port_range less the reserved ones.
    pub total: u32,
    /// How fast the stuck ones among them become more; `None` before that was watched
    /// for a minute.
    pub growth: Option<Growth>,
}

/// Whether the kernel would end a socket by itself.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Keepalive {
    /// SO_KEEPALIVE.
    pub on: bool,
    /// At most so long, if the peer stays silent; `None`: never, or not known.
    pub ends_in: Option<Duration>,
    /// The silence before its first probe, by its own options; `None` when they were not read.
    #[serde(default)]
    pub first_probe: Option<Duration>,
    /// What that rests on: a clause.
    pub note: Text,
}

/// One look at the socket.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Look {
    /// When.
    pub at: MonoNs,
    /// What inet_diag said.
    pub socket: DiagSocket,
}

/// Which side of the connection this socket is.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It was accepted, or waits to be.
    Server,
    /// It was connected.
    Client,
}

/// The task that accepted or connected the socket.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Opener {
    /// The task.
    pub task: Task,
    /// `accept` or `connect`.
    pub via: OpenedVia,
    /// When.
    pub at: MonoNs,
    /// The descriptor it got, where the hook can know it.
    pub fd: Option<u32>,
    /// Its user stack, innermost frame first.
    pub stack: Fact<Arc<Vec<Frame>>>,
    /// What is missing from that stack and why: where it ends early, which
    /// modules could not be read. `None` when nothing is known to be missing.
    pub stack_note: Option<String>,
}

/// How a socket was opened.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum OpenedVia {
    Accept,
    Connect,
}

/// A process with a file descriptor on the socket.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// The process, which may hold thousands.
    #[serde(flatten)]
    pub process: Arc<Process>,
    /// The descriptor; the lowest, when it has several.
    pub fd: u32,
    /// Whether the descriptor is closed on exec.
    pub cloexec: Fact<bool>,
}

impl Deref for Holder {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// What stands in place of the `number`th program in a recording that was redacted.
pub fn redacted_program(number: usize) -> String {
    format!("{REDACTED_PROGRAM}{number}")
}

const REDACTED_PROGRAM: &str = "program ";

/// What all descriptors of one process have in common.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Its name (of its main thread).
    pub comm: Text,
    /// What it runs, where that tells more than its name: `python3 orders_api.py`. Never an
    /// argument of it. (Not in recordings of versions before 0.2.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Text>,
    /// Path of its executable.
    pub exe: Fact<Text>,
    /// Its command line, arguments joined by spaces.
    pub cmdline: Fact<Text>,
    /// Its real user id.
    pub uid: Fact<u32>,
    /// Container or unit, when it is in one.
    pub container: Option<Text>,
    /// Its pod, when it is in one of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<Pod>>,
    /// Its cgroups, `controllers:path`, but for the roots.
    #[serde(default)]
    pub cgroups: Vec<String>,
    /// Descriptors in use and the soft limit.
    pub nofile: Fact<Nofile>,
    /// When it began, at the earliest: the kernel tells it in steps of 10 ms.
    #[serde(default = "not_recorded")]
    pub began: Fact<MonoNs>,
    /// Whether it has executed a program since it was forked.
    #[serde(default = "not_recorded")]
    pub execed: Fact<bool>,
    /// Who started it; whoever took it over (pid 1, as a rule), when that has ended.
    #[serde(default = "not_recorded")]
    pub parent: Fact<Parent>,
}

impl Process {
    /// What it runs, but for a number that a redacted recording has: that is another one in the
    /// next recording, and says nothing to people. Causes go by this.
    pub fn told_program(&self) -> Option<&Text> {
        told(self.program.as_ref())
    }
}

/// A program, unless it is a number that a redacted recording has.
fn told(program: Option<&Text>) -> Option<&Text> {
    let is_number = |program: &str| {
        let number = program.strip_prefix(REDACTED_PROGRAM);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    program.filter(|program| !is_number(program))
}

#[cfg(test)]
impl Process {
    /// One called `app`, of which nothing else is known.
    pub(crate) fn unknown(pid: u32) -> Self {
        let unknown = || Fact::unknown("test");
        Self {
            pid,
            comm: "app".into(),
            program: None,
            exe: unknown(),
            cmdline: unknown(),
            uid: Fact::unknown("test"),
            cgroups: Vec::new(),
            began: Fact::unknown("test"),
            execed: Fact::unknown("test"),
            parent: Fact::unknown("test"),
            container: None,
            pod: None,
            nofile: Fact::unknown("test"),
        }
    }
}

/// The parent of a process.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: Text,
    /// What it runs, where that tells more than its name. (Not in recordings of versions before
    /// 0.2.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Text>,
    /// Its command line, arguments joined by spaces.
    pub cmdline: Fact<Text>,
}

impl Parent {
    /// What it runs: see [`Process::told_program`].
    pub fn told_program(&self) -> Option<&Text> {
        told(self.program.as_ref())
    }
}

fn not_recorded<T>() -> Fact<T> {
    Fact::unknown("not recorded")
}

/// Descriptors in use against the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Nofile {
    /// In use.
    pub used: u64,
    /// Soft limit.
    pub soft: u64,
}

impl Nofile {
    /// Whether none is left: what asks for one, as accept() does, fails with EMFILE.
    pub const fn is_used_up(self) -> bool {
        self.used >= self.soft
    }
}

/// A listening socket whose queue a socket waits in.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    /// Who listens.
    pub holder: Option<Holder>,
    /// Connections waiting to be accepted.
    pub queue: u32,
    /// Most that may wait.
    pub limit: u32,
}

/// One frame of a user stack.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Frame {
    /// Address in the process.
    pub addr: u64,
    /// Function, demangled.
    pub symbol: Option<String>,
    /// Path of the module.
    pub module: Option<String>,
    /// The module's build id in hex, which a symbol server can be asked for.
    pub build_id: Option<String>,
    /// Offset into the function; into the module (as a virtual address of its
    /// ELF file, what `addr2line -e` takes) when there is no symbol.
    pub offset: u64,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// This frame was inlined into the next one.
    pub inlined: bool,
    /// How the frame was found.
    pub how: How,
}

impl Frame {
    /// The file name of the module: containers see the same file by several paths.
    pub fn module_name(&self) -> Option<&str> {
        self.module.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path))
    }
}

/// How a frame was found.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By unwind tables.
    Dwarf,
    /// By frame pointers.
    Fp,
    /// By scanning the stack for return addresses.
    Scan,
    /// It is where the kernel was entered.
    Kernel,
    /// The interpreter of Python keeps it: a function of the program that it runs.
    Python,
}

/// What the verdict may assume beyond the evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Least time between two looks for "constant" or "growing" to mean something.
    pub two_looks: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { two_looks: Duration::from_millis(400) }
    }
}
