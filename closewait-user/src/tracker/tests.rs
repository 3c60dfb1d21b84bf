//! Timers and gaps; the rooms below have what comes late or twice, snapshots, ghosts, and
//! random histories. Times in the pictures are seconds.

mod ghosts;
mod history;
mod properties;
mod records;
mod snapshots;

use super::*;
use crate::item::{By, Destroyed, DiagSocket, Gap, Snapshot, Task, Timer, Transition};
use crate::tcp::{Endpoint, State, Tuple};
use State::{Close, CloseWait, Established, LastAck};

const THRESHOLD: Duration = Duration::from_secs(10);
const NOBODY: [u16; 0] = [];
const NS: Netns = Netns(4_026_531_840);

/// A tracker, what came out of it, and short ways to feed it.
struct Bench {
    tracker: Tracker,
    out: Vec<Outcome>,
}

fn secs(at: f64) -> MonoNs {
    MonoNs(0) + Duration::from_secs_f64(at)
}

fn tuple(port: u16) -> Tuple {
    let end = |port| Endpoint { ip: [127, 0, 0, 1].into(), port };
    Tuple { local: end(80), remote: end(port) }
}

fn edge(at: f64, sk: u64, port: u16, from: State, to: State) -> Transition {
    let by = (to != CloseWait).then(|| By {
        task: Task { pid: 1, tid: 2, comm: "closer".into() },
        stack: Err(-14),
        exiting: None,
        error: None,
    });
    Transition {
        at: secs(at),
        sk: SkAddr(sk),
        from,
        to,
        tuple: tuple(port),
        netns: NS,
        mptcp: false,
        has_socket: to == Close,
        inode: 0,
        by,
    }
}

fn shown(port: u16) -> DiagSocket {
    DiagSocket {
        tuple: tuple(port),
        mptcp: false,
        state: CloseWait,
        inode: 1,
        cookie: None,
        uid: 0,
        recv_q: 1,
        send_q: 0,
        timer: Timer::Off,
        retrans: 0,
        tcp: None,
    }
}

fn snapshot(began: f64, ended: f64, complete: bool, ports: &[u16]) -> Snapshot {
    let sockets = ports.iter().map(|&port| shown(port)).collect();
    Snapshot {
        began: secs(began),
        ended: secs(ended),
        netns: NS,
        complete,
        proves_absence: complete,
        sockets,
    }
}

