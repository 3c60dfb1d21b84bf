//! One table for each rule, then how rules work together.

mod clients;
mod heirs;
mod rhythms;

use std::time::Duration;

use super::*;
use crate::fact::Fact;
use crate::item::{DiagSocket, Netns, Task, TcpInfo, Timer};
use crate::tcp::{Endpoint, Tuple};
use crate::text::Text;
use crate::tracker::SocketId;
use Confidence::{High, Low, Medium};

const NOW: MonoNs = MonoNs(100_000_000_000);

fn suspect() -> Suspect {
    let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
    Suspect {
        id: SocketId::from_parts(1, 0),
        sk: None,
        netns: Netns(1),
        tuple: Tuple { local: end(8080), remote: end(51334) },
        kind: SuspectKind::Stuck,
        since: Since::Seen(NOW - Duration::from_secs(20)),
        missed: false,
        not_before: None,
        mptcp: false,
        tainted: false,
    }
}

/// A quiet socket that a process holds: the FIN unread, nothing else to tell.
fn socket() -> DiagSocket {
    DiagSocket {
        tuple: suspect().tuple,
        mptcp: false,
        state: State::CloseWait,
        inode: 4711,
        cookie: Some(9),
        uid: 0,
        recv_q: 1,
        send_q: 0,
        timer: Timer::Off,
        retrans: 0,
        tcp: Some(TcpInfo {
            last_ack_recv_ms: Some(20_000),
            last_data_recv_ms: Some(30_000),
            last_data_sent_ms: Some(30_000),
            bytes_acked: Some(1000),
            bytes_received: Some(500),
            bytes_sent: Some(1000),
            bytes_retrans: Some(0),
            total_retrans: Some(0),
            snd_wnd: Some(65_535),
            notsent_bytes: Some(0),
            probes: Some(0),
            rto_us: Some(204_000),
        }),
    }
}

fn task(comm: &str, pid: u32, tid: u32) -> Task {
    Task { pid, tid, comm: Text::of(comm) }
}

fn process(pid: u32) -> Process {
    Process {
        pid,
        comm: "app".into(),
        exe: Fact::unknown("test"),
        cmdline: Fact::unknown("test"),
        uid: Fact::Known(0),
        cgroups: Vec::new(),
        began: Fact::unknown("test"),
        execed: Fact::unknown("test"),
        parent: Fact::unknown("test"),
        container: None,
        pod: None,
        nofile: Fact::unknown("test"),
    }
}

fn holding(process: Process, fd: u32) -> Holder {
    Holder { process: process.into(), fd, cloexec: Fact::Known(false) }
}

fn holder(pid: u32, fd: u32) -> Holder {
    holding(process(pid), fd)
}

fn opener(pid: u32, via: OpenedVia) -> Fact<Opener> {
    let stack = Fact::unknown("test");
    Fact::Known(Opener { task: task("app", pid, pid), via, at: MonoNs(1), fd: None, stack, stack_note: None })
}

/// The newest look at NOW, and one 412 ms before it in which `before` was
/// different and less time had passed since the last ACK.
fn two_looks(newest: DiagSocket, before: impl FnOnce(&mut DiagSocket)) -> Vec<Look> {
    let span = Duration::from_millis(412);
    let mut oldest = newest.clone();
    if let Some(ms) = oldest.tcp.as_mut().and_then(|tcp| tcp.last_ack_recv_ms.as_mut()) {
        *ms = ms.saturating_sub(412);
    }
    before(&mut oldest);
    vec![Look { at: NOW - span, socket: oldest }, Look { at: NOW, socket: newest }]
}

/// `socket()`, changed, at both looks.
fn still(change: impl FnOnce(&mut DiagSocket)) -> Vec<Look> {
    let mut newest = socket();
    change(&mut newest);
    two_looks(newest, |_| {})
}

/// Server, accepted and held by process 7 on fd 5, quiet at two looks.
fn held() -> Evidence {
    Evidence {
        looks: still(|_| {}),
        opener: opener(7, OpenedVia::Accept),
        holders: Fact::Known(vec![holder(7, 5)]),
        holder_scans: 1,
        role: Fact::Known(Role::Server),
        ..Evidence::unknown()
    }
}

/// A verdict and what is said of it.
#[derive(Debug)]
struct Told {
    code: Code,
    also: Vec<Code>,
    confidence: Confidence,
    leak: Option<bool>,
    evidence: Vec<String>,
    missing: Vec<String>,
    next: String,
}

