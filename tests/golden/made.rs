//! Findings made by hand, one at a time and in scenes. Evidence is built by [`evidence`] alone, so that a new
//! field costs one line here.

mod hostile;
mod incident;
mod leak;

pub(crate) use hostile::hostile;
pub(crate) use incident::{incident, interpreted, one_of_each};
pub(crate) use leak::{endings, leak, release, talk};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use closewait_trace::clock::MonoNs;
use closewait_trace::fact::Fact;
use closewait_trace::growth::Growth;
use closewait_trace::item::{DiagSocket, Netns, Task, TcpInfo, Timer};
use closewait_trace::report::{Finding, Report, owner};
use closewait_trace::tcp::{Endpoint, State, Tuple};
use closewait_trace::tracker::{Since, SocketId, Suspect, SuspectKind};
use closewait_trace::verdict::{
    Code, Confidence, Doing, EofRead, Evidence, Frame, Holder, How, Keepalive, Listener, LocalPeer, Look,
    Nofile, OpenedVia, Opener, PortUse, Process, Progress, Role, Target, Thread, Threads, Words,
};

/// Now, in every test: 2026-11-20 18:00:00 UTC, eleven days after boot.
pub(crate) const NOW: MonoNs = MonoNs(1_000_000_000_000_000);

pub(crate) fn ago(seconds: u64) -> MonoNs {
    NOW - Duration::from_secs(seconds)
}

/// One socket and what is known of it; [`Case::finding`] makes the finding.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) id: u32,
    pub(crate) tuple: Tuple,
    pub(crate) kind: SuspectKind,
    pub(crate) since: Since,
    pub(crate) not_before: Option<MonoNs>,
    pub(crate) inode: u64,
    pub(crate) queues: (u32, u32),
    pub(crate) timer: Timer,
    pub(crate) look_failed: Option<String>,
    pub(crate) opener: Fact<Opener>,
    pub(crate) holders: Fact<Vec<Holder>>,
    pub(crate) listener: Fact<Listener>,
    pub(crate) role: Fact<Role>,
    pub(crate) eof_read: Fact<Option<EofRead>>,
    pub(crate) peer: Option<LocalPeer>,
    pub(crate) growth: Option<Growth>,
    pub(crate) ports: Option<PortUse>,
    pub(crate) verdict: Verdict,
}

/// A verdict and what is said of it.
#[derive(Clone)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) also: Vec<Code>,
    pub(crate) confidence: Confidence,
    pub(crate) leak: Option<bool>,
    pub(crate) evidence: Vec<String>,
    pub(crate) missing: Vec<String>,
    pub(crate) next: String,
}

fn evidence(case: &Case) -> Evidence {
    let look = Look {
        at: NOW,
        socket: DiagSocket {
            tuple: case.tuple,
            mptcp: false,
            state: State::CloseWait,
            inode: case.inode,
            cookie: Some(u64::MAX - u64::from(case.id)),
            uid: 0,
            recv_q: case.queues.0,
            send_q: case.queues.1,
            timer: case.timer,
            retrans: 0,
            tcp: Some(TcpInfo::default()),
        },
    };
    let mut evidence = Evidence {
        looks: if case.look_failed.is_some() { Vec::new() } else { vec![look] },
        look_failed: case.look_failed.clone(),
        opener: case.opener.clone(),
        holders: case.holders.clone(),
        listener: case.listener.clone(),
        role: case.role.clone(),
        eof_read: case.eof_read.clone(),
        keepalive: Fact::Known(match case.timer {
            Timer::Keepalive => Keepalive {
                on: true,
                ends_in: Some(Duration::from_mins(131)),
                first_probe: None,
                note: "unless the peer answers its probes".into(),
            },
            _ => {
                Keepalive { on: false, ends_in: None, first_probe: None, note: "never ends by itself".into() }
            }
        }),
        local_peer: Fact::Known(case.peer.clone()),
        growth: case.growth.map_or_else(|| Fact::unknown("not watched for a minute yet"), Fact::Known),
        ports: case.ports.map_or_else(|| Fact::unknown("it is not a client's"), Fact::Known),
        ..Evidence::unknown()
    };
    if let Fact::Known(owner) = owner(&evidence) {
        evidence.threads = Fact::Known(Arc::new(in_connect(owner)));
    }
    evidence
}

/// What the only thread of a process does.
fn in_connect(owner: &Holder) -> Threads {
    let on = Some(Target::Address("10.0.0.9:5432".into()));
    let only = Thread {
        tid: owner.pid,
        comm: owner.comm.to_string(),
        doing: Doing::Call { name: "connect".into(), on },
        wchan: Some("inet_stream_connect".into()),
        progress: Some(Progress::Still(Duration::from_secs(12))),
    };
    Threads { pid: owner.pid, total: 1, seen: vec![only] }
}

