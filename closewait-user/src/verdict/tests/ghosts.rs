//! What ended the connection of a descriptor that is left.

use super::*;

/// What goes on is not known to have gone on since the look.
#[test]
fn an_end_is_so_long_ago_as_when_it_is_read_and_a_state_as_when_it_was_seen() {
    for (from, said) in [
        (State::CloseWait, "CLOSE_WAIT -> CLOSE 31.0 s ago"),
        (State::LastAck, "LAST_ACK -> CLOSE 31.0 s ago"),
        (State::Close, "in CLOSE for 1.0 s at least"),
    ] {
        let closed = NOW - Duration::from_secs(1);
        let suspect = Suspect { kind: SuspectKind::Ghost { closed, from }, ..suspect() };
        let read =
            EofRead { task: task("app", 7, 7), at: closed, stack: Fact::unknown("test"), stack_note: None };
        let evidence = Evidence { eof_read: Fact::Known(Some(read)), ..held() };
        let later = NOW + Duration::from_secs(30);
        let words = words(&suspect, &evidence, NOW, later, &Policy::default());
        says(&words.evidence, said);
        if from == State::CloseWait {
            says(&words.evidence, "had returned 0 31.0 s ago");
        }
    }
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