fn judge(evidence: &Evidence) -> Told {
    told(&suspect(), evidence)
}

fn told(suspect: &Suspect, evidence: &Evidence) -> Told {
    let Verdict { code, also, confidence, leak } = verdict(suspect, evidence, NOW, &Policy::default());
    let Words { evidence, missing, next } = words(suspect, evidence, NOW, &Policy::default());
    Told { code, also, confidence, leak, evidence, missing, next }
}

/// `(code, confidence, leak)`
fn short(evidence: &Evidence) -> (Code, Confidence, Option<bool>) {
    let verdict = judge(evidence);
    assert!(!verdict.next.is_empty(), "{verdict:?}");
    assert!(!verdict.evidence.is_empty() || !verdict.missing.is_empty(), "{verdict:?}");
    (verdict.code, verdict.confidence, verdict.leak)
}

fn tcp(socket: &mut DiagSocket) -> &mut TcpInfo {
    socket.tcp.as_mut().unwrap()
}

#[track_caller]
fn says(sentences: &[String], what: &str) {
    assert!(sentences.iter().any(|sentence| sentence.contains(what)), "{what:?} not in {sentences:#?}");
}

#[test]
fn not_accepted() {
    let queued = |s: &mut DiagSocket| s.inode = 0;
    let base = Evidence { looks: still(queued), ..Evidence::unknown() };
    assert_eq!(short(&base), (Code::NotAccepted, Medium, Some(true)));
    says(&judge(&base).missing, "the listener: not gathered");

    let listener = Listener { holder: Some(holder(88, 6)), queue: 129, limit: 128 };
    let known = Evidence { listener: Fact::Known(listener), ..base.clone() };
    assert_eq!(short(&known), (Code::NotAccepted, High, Some(true)));
    says(&judge(&known).evidence, "129 of 128 in the accept queue of app[88] fd 6");
    assert!(judge(&known).next.contains("app[88] fd 6"));
    assert_eq!(judge(&known).also, []);

    let calls = |name: &str| {
        let doing = Doing::Call { name: name.into(), on: None };
        let thread = Thread { tid: 88, comm: "app".into(), doing, wchan: None, progress: None };
        Fact::Known(std::sync::Arc::new(Threads { pid: 88, total: 1, seen: vec![thread] }))
    };
    let by = |exe: &str, name| {
        let process = Process { exe: Fact::Known(exe.to_owned().into()), ..process(88) };
        let listener = Listener { holder: Some(holding(process, 6)), queue: 129, limit: 128 };
        judge(&Evidence { listener: Fact::Known(listener), threads: calls(name), ..known.clone() }).next
    };
    for (exe, command) in [
        ("/usr/bin/java", "`jstack 88`"),
        ("/usr/bin/python3.12", "`py-spy dump --pid 88`"),
        ("/usr/sbin/nginx", "`gdb -p 88 -batch -ex 'thread apply all bt'`"),
    ] {
        assert!(by(exe, "futex").contains(command), "{exe}: {}", by(exe, "futex"));
        assert!(!by(exe, "accept4").contains(command));
    }

    let one_look = Evidence { looks: known.looks[1..].to_vec(), ..known };
    assert_eq!(short(&one_look).0, Code::NotAccepted, "needs no change");
    for (opener, role) in [
        (opener(7, OpenedVia::Accept), Fact::unknown("test")),
        (Fact::unknown("test"), Fact::Known(Role::Client)),
    ] {
        let accepted = Evidence { opener, role, ..base.clone() };
        assert_eq!(short(&accepted).0, Code::Unknown, "a socket without a file that is in no queue");
    }
}

