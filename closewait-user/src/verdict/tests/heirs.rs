//! A process that did not open the socket has it: a worker at work, or a heir who does
//! not know.

use super::*;

/// Accepted by process 7, which closed it; process 9 has it.
fn child() -> Evidence {
    Evidence { holders: Fact::Known(vec![holder(9, 5)]), ..held() }
}

fn read_by(pid: u32) -> Fact<Option<EofRead>> {
    Fact::Known(Some(EofRead {
        task: task("app", pid, pid),
        at: NOW,
        stack: Fact::unknown("test"),
        stack_note: None,
    }))
}

/// (code, leak, INHERITED too)
fn what(evidence: &Evidence) -> (Code, Option<bool>, bool) {
    let verdict = judge(evidence);
    (verdict.code, verdict.leak, verdict.also.contains(&Code::Inherited))
}

#[test]
fn a_worker_is_no_heir() {
    let listeners = |pids: &[u32]| Fact::Known(pids.to_vec());
    let older = |listener_holders| Evidence {
        opener: Fact::unknown("older than the trace"),
        listener_holders,
        looks: still(|s| s.recv_q = 0),
        ..child()
    };
    let table = [
        // A server that forks for each connection: the child has read something, and works on it.
        ("fork per connection", child(), (Code::NotReading, Some(true), true)),
        ("its child took the EOF from the queue", older(listeners(&[7])), (Code::EofConsumed, None, true)),
        (
            "its child was told EOF",
            Evidence { eof_read: read_by(9), looks: still(|s| s.recv_q = 0), ..child() },
            (Code::EofIgnored, Some(true), true),
        ),
        // Prefork: whoever accepts has it.
        ("prefork", held(), (Code::NotReading, Some(true), false)),
        (
            "prefork, older: workers share the listener",
            older(listeners(&[7, 9])),
            (Code::EofConsumed, None, false),
        ),
        ("the listener was closed meanwhile", older(listeners(&[])), (Code::EofConsumed, None, false)),
        ("listeners unknown", older(Fact::unknown("test")), (Code::EofConsumed, None, false)),
        (
            "a worker still sends",
            Evidence { looks: two_looks(socket(), |s| tcp(s).bytes_acked = Some(900)), ..child() },
            (Code::Sending, Some(false), true),
        ),
        (
            "a worker still reads",
            Evidence { looks: two_looks(socket(), |s| s.recv_q = 900), ..child() },
            (Code::SlowReader, Some(false), true),
        ),
        (
            "inetd",
            Evidence { holders: Fact::Known(vec![holder(9, 0)]), ..child() },
            (Code::NotReading, Some(true), true),
        ),
    ];
    for (case, evidence, want) in table {
        assert_eq!(what(&evidence), want, "{case}");
    }
    says(&judge(&child()).evidence, "constant");
}

#[test]
fn a_heir_who_does_not_know_is_one() {
    let untouched = still(|s| {
        (tcp(s).bytes_sent, tcp(s).bytes_acked, tcp(s).bytes_received) = (Some(0), Some(0), Some(1));
    });
    let table = [
        (
            "the parent was told EOF, and closed",
            Evidence { eof_read: read_by(7), looks: still(|s| s.recv_q = 0), ..child() },
        ),
        ("nobody ever touched it", Evidence { looks: untouched.clone(), ..child() }),
    ];
    for (case, evidence) in table {
        let verdict = judge(&evidence);
        assert_eq!((verdict.code, verdict.leak), (Code::Inherited, Some(true)), "{case}");
        assert!(verdict.next.contains("SOCK_CLOEXEC"), "{case}");
    }
    let verdict = judge(&Evidence { looks: untouched.clone(), ..child() });
    assert_eq!(verdict.also, [Code::NotReading]);
    says(&verdict.evidence, "opened by app[7], which no longer has a descriptor");
    let both =
        Evidence { holders: Fact::Known(vec![holder(7, 5), holder(9, 5)]), looks: untouched, ..held() };
    assert_eq!(what(&both), (Code::NotReading, Some(true), true), "the opener has it too");
}

/// A server greets and then forks: what was sent before the heir began it did not send.
#[test]
fn a_heir_that_began_after_the_last_use_has_not_used_it() {
    let sent = NOW - Duration::from_secs(30);
    let heir = |began| Holder { began, ..holder(9, 5) };
    let began = |after_ms| Fact::Known(sent + Duration::from_millis(after_ms));
    let greeted = || still(|s| tcp(s).bytes_received = Some(1));
    let table = [
        ("it began later", vec![heir(began(10))], greeted(), true),
        ("times are in ticks", vec![heir(began(9))], greeted(), false),
        ("when is not known", vec![heir(Fact::unknown("test"))], greeted(), false),
        (
            "another began before",
            vec![heir(began(500)), Holder { pid: 10, ..heir(began(0)) }],
            greeted(),
            false,
        ),
        ("somebody read something", vec![heir(began(500))], still(|_| {}), false),
        ("/proc/net/tcp does not tell", vec![heir(began(500))], still(|s| s.tcp = None), false),
    ];
    for (case, holders, looks, is_heir) in table {
        let verdict = judge(&Evidence { holders: Fact::Known(holders), looks, ..child() });
        if is_heir {
            assert_eq!((verdict.code, verdict.leak), (Code::Inherited, Some(true)), "{case}");
            says(&verdict.evidence, "nothing was sent since app[9] fd 5 began");
        } else {
            assert_eq!((verdict.code, verdict.also), (Code::NotReading, vec![Code::Inherited]), "{case}");
        }
    }
}