impl Bench {
    fn new() -> Self {
        Self { tracker: Tracker::new(THRESHOLD), out: Vec::new() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn feed(&mut self, item: Item) -> &mut Self {
        self.tracker.apply(&item, &mut self.out);
        self
    }

    fn enter(&mut self, at: f64, sk: u64) -> &mut Self {
        let port = u16::try_from(sk).unwrap();
        self.feed(Item::Transition(edge(at, sk, port, Established, CloseWait)))
    }

    fn leave(&mut self, at: f64, sk: u64) -> &mut Self {
        let port = u16::try_from(sk).unwrap();
        self.feed(Item::Transition(edge(at, sk, port, CloseWait, LastAck)))
    }

    fn reset(&mut self, at: f64, sk: u64) -> &mut Self {
        let port = u16::try_from(sk).unwrap();
        self.feed(Item::Transition(edge(at, sk, port, CloseWait, Close)))
    }

    fn last_ack_close(&mut self, at: f64, sk: u64) -> &mut Self {
        let port = u16::try_from(sk).unwrap();
        self.feed(Item::Transition(edge(at, sk, port, LastAck, Close)))
    }

    fn destroyed(&mut self, at: f64, sk: u64) -> &mut Self {
        self.feed(Item::Destroyed(Destroyed { at: secs(at), sk: SkAddr(sk), exiting: None }))
    }

    fn snapshot(&mut self, began: f64, ended: f64, ports: &[u16]) -> &mut Self {
        self.feed(Item::Snapshot(snapshot(began, ended, true, ports)))
    }

    fn lost_leaves(&mut self, from: f64, to: f64) -> &mut Self {
        self.feed(Item::Gap(Gap { from: secs(from), to: secs(to), leave: 1, ..Gap::default() }))
    }

    /// The remote ports of what is handed out at `now`.
    fn expire(&mut self, now: f64) -> Vec<u16> {
        let mut suspects = Vec::new();
        self.tracker.expire(secs(now), &mut suspects);
        suspects.iter().map(|s| s.tuple.remote.port).collect()
    }

    /// `(remote port, since, at, to)` of every Released so far, and forgets them.
    fn released(&mut self) -> Vec<(u16, Since, MonoNs, Option<State>)> {
        let released = self.out.drain(..).filter_map(|outcome| match outcome {
            Outcome::Released(r) => Some((r.tuple.remote.port, r.since, r.at, r.to)),
            _ => None,
        });
        released.collect()
    }

    fn only_suspect(&self) -> Suspect {
        let all: Vec<_> = self.tracker.suspects().collect();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(self.tracker.suspect(all[0].id).as_ref(), Some(&all[0]));
        all[0].clone()
    }
}

#[test]
fn a_socket_is_handed_out_once_at_its_deadline_and_never_before() {
    //  sk 1   E---------------|---------->
    //         1              11
    let mut b = Bench::new();
    b.enter(1.0, 1);
    assert_eq!(b.expire(10.999), NOBODY);
    let deadline = b.tracker.next_deadline().unwrap();
    assert!(deadline <= secs(11.002), "{deadline:?}");
    assert_eq!(b.expire(11.002), [1]);
    assert_eq!(b.expire(1000.0), NOBODY);
    assert_eq!(b.tracker.next_deadline(), None);
    let suspect = b.only_suspect();
    assert_eq!((suspect.since, suspect.not_before), (Since::Seen(secs(1.0)), Some(secs(1.0))));
    assert_eq!((suspect.kind, suspect.tainted), (SuspectKind::Stuck, false));
}

#[test]
fn following_next_deadline_finds_every_socket_within_a_tick_and_then_stops() {
    let mut b = Bench::new();
    let ats = [3.0, 1.0, 2.0, 2.0, 700.5, 86_400.0, 1e7];
    for (sk, at) in (1..).zip(ats) {
        b.enter(at, sk);
    }
    let mut found = Vec::new();
    let mut wakes = 0;
    while let Some(at) = b.tracker.next_deadline() {
        let mut suspects = Vec::new();
        b.tracker.expire(at, &mut suspects);
        for suspect in &suspects {
            let Since::Seen(since) = suspect.since else { panic!("{suspect:?}") };
            let late = at.since(since + THRESHOLD);
            assert!(at >= since + THRESHOLD && late < Duration::from_nanos(1 << 20), "{late:?} late");
        }
        found.extend(suspects.iter().map(|s| s.tuple.remote.port));
        wakes += 1;
        assert!(wakes < 60, "each socket moves down at most 8 levels");
    }
    assert_eq!(found, [2, 3, 4, 1, 5, 6, 7]);
}

#[test]
fn a_socket_that_leaves_in_time_leaves_no_timer() {
    //  sk 1   E--L
    let mut b = Bench::new();
    b.enter(1.0, 1).leave(2.0, 1);
    assert_eq!(b.tracker.next_deadline(), None);
    assert_eq!(b.expire(100.0), NOBODY);
    assert_eq!(b.released(), [(1, Since::Seen(secs(1.0)), secs(2.0), Some(LastAck))]);
    assert_eq!(
        (b.tracker.stats().tracked, b.tracker.stats().left, b.tracker.stats().dwell.total()),
        (0, 1, 1)
    );
}

#[test]
fn a_gap_taints_what_lived_through_it_until_a_later_snapshot_shows_it() {
    //  sk 1   E------[gap]-----S1--------S2
    //         1      3   4
    //  sk 2                 E5
    let mut b = Bench::new();
    b.enter(1.0, 1).lost_leaves(3.0, 4.0).enter(5.0, 2);
    b.expire(20.0);
    let tainted = |b: &Bench| {
        let mut all: Vec<_> = b.tracker.suspects().map(|s| (s.tuple.remote.port, s.tainted)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(tainted(&b), [(1, true), (2, false)]);
    b.feed(Item::Snapshot(snapshot(3.5, 20.0, false, &[1])));
    assert_eq!(tainted(&b), [(1, true), (2, false)], "began within the gap: proves nothing");
    b.feed(Item::Snapshot(snapshot(4.5, 20.0, false, &[1])));
    assert_eq!(tainted(&b), [(1, false), (2, false)]);
}

#[test]
fn only_a_loss_that_can_hide_an_end_taints() {
    let none = Gap { from: secs(2.0), to: secs(3.0), ..Gap::default() };
    for (gap, tainted) in [
        (Gap { leave: 1, ..none }, true),
        (Gap { recursion: 1, ..none }, true),
        (Gap { malformed: 1, ..none }, true),
        (Gap { enter: 1, path: 1, opener: 1, ..none }, false),
        (Gap { destroy: 1, ..none }, false),
        (none, false),
    ] {
        let mut b = Bench::new();
        b.enter(1.0, 1).feed(Item::Gap(gap));
        b.expire(20.0);
        assert_eq!(b.only_suspect().tainted, tainted, "{gap:?}");
    }
}