#[test]
fn peer_gone() {
    let waiting = |retrans: u8| {
        let mut socket = socket();
        (socket.recv_q, socket.send_q, socket.timer, socket.retrans) = (0, 100, Timer::On, retrans);
        socket
    };
    let silent = |_: &mut DiagSocket| {};
    let retransmits = |s: &mut DiagSocket| tcp(s).total_retrans = Some(0);
    let answered = |s: &mut DiagSocket| tcp(s).last_ack_recv_ms = Some(20_000);
    let mut grown = waiting(5);
    tcp(&mut grown).total_retrans = Some(5);
    tcp(&mut grown).last_ack_recv_ms = Some(20_000);
    let with = |looks| Evidence { looks, ..held() };

    let table = [
        ("grew, no ACK", two_looks(grown.clone(), retransmits), (Code::PeerGone, High, Some(false))),
        ("many, no ACK", two_looks(waiting(5), silent), (Code::PeerGone, Medium, Some(false))),
        ("few, no ACK", two_looks(waiting(2), silent), (Code::EofConsumed, Medium, None)),
        ("grew, ACK came", two_looks(grown.clone(), answered), (Code::EofConsumed, Medium, None)),
        ("one look, many", vec![Look { at: NOW, socket: waiting(5) }], (Code::PeerGone, Low, None)),
    ];
    for (what, looks, want) in table {
        assert_eq!(short(&with(looks)), want, "{what}");
    }
    says(&judge(&with(two_looks(grown, retransmits))).evidence, "5 more retransmitted in 412 ms and no ACK");

    // Retransmissions raise bytes_sent: that is not sending.
    let mut vanished = waiting(4);
    (tcp(&mut vanished).bytes_sent, tcp(&mut vanished).bytes_retrans) = (Some(1200), Some(200));
    let looks = two_looks(vanished, |s| (tcp(s).bytes_sent, tcp(s).bytes_retrans) = (Some(1100), Some(100)));
    assert_eq!(short(&with(looks)).0, Code::PeerGone);

    // Keepalive probes go out with nothing in Send-Q.
    let probed = |s: &mut DiagSocket| {
        (s.timer, s.retrans) = (Timer::Keepalive, 0);
        tcp(s).probes = Some(4);
    };
    assert_eq!(short(&with(still(probed))), (Code::PeerGone, Medium, Some(false)));

    // Without tcp_info nobody can tell whether it answers.
    let looks = two_looks(DiagSocket { tcp: None, ..waiting(5) }, silent);
    assert_eq!(short(&with(looks)), (Code::PeerGone, Low, None));
}

#[test]
fn sending() {
    let with = |looks| Evidence { looks, ..held() };
    let acked = two_looks(socket(), |s| tcp(s).bytes_acked = Some(900));
    assert_eq!(short(&with(acked.clone())), (Code::Sending, High, Some(false)));
    says(&judge(&with(acked.clone())).evidence, "100 more bytes acknowledged in 412 ms");

    let sent = two_looks(socket(), |s| tcp(s).bytes_sent = Some(900));
    assert_eq!(short(&with(sent)), (Code::Sending, Medium, Some(false)));

    let no_info = |send_q| DiagSocket { send_q, tcp: None, ..socket() };
    assert_eq!(short(&with(two_looks(no_info(10), |s| s.send_q = 30))), (Code::Sending, Medium, Some(false)));
    assert_eq!(short(&with(two_looks(no_info(10), |_| {}))).0, Code::NotReading);

    let one = vec![Look { at: NOW, socket: DiagSocket { send_q: 10, ..socket() } }];
    assert_eq!(short(&with(one.clone())), (Code::Sending, Low, None));
    says(&judge(&with(one)).missing, "a second look at least 400 ms after the first");

    // Looks too close together, or at two connections, are one look.
    let mut close = acked.clone();
    close[0].at = NOW - Duration::from_millis(399);
    assert_eq!(short(&with(close)).0, Code::NotReading);
    let mut other = acked;
    other[0].socket.cookie = Some(8);
    assert_eq!(short(&with(other)), (Code::NotReading, Low, None));
}

#[test]
fn send_blocked() {
    let with = |looks| Evidence { looks, ..held() };
    let blocked = |s: &mut DiagSocket| {
        (s.recv_q, s.send_q, s.timer) = (0, 5000, Timer::Persist);
        tcp(s).snd_wnd = Some(0);
    };
    let mut newest = socket();
    blocked(&mut newest);
    tcp(&mut newest).last_ack_recv_ms = Some(10);
    let answered = two_looks(newest.clone(), |s| tcp(s).last_ack_recv_ms = Some(300));
    assert_eq!(short(&with(answered.clone())), (Code::SendBlocked, High, None));
    says(
        &judge(&with(answered)).evidence,
        "5000 bytes in Send-Q, zero-window probes run, the peer's window is 0",
    );

    assert_eq!(short(&with(still(blocked))), (Code::SendBlocked, Medium, None));
    let one = vec![Look { at: NOW, socket: newest }];
    assert_eq!(short(&with(one)), (Code::SendBlocked, Low, None));
    let unanswered = |s: &mut DiagSocket| {
        blocked(s);
        tcp(s).probes = Some(6);
    };
    assert_eq!(short(&with(still(unanswered))).0, Code::PeerGone, "the peer does not answer the probes");
    let open = |s: &mut DiagSocket| (s.recv_q, s.send_q) = (0, 5000);
    assert_eq!(short(&with(still(open))).0, Code::EofConsumed, "neither timer nor window tell of blocking");
}

