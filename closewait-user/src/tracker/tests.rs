//! Tables and timelines. Times in the pictures are seconds.

use super::*;
use crate::item::{Destroyed, DiagSocket, Gap, Snapshot, Task, TcpInfo, Timer, Transition};
use crate::tcp::Endpoint;
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
fn an_address_that_enters_again_begins_a_new_life_and_ends_the_old_one() {
    //  sk 1   E1---|(L lost)--E2----|
    //         0   10          12    22
    let mut b = Bench::new();
    b.enter(1.0, 1);
    assert_eq!(b.expire(11.5), [1]);
    let old = b.only_suspect().id;
    b.enter(12.0, 1);
    assert_eq!(b.released(), [(1, Since::Seen(secs(1.0)), secs(12.0), None)]);
    assert_eq!(b.tracker.suspect(old), None);
    assert_eq!(b.expire(21.9), NOBODY);
    assert_eq!(b.expire(22.1), [1]);
    assert_ne!(b.only_suspect().id, old);
    assert_eq!((b.tracker.stats().reentered, b.tracker.stats().healed), (1, 1));
}

#[test]
fn an_edge_that_both_programs_tell_is_one_edge() {
    //  sk 1   E E'--(threshold)--L L'   sk 2   E--R R'   sk 3   E--L--C C'
    let mut b = Bench::new();
    b.enter(1.0, 1).enter(1.3, 1);
    assert_eq!(b.expire(11.01), [1], "it counts from the first");
    b.leave(12.0, 1).leave(12.02, 1);
    assert_eq!(b.released(), [(1, Since::Seen(secs(1.0)), secs(12.0), Some(LastAck))]);
    let file = |edge: Transition| Item::Transition(Transition { inode: 100 + edge.sk.0, ..edge });
    let reset = |at| file(edge(at, 2, 2, CloseWait, Close));
    let shut = |at| file(edge(at, 3, 3, LastAck, Close));
    b.enter(20.0, 2).feed(reset(21.0)).feed(reset(21.5));
    b.enter(30.0, 3).leave(31.0, 3).feed(shut(32.0)).feed(shut(32.9));
    assert_eq!(b.released().len(), 2);
    assert_eq!(b.expire(31.01), [2]);
    assert_eq!(b.expire(42.01), [3]);
    let stats = b.tracker.stats();
    assert_eq!((stats.duplicates, stats.entered, stats.left), (4, 3, 3));
    assert_eq!((stats.healed, stats.unmatched_leaves, stats.ghosts_begun), (0, 0, 2));
}

#[test]
fn two_stays_of_which_the_first_ones_end_comes_late_are_two() {
    let mut b = Bench::new();
    b.enter(1.0, 1).enter(1.3, 1).leave(1.2, 1);
    assert_eq!(b.released(), [(1, Since::Seen(secs(1.0)), secs(1.2), Some(LastAck))]);
    assert_eq!(b.expire(11.29), NOBODY);
    assert_eq!(b.expire(11.31), [1]);
    // The second one's beginning comes later than its end.
    b.leave(1.4, 1).leave(1.6, 1).enter(1.5, 1);
    assert_eq!((b.tracker.stats().tracked, b.released().len()), (0, 1));
}

#[test]
fn what_enters_much_later_or_between_other_ends_is_a_second_stay() {
    let mut b = Bench::new();
    b.enter(1.0, 1).enter(2.5, 1);
    assert_eq!(b.tracker.stats().reentered, 1);
    b.feed(Item::Transition(edge(2.6, 1, 7, Established, CloseWait)));
    assert_eq!(b.tracker.stats().reentered, 2);
}

