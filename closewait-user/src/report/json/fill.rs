//! Fills the JSON lines about one socket from findings and releases.
//!
//! In: domain values. Out: the structures of `line`. A [`Fact`] becomes a value
//! or null with its reason beside it; nothing is guessed here.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::item::Netns;
use crate::report::model::{Age, Closer, Finding, Release, bounds, entered};
use crate::tcp::{Endpoint, State, Tuple};
use crate::text::Text;
use crate::tracker::{INFERRED_WITHIN, Since, SuspectKind};
use crate::verdict::{self, Doing, LocalPeer};

use super::line::{
    AgeMs, CloserLine, End, EofRead, Family, Frame, FullIn, Growth, Holder, Keepalive, Limits, Listener,
    Nofile, Opener, Peer, PerMinute, Pod, Ports, Queues, Released, Socket, Stuck, ThreadGroup, ThreadState,
    Threads, Verdict,
};

/// RFC 3339, UTC, milliseconds.
pub(super) fn timestamp(clock: &Clock, at: MonoNs) -> String {
    humantime::format_rfc3339_millis(clock.wall(at)).to_string()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The value if known, else the reason.
pub(super) fn split<'a, T, U>(fact: &'a Fact<T>, map: impl FnOnce(&'a T) -> U) -> (Option<U>, Option<Text>) {
    (fact.known().map(map), fact.why().cloned())
}

pub(super) fn frames(stack: &Fact<Arc<Vec<verdict::Frame>>>) -> (Vec<Frame>, Option<Text>) {
    let (stack, unknown) = split(stack, |frames| frames.iter().map(Frame::from).collect());
    (stack.unwrap_or_default(), unknown)
}

impl From<&verdict::Frame> for Frame {
    fn from(f: &verdict::Frame) -> Self {
        Self {
            addr: format!("{:#x}", f.addr),
            symbol: f.symbol.clone(),
            module: f.module.clone(),
            build_id: f.build_id.clone(),
            offset: format!("{:#x}", f.offset),
            file: f.file.clone(),
            line: f.line,
            inlined: f.inlined,
            how: f.how,
        }
    }
}

impl From<Endpoint> for End {
    fn from(e: Endpoint) -> Self {
        Self { ip: e.ip.to_string(), port: e.port }
    }
}

impl From<Age> for AgeMs {
    fn from(age: Age) -> Self {
        Self { min: millis(age.min), max: age.max.map(millis) }
    }
}

impl From<&Finding> for Verdict {
    fn from(f: &Finding) -> Self {
        let verdict::Verdict { code, also, confidence, leak } = f.verdict.clone();
        let verdict::Words { evidence, missing, next } = f.says().into_owned();
        Self { code, also, confidence, leak, evidence, missing, next }
    }
}

impl From<&verdict::Holder> for Holder {
    fn from(h: &verdict::Holder) -> Self {
        let (exe, exe_unknown) = split(&h.exe, Clone::clone);
        let (cloexec, cloexec_unknown) = split(&h.cloexec, |v| *v);
        let (uid, uid_unknown) = split(&h.uid, |v| *v);
        Self {
            pid: h.pid,
            comm: h.comm.clone(),
            exe,
            exe_unknown,
            fd: h.fd,
            cloexec,
            cloexec_unknown,
            uid,
            uid_unknown,
            container: h.container.clone(),
            pod: h.pod.as_deref().map(Pod::from),
        }
    }
}

impl From<&verdict::Pod> for Pod {
    fn from(pod: &verdict::Pod) -> Self {
        let (name, name_unknown) = split(&pod.name, Clone::clone);
        let (namespace, name) = name.map(|of| (of.namespace, of.name)).unzip();
        let (container, container_unknown) = split(&pod.container, Clone::clone);
        let (labels, labels_unknown) = split(&pod.labels, Clone::clone);
        Self {
            uid: pod.uid.clone(),
            namespace,
            name,
            name_unknown,
            container,
            container_unknown,
            container_id: pod.container_id.clone(),
            labels,
            labels_unknown,
        }
    }
}

impl From<&verdict::Opener> for Opener {
    fn from(o: &verdict::Opener) -> Self {
        let (stack, stack_unknown) = frames(&o.stack);
        Self {
            pid: o.task.pid,
            tid: o.task.tid,
            comm: o.task.comm.clone(),
            via: o.via,
            stack,
            stack_unknown,
            stack_note: o.stack_note.clone(),
        }
    }
}

impl EofRead {
    fn new(read: &verdict::EofRead, clock: &Clock) -> Self {
        let (stack, stack_unknown) = frames(&read.stack);
        Self {
            pid: read.task.pid,
            tid: read.task.tid,
            comm: read.task.comm.clone(),
            ts: timestamp(clock, read.at),
            stack,
            stack_unknown,
            stack_note: read.stack_note.clone(),
        }
    }
}

impl From<&verdict::Listener> for Listener {
    fn from(l: &verdict::Listener) -> Self {
        let holder = l.holder.as_ref();
        Self {
            pid: holder.map(|h| h.pid),
            comm: holder.map(|h| h.comm.clone()),
            fd: holder.map(|h| h.fd),
            queue: l.queue,
            limit: l.limit,
        }
    }
}

impl From<&verdict::Threads> for Threads {
    fn from(t: &verdict::Threads) -> Self {
        let group = |g: &verdict::Group<'_>| {
            let (state, syscall, on) = match &g.example.doing {
                Doing::Running => (ThreadState::Running, None, None),
                Doing::Stopped => (ThreadState::Stopped, None, None),
                Doing::Ended => (ThreadState::Ended, None, None),
                Doing::Faulting => (ThreadState::Faulting, None, None),
                Doing::Unknown(_) => (ThreadState::Unknown, None, None),
                Doing::Call { name, on } => (ThreadState::Waiting, Some(name.clone()), on.as_ref()),
            };
            ThreadGroup {
                threads: g.threads,
                tid: g.example.tid,
                comm: g.example.comm.clone(),
                state,
                syscall,
                on: on.map(ToString::to_string),
                wchan: g.example.wchan.clone(),
                still_ms: g.still.map(millis),
                cpu_ms: g.ran.map(|(cpu, _)| millis(cpu)),
            }
        };
        Self {
            pid: t.pid,
            total: t.total,
            seen: u32::try_from(t.seen.len()).unwrap_or(u32::MAX),
            summary: t.to_string(),
            groups: t.groups().iter().take(8).map(group).collect(),
        }
    }
}