#[test]
fn unheld() {
    let nobody = Evidence { holders: Fact::Known(vec![]), holder_scans: 2, ..held() };
    let found = |elsewhere| Evidence { elsewhere, ..nobody.clone() };
    let ring = Elsewhere::IoUring { owner: task("app", 7, 7), fd: 3 };
    let flight = Elsewhere::InFlight { receiver: task("app", 7, 7), fd: 4 };
    let blocked = Elsewhere::Blocked { task: task("app", 7, 8), syscall: "send".into() };
    for (reference, sentence) in [
        (ring.clone(), "io_uring of app[7], fd 3"),
        (flight, "descriptors are in flight to app[7] over its unix socket fd 4"),
        (blocked, "app[7/8] is in send() on a descriptor that is closed"),
    ] {
        let evidence = found(Fact::Known(vec![reference]));
        assert_eq!(short(&evidence), (Code::Unheld, High, None));
        says(&judge(&evidence).evidence, sentence);
    }
    assert_eq!(short(&found(Fact::Known(vec![]))), (Code::Unheld, Medium, None));
    assert_eq!(short(&nobody), (Code::Unheld, Medium, None));
    let once = Evidence { holder_scans: 1, ..found(Fact::Known(vec![ring])) };
    assert_eq!(short(&once), (Code::Unheld, Medium, None));
    says(&judge(&once).missing, "a second scan");
    let unknown = Evidence { holders: Fact::unknown("no permission"), ..nobody };
    assert_eq!(short(&unknown).0, Code::NotReading, "not scanned is not nobody");
}

#[test]
fn inherited() {
    let child = Evidence { holders: Fact::Known(vec![holder(9, 5)]), ..held() };
    assert_eq!(short(&child), (Code::NotReading, High, Some(true)), "use unknown");
    assert_eq!(judge(&child).also, [Code::Inherited]);
    let both = judge(&Evidence { holders: Fact::Known(vec![holder(7, 5), holder(9, 5)]), ..held() });
    assert_eq!((both.code, both.also), (Code::NotReading, vec![Code::Inherited]));
    let stdin = judge(&Evidence { holders: Fact::Known(vec![holder(9, 0)]), ..held() });
    assert_eq!((stdin.code, stdin.also), (Code::NotReading, vec![Code::Inherited]));
    assert_eq!(judge(&held()).also, []);

    // Who read the EOF tells who uses it.
    let read_by = |pid| {
        let read =
            EofRead { task: task("app", pid, pid), at: NOW, stack: Fact::unknown("test"), stack_note: None };
        judge(&Evidence {
            eof_read: Fact::Known(Some(read)),
            looks: still(|s| s.recv_q = 0),
            ..child.clone()
        })
    };
    assert_eq!((read_by(7).code, read_by(7).confidence), (Code::Inherited, High));
    assert_eq!((read_by(9).code, read_by(9).also), (Code::EofIgnored, vec![Code::Inherited]));
    // So does a socket that nobody ever touched.
    let untouched = still(|s| {
        (tcp(s).bytes_sent, tcp(s).bytes_acked, tcp(s).bytes_received, s.recv_q) =
            (Some(0), Some(0), Some(25), 25);
    });
    assert_eq!(short(&Evidence { looks: untouched, ..child.clone() }), (Code::Inherited, High, Some(true)));

    // Older than the trace: the listener's holders stand in for the opener.
    let untouched = still(|s| (tcp(s).bytes_sent, tcp(s).bytes_received) = (Some(0), Some(1)));
    let older = |listening: Vec<u32>, role| Evidence {
        looks: untouched.clone(),
        opener: Fact::unknown("older than the trace"),
        listener_holders: Fact::Known(listening),
        role,
        ..child.clone()
    };
    let server = || Fact::Known(Role::Server);
    assert_eq!(short(&older(vec![7], server())), (Code::Inherited, Medium, Some(true)));
    assert_eq!(short(&older(vec![9], server())).0, Code::NotReading);
    assert_eq!(short(&older(vec![], server())).0, Code::NotReading, "no listener any more");
    assert_eq!(short(&older(vec![7], Fact::Known(Role::Client))).0, Code::NotReading);

    // Who spawned the heir is named where the socket came by it.
    let by = |parent: u32, evidence: Evidence| {
        let cmdline = Fact::Known("/usr/sbin/app --config /etc/app/production.conf --listen 8080".into());
        let parent = Parent { pid: parent, comm: "app".into(), cmdline };
        let heir = holding(Process { parent: Fact::Known(parent), ..process(9) }, 5);
        judge(&Evidence { holders: Fact::Known(vec![heir]), ..evidence }).evidence.join("; ")
    };
    let started = "app[9] fd 5 was started by app[7] (`/usr/sbin/app --config /etc/app/producti...`), which ";
    let older = older(vec![7], server());
    let opened = Evidence { looks: untouched.clone(), ..child.clone() };
    assert!(by(7, opened.clone()).contains(&format!("{started}opened it")), "{}", by(7, opened.clone()));
    assert!(by(7, older.clone()).contains(&format!("{started}has the listener")));
    assert!(!by(1, opened).contains("was started by") && !by(1, older).contains("was started by"));

    let one_look = Evidence { looks: untouched[1..].to_vec(), ..child };
    assert_eq!(short(&one_look), (Code::Inherited, Low, None));
}

