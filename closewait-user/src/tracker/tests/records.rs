//! Records that come late, twice, out of order or not at all.

use super::*;

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

/// Found by the random histories.
#[test]
fn another_connection_between_two_stays_takes_neither_with_it() {
    let began_twice = || {
        let mut b = Bench::new();
        for at in [1.0, 1.6] {
            b.feed(Item::Transition(edge(at, 1, 1, Established, CloseWait)));
        }
        b
    };
    // At this address, and only one record of it has come yet.
    for late in [edge(1.2, 1, 2, Established, CloseWait), edge(1.4, 1, 2, CloseWait, LastAck)] {
        let mut b = began_twice();
        b.feed(Item::Transition(late));
        assert_eq!(b.expire(11.5), NOBODY);
        assert_eq!(b.expire(11.7), [1]);
        assert_eq!(b.only_suspect().since, Since::Seen(secs(1.6)));
    }
    // Between these ports, at another address.
    let mut b = began_twice();
    b.feed(Item::Transition(edge(1.3, 2, 1, Established, CloseWait)));
    b.snapshot(1.1, 2.0, &[1]);
    b.feed(Item::Transition(edge(1.5, 2, 1, CloseWait, LastAck)));
    assert_eq!(b.expire(11.7), [1]);
    assert_eq!(b.only_suspect().since, Since::Seen(secs(1.6)));
}

#[test]
fn those_for_whom_there_is_no_room_wait_and_the_oldest_come_first() {
    let mut tracker = Tracker::new(THRESHOLD);
    let mut out = Vec::new();
    for (at, n) in [(1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4), (5.0, 5)] {
        tracker.apply(&Item::Transition(edge(at, n.into(), n, Established, CloseWait)), &mut out);
    }
    let of = |suspects: &[Suspect]| suspects.iter().map(|it| it.tuple.remote.port).collect::<Vec<_>>();
    let mut some = Vec::new();
    tracker.expire_some(secs(20.0), 2, &mut some);
    assert_eq!((of(&some), tracker.stats().waiting, tracker.stats().suspects), (vec![1, 2], 3, 2));
    tracker.apply(&Item::Transition(edge(20.5, 3, 3, CloseWait, LastAck)), &mut out);
    some.clear();
    tracker.expire_some(secs(21.0), 0, &mut some);
    assert_eq!((of(&some), tracker.stats().waiting), (vec![], 2));
    assert_eq!(tracker.waiting().collect::<Vec<_>>(), [(NS, tuple(4)), (NS, tuple(5))]);
    tracker.expire(secs(22.0), &mut some);
    assert_eq!((of(&some), tracker.stats().waiting), (vec![4, 5], 0));
}