impl From<&Fact<verdict::Keepalive>> for Keepalive {
    fn from(fact: &Fact<verdict::Keepalive>) -> Self {
        match fact {
            Fact::Known(k) => {
                Self { on: Some(k.on), ends_in_ms: k.ends_in.map(millis), note: Some(k.note.clone()) }
            }
            Fact::Unknown(reason) => Self { on: None, ends_in_ms: None, note: Some(reason.clone()) },
        }
    }
}

impl From<&LocalPeer> for Peer {
    fn from(peer: &LocalPeer) -> Self {
        let holder = peer.holder.as_ref();
        Self {
            state: peer.state.name(),
            half_closed: peer.has_file,
            pid: holder.map(|h| h.pid),
            comm: holder.map(|h| h.comm.clone()),
            fd: holder.map(|h| h.fd),
        }
    }
}

impl From<(Duration, Duration)> for FullIn {
    fn from((min, max): (Duration, Duration)) -> Self {
        Self { min: millis(min), max: millis(max) }
    }
}

impl Growth {
    pub(super) fn new(growth: &crate::growth::Growth, nofile: Option<verdict::Nofile>) -> Self {
        let tenths = |n: f64| (n * 10.0).round() / 10.0;
        let left = nofile.filter(|n| n.soft != u64::MAX).map(|n| n.soft.saturating_sub(n.used));
        Self {
            watched_ms: millis(growth.watched),
            births: growth.births,
            ends: growth.closes,
            per_min: PerMinute {
                counted: tenths(growth.per_minute),
                min: tenths(growth.at_least),
                max: tenths(growth.at_most),
            },
            fds_full_in_ms: left.and_then(|left| growth.time_to(left)).map(FullIn::from),
        }
    }
}

impl Limits {
    fn new(f: &Finding) -> Self {
        let (nofile, nofile_unknown) = f
            .owner()
            .known()
            .map_or((None, None), |h| split(&h.nofile, |n| Nofile { used: n.used, soft: n.soft }));
        let (ports, ports_unknown) = split(&f.evidence.ports, |ports| Ports {
            used: ports.used,
            total: ports.total,
            full_in_ms: f.ports_full_in().map(FullIn::from),
        });
        Self { nofile, nofile_unknown, ports, ports_unknown }
    }
}

pub(super) fn socket(tuple: Tuple, netns: Netns, mptcp: bool, finding: Option<&Finding>) -> Socket {
    let evidence = finding.map(|f| &f.evidence);
    let (role, role_unknown) = evidence.map_or((None, None), |e| split(&e.role, |r| *r));
    Socket {
        family: if tuple.local.ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 },
        local: tuple.local.into(),
        remote: tuple.remote.into(),
        netns: (netns.0 != 0).then_some(netns.0),
        inode: evidence.and_then(|e| e.looks.last()).map(|l| l.socket.inode),
        role,
        role_unknown,
        role_by: evidence.and_then(|e| e.role_by.clone()),
        mptcp,
    }
}

const SINCE_UNKNOWN: &str = "it was there before this trace began; age_ms holds what is known";
const SINCE_MISSED: &str = "the record of its entry was lost; age_ms holds what is known";
const NOT_KEPT: &str = "see the line that reported this socket";

/// When it got stuck, if that is known exactly.
fn since(
    (latest, earliest): (MonoNs, Option<MonoNs>),
    missed: bool,
    clock: &Clock,
) -> (Option<String>, Option<&'static str>) {
    match earliest == Some(latest) {
        true => (Some(timestamp(clock, latest)), None),
        false if missed => (None, Some(SINCE_MISSED)),
        false => (None, Some(SINCE_UNKNOWN)),
    }
}

