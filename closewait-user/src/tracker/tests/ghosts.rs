//! Sockets that are closed while a file refers to them.

use super::*;

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
fn a_late_reset_of_a_life_inferred_to_be_over_still_begins_its_ghost() {
    let mut b = Bench::new();
    b.enter(1.0, 1).snapshot(5.0, 6.0, &[]).reset(5.5, 1);
    assert_eq!((b.tracker.stats().ghosts, b.released().len()), (1, 1));
}
