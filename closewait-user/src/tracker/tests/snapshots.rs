//! What snapshots show and do not show, and how old they tell a socket to be.

use super::*;
use crate::item::TcpInfo;

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
    // Heard again since, and that tells nothing new; nor does one that contradicts a little.
    b.feed(heard(30.0, 1000, 19_500)).feed(heard(30.0, 500, 12_750));
    assert_eq!(b.only_suspect(), first);
    b.feed(heard(40.0, 23_000, 23_010));
    let last = b.only_suspect();
    assert_eq!((last.since, last.not_before), (Since::Inferred(secs(16.9955)), Some(secs(16.98))));
}

#[test]
fn one_that_got_data_after_it_had_entered_is_another_connection_between_the_same_ends() {
    //  traced   E1---------------|          leave and entry are lost
    //  looks         S12         S20
    //  data     1                  19
    for traced in [true, false] {
        let mut b = Bench::new();
        if traced {
            b.enter(1.0, 1);
        }
        b.feed(heard(12.0, 11_000, 11_000)).expire(12.0);
        let first = b.only_suspect();
        b.feed(heard(20.0, 500, 1000)).expire(25.0);
        let released = b.released();
        assert_eq!((released.len(), released[0].2, released[0].3), (1, secs(18.99), None), "{traced}");
        assert!(b.tracker.suspect(first.id).is_none());
        assert_eq!(b.tracker.stats().tracked, 1);
        assert_eq!(b.expire(28.9), NOBODY, "it is young");
        assert_eq!(b.expire(29.1), [1]);
        let second = b.only_suspect();
        assert_eq!((second.since, second.not_before), (Since::NoLaterThan(secs(19.511)), Some(secs(18.99))));
        // The record of the end of the first was only late.
        if traced {
            b.leave(15.0, 1);
            assert_eq!((b.released(), b.tracker.stats().late, b.tracker.stats().tracked), (vec![], 1, 1));
        }
    }
}

/// Its record was taken for that of the first, told a second time.
#[test]
fn another_connection_that_entered_soon_after_is_not_found_a_second_time() {
    //  sk 1   E1--------[?]
    //                   E1.8-----------S5-----L6
    //  data               1.79
    let mut b = Bench::new();
    b.enter(1.0, 1).enter(1.8, 1);
    b.feed(heard(5.0, 3200, 3200));
    assert_eq!((b.tracker.stats().tracked, b.tracker.stats().found_by_snapshot), (1, 0));
    assert_eq!(b.released().len(), 1);
    b.expire(30.0);
    assert_eq!(b.only_suspect().since, Since::Seen(secs(1.8)));
    b.leave(31.0, 1);
    assert_eq!((b.released().len(), b.tracker.stats().tracked), (1, 0));
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

/// Those of before were not to show it, nor was it to be recorded.
#[test]
fn snapshots_of_another_filter_bound_no_age_and_nothing_of_it_was_lost() {
    let found = |other_filter: bool| {
        let mut b = Bench::new();
        b.tracker.watched_from(secs(10.0));
        b.snapshot(20.0, 20.1, &[]).snapshot(30.0, 30.1, &[]);
        if other_filter {
            b.tracker.watches_others(secs(35.0));
        }
        b.snapshot(40.0, 40.1, &[1]).expire(60.0);
        let suspect = b.only_suspect();
        (suspect.not_before, suspect.missed, b.tracker.stats().missed)
    };
    assert_eq!(found(false), (Some(secs(20.0)), true, 1));
    assert_eq!(found(true), (None, false, 0));
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
fn a_socket_that_a_dump_shows_twice_is_one() {
    for traced in [true, false] {
        let mut b = Bench::new();
        if traced {
            b.enter(1.0, 1);
        }
        b.snapshot(20.0, 20.1, &[1, 2, 1]);
        assert_eq!(b.tracker.stats().tracked, 2, "traced: {traced}");
    }
}