#[test]
fn eof_ignored() {
    let read = EofRead {
        task: task("http-nio-7", 7, 12),
        at: NOW - Duration::from_millis(12_200),
        stack: Fact::unknown("test"),
        stack_note: None,
    };
    let base = Evidence { eof_read: Fact::Known(Some(read)), looks: still(|s| s.recv_q = 0), ..held() };
    assert_eq!(short(&base), (Code::EofIgnored, High, Some(true)));
    says(&judge(&base).evidence, "a read by http-nio-7[7/12] returned 0 12.2 s ago");
    says(&judge(&base).evidence, "nothing sent or acknowledged in 412 ms");
    assert_eq!(judge(&base).also, []);

    let peer = |state, has_file| LocalPeer { state, has_file, holder: Some(holder(3, 4)) };
    for (local_peer, leak) in [
        (None, Some(true)),
        (Some(peer(State::FinWait2, false)), Some(true)),
        (Some(peer(State::FinWait2, true)), None),
        (Some(peer(State::TimeWait, true)), Some(true)),
    ] {
        let with = Evidence { local_peer: Fact::Known(local_peer.clone()), ..base.clone() };
        assert_eq!(short(&with), (Code::EofIgnored, High, leak), "{local_peer:?}");
        let verdict = judge(&with);
        assert_eq!(verdict.next.starts_with("Call close()"), leak.is_some(), "{verdict:?}");
        assert!(verdict.next.contains("close"), "{verdict:?}");
    }
    // Nor where no read of the EOF was seen, as in a snapshot.
    let half = Fact::Known(Some(peer(State::FinWait2, true)));
    let snapshot = judge(&Evidence { eof_read: Fact::unknown("test"), local_peer: half, ..base.clone() });
    assert_eq!((snapshot.code, snapshot.leak), (Code::EofConsumed, None));
    says(&snapshot.evidence, "the peer, app[3] fd 4, only half-closed");
    let want =
        "Check whether app[7] fd 5 still answers app[3] fd 4, which has only half-closed; if it will not, ";
    assert!(snapshot.next.starts_with(want), "{}", snapshot.next);

    let one_look = Evidence { looks: base.looks[1..].to_vec(), ..base.clone() };
    assert_eq!(short(&one_look), (Code::EofIgnored, Low, None), "it may be sending");
    let no_look = Evidence { looks: vec![], look_failed: Some("ENOENT".into()), ..base.clone() };
    assert_eq!(short(&no_look), (Code::EofIgnored, Low, None));
    says(&judge(&no_look).missing, "ENOENT");
    let queued = Evidence { looks: still(|s| (s.recv_q, s.send_q) = (0, 10)), ..base.clone() };
    assert_eq!(short(&queued), (Code::EofIgnored, Medium, None), "10 bytes are still on their way");
    let no_info = Evidence { looks: still(|s| (s.recv_q, s.tcp) = (0, None)), ..base };
    assert_eq!(short(&no_info), (Code::EofIgnored, Medium, Some(true)));
}

