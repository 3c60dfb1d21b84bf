//! A client's sockets that its server closed: a pool, a session, or a leak.

use super::*;
use crate::growth::Growth;

/// Counted over two minutes.
fn growth(births: u64, closes: u64, at_least: f64) -> Growth {
    let watched = Duration::from_mins(2);
    Growth { watched, births, closes, per_minute: at_least + 1.0, at_least, at_most: at_least + 2.0 }
}

fn pool(stuck: u32, growth: impl Into<Option<Growth>>) -> Pool {
    Pool { stuck, idle_before_fin: None, watched: Duration::from_mins(2), growth: growth.into() }
}

fn client(pool: Pool) -> Evidence {
    Evidence {
        role: Fact::Known(Role::Client),
        opener: opener(7, OpenedVia::Connect),
        pool: Fact::Known(pool),
        ..held()
    }
}

#[test]
fn idle_pool() {
    let idle = |sockets| Some(IdleBeforeFin { typical: Duration::from_mins(1), sockets, of: 112 });
    let with = |sockets, growth: Option<Growth>| Evidence {
        looks: still(|s| s.recv_q = 25),
        ..client(Pool { idle_before_fin: idle(sockets), ..pool(112, growth) })
    };
    let bounded = with(110, Some(growth(40, 40, -0.5)));
    let table = [
        ("bounded", bounded.clone(), (Code::IdlePool, High, Some(false))),
        ("growing", with(110, Some(growth(40, 3, 0.2))), (Code::IdlePool, High, Some(true))),
        ("not watched for long", with(110, None), (Code::IdlePool, Medium, None)),
        (
            "the least that makes a habit",
            with(3, Some(growth(0, 0, -1.0))),
            (Code::IdlePool, High, Some(false)),
        ),
        ("two make no habit", with(2, Some(growth(0, 0, -1.0))), (Code::NotReading, Medium, None)),
    ];
    for (what, evidence, want) in table {
        assert_eq!(short(&evidence), want, "{what}");
    }
    let verdict = judge(&bounded);
    assert_eq!(verdict.also, [Code::NotReading]);
    says(&verdict.evidence, "the peer closed 110 of 112 after 60.0 s idle");
    says(&verdict.evidence, "112 stuck, 40 births and 40 closes in 2 min: bounded");
    says(&verdict.evidence, "Recv-Q 25 is consistent with a close_notify of TLS 1.3");
    says(&judge(&with(110, Some(growth(40, 3, 0.2)))).evidence, "grows by at least 0.2/min");
    assert!(judge(&with(110, Some(growth(40, 3, 0.2)))).next.contains("without closing them"));
    says(&judge(&with(110, None)).missing, "births and closes over 60.0 s (112 stuck, watched for 2 min)");

    let server = Evidence { role: Fact::Known(Role::Server), ..bounded.clone() };
    assert_eq!(short(&server), (Code::NotReading, High, Some(true)));
    let read = Evidence { looks: still(|s| s.recv_q = 0), ..bounded.clone() };
    assert_eq!(short(&read).0, Code::EofConsumed);
    let one_look = Evidence { looks: held().looks[1..].to_vec(), ..bounded };
    assert_eq!(short(&one_look), (Code::IdlePool, Low, None));
}

/// One connection whose server closed it while it was idle: a session of requests or
/// urllib3 that will notice at its next use, or one that was forgotten. A leak goes on.
#[test]
fn a_few_are_no_leak_unless_they_become_more() {
    let long = |pool| Pool { watched: Duration::from_mins(10), ..pool };
    let still_there = growth(0, 0, -2.0);
    let table = [
        ("one, just found", pool(1, None), (Medium, None)),
        ("one, for a minute", pool(1, still_there), (Medium, Some(false))),
        ("two that were replaced", pool(2, growth(5, 5, -3.0)), (Medium, Some(false))),
        ("ten", pool(10, still_there), (Medium, Some(false))),
        ("three that became more", pool(3, growth(3, 0, 0.1)), (High, Some(true))),
        ("many, new to us", pool(11, still_there), (Medium, None)),
        ("many, for ten minutes", long(pool(11, still_there)), (Medium, Some(false))),
        ("as many as a pool keeps at most", long(pool(1000, still_there)), (Medium, Some(false))),
        ("more than any pool keeps", long(pool(1001, still_there)), (Medium, None)),
        ("many that become more", pool(400, growth(60, 2, 10.0)), (High, Some(true))),
    ];
    for (what, pool, (confidence, leak)) in table {
        assert_eq!(short(&client(pool)), (Code::NotReading, confidence, leak), "{what}");
    }
    assert!(judge(&client(pool(1, still_there))).next.starts_with("Nothing, while they stay so few"));
    says(&judge(&client(pool(1, still_there))).evidence, "1 stuck, 0 births and 0 closes in 2 min: bounded");
    says(
        &judge(&client(long(pool(1001, still_there)))).missing,
        "why there are 1001: more than a pool keeps",
    );

    let one_look = Evidence { looks: held().looks[1..].to_vec(), ..client(pool(1, still_there)) };
    assert_eq!(short(&one_look), (Code::NotReading, Low, None));
    let unknown = Evidence { pool: Fact::unknown("no owner"), ..client(pool(1, None)) };
    assert_eq!(short(&unknown), (Code::NotReading, Medium, None));
    says(&judge(&unknown).missing, "whether it is one of an idle pool: no owner");
    // The same of a socket of which nobody knows which side it is.
    let either = Evidence { role: Fact::unknown("test"), ..unknown };
    assert_eq!(short(&either), (Code::NotReading, Medium, None));
}

