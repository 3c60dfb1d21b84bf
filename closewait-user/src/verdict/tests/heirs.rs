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
    let heir = |pid, began| holding(Process { began, ..process(pid) }, 5);
    let began = |after_ms| Fact::Known(sent + Duration::from_millis(after_ms));
    let greeted = || still(|s| tcp(s).bytes_received = Some(1));
    let table = [
        ("it began later", vec![heir(9, began(10))], greeted(), true),
        ("times are in ticks", vec![heir(9, began(9))], greeted(), false),
        ("when is not known", vec![heir(9, Fact::unknown("test"))], greeted(), false),
        ("another began before", vec![heir(9, began(500)), heir(10, began(0))], greeted(), false),
        ("somebody read something", vec![heir(9, began(500))], still(|_| {}), false),
        ("/proc/net/tcp does not tell", vec![heir(9, began(500))], still(|s| s.tcp = None), false),
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

/// A program that was started with the descriptor left open, while the server had read
/// a request: nobody told it.
fn daemon() -> Holder {
    altered(holder(9, 5), |process| {
        process.cmdline = Fact::Known("/usr/sbin/reportd --since 15 -p55".into());
        process.began = Fact::Known(MonoNs(1));
        process.execed = Fact::Known(true);
    })
}

/// The same, of another process.
fn altered(mut holder: Holder, alter: impl FnOnce(&mut Process)) -> Holder {
    alter(std::sync::Arc::make_mut(&mut holder.process));
    holder
}

#[test]
fn a_program_that_was_told_nothing_is_a_heir() {
    let sees = |name: &str, fd| {
        let on = Some(Target::File { fd, link: None });
        let doing = Doing::Call { name: name.into(), on };
        let thread = Thread { tid: 9, comm: "reportd".into(), doing, wchan: None, progress: None };
        Fact::Known(std::sync::Arc::new(Threads { pid: 9, total: 1, seen: vec![thread] }))
    };
    let by = |holder| Evidence { holders: Fact::Known(vec![holder]), ..child() };
    let opened_as = |fd| {
        let Fact::Known(opener) = opener(7, OpenedVia::Accept) else { unreachable!() };
        Fact::Known(Opener { fd: Some(fd), ..opener })
    };
    let by_systemd = opener(1, OpenedVia::Accept);
    let late = MonoNs(1) + Duration::from_millis(21);
    let opened_late =
        Fact::Known(Opener { at: late, ..opener(7, OpenedVia::Accept).known().unwrap().clone() });
    let table = vec![
        ("the daemon", by(daemon()), true),
        ("at the number it had", Evidence { opener: opened_as(5), ..by(daemon()) }, true),
        ("moved to another number", Evidence { opener: opened_as(6), ..by(daemon()) }, false),
        ("asleep on something else", Evidence { threads: sees("read", 4), ..by(daemon()) }, true),
        ("reading it", Evidence { threads: sees("read", 5), ..by(daemon()) }, false),
        (
            "told by an argument",
            by(altered(daemon(), |it| it.cmdline = Fact::Known("worker --fd=5".into()))),
            false,
        ),
        ("arguments unknown", by(altered(daemon(), |it| it.cmdline = Fact::unknown("test"))), false),
        ("a copy of the server", by(altered(daemon(), |it| it.execed = Fact::Known(false))), false),
        ("close-on-exec", by(Holder { cloexec: Fact::Known(true), ..daemon() }), false),
        ("standard input", by(Holder { fd: 0, ..daemon() }), false),
        ("socket activation", Evidence { opener: by_systemd, ..by(daemon()) }, false),
        ("older than the connection", Evidence { opener: opened_late, ..by(daemon()) }, false),
        (
            "beside one that may know",
            Evidence { holders: Fact::Known(vec![daemon(), holder(10, 5)]), ..child() },
            false,
        ),
    ];
    for (case, evidence, is_heir) in table {
        let want = if is_heir { Code::Inherited } else { Code::NotReading };
        let verdict = judge(&evidence);
        assert_eq!((verdict.code, verdict.leak), (want, Some(true)), "{case}");
        if is_heir {
            assert_eq!(verdict.confidence, Medium, "{case}");
            says(&verdict.evidence, "neither its arguments nor its threads refer to it");
        }
    }
}

/// Of a connection that is older than the trace only that is known when data last came.
#[test]
fn asked_afterwards_a_heir_must_have_begun_after_the_last_data() {
    let heard = NOW - Duration::from_secs(30);
    let older = |began| Evidence {
        opener: Fact::unknown("older than the trace"),
        listener_holders: Fact::Known(vec![7]),
        holders: Fact::Known(vec![altered(daemon(), |it| it.began = Fact::Known(began))]),
        ..child()
    };
    assert_eq!(what(&older(heard)).0, Code::Inherited);
    assert_eq!(what(&older(heard - Duration::from_millis(30))), (Code::NotReading, Some(true), true));
}

/// A server answers, forks a job for something else, and closes: the job has a copy.
#[test]
fn a_job_that_was_forked_after_the_answer_is_a_heir() {
    let sent = NOW - Duration::from_secs(30);
    let by = |after_ms| {
        let began = Fact::Known(sent + Duration::from_millis(after_ms));
        let forked = |process: &mut Process| (process.began, process.execed) = (began, Fact::Known(false));
        Fact::Known(vec![altered(holder(9, 5), forked)])
    };
    let asked_at = |ms| still(|s| tcp(s).last_data_recv_ms = Some(ms));
    let table = [
        ("forked later", by(10), asked_at(30_001), true),
        ("times are in ticks", by(9), asked_at(30_001), false),
        ("asked again", by(10), asked_at(29_999), false),
        ("a greeting, perhaps", by(10), asked_at(30_000), false),
        (
            "not all of it is sent",
            by(10),
            still(|s| (tcp(s).last_data_recv_ms, s.send_q) = (Some(30_001), 9)),
            false,
        ),
    ];
    for (case, holders, looks, is_heir) in table {
        let verdict = judge(&Evidence { looks, holders, ..child() });
        assert_eq!(verdict.code == Code::Inherited, is_heir, "{case}: {verdict:?}");
        if is_heir {
            assert_eq!((verdict.leak, verdict.confidence), (Some(true), Medium), "{case}");
            says(&verdict.evidence, "answered before app[9] fd 5 began");
        }
    }
}
