//! Evidence to judge, and what holds for every verdict; the rooms below have each rule, and how
//! rules work together.

mod clients;
mod draining;
mod ghosts;
mod heirs;
mod rhythms;
mod rules;

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
    Process { uid: Fact::Known(0), ..Process::unknown(pid) }
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
    let Words { evidence, missing, next } = words(suspect, evidence, NOW, NOW, &Policy::default());
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
