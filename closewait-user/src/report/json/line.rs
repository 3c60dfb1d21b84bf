//! The JSON lines about one socket: serde structures with the contract's field
//! names. The schema file is generated from these (and `totals`) and nothing
//! else. They are no domain types: nothing computes with them or reads them back.
//!
//! What is not known is null, or an empty list, and `NAME_unknown` beside it says
//! why; without `NAME_unknown`, null or an empty list means that there is none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::model::Ending;
use crate::text::Text;
use crate::verdict::{Code, Confidence, How, OpenedVia, Role};

use super::examined::DoctorLine;
use super::killed::{KilledLine, OwnerLine};
use super::totals::{CauseLine, LossLine, NoticeLine, SummaryLine};

/// One line of `--output json`.
///
/// What is not known is null, or an empty list, and `NAME_unknown` beside it says
/// why; without `NAME_unknown`, null or an empty list means that there is none.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "closewait-trace line", deny_unknown_fields)]
pub(crate) struct Line {
    /// The version of this format. Within one version fields are only ever added.
    pub schema: Version,
    #[serde(flatten)]
    pub body: Body,
}

impl From<Body> for Line {
    fn from(body: Body) -> Self {
        Self { schema: Version, body }
    }
}

/// Always 1.
pub(crate) struct Version;

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": 1 })
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Body {
    /// A socket that has been in CLOSE_WAIT for the threshold, whatever its `leak`.
    Stuck(Stuck),
    /// TCP is gone, a file descriptor is not. `since` and `age_ms` count from its CLOSE.
    Ghost(Stuck),
    /// A socket that had been reported left CLOSE_WAIT. `ts` is when, `age_ms` how long it stayed.
    Released(Box<Released>),
    /// A group of sockets with one cause (`--group`); again when it has doubled, and at the end.
    Cause(Box<CauseLine>),
    /// Records were lost.
    Loss(LossLine),
    /// Something about the tool itself.
    Notice(NoticeLine),
    /// The last line, but of `kill` and `doctor`, which have none.
    Summary(Box<SummaryLine>),
    /// Of `kill`: a socket that was destroyed, would be, or was not to be; one line each.
    Killed(Box<KilledLine>),
    /// Of `kill`, at its end: a process that held destroyed sockets, with its descriptors.
    Owner(OwnerLine),
    /// Of `doctor`, its only line: what this kernel offers, what is used, what is lost.
    Doctor(Box<DoctorLine>),
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Stuck {
    /// When the verdict was made, RFC 3339, UTC.
    pub ts: String,
    /// Only there when true: the socket was reported before, and its verdict or
    /// holders have changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update: bool,
    /// The kernel's name of the state. Null: the socket left, its new state was not seen.
    pub state: Option<&'static str>,
    pub socket: Socket,
    /// When it entered CLOSE_WAIT; null when that is known only as bounds (see `age_ms`).
    pub since: Option<String>,
    /// Only there when the edge itself was not seen, and the kernel's own times of the
    /// socket tell `since` (and `age_ms`): it is right within so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_within_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_unknown: Option<&'static str>,
    /// Only there when true: it entered CLOSE_WAIT while the trace ran, the record of
    /// that was lost, and a later look found it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missed: bool,
    pub age_ms: AgeMs,
    /// Who accepted or connected it.
    pub opener: Option<Opener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opener_unknown: Option<Text>,
    /// The read that returned 0 because the peer had closed. Null without
    /// `eof_read_unknown`: reads were watched, and there was none.
    pub eof_read: Option<EofRead>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eof_read_unknown: Option<Text>,
    /// Who has a file descriptor on it.
    pub holders: Vec<Holder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders_unknown: Option<Text>,
    /// What the threads of the process to blame do, where that explains the socket
    /// (NOT_ACCEPTED, NOT_READING, EOF_IGNORED).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<Threads>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_unknown: Option<Text>,
    /// In whose accept queue it waits; null for a socket that was accepted or connected.
    pub listener: Option<Listener>,
    /// The other end of the connection; null when it is not on this host.
    pub peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_unknown: Option<Text>,
    /// Null when the socket could not be looked at.
    pub keepalive: Option<Keepalive>,
    /// Null when the socket could not be looked at.
    pub queues: Option<Queues>,
    /// Why the socket could not be looked at, or not twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_unknown: Option<Text>,
    pub limits: Limits,
    /// How fast the stuck sockets of the process to blame become more; null with the
    /// reason in `growth_unknown`, as before they were counted for a minute.
    pub growth: Option<Growth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth_unknown: Option<Text>,
    /// Null only in `released`, when what was reported has not been kept.
    pub verdict: Option<Verdict>,
    /// Names the cause; the same after a restart and on another host.
    pub cause: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Released {
    #[serde(flatten)]
    pub socket: Stuck,
    /// How it ended.
    pub how: Option<Ending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how_unknown: Option<Text>,
    /// The error the connection ended with, an errno: 32 or 104 a reset by the peer, 110
    /// a timeout, 103 destroyed by `closer`. Only there when it ended with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<u32>,
    /// Who ended it.
    pub closer: Option<CloserLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closer_unknown: Option<Text>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Socket {
    pub family: Family,
    pub local: End,
    pub remote: End,
    /// Inode number of the network namespace; null on a kernel without namespaces.
    pub netns: Option<u32>,
    /// 0: no file was ever made for it (not accepted). Null: not looked at.
    pub inode: Option<u64>,
    /// Whether it was accepted (or waits to be) or connected.
    pub role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_unknown: Option<Text>,
    /// What tells the role of a socket whose opening was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_by: Option<Text>,
    /// Only there when true: an MPTCP socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mptcp: bool,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// An IPv4 address on an IPv6 socket is `::ffff:192.0.2.1`, as in `ss`.
    pub ip: String,
    pub port: u16,
}

/// Bounds; equal when the age is exact.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgeMs {
    /// At least.
    pub min: u64,
    /// At most; null when nothing bounds it.
    pub max: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opener {
    pub pid: u32,
    pub tid: u32,
    pub comm: Text,
    pub via: OpenedVia,
    /// Innermost frame first.
    pub stack: Vec<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_unknown: Option<Text>,
    /// What is missing from the stack, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_note: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EofRead {
    pub pid: u32,
    pub tid: u32,
    pub comm: Text,
    /// When, RFC 3339, UTC.
    pub ts: String,
    /// Innermost frame first.
    pub stack: Vec<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_unknown: Option<Text>,
    /// What is missing from the stack, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_note: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloserLine {
    pub pid: u32,
    pub tid: u32,
    pub comm: Text,
    /// A garbage collector's finalizer closed it: the code path leaks.
    pub by_finalizer: bool,
    /// Innermost frame first.
    pub stack: Vec<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_unknown: Option<Text>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holder {
    pub pid: u32,
    pub comm: Text,
    pub exe: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_unknown: Option<Text>,
    /// The lowest, when it has several.
    pub fd: u32,
    pub cloexec: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloexec_unknown: Option<Text>,
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid_unknown: Option<Text>,
    /// Container, pod or unit, by names where they are known; null when it is in none.
    pub container: Option<Text>,
    /// Its pod, when it is in one of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pod {
    pub uid: Text,
    pub namespace: Option<Text>,
    pub name: Option<Text>,
    /// Why namespace and name are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_unknown: Option<Text>,
    /// Name of the container in the pod's description.
    pub container: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_unknown: Option<Text>,
    /// Null for what runs in the pod's own cgroup.
    pub container_id: Option<Text>,
    /// As a volume of the pod has them (downwardAPI, a file named labels).
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_unknown: Option<Text>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Threads {
    pub pid: u32,
    /// All threads of the process.
    pub total: u32,
    /// Those that were looked at.
    pub seen: u32,
    /// The same in words.
    pub summary: String,
    /// Threads that do the same, the most first; at most 8 groups.
    pub groups: Vec<ThreadGroup>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThreadGroup {
    /// How many they are.
    pub threads: u32,
    /// One of them.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    pub state: ThreadState,
    /// The system call they are in.
    pub syscall: Option<String>,
    /// What that works on.
    pub on: Option<String>,
    /// The kernel function that `tid` sleeps in.
    pub wchan: Option<String>,
    /// None of them has run for at least this long; null: not known, or one has.
    pub still_ms: Option<u64>,
    /// CPU time they used between two looks, in steps of the kernel's tick.
    pub cpu_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ThreadState {
    /// Runs or waits for a CPU.
    Running,
    /// Sleeps in the system call.
    Waiting,
    /// Sleeps in a page fault.
    Faulting,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Ended and not reaped.
    Ended,
    Unknown,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Null when no process was found.
    pub pid: Option<u32>,
    pub comm: Option<Text>,
    pub fd: Option<u32>,
    /// Connections waiting to be accepted.
    pub queue: u32,
    /// Most that may wait.
    pub limit: u32,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keepalive {
    /// Null: not known (see `note`).
    pub on: Option<bool>,
    /// The kernel will have ended the socket by then, unless the peer answers its
    /// probes. Null: never, or not known.
    pub ends_in_ms: Option<u64>,
    /// What that rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// `CLOSE`: there is no socket any more.
    pub state: &'static str,
    /// A file refers to it: it only half-closed, and may still read.
    pub half_closed: bool,
    /// Who has a descriptor on it; null when nobody has, or nobody was found.
    pub pid: Option<u32>,
    pub comm: Option<Text>,
    pub fd: Option<u32>,
}

/// Births (a socket was stuck for the threshold, or a ghost) less ends, with their
/// 95 % interval.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Growth {
    /// They were counted for so long.
    pub watched_ms: u64,
    pub births: u64,
    pub ends: u64,
    pub per_min: PerMinute,
    /// When the descriptors of the process will be used up. Null: not foretold, which
    /// takes 10 births, 10 minutes and certain growth.
    pub fds_full_in_ms: Option<FullIn>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PerMinute {
    pub counted: f64,
    /// Above 0: they do become more.
    pub min: f64,
    pub max: f64,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullIn {
    pub min: u64,
    pub max: u64,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queues {
    /// Unread bytes; the FIN counts one.
    pub recv: u32,
    /// Unsent or unacknowledged bytes.
    pub send: u32,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Descriptors of the process to blame.
    pub nofile: Option<Nofile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nofile_unknown: Option<Text>,
    /// Local ports towards the remote end, of a client.
    pub ports: Option<Ports>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports_unknown: Option<Text>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nofile {
    pub used: u64,
    /// The soft limit.
    pub soft: u64,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    /// In use, in any state, from this local address to this remote address and port.
    pub used: u32,
    /// That connect() chooses from.
    pub total: u32,
    /// When they will be used up. Null: not foretold (see `growth`).
    pub full_in_ms: Option<FullIn>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    pub code: Code,
    /// Other codes that hold too.
    pub also: Vec<Code>,
    pub confidence: Confidence,
    /// Null: the evidence cannot tell.
    pub leak: Option<bool>,
    pub evidence: Vec<String>,
    /// Evidence that would have helped.
    pub missing: Vec<String>,
    /// What to do.
    pub next: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame {
    /// Address in the process, hexadecimal.
    pub addr: String,
    pub symbol: Option<String>,
    pub module: Option<String>,
    /// The module's build id in hexadecimal, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Into the function, or into the module when there is no symbol; hexadecimal.
    pub offset: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Inlined into the next frame.
    pub inlined: bool,
    pub how: How,
}