/// How closely `since` is known, when it is not the edge itself that tells.
fn within(since: Since) -> Option<u64> {
    matches!(since, Since::Inferred(_)).then(|| millis(INFERRED_WITHIN))
}

impl Stuck {
    pub(super) fn new(f: &Finding, clock: &Clock) -> Self {
        let evidence = &f.evidence;
        let look = evidence.looks.last().map(|l| &l.socket);
        let ghost = matches!(f.suspect.kind, SuspectKind::Ghost { .. });
        let (since, since_unknown) = since(entered(&f.suspect), f.suspect.missed, clock);
        let (opener, opener_unknown) = split(&evidence.opener, Opener::from);
        let (eof_read, eof_read_unknown) =
            split(&evidence.eof_read, |read| read.as_ref().map(|read| EofRead::new(read, clock)));
        let listener = evidence.listener.known().map(Listener::from);
        // A socket nobody accepted has no holders: that is known, whatever a scan said.
        let (holders, holders_unknown) = if listener.is_some() {
            (None, None)
        } else {
            split(&evidence.holders, |holders| holders.iter().map(Holder::from).collect())
        };
        let (threads, threads_unknown) = match f.threads() {
            Some(threads) => split(threads, |threads| Threads::from(&**threads)),
            None => (None, None),
        };
        let nofile = f.owner().known().and_then(|h| h.nofile.known().copied());
        let (growth, growth_unknown) = split(&evidence.growth, |growth| Growth::new(growth, nofile));
        let (peer, peer_unknown) = split(&evidence.local_peer, |peer| peer.as_ref().map(Peer::from));
        Self {
            ts: timestamp(clock, f.at),
            update: f.update,
            state: Some(if ghost { "CLOSE" } else { "CLOSE_WAIT" }),
            socket: socket(f.suspect.tuple, f.suspect.netns, f.suspect.mptcp, Some(f)),
            since,
            since_within_ms: if ghost { None } else { within(f.suspect.since) },
            since_unknown,
            missed: f.suspect.missed,
            age_ms: f.age().into(),
            opener,
            opener_unknown,
            eof_read: eof_read.flatten(),
            eof_read_unknown,
            holders: holders.unwrap_or_default(),
            holders_unknown,
            threads,
            threads_unknown,
            listener,
            peer: peer.flatten(),
            peer_unknown,
            keepalive: look.map(|_| Keepalive::from(&evidence.keepalive)),
            queues: look.map(|s| Queues { recv: s.recv_q, send: s.send_q }),
            look_unknown: evidence.look_failed.as_ref().map(Text::from),
            limits: Limits::new(f),
            growth,
            growth_unknown,
            verdict: Some(Verdict::from(f)),
            cause: Some(f.cause.to_string()),
        }
    }
}

impl Released {
    pub(super) fn new(r: &Release, clock: &Clock) -> Self {
        let released = &r.released;
        let before = r.before.as_deref();
        let mut socket = match before {
            Some(f) => Stuck::new(f, clock),
            None => Stuck::not_kept(r),
        };
        socket.ts = timestamp(clock, released.at);
        socket.update = false;
        socket.state = released.to.map(State::name);
        let entered = bounds(released.since, released.not_before);
        (socket.since, socket.since_unknown) = since(entered, false, clock);
        socket.since_within_ms = within(released.since);
        socket.age_ms = Age::between(entered.0, entered.1, released.at).into();
        socket.cause = r.cause.map(|c| c.to_string());
        let (how, how_unknown) = split(&r.how, |h| *h);
        let (closer, closer_unknown) = split(&r.closer, CloserLine::from);
        Self { socket, how, how_unknown, error: r.error(), closer, closer_unknown }
    }
}

impl From<&Closer> for CloserLine {
    fn from(c: &Closer) -> Self {
        let (stack, stack_unknown) = frames(&c.stack);
        Self {
            pid: c.task.pid,
            tid: c.task.tid,
            comm: c.task.comm.clone(),
            by_finalizer: c.by_finalizer,
            stack,
            stack_unknown,
        }
    }
}

impl Stuck {
    /// Of a socket whose finding is not at hand any more.
    fn not_kept(r: &Release) -> Self {
        let unknown = || Some(Text::from(NOT_KEPT));
        Self {
            ts: String::new(),
            update: false,
            state: None,
            socket: socket(r.released.tuple, r.released.netns, false, None),
            since: None,
            since_within_ms: None,
            since_unknown: None,
            missed: false,
            age_ms: AgeMs { min: 0, max: None },
            opener: None,
            opener_unknown: unknown(),
            eof_read: None,
            eof_read_unknown: unknown(),
            holders: Vec::new(),
            holders_unknown: unknown(),
            threads: None,
            threads_unknown: None,
            listener: None,
            peer: None,
            peer_unknown: unknown(),
            keepalive: None,
            queues: None,
            look_unknown: unknown(),
            limits: Limits { nofile: None, nofile_unknown: unknown(), ports: None, ports_unknown: unknown() },
            growth: None,
            growth_unknown: unknown(),
            verdict: None,
            cause: None,
        }
    }
}