impl Case {
    /// A socket with the number `id`, in CLOSE_WAIT for `age` seconds, accepted on
    /// 10.0.0.1:8080, of which nothing more is known.
    pub(crate) fn new(id: u32, age: u64, verdict: Verdict) -> Self {
        Self {
            id,
            tuple: tuple("10.0.0.1", 8080, "10.0.0.2", 50_000 + u16::try_from(id % 10_000).unwrap()),
            kind: SuspectKind::Stuck,
            since: Since::Seen(ago(age)),
            not_before: None,
            inode: 12_345 + u64::from(id),
            queues: (0, 0),
            timer: Timer::Off,
            look_failed: None,
            opener: Fact::unknown("it was opened before this trace began"),
            holders: Fact::unknown("the scan of fd tables was refused: EACCES"),
            listener: Fact::unknown("it was accepted"),
            role: Fact::Known(Role::Server),
            eof_read: Fact::unknown("reads are recorded since this trace began only"),
            peer: None,
            growth: None,
            ports: None,
            verdict,
        }
    }

    pub(crate) fn client(mut self, remote: &str, port: u16) -> Self {
        self.tuple = tuple("10.0.0.1", self.tuple.remote.port, remote, port);
        self.role = Fact::Known(Role::Client);
        self
    }

    pub(crate) fn held(mut self, holders: Vec<Holder>) -> Self {
        self.holders = Fact::Known(holders);
        self
    }

    pub(crate) fn opened(mut self, pid: u32, comm: &str, via: OpenedVia, stack: Fact<Vec<Frame>>) -> Self {
        let task = Task { pid, tid: pid + 7, comm: closewait_trace::text::Text::of(comm) };
        let stack = match stack {
            Fact::Known(frames) => Fact::Known(Arc::new(frames)),
            Fact::Unknown(why) => Fact::Unknown(why),
        };
        self.opener =
            Fact::Known(Opener { task, via, at: ago(86_400), fd: Some(17), stack, stack_note: None });
        self
    }

    pub(crate) fn finding(&self) -> Finding {
        let suspect = Suspect {
            missed: false,
            id: SocketId::from_parts(self.id, 1),
            sk: None,
            netns: Netns(4_026_531_840),
            tuple: self.tuple,
            kind: self.kind,
            since: self.since,
            not_before: self.not_before,
            mptcp: false,
            tainted: false,
        };
        let Verdict { code, also, confidence, leak, evidence: because, missing, next } = self.verdict.clone();
        let verdict = closewait_trace::verdict::Verdict { code, also, confidence, leak };
        let words = Some(Box::new(Words { evidence: because, missing, next }));
        Finding { words, ..Finding::new(NOW, suspect, evidence(self), verdict) }
    }

    pub(crate) fn report(&self) -> Report {
        match self.kind {
            SuspectKind::Stuck => Report::Stuck(Box::new(self.finding())),
            SuspectKind::Ghost { .. } => Report::Ghost(Box::new(self.finding())),
        }
    }
}

pub(crate) fn tuple(local: &str, local_port: u16, remote: &str, remote_port: u16) -> Tuple {
    let end = |ip: &str, port| Endpoint { ip: ip.parse::<IpAddr>().unwrap(), port };
    Tuple { local: end(local, local_port), remote: end(remote, remote_port) }
}

pub(crate) fn verdict(
    code: Code,
    confidence: Confidence,
    leak: Option<bool>,
    evidence: &[&str],
    next: &str,
) -> Verdict {
    Verdict {
        code,
        also: Vec::new(),
        confidence,
        leak,
        evidence: evidence.iter().map(|&s| s.to_owned()).collect(),
        missing: Vec::new(),
        next: next.into(),
    }
}

pub(crate) fn holder(pid: u32, comm: &str, exe: &str, fd: u32) -> Holder {
    let process = Process {
        pid,
        comm: comm.to_owned().into(),
        program: None,
        exe: Fact::Known(exe.to_owned().into()),
        cmdline: Fact::unknown("not read"),
        uid: Fact::Known(1000),
        cgroups: Vec::new(),
        began: Fact::unknown("test"),
        execed: Fact::unknown("test"),
        parent: Fact::unknown("test"),
        container: None,
        pod: None,
        nofile: Fact::unknown("not read"),
    };
    Holder { process: process.into(), fd, cloexec: Fact::Known(true) }
}

/// Changes what is known of a holder's process.
pub(crate) fn of(holder: &mut Holder) -> &mut Process {
    Arc::make_mut(&mut holder.process)
}

pub(crate) fn fds(mut holder: Holder, used: u64, soft: u64) -> Holder {
    of(&mut holder).nofile = Fact::Known(Nofile { used, soft });
    holder
}

/// A read of EOF in `function`.
pub(crate) fn eof_read(function: &str) -> EofRead {
    EofRead {
        task: Task { pid: 21_773, tid: 21_790, comm: "http-nio-19".into() },
        at: ago(18_119),
        stack: Fact::Known(stack(&[function, "Client.get", "Worker.run"]).into()),
        stack_note: None,
    }
}

/// Frames from the innermost: `function` or `function@file:line`.
pub(crate) fn stack(names: &[&str]) -> Vec<Frame> {
    names
        .iter()
        .zip(0_u64..)
        .map(|(name, i)| {
            let (symbol, place) = name.split_once('@').unwrap_or((name, ""));
            let (file, line) = place.split_once(':').unwrap_or((place, ""));
            Frame {
                addr: 0x55d0_0000_0000 + i * 0x40,
                symbol: Some(symbol.into()),
                module: Some("/usr/bin/app".into()),
                offset: 0x1a2,
                build_id: None,
                file: (!file.is_empty()).then(|| file.into()),
                line: line.parse().ok(),
                inlined: false,
                how: How::Dwarf,
            }
        })
        .collect()
}