#[test]
fn an_answer_that_nobody_read_is_no_idle_connection() {
    let with = |recv_q| Evidence { looks: still(|s| s.recv_q = recv_q), ..client(pool(1, None)) };
    for (recv_q, leak) in [(1, None), (25, None), (4096, None), (4097, Some(true)), (60_001, Some(true))] {
        assert_eq!(short(&with(recv_q)).2, leak, "{recv_q}");
    }
}

/// What is said of a ghost that closed with this error.
fn ghost_by(error: u32, evidence: &Evidence) -> (Code, Confidence, Option<bool>) {
    let closed = NOW - Duration::from_secs(20);
    let suspect = Suspect { kind: SuspectKind::Ghost { closed, from: State::CloseWait }, ..suspect() };
    let evidence = Evidence { sock_error: Fact::Known(error), ..evidence.clone() };
    let verdict = verdict(&suspect, &evidence, NOW, &Policy::default());
    (verdict.code, verdict.confidence, verdict.leak)
}

#[test]
fn a_few_ghosts_of_a_client_are_no_leak_unless_they_become_more() {
    const RESET: u32 = 32;
    let ghosts = |stuck, growth: Option<Growth>| Evidence {
        eof_read: Fact::Known(None),
        ..client(pool(stuck, growth))
    };
    let still_there = Some(growth(0, 0, -1.0));
    let table = [
        ("few", ghosts(7, still_there), (High, Some(false))),
        ("many", ghosts(11, still_there), (Medium, None)),
        ("just found", ghosts(7, None), (Medium, None)),
        ("becoming more", ghosts(7, Some(growth(3, 0, 0.1))), (High, Some(true))),
        ("reads were not watched", client(pool(7, still_there)), (Medium, None)),
    ];
    for (what, evidence, (confidence, leak)) in table {
        assert_eq!(ghost_by(RESET, &evidence), (Code::GhostReset, confidence, leak), "{what}");
    }
}

#[test]
fn a_ghost_of_an_idle_pool_is_judged_as_the_pool() {
    let idle = |growth| {
        let habit = IdleBeforeFin { typical: Duration::from_mins(1), sockets: 7, of: 7 };
        let evidence = client(Pool { idle_before_fin: Some(habit), ..pool(7, growth) });
        Evidence { eof_read: Fact::Known(None), ..evidence }
    };
    let bounded = idle(Some(growth(0, 0, -1.0)));
    let told = Fact::Known(Some(EofRead {
        task: task("app", 7, 7),
        at: NOW,
        stack: Fact::unknown("test"),
        stack_note: None,
    }));
    let (reset, timeout, destroyed) = (32, 110, 103);
    let table = [
        ("bounded", reset, bounded.clone(), (Code::GhostReset, High, Some(false))),
        ("bounded, too", timeout, bounded.clone(), (Code::GhostTimeout, High, Some(false))),
        ("destroyed by somebody", destroyed, bounded.clone(), (Code::GhostDestroyed, High, Some(true))),
        ("growing", reset, idle(Some(growth(40, 3, 0.2))), (Code::GhostReset, High, Some(true))),
        ("not watched for long", reset, idle(None), (Code::GhostReset, Medium, None)),
        (
            "reads were not watched",
            reset,
            Evidence { eof_read: Fact::unknown("no hook"), ..bounded.clone() },
            (Code::GhostReset, Medium, None),
        ),
        (
            "told EOF",
            reset,
            Evidence { eof_read: told, ..bounded.clone() },
            (Code::GhostReset, High, Some(true)),
        ),
        (
            "a server's",
            reset,
            Evidence { role: Fact::Known(Role::Server), ..bounded },
            (Code::GhostReset, High, Some(true)),
        ),
    ];
    for (what, error, evidence, want) in table {
        assert_eq!(ghost_by(error, &evidence), want, "{what}");
    }
}

#[test]
fn what_took_the_last_descriptor_is_no_pool() {
    let with = |stuck, used, soft, idle_before_fin| {
        let nofile = Fact::Known(Nofile { used, soft });
        let still_there = pool(stuck, growth(0, 0, -1.0));
        Evidence {
            holders: Fact::Known(vec![holding(Process { nofile, ..process(7) }, 5)]),
            ..client(Pool { idle_before_fin, ..still_there })
        }
    };
    let idle = Some(IdleBeforeFin { typical: Duration::from_mins(1), sockets: 60, of: 60 });
    let table = [
        ("all used", with(60, 64, 64, None), (Code::NotReading, High, Some(true))),
        ("all used, by idle ones", with(60, 64, 64, idle), (Code::IdlePool, High, Some(true))),
        ("some left", with(60, 63, 64, idle), (Code::IdlePool, High, Some(false))),
        ("used by others", with(31, 64, 64, idle), (Code::IdlePool, High, Some(false))),
    ];
    for (what, evidence, want) in table {
        assert_eq!(short(&evidence), want, "{what}");
    }
    says(&judge(&with(60, 64, 64, None)).evidence, "60 of the 64 descriptors that app[7] fd 5 may have");
}