#[test]
fn slow_reader() {
    let reads = Evidence { looks: two_looks(socket(), |s| s.recv_q = 4001), ..held() };
    assert_eq!(short(&reads), (Code::SlowReader, High, Some(false)));
    says(&judge(&reads).evidence, "Recv-Q went from 4001 to 1 in 412 ms");
    let grows =
        Evidence { looks: two_looks(DiagSocket { recv_q: 9, ..socket() }, |s| s.recv_q = 1), ..held() };
    assert_eq!(short(&grows).0, Code::NotReading);
}

#[test]
fn not_reading() {
    assert_eq!(short(&held()), (Code::NotReading, High, Some(true)));
    says(&judge(&held()).evidence, "Recv-Q 1 (the FIN) constant over 412 ms");
    assert!(judge(&held()).next.contains("app[7] fd 5"));

    let one_look = Evidence { looks: held().looks[1..].to_vec(), ..held() };
    assert_eq!(short(&one_look), (Code::NotReading, Low, None));
    assert!(!judge(&one_look).evidence.iter().any(|sentence| sentence.contains("constant")));
    let unknown_holders = Evidence { holders: Fact::unknown("EACCES"), ..held() };
    assert_eq!(short(&unknown_holders), (Code::NotReading, Medium, Some(true)));
    says(&judge(&unknown_holders).missing, "holders: EACCES");
}

#[test]
fn eof_consumed() {
    let empty = |eof_read| Evidence { looks: still(|s| s.recv_q = 0), eof_read, ..held() };
    assert_eq!(short(&empty(Fact::Known(None))), (Code::EofConsumed, High, None));
    assert_eq!(short(&empty(Fact::unknown("hook refused"))), (Code::EofConsumed, Medium, None));
    says(&judge(&empty(Fact::unknown("hook refused"))).missing, "EOF evidence: hook refused");
    let older = Suspect { since: Since::NoLaterThan(NOW), ..suspect() };
    let unseen =
        |watching| Evidence { watching, opener: Fact::unknown("test"), ..empty(Fact::unknown("older")) };
    for (watching, more) in [
        (Watching::Traced, "Leave this running: the next one shows the stack."),
        (Watching::Snapshot, "For stacks of the next ones run `closewait-trace`."),
        (Watching::Impossible, "together."),
    ] {
        let next = told(&older, &unseen(watching)).next;
        assert!(next.ends_with(more), "{watching:?}: {next}");
    }
    assert!(judge(&unseen(Watching::Traced)).next.ends_with("together."), "it is not older than the trace");
    let one_look =
        Evidence { looks: empty(Fact::Known(None)).looks[1..].to_vec(), ..empty(Fact::Known(None)) };
    assert_eq!(short(&one_look), (Code::EofConsumed, High, None), "an empty queue stays empty");
}

#[test]
fn unknown() {
    let nothing = Evidence { look_failed: Some("inet_diag is absent".into()), ..Evidence::unknown() };
    assert_eq!(short(&nothing), (Code::Unknown, Low, None));
    says(&judge(&nothing).missing, "a look at the socket: inet_diag is absent");
    says(&judge(&nothing).missing, "holders: not gathered");
    let left = Evidence { looks: still(|s| s.state = State::LastAck), ..held() };
    assert_eq!(short(&left), (Code::Unknown, Low, None));
    says(&judge(&left).evidence, "it is in LAST_ACK by now");
}