#[test]
fn records_in_any_order_come_to_the_same_end() {
    // (arrival order of the records of: E at 1, L at 2, E at 3, L at 4), still in CLOSE_WAIT afterwards
    let (e1, l1, e2, l2) = (('E', 1.0), ('L', 2.0), ('E', 3.0), ('L', 4.0));
    let table: &[(&[(char, f64)], u64)] = &[
        (&[e1, l1, e2, l2], 0),
        (&[l1, e1], 0),
        (&[l1, e1, e2], 1),
        (&[e1, e2, l1], 1),
        (&[e2, e1, l1], 1),
        (&[e2, l1, e1], 1),
        (&[e1, l2, l1, e2], 0),
        (&[l2, e2, l1, e1], 0),
        (&[e2, l2, e1, l1], 0),
        (&[e1, e1, l1, l1], 0),
        (&[e1, e1], 1),
        (&[l1, l1, e1], 0),
        (&[l1, e2], 1),
        (&[l2, e1], 0),
    ];
    for (order, tracked) in table {
        let mut b = Bench::new();
        for &(kind, at) in *order {
            if kind == 'E' {
                b.enter(at, 1)
            } else {
                b.leave(at, 1)
            };
        }
        assert_eq!(b.tracker.stats().tracked, *tracked, "{order:?}");
        assert_eq!(b.expire(100.0).len() as u64, *tracked, "{order:?}");
    }
}

#[test]
fn an_end_within_the_skew_of_two_clocks_ends_the_life_and_an_older_one_does_not() {
    for (back_us, tracked) in [(9.0, 0), (11.0, 1)] {
        let mut b = Bench::new();
        b.enter(1.0, 1).leave(1.0 - back_us / 1e6, 1);
        assert_eq!(b.tracker.stats().tracked, tracked, "{back_us} us");
    }
}

#[test]
fn an_end_of_an_unknown_socket_is_reported_with_an_open_beginning() {
    let mut b = Bench::new();
    b.leave(5.0, 1);
    assert_eq!(b.released(), [(1, Since::NoLaterThan(secs(5.0)), secs(5.0), Some(LastAck))]);
    assert_eq!((b.tracker.stats().unmatched_leaves, b.tracker.stats().dwell.total()), (1, 0));
    // Its beginning comes late: now the time between them is known.
    b.enter(4.0, 1);
    assert_eq!((b.tracker.stats().reordered, b.tracker.stats().dwell.total()), (1, 1));
    assert_eq!(b.released(), []);
}

