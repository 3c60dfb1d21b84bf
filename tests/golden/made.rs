//! Findings made by hand. Evidence is built by [`evidence`] alone, so that a new
//! field costs one line here.

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
    Nofile, OpenedVia, Opener, Pod, PodName, PortUse, Process, Progress, Role, Target, Thread, Threads,
    Words,
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
        exe: Fact::Known(exe.to_owned().into()),
        cmdline: Fact::unknown("not read"),
        uid: Fact::Known(1000),
        cgroups: Vec::new(),
        began: Fact::unknown("test"),
        execed: Fact::unknown("test"),
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

/// An incident: many causes at once, in an order that is nobody's.
pub(crate) fn incident() -> Vec<Report> {
    let mut cases = java();
    cases.extend(nginx());
    cases.extend(gunicorn());
    cases.extend(others());
    cases.sort_by_key(|case| u64::from(case.id).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    cases.iter().map(Case::report).collect()
}

fn java() -> Vec<Case> {
    let java = |fd| {
        let mut h = fds(holder(21_773, "java", "/usr/lib/jvm/java-21/bin/java", fd), 61_202, 65_536);
        let mut pod = Pod::of_ids("2c48913c-b29f-11e7-9350-020968147796".into(), None);
        pod.name = Fact::Known(PodName { namespace: "shop".into(), name: "cart".into() });
        pod.labels = Fact::Known([("app".to_owned(), "cart".to_owned())].into());
        of(&mut h).container = pod.display();
        of(&mut h).pod = Some(pod.into());
        h
    };
    let mut cases = Vec::new();
    let pool = verdict(
        Code::IdlePool,
        Confidence::High,
        Some(false),
        &[
            "no new ones in 60 s of watching (births 0, closes 0)",
            "the peer closes after 60.0 s idle",
            "Recv-Q 25 fits TLS close_notify",
        ],
        "Nothing is wrong; to save the descriptors, set the pool's idle timeout below the server's 60 s.",
    );
    for id in 0..112 {
        let mut case = Case::new(id, 3_000 + u64::from(id), pool.clone()).client("10.4.0.12", 6379);
        case.queues = (25, 0);
        let stack = stack(&["RedisPool.lease@RedisPool.java:41", "Cart.load", "Worker.run"]);
        cases.push(case.held(vec![java(200 + id)]).opened(
            21_773,
            "http-nio-7",
            OpenedVia::Connect,
            Fact::Known(stack),
        ));
    }
    let ignored = verdict(
        Code::EofIgnored,
        Confidence::High,
        Some(true),
        &["read() returned 0 18,119 s ago; nothing was read or written since", "0 bytes unread"],
        "Close the connection where ResponseParser.parse sees the end of the stream; it goes back to the pool instead.",
    );
    for id in 0..4_812_u32 {
        let mut case = Case::new(1_000 + id, u64::from(id) * 3, ignored.clone()).client("10.4.0.9", 443);
        if id == 4_811 {
            case.since = Since::NoLaterThan(ago(18_120));
        }
        case.eof_read = Fact::Known(Some(eof_read("ResponseParser.parse@ResponseParser.java:212")));
        let watched = Duration::from_mins(14);
        let growth = |per_minute: f64| Growth {
            watched,
            births: 196,
            closes: 0,
            per_minute,
            at_least: per_minute - 1.9,
            at_most: per_minute + 2.1,
        };
        case.growth = Some(growth(14.0));
        case.ports = Some(PortUse { used: 4_990, total: 28_232, growth: Some(growth(12.0)) });
        let stack = stack(&["HttpPool.lease@HttpPool.java:88", "Client.get", "Worker.run"]);
        cases.push(case.held(vec![java(400 + id)]).opened(
            21_773,
            "http-nio-7",
            OpenedVia::Connect,
            Fact::Known(stack),
        ));
    }
    cases
}

fn nginx() -> Vec<Case> {
    let backlog = verdict(
        Code::NotAccepted,
        Confidence::High,
        Some(true),
        &["no file was ever made for it (inode 0)", "the accept queue of :8080 holds 129 of 128"],
        "nginx does not call accept(): see what its threads do (cat /proc/88/task/*/stack).",
    );
    (0..129_u16)
        .map(|n| {
            let mut case = Case::new(7_000 + u32::from(n), 40 + u64::from(n), backlog.clone());
            case.inode = 0;
            case.queues = (79, 0);
            case.tuple = tuple("10.0.0.1", 8080, &format!("10.0.3.{}", n % 3), 40_000 + n);
            case.holders = Fact::Known(Vec::new());
            case.eof_read = Fact::Known(None);
            case.opener = Fact::unknown("nobody accepted it");
            let nginx = fds(holder(88, "nginx", "/usr/sbin/nginx", 6), 137, 1_024);
            case.listener = Fact::Known(Listener { holder: Some(nginx), queue: 129, limit: 128 });
            case
        })
        .collect()
}

/// Two processes with one cause, on IPv4-mapped addresses, older than the trace.
fn gunicorn() -> Vec<Case> {
    let not_reading = verdict(
        Code::NotReading,
        Confidence::Medium,
        Some(true),
        &["Recv-Q was 518 twice, 412 ms apart"],
        "The workers do not read: take their stacks (py-spy dump --pid 311) and see what they wait on.",
    );
    (0..6_u16)
        .map(|n| {
            let pid = if n % 3 == 0 { 313 } else { 311 };
            let mut case = Case::new(7_600 + u32::from(n), 0, not_reading.clone());
            case.since = Since::NoLaterThan(ago(20));
            case.not_before = Some(ago(3_000));
            case.tuple = tuple("::ffff:10.0.0.1", 8000, "::ffff:10.0.9.9", 33_000 + n);
            case.queues = (518, 0);
            case.timer = Timer::Keepalive;
            let worker = holder(pid, "gunicorn: worke", "/usr/bin/python3.12", 9 + u32::from(n));
            case.held(vec![fds(worker, 1_300 - u64::from(pid), 1_024)])
        })
        .collect()
}

fn others() -> Vec<Case> {
    // IPv6, a holder and a stack that are not known, and why.
    let mut consumed = verdict(
        Code::EofConsumed,
        Confidence::Low,
        None,
        &["Recv-Q is 0: the FIN has left the queue", "no read that returned 0 was seen"],
        "Run as root to see who holds it; reads are recorded from now on.",
    );
    consumed.missing = vec!["who holds it".into(), "reads before this trace began".into()];
    let no_stack = Fact::unknown("the process had ended before its stack was read");
    let mut curl = Case::new(7_500, 12, consumed).opened(77, "curl", OpenedVia::Connect, no_stack);
    curl.tuple = tuple("2001:db8::1", 51_334, "2001:db8:ffff:ffff:ffff:ffff:ffff:2", 443);
    curl.role = Fact::Known(Role::Client);

    // Two holders, neither of them the opener.
    let mut inherited = verdict(
        Code::Inherited,
        Confidence::High,
        Some(true),
        &["uwsgi[310] accepted it and has closed it", "sh[344] has it since it was forked and never used it"],
        "Open the socket with SOCK_CLOEXEC (accept4), or close it in the child before exec.",
    );
    inherited.also = vec![Code::NotReading];
    let child = |pid, comm: &str, exe: &str| {
        let mut h = holder(pid, comm, exe, 7);
        h.cloexec = Fact::Known(false);
        h
    };
    let mut uwsgi = Case::new(7_700, 271, inherited)
        .held(vec![child(344, "sh", "/bin/dash"), child(345, "sleep", "/bin/sleep")])
        .opened(
            310,
            "uwsgi",
            OpenedVia::Accept,
            Fact::Known(stack(&["uwsgi_socket_accept", "simple_loop_run@loop.c:144", "main"])),
        );

    let peer = holder(123, "curl", "/usr/bin/curl", 5);
    uwsgi.peer = Some(LocalPeer { state: State::FinWait2, has_file: true, holder: Some(peer) });
    if let Fact::Known(opener) = &mut uwsgi.opener {
        opener.stack_note = Some("libpython3.12.so.1.0 could not be read: it was deleted".into());
    }

    let reset = verdict(
        Code::GhostReset,
        Confidence::High,
        Some(true),
        &["a RST ended the connection 95 s ago", "fd 12 is still open; ss does not show it any more"],
        "Close the descriptor on ECONNRESET and EPIPE too, not only on a read of 0.",
    );
    let mut ghost = Case::new(7_800, 120, reset).held(vec![fds(
        holder(5, "haproxy", "/usr/sbin/haproxy", 12),
        3_100,
        4_096,
    )]);
    ghost.kind = SuspectKind::Ghost { closed: ago(95), from: State::CloseWait };
    vec![curl, uwsgi, ghost]
}

/// Names that attack the terminal, the layout or the parser; stacks of every kind.
pub(crate) fn hostile() -> Vec<Report> {
    let v = |code| verdict(code, Confidence::Medium, Some(true), &["Recv-Q 0"], "Close it.");
    let names = [
        "\u{1b}[31mred\u{1b}[0m",
        "a\nb\r\t",
        "\u{202e}gpj.exe\u{202c}",
        "java[1]  leak",
        "lossy\u{fffd}\u{fffd}",
        "back\\slash",
        "日本語のプロセス名前",
        "\u{9b}2J\u{7f}\u{0}",
        "",
    ];
    let mut reports = Vec::new();
    for (i, name) in (0_u32..).zip(names) {
        let mut h = holder(100 + i, name, &format!("/tmp/{name}/{}", "long".repeat(60)), i);
        of(&mut h).container = Some(format!("docker {name}{}", "0123456789abcdef".repeat(4)).into());
        h.cloexec = Fact::unknown("no fdinfo");
        of(&mut h).uid = Fact::unknown("no status");
        if i == 3 {
            of(&mut h).exe = Fact::unknown("EACCES\u{1b}]0;x\u{7}");
        }
        let deep: Vec<String> = (0..128).map(|f| format!("{name}::frame_{}", f / (i + 1))).collect();
        let deep = stack(&deep.iter().map(String::as_str).collect::<Vec<_>>());
        let mut verdict = v(Code::EofIgnored);
        verdict.evidence = vec![format!("seen in {name}"), "x".repeat(300)];
        verdict.next = format!("Ask {name} to close it. {}", "Really. ".repeat(60));
        let mut case = Case::new(i, 60 + u64::from(i), verdict).held(vec![h]);
        case.tuple = tuple(
            "2001:db8:1111:2222:3333:4444:5555:6666",
            65_535,
            "2001:db8:ffff:ffff:ffff:ffff:ffff:fff2",
            65_534,
        );
        reports.push(case.opened(100 + i, name, OpenedVia::Accept, Fact::Known(deep)).report());
    }
    // Frames without symbols, with nothing at all, from scanning; an empty stack.
    let mut frames = stack(&[
        "ns::pool<std::map<int, std::vector<std::string>>>::take(std::string const&)",
        "b",
        "c",
        "c",
    ]);
    frames[1].symbol = None;
    frames[1].build_id = Some("5d1c9a0f\u{1b}7b2e44d09f3b8c6a1e5f7d2043b9c8a6".into());
    frames[2].how = How::Scan;
    frames[3].symbol = None;
    frames[3].module = None;
    let h = fds(holder(200, "plain", "/usr/bin/plain", 3), u64::MAX, 0);
    let case = Case::new(50, 5, v(Code::NotReading)).held(vec![h.clone()]);
    reports.push(case.opened(200, "plain", OpenedVia::Accept, Fact::Known(frames)).report());
    let case = Case::new(51, 5, v(Code::SlowReader)).held(vec![h]);
    reports.push(case.opened(200, "plain", OpenedVia::Accept, Fact::Known(Vec::new())).report());
    // Nothing is known at all.
    let mut blank = Case::new(52, 5, verdict(Code::Unknown, Confidence::Low, None, &[], ""));
    blank.look_failed = Some("the socket could not be looked at: \u{1b}[2J".into());
    blank.role = Fact::unknown("opened before this trace began");
    blank.since = Since::NoLaterThan(MonoNs(0));
    reports.push(blank.report());
    // The listener's process is hidden.
    let mut orphan = Case::new(53, 5, v(Code::NotAccepted));
    orphan.listener = Fact::Known(Listener { holder: None, queue: u32::MAX, limit: 0 });
    reports.push(orphan.report());
    // Held by nobody.
    reports.push(Case::new(54, 5, v(Code::Unheld)).held(Vec::new()).report());
    reports
}