#[test]
fn ghosts() {
    let by = |from, sock_error: Fact<u32>, holders: Fact<Vec<Holder>>| {
        let closed = NOW - Duration::from_secs(20);
        let suspect = Suspect { kind: SuspectKind::Ghost { closed, from }, ..suspect() };
        let evidence = Evidence { holders, sock_error, ..Evidence::unknown() };
        let verdict = told(&suspect, &evidence);
        says(
            &verdict.evidence,
            if from == State::Close { "may have come from another state" } else { "20.0 s ago" },
        );
        (verdict.code, verdict.confidence, verdict.leak)
    };
    let held = || Fact::Known(vec![holder(7, 5)]);
    let table = [
        (State::CloseWait, Fact::Known(32), Code::GhostReset, High),
        (State::CloseWait, Fact::Known(104), Code::GhostReset, High),
        (State::CloseWait, Fact::Known(110), Code::GhostTimeout, High),
        (State::CloseWait, Fact::Known(103), Code::GhostDestroyed, High),
        (State::CloseWait, Fact::Known(0), Code::GhostReset, Low),
        (State::CloseWait, Fact::unknown("no hook"), Code::GhostReset, Low),
        (State::CloseWait, Fact::Known(u32::MAX), Code::GhostReset, High),
        (State::LastAck, Fact::unknown("no hook"), Code::GhostShutdown, High),
        (State::LastAck, Fact::Known(110), Code::GhostShutdown, High),
        (State::Close, Fact::Known(110), Code::GhostTimeout, High),
        (State::Close, Fact::Known(104), Code::GhostReset, High),
        (State::Close, Fact::Known(0), Code::GhostShutdown, Low),
        (State::Close, Fact::unknown("not asked"), Code::GhostReset, Low),
    ];
    for (from, error, code, confidence) in table {
        assert_eq!(by(from, error.clone(), held()), (code, confidence, Some(true)), "{from} {error:?}");
    }
    let read = |at| {
        let read = EofRead { task: task("app", 7, 7), at, stack: Fact::unknown("test"), stack_note: None };
        Fact::Known(Some(read))
    };
    let suspect_then = Suspect {
        kind: SuspectKind::Ghost { closed: NOW - Duration::from_secs(20), from: State::CloseWait },
        ..suspect()
    };
    for (error, named) in
        [(32, "EPIPE (32)"), (104, "ECONNRESET (104)"), (110, "ETIMEDOUT (110)"), (7, "error 7")]
    {
        let evidence = Evidence {
            holders: held(),
            sock_error: Fact::Known(error),
            eof_read: read(NOW - Duration::from_secs(40)),
            ..Evidence::unknown()
        };
        let after = told(&suspect_then, &evidence);
        says(&after.evidence, &format!("the kernel reported {named}"));
        assert_eq!((after.also, after.leak), (vec![Code::EofIgnored], Some(true)));
        assert!(after.next.starts_with("Call close() where app[7] got 0 from its read"), "{}", after.next);
    }
    let last_ack = SuspectKind::Ghost { closed: NOW - Duration::from_secs(20), from: State::LastAck };
    let shut = Evidence { holders: held(), eof_read: read(NOW), ..Evidence::unknown() };
    let shut = told(&Suspect { kind: last_ack, ..suspect() }, &shut);
    assert_eq!((shut.code, shut.also), (Code::GhostShutdown, vec![]), "it acted on the EOF");
    assert!(shut.next.contains("shutdown()"), "{}", shut.next);
    let reset = || Fact::Known(32);
    assert_eq!(by(State::CloseWait, reset(), Fact::Known(vec![])), (Code::GhostReset, Low, None));
    assert_eq!(by(State::CloseWait, reset(), Fact::unknown("EACCES")), (Code::GhostReset, Low, None));
}

#[test]
fn nothing_provisional_is_ever_called_a_leak_and_one_look_never_proves_change() {
    // Every combination of a few values, at one look.
    for recv_q in [0, 1, 25, 5000] {
        for send_q in [0, 10] {
            for timer in [Timer::Off, Timer::On, Timer::Keepalive, Timer::Persist] {
                for retrans in [0, 9] {
                    for holders in
                        [Fact::unknown("test"), Fact::Known(vec![]), Fact::Known(vec![holder(9, 5)])]
                    {
                        let socket = DiagSocket { recv_q, send_q, timer, retrans, ..socket() };
                        let look = Look { at: NOW, socket: socket.clone() };
                        let verdict = judge(&Evidence { looks: vec![look], holders, ..held() });
                        assert_eq!(verdict.leak, None, "{socket:?} {verdict:?}");
                        for sentence in &verdict.evidence {
                            let change = ["constant", "more ", "went from", "nothing sent"];
                            assert!(!change.iter().any(|word| sentence.contains(word)), "{verdict:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Java's selectors and their like give a descriptor back at their next turn, which may be
/// a second later.
#[test]
fn a_ghost_that_was_found_just_now_may_be_about_to_be_closed() {
    for (ms, leak) in [(0, None), (1999, None), (2000, Some(true))] {
        let closed = NOW - Duration::from_millis(ms);
        let suspect = Suspect { kind: SuspectKind::Ghost { closed, from: State::Close }, ..suspect() };
        let evidence = Evidence {
            holders: Fact::Known(vec![holder(7, 5)]),
            sock_error: Fact::Known(0),
            ..Evidence::unknown()
        };
        assert_eq!(verdict(&suspect, &evidence, NOW, &Policy::default()).leak, leak, "{ms} ms");
    }
}