#[test]
fn an_end_with_another_remote_is_not_taken_for_the_end_of_this_life() {
    //  sk 1   E(port 1)--(L lost)--(E lost)--L(port 2)
    let mut b = Bench::new();
    b.enter(1.0, 1).feed(Item::Transition(edge(2.0, 1, 2, CloseWait, LastAck)));
    assert_eq!(
        b.released(),
        [
            (1, Since::Seen(secs(1.0)), secs(2.0), None),
            (2, Since::NoLaterThan(secs(2.0)), secs(2.0), Some(LastAck)),
        ]
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

#[test]
fn a_complete_snapshot_ends_what_it_does_not_show_and_nothing_else() {
    //  sk 1   E-----------(L lost)   [S------]
    //  sk 2   E---------------------------------  shown
    //  sk 3                            E--------  entered while the dump ran
    let mut b = Bench::new();
    b.enter(1.0, 1).enter(1.0, 2).enter(5.5, 3).snapshot(5.0, 6.0, &[2]);
    assert_eq!(b.released(), [(1, Since::Seen(secs(1.0)), secs(6.0), None)]);
    assert_eq!((b.tracker.stats().tracked, b.tracker.stats().healed), (2, 1));
    b.feed(Item::Snapshot(snapshot(7.0, 8.0, false, &[])));
    let elsewhere = Snapshot { netns: Netns(7), ..snapshot(7.0, 8.0, true, &[]) };
    b.feed(Item::Snapshot(elsewhere));
    assert_eq!(b.released(), [], "an interrupted dump and another namespace prove no absence");
    // The lost edge was only late.
    b.leave(5.2, 1);
    assert_eq!((b.released(), b.tracker.stats().late), (vec![], 1));
}

#[test]
fn a_socket_found_by_a_snapshot_is_bounded_from_both_sides() {
    // (last data received ms before, two complete snapshots up to then) -> not before
    let table = [
        (None, None, None),
        (Some(2000), None, Some(17.99)),
        (None, Some(15.0), Some(15.0)),
        (Some(2000), Some(15.0), Some(17.99)),
        (Some(9000), Some(15.0), Some(15.0)),
    ];
    for (data, earlier, want) in table {
        let mut b = Bench::new();
        if let Some(at) = earlier {
            // The older one bounds: the newer may have missed the socket.
            b.snapshot(at, at + 1.0, &[]).snapshot(at + 2.0, at + 3.0, &[]);
        }
        let mut snapshot = snapshot(20.0, 21.0, true, &[1]);
        snapshot.sockets[0].tcp = Some(TcpInfo { last_data_recv_ms: data, ..TcpInfo::default() });
        b.feed(Item::Snapshot(snapshot));
        let due = want.map_or(21.0, |at| at + 10.002);
        assert_eq!(b.expire(due - 0.01).is_empty(), want.is_some(), "{data:?} {earlier:?}");
        b.expire(due);
        let suspect = b.only_suspect();
        assert_eq!((suspect.since, suspect.sk), (Since::NoLaterThan(secs(21.0)), None));
        assert_eq!(suspect.not_before, want.map(secs), "{data:?} {earlier:?}");
    }
}

/// Snapshot of a socket that was last heard `ack` ms ago and got data `data` ms ago.
fn heard(began: f64, ack: u32, data: u32) -> Item {
    let mut snapshot = snapshot(began, began + 0.001, true, &[1]);
    snapshot.sockets[0].tcp =
        Some(TcpInfo { last_data_recv_ms: Some(data), last_ack_recv_ms: Some(ack), ..TcpInfo::default() });
    Item::Snapshot(snapshot)
}

#[test]
fn a_later_look_narrows_the_bounds_and_never_widens_them() {
    let mut b = Bench::new();
    b.feed(heard(20.0, 3000, 9000)).expire(30.0);
    let first = b.only_suspect();
    assert_eq!((first.since, first.not_before), (Since::NoLaterThan(secs(17.011)), Some(secs(10.99))));
    // Heard again since, and that tells nothing new; nor does one that contradicts.
    b.feed(heard(30.0, 1000, 19_500)).feed(heard(30.0, 500, 700));
    assert_eq!(b.only_suspect(), first);
    b.feed(heard(40.0, 23_000, 23_010));
    let last = b.only_suspect();
    assert_eq!((last.since, last.not_before), (Since::Inferred(secs(16.9955)), Some(secs(16.98))));
}

#[test]
fn the_threshold_of_a_socket_found_by_looking_counts_from_its_earliest_moment() {
    let mut b = Bench::new();
    b.feed(heard(20.0, 100, 9000));
    assert_eq!(b.expire(20.98), NOBODY);
    assert_eq!(b.expire(20.992), [1], "10.99 and the threshold");
    // The bound moves before the deadline, and the deadline with it.
    let mut b = Bench::new();
    b.feed(heard(20.0, 100, 9000)).feed(heard(20.5, 600, 4000));
    assert_eq!(b.expire(26.48), NOBODY);
    assert_eq!(b.expire(26.492), [1]);
}

/// It will be seen again, so it need not be reported before it is old enough for certain.
#[test]
fn the_threshold_of_one_whose_record_was_lost_counts_from_its_latest_moment() {
    let watched = || {
        let mut b = Bench::new();
        b.tracker.watched_from(secs(10.0));
        b
    };
    // Data came at 15, an ACK at 19.9.
    let mut b = watched();
    b.feed(heard(20.0, 100, 5000));
    assert_eq!(b.expire(29.9), NOBODY);
    assert_eq!(b.expire(29.913), [1], "19.91 and the threshold");
    let suspect = b.only_suspect();
    assert_eq!((suspect.not_before, suspect.missed), (Some(secs(14.99)), true));
    // A later look moves the latest moment.
    let mut b = watched();
    b.feed(heard(20.0, 100, 5000)).feed(heard(20.5, 3000, 5500));
    assert_eq!(b.expire(27.51), NOBODY);
    assert_eq!(b.expire(27.513), [1]);
    // Or tells that it entered while the trace ran.
    let mut b = watched();
    b.feed(heard(18.0, 100, 9000)).feed(heard(18.5, 600, 3000));
    assert_eq!(b.expire(27.9), NOBODY);
    assert_eq!(b.expire(27.913), [1]);
    // Its record was only late.
    let mut b = watched();
    b.feed(heard(20.0, 100, 5000)).enter(16.0, 1);
    assert_eq!(b.expire(25.9), NOBODY);
    assert_eq!(b.expire(26.002), [1]);
}

#[test]
fn a_socket_that_must_have_entered_unrecorded_is_counted_as_missed_once() {
    let missed = |b: &Bench| (b.tracker.stats().missed, b.only_suspect().missed);
    let watched = || {
        let mut b = Bench::new();
        b.tracker.watched_from(secs(10.0));
        b
    };
    // Older than the trace, or possibly so.
    let mut b = watched();
    b.feed(heard(20.0, 100, 15_000)).expire(60.0);
    assert_eq!(missed(&b), (0, false));
    // Data came after the trace began, and no record of the entry came in time.
    let mut b = watched();
    b.feed(heard(20.0, 100, 5000)).expire(20.2);
    assert_eq!(b.tracker.stats().missed, 0, "the record may be on its way");
    b.feed(heard(20.6, 700, 5600)).expire(60.0);
    assert_eq!(missed(&b), (1, true));
    // A later look finds out.
    let mut b = watched();
    b.feed(heard(20.0, 100, 15_000)).feed(heard(30.0, 10_100, 10_110)).expire(60.0);
    assert_eq!(missed(&b), (1, true));
    // The record came; or nobody records anything.
    let mut b = watched();
    b.feed(heard(20.0, 100, 5000)).enter(19.0, 1).expire(60.0);
    assert_eq!(missed(&b), (0, false));
    let mut b = Bench::new();
    b.feed(heard(20.0, 100, 5000)).expire(60.0);
    assert_eq!(missed(&b), (0, false));
}

#[test]
fn a_record_recognises_what_a_snapshot_was_faster_to_show() {
    //  sk 1        E19.5  (record still in the ring)
    //                 [S20--21]  then the record, then the end
    let mut b = Bench::new();
    b.snapshot(20.0, 21.0, &[1]).enter(19.5, 1);
    assert_eq!((b.tracker.stats().tracked, b.tracker.stats().entered), (1, 0));
    assert_eq!(b.expire(29.0), NOBODY);
    assert_eq!(b.expire(29.502), [1]);
    let suspect = b.only_suspect();
    assert_eq!((suspect.since, suspect.sk), (Since::Seen(secs(19.5)), Some(SkAddr(1))));
    b.leave(30.0, 1);
    assert_eq!(b.released(), [(1, Since::Seen(secs(19.5)), secs(30.0), Some(LastAck))]);
}

#[test]
fn an_end_finds_the_life_that_only_a_snapshot_knew() {
    let mut b = Bench::new();
    b.snapshot(20.0, 21.0, &[1]).leave(22.0, 1);
    assert_eq!(b.released(), [(1, Since::NoLaterThan(secs(21.0)), secs(22.0), Some(LastAck))]);
    // The same ports from an earlier connection do not.
    let mut b = Bench::new();
    b.snapshot(20.0, 21.0, &[1]).leave(19.0, 1);
    assert_eq!(b.tracker.stats().tracked, 1);
    // A later connection with the same ports does, as far as its entry tells.
    b.enter(25.0, 1);
    assert_eq!(b.tracker.stats().tracked, 1);
    assert_eq!(b.released().last(), Some(&(1, Since::NoLaterThan(secs(21.0)), secs(25.0), None)));
}

#[test]
fn a_socket_that_left_while_the_dump_ran_is_not_added_again() {
    //  sk 1   E------------L5.5
    //                 [S5-----6] shows it
    let mut b = Bench::new();
    b.enter(1.0, 1).leave(5.5, 1).snapshot(5.0, 6.0, &[1]);
    assert_eq!(b.tracker.stats().tracked, 0);
    // Its address may have been used again meanwhile.
    let mut b = Bench::new();
    b.enter(1.0, 1).leave(5.5, 1).feed(Item::Transition(edge(5.8, 1, 9, Established, CloseWait)));
    b.snapshot(5.0, 6.0, &[1]);
    assert_eq!(b.tracker.stats().tracked, 1);
    // One that left before the dump began must be another connection.
    let mut b = Bench::new();
    b.enter(1.0, 1).leave(4.0, 1).snapshot(5.0, 6.0, &[1]);
    assert_eq!(b.tracker.stats().tracked, 1);
}

#[test]
fn only_sockets_in_close_wait_are_taken_from_a_snapshot_each_once() {
    let mut b = Bench::new();
    let mut snapshot = snapshot(1.0, 2.0, true, &[1, 1, 2]);
    snapshot.sockets[2].state = Established;
    b.feed(Item::Snapshot(snapshot));
    assert_eq!((b.tracker.stats().tracked, b.tracker.stats().found_by_snapshot), (1, 1));
}

#[test]
fn mptcp_is_a_socket_of_its_own_and_absence_proves_nothing_about_it() {
    let mut b = Bench::new();
    b.feed(Item::Transition(Transition { mptcp: true, ..edge(1.0, 1, 1, Established, CloseWait) }));
    b.enter(1.0, 2);
    let mut other = snapshot(5.0, 6.0, true, &[1, 2]);
    other.sockets[0].mptcp = false;
    b.feed(Item::Snapshot(other));
    assert_eq!((b.tracker.stats().tracked, b.released()), (3, vec![]));
}

#[test]
fn a_reset_under_a_file_begins_a_ghost_and_a_destroy_ends_it() {
    //  sk 1   E--RST----------|-----D
    //         1   2          12    20
    let mut b = Bench::new();
    b.enter(1.0, 1).reset(2.0, 1);
    let [Outcome::Released(released), Outcome::ClosedWithFile { ghost, was, at, from, .. }] = &b.out[..]
    else {
        panic!("{:?}", b.out)
    };
    assert_eq!((released.to, *was, *at, *from), (Some(Close), Some(released.id), secs(2.0), CloseWait));
    let ghost = *ghost;
    assert_eq!((b.tracker.stats().tracked, b.tracker.stats().ghosts), (0, 1));
    assert_eq!(b.expire(11.9), NOBODY);
    assert_eq!(b.expire(12.002), [1]);
    let suspect = b.only_suspect();
    assert_eq!((suspect.id, suspect.since), (ghost, Since::Seen(secs(1.0))));
    assert_eq!(suspect.kind, SuspectKind::Ghost { closed: secs(2.0), from: CloseWait });
    b.out.clear();
    b.destroyed(20.0, 1);
    let [Outcome::GhostEnded { ghost: ended, closed, at, seen: true, was_suspect: true, .. }] = b.out[..]
    else {
        panic!("{:?}", b.out)
    };
    assert_eq!((ended, closed, at), (ghost, secs(2.0), secs(20.0)));
    assert_eq!((b.tracker.stats().ghosts, b.tracker.stats().suspects), (0, 0));
}

#[test]
fn a_shutdown_without_close_begins_a_ghost_that_knows_its_life_in_close_wait() {
    //  sk 1   E--shutdown(LAST_ACK)--CLOSE
    let mut b = Bench::new();
    b.enter(1.0, 1).leave(2.0, 1).last_ack_close(3.0, 1);
    let Some(Outcome::ClosedWithFile { was: Some(_), from: LastAck, .. }) = b.out.last() else {
        panic!("{:?}", b.out)
    };
    assert_eq!(b.expire(13.002), [1]);
    assert_eq!(b.only_suspect().since, Since::Seen(secs(1.0)));
    // Without a life before it, it still is one.
    let mut b = Bench::new();
    b.last_ack_close(3.0, 1);
    assert_eq!(b.expire(13.002), [1]);
    assert_eq!((b.only_suspect().since, b.only_suspect().not_before), (Since::NoLaterThan(secs(3.0)), None));
}

#[test]
fn an_abort_is_a_ghost_only_until_its_destroy() {
    let mut b = Bench::new();
    b.enter(1.0, 1).reset(2.0, 1).destroyed(2.000_01, 1);
    assert_eq!(b.tracker.next_deadline(), None);
    assert!(matches!(
        b.out[..],
        [Outcome::Released(_), Outcome::ClosedWithFile { .. }, Outcome::GhostEnded { .. }]
    ));
}

#[test]
fn ghosts_do_not_come_back_from_late_or_double_records() {
    let begun = |feed: fn(&mut Bench)| {
        let mut b = Bench::new();
        feed(&mut b);
        (b.tracker.stats().ghosts, b.tracker.stats().ghosts_begun)
    };
    assert_eq!(begun(|b| _ = b.enter(1.0, 1).reset(2.0, 1).reset(2.0, 1)), (1, 1));
    assert_eq!(begun(|b| _ = b.enter(1.0, 1).reset(2.0, 1).destroyed(3.0, 1).reset(2.0, 1)), (0, 1));
    assert_eq!(begun(|b| _ = b.enter(1.0, 1).destroyed(3.0, 1).reset(2.0, 1)), (0, 0));
    assert_eq!(begun(|b| _ = b.last_ack_close(2.0, 1).destroyed(3.0, 1).last_ack_close(2.0, 1)), (0, 1));
    assert_eq!(begun(|b| _ = b.enter(1.0, 1).last_ack_close(3.0, 1).leave(2.0, 1)), (1, 1));
    // The address is used again: the ghost's end was lost.
    assert_eq!(begun(|b| _ = b.enter(1.0, 1).reset(2.0, 1).enter(5.0, 1)), (0, 1));
    assert_eq!(begun(|b| _ = b.enter(1.0, 1).reset(2.0, 1).leave(5.0, 1)), (0, 1));
    // A socket without a file is none.
    let no_file = Transition { has_socket: false, ..edge(2.0, 1, 1, CloseWait, Close) };
    let mut b = Bench::new();
    b.enter(1.0, 1).feed(Item::Transition(no_file));
    assert_eq!(b.tracker.stats().ghosts_begun, 0);
}

#[test]
fn a_lost_destroy_taints_ghosts_only() {
    let mut b = Bench::new();
    b.enter(1.0, 1).enter(1.0, 2).reset(2.0, 1);
    b.feed(Item::Gap(Gap { from: secs(3.0), to: secs(4.0), destroy: 1, ..Gap::default() }));
    b.expire(20.0);
    for suspect in b.tracker.suspects() {
        assert_eq!(suspect.tainted, suspect.kind != SuspectKind::Stuck);
    }
}

#[test]
fn a_retired_life_is_over_whatever_comes_late() {
    let mut b = Bench::new();
    b.enter(1.0, 1);
    b.expire(20.0);
    let id = b.only_suspect().id;
    b.tracker.retire(id, secs(20.0), &mut b.out);
    assert_eq!(b.released(), [(1, Since::Seen(secs(1.0)), secs(20.0), None)]);
    b.tracker.retire(id, secs(21.0), &mut b.out);
    b.enter(1.0, 1).leave(19.6, 1).snapshot(19.5, 20.5, &[1]);
    assert_eq!((b.released(), b.tracker.stats().tracked), (vec![], 0));
    b.enter(19.8, 1);
    assert_eq!(b.tracker.stats().tracked, 1, "a new life at the same address");
}

#[test]
fn a_late_reset_of_a_life_inferred_to_be_over_still_begins_its_ghost() {
    let mut b = Bench::new();
    b.enter(1.0, 1).snapshot(5.0, 6.0, &[]).reset(5.5, 1);
    assert_eq!((b.tracker.stats().ghosts, b.released().len()), (1, 1));
}

#[test]
fn an_inferred_end_takes_one_late_edge_only() {
    // Two connections at one address; a snapshot overtakes all records but the first.
    let mut b = Bench::new();
    b.enter(1.0, 4).snapshot(1.5, 9.0, &[2]);
    let leave = |at, port| Item::Transition(edge(at, 4, port, CloseWait, LastAck));
    let enter = |at, port| Item::Transition(edge(at, 4, port, Established, CloseWait));
    b.feed(leave(2.0, 4)).feed(leave(7.0, 2)).feed(enter(3.0, 2));
    assert_eq!(b.tracker.stats().tracked, 0);
    b.feed(enter(8.0, 3));
    assert_eq!(b.tracker.stats().tracked, 1);
}

#[test]
fn only_so_many_ended_lives_are_remembered() {
    let mut b = Bench::new();
    let total = u16::try_from(REMEMBERED + 100).unwrap();
    for sk in 1..=total {
        b.enter(f64::from(sk), u64::from(sk)).leave(f64::from(sk) + 0.5, u64::from(sk));
    }
    assert_eq!(b.tracker.by_sk.len(), REMEMBERED);
    assert_eq!(b.tracker.slab.slots().count(), REMEMBERED + 1);
    b.enter(1.0, 1).enter(f64::from(total), u64::from(total));
    assert_eq!(b.tracker.stats().tracked, 1, "the oldest is forgotten, the newest is not");
}

#[test]
fn odd_values_do_no_harm() {
    let mut b = Bench::new();
    b.enter(1.0, 0).enter(2.0, 0).leave(3.0, 0).destroyed(4.0, 0);
    let mut end_of_time = edge(0.0, 5, 5, Established, CloseWait);
    end_of_time.at = MonoNs(u64::MAX);
    b.feed(Item::Transition(end_of_time));
    b.feed(Item::Transition(edge(1.0, 6, 6, Established, LastAck)));
    b.snapshot(9.0, 8.0, &[7]);
    let mut out = Vec::new();
    b.tracker.expire(MonoNs(u64::MAX), &mut out);
    b.tracker.expire(MonoNs(0), &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!(b.tracker.next_deadline(), None);
    assert_eq!(b.tracker.stats().ignored, 1);
}

#[test]
fn one_that_turns_out_younger_than_the_threshold_waits_for_it() {
    let mut b = Bench::new();
    b.snapshot(20.0, 20.1, &[1]);
    // Nothing bounds its age: it may be old enough.
    assert_eq!(b.expire(20.2), [1]);
    let suspect = b.only_suspect();
    assert_eq!(suspect.not_before, None);
    // Its opening was seen at 15.0.
    assert!(b.tracker.is_younger(suspect.id, Some(secs(15.0)), secs(20.6)));
    assert_eq!(b.tracker.suspect(suspect.id), None);
    assert_eq!(b.tracker.stats().suspects, 0);
    assert_eq!(b.expire(24.9), NOBODY);
    assert_eq!(b.expire(25.1), [1]);
    assert_eq!(b.only_suspect().not_before, Some(secs(15.0)));
    // Then it is old enough, and an opening before that says nothing.
    assert!(!b.tracker.is_younger(suspect.id, Some(secs(15.0)), secs(25.6)));
    assert!(!b.tracker.is_younger(suspect.id, Some(secs(3.0)), secs(25.6)));
    assert_eq!(b.only_suspect().not_before, Some(secs(15.0)));
}

#[test]
fn an_entry_whose_record_comes_late_is_as_old_as_that_tells() {
    let mut b = Bench::new();
    b.snapshot(27.0, 27.1, &[2]);
    assert_eq!(b.expire(27.2), [2]);
    b.enter(26.0, 2);
    let seen = b.only_suspect();
    assert_eq!(seen.since, Since::Seen(secs(26.0)));
    assert!(b.tracker.is_younger(seen.id, seen.not_before, secs(27.6)));
    assert_eq!(b.expire(35.9), NOBODY);
    assert_eq!(b.expire(36.1), [2]);
    assert!(!b.tracker.is_younger(seen.id, Some(secs(35.0)), secs(36.2)));
    assert_eq!(b.only_suspect(), seen);
}

#[test]
fn an_entry_told_at_the_accept_counts_unless_it_was_told_before() {
    let accepted = |at, sk| Transition { has_socket: true, ..edge(at, sk, 1, Established, CloseWait) };
    let mut b = Bench::new();
    // It waited for its accept for longer than the threshold, and was reported.
    b.enter(1.0, 1);
    assert_eq!(b.expire(11.1), [1]);
    b.feed(Item::Transition(accepted(60.0, 1)));
    assert_eq!(b.only_suspect().since, Since::Seen(secs(1.0)));
    assert_eq!((b.tracker.stats().duplicates, b.tracker.stats().entered), (1, 1));
    assert_eq!(b.expire(99.0), NOBODY);
    // The edge of this one came between its accept and the program that saw that.
    let mut b = Bench::new();
    b.feed(Item::Transition(accepted(60.0, 1)));
    assert_eq!(b.expire(69.9), NOBODY);
    assert_eq!(b.expire(70.1), [1]);
    assert_eq!(b.only_suspect().since, Since::Seen(secs(60.0)));
}
