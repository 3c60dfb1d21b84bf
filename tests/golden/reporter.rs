//! What is kept of reports, whatever the format: what is told again, causes and their ids,
//! what counts for the exit code.

use std::io::{self, Write};
use std::time::Duration;

use closewait_trace::fact::Fact;
use closewait_trace::growth::Growth;
use closewait_trace::report::{Ending, JsonSink, Reporter, gate};
use closewait_trace::tracker::Since;
use closewait_trace::verdict::{Code, Confidence, How, OpenedVia, Role};

use crate::desk::{Desk, OPTIONS, Page, assert_valid, totals};
use crate::made::{Case, NOW, eof_read, holder, leak, of, release, stack, tuple, verdict};

#[test]
fn a_socket_is_reported_again_only_when_its_verdict_or_holders_change() {
    let mut desk = Desk::json(false);
    let server = holder(1, "server", "/usr/bin/server", 3);
    let v = verdict(Code::Unknown, Confidence::Low, None, &["first look"], "Wait.");
    let mut case = Case::new(1, 10, v).held(vec![server.clone()]);
    let mut say = |case: &Case| {
        desk.report(case.report(), NOW);
        let lines = assert_valid(&desk.out.take());
        lines.first().map(|l| l.get("update").is_some())
    };
    assert_eq!(say(&case), Some(false));
    assert_eq!(say(&case), None, "the same again");
    case.verdict.evidence = vec!["second look: 1,234 bytes".into()];
    assert_eq!(say(&case), None, "another sentence is no other verdict");
    case.verdict.code = Code::NotReading;
    assert_eq!(say(&case), Some(true));
    case.verdict.leak = Some(true);
    assert_eq!(say(&case), Some(true));
    case.verdict.confidence = Confidence::High;
    assert_eq!(say(&case), Some(true));
    case.verdict.also = vec![Code::Inherited];
    assert_eq!(say(&case), Some(true));
    case.holders = Fact::Known(vec![server.clone(), holder(2, "child", "/bin/sh", 3)]);
    assert_eq!(say(&case), Some(true));
    case.holders = Fact::Known(vec![holder(2, "child", "/bin/sh", 3), server]);
    assert_eq!(say(&case), None, "the order of a scan means nothing");
    case.holders = Fact::unknown("the scan was cut short");
    assert_eq!(say(&case), Some(true));
}

#[test]
fn a_cause_keeps_its_id_across_restarts_and_parts_with_what_makes_it_another() {
    let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &[], "");
    let base = Case::new(1, 10, v).held(vec![holder(7, "app", "/usr/bin/app", 3)]).opened(
        7,
        "worker-1",
        OpenedVia::Accept,
        Fact::Known(stack(&["serve", "main"])),
    );
    let id = |case: &Case| case.finding().cause.to_string();
    // Published in tickets and dashboards: a change here breaks them.
    assert_eq!(id(&base), "f0aca447");

    let mut same = base.clone();
    same.tuple = tuple("192.0.2.1", 8080, "192.0.2.77", 1);
    same.since = Since::NoLaterThan(NOW);
    same.id = 99;
    let mut moved = stack(&["serve@new.c:7", "main"]);
    for frame in &mut moved {
        frame.addr ^= 0x7f00_0000_0000;
        frame.offset += 8;
    }
    same = same.held(vec![holder(4_711, "app", "/usr/bin/app (deleted)", 9)]);
    same = same.opened(4_711, "worker-2", OpenedVia::Accept, Fact::Known(moved));
    assert_eq!(id(&same), id(&base), "another pid, thread, fd, address, line");

    let mut mapped = base.clone().client("10.4.0.9", 443);
    let plain = id(&mapped);
    mapped.tuple = tuple("::ffff:10.0.0.1", 5, "::ffff:10.4.0.9", 443);
    assert_eq!(id(&mapped), plain, "an IPv4 service is one service on either kind of socket");

    let others = [
        base.clone().held(vec![holder(7, "app2", "/usr/bin/app", 3)]),
        base.clone().held(vec![holder(7, "app", "/opt/app", 3)]),
        base.clone().opened(7, "x", OpenedVia::Accept, Fact::Known(stack(&["serve2", "main"]))),
        base.clone().opened(7, "x", OpenedVia::Accept, Fact::Known(stack(&["serve"]))),
        base.clone().client("10.4.0.9", 443),
        base.clone().client("10.4.0.9", 444),
        Case { tuple: tuple("10.0.0.1", 8081, "10.0.0.2", 1), ..base.clone() },
        Case { role: Fact::unknown("?"), ..base.clone() },
        Case { verdict: verdict(Code::NotReading, Confidence::High, Some(true), &[], ""), ..base.clone() },
        Case { holders: Fact::unknown("?"), ..base.clone() },
        Case { eof_read: Fact::Known(Some(eof_read("parse"))), ..base.clone() },
        Case { eof_read: Fact::Known(Some(eof_read("drain"))), ..base.clone() },
    ];
    let mut ids: Vec<_> = others.iter().map(id).chain([id(&base)]).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), others.len() + 1, "{ids:?}");

    // Without symbols: the module and the offset in it; without a role, no port.
    let mut nameless = stack(&["a"]);
    nameless[0].symbol = None;
    let at = |module: &str, offset| {
        let mut frames = nameless.clone();
        frames[0].module = Some(module.into());
        frames[0].offset = offset;
        id(&base.clone().opened(7, "x", OpenedVia::Accept, Fact::Known(frames)))
    };
    assert_eq!(at("/usr/lib/libx.so", 5), at("/merged/usr/lib/libx.so", 5));
    assert_ne!(at("/usr/lib/libx.so", 5), at("/usr/lib/libx.so", 6));
    let roleless = |port| {
        id(&Case {
            role: Fact::unknown("?"),
            tuple: tuple("10.0.0.1", port, "10.0.0.2", port),
            ..base.clone()
        })
    };
    assert_eq!(roleless(40_000), roleless(40_001));

    let running = |program: Option<&'static str>| {
        let mut process = holder(7, "java", "/usr/bin/java", 3);
        of(&mut process).program = program.map(Into::into);
        id(&base.clone().held(vec![process]))
    };
    assert_eq!(running(Some("java -jar shop-1.4.2.jar")), running(Some("java -jar shop-1.5.jar")));
    assert_ne!(running(Some("java -jar shop-1.4.2.jar")), running(Some("java -jar cart-1.4.2.jar")));
    assert_ne!(running(Some("java -jar shop.jar")), running(None));
    // Numbers of redacted recordings are given out in any order.
    assert_eq!(running(Some("program 1")), running(None));
}

#[test]
fn the_exit_decision_counts_leaks_always_the_unclear_unless_allowed_and_the_harmless_never() {
    for (leak, fail, allow, want) in [
        (Some(true), true, false, true),
        (Some(true), true, true, true),
        (None, true, false, true),
        (None, true, true, false),
        (Some(false), true, false, false),
        (Some(true), false, false, false),
    ] {
        let mut desk = Desk::json(false);
        let v = verdict(Code::Unknown, Confidence::Low, leak, &[], "");
        desk.report(Case::new(1, 10, v).report(), NOW);
        // It stays a finding when it is closed after all.
        desk.report(release(1, NOW, Fact::Known(Ending::Closed), Fact::unknown("")), NOW);
        let summary = desk.finish(totals(NOW));
        assert_eq!(gate(&summary, fail, allow), want, "{leak:?} {fail} {allow}");
    }
    assert!(!gate(&Desk::json(false).finish(totals(NOW)), true, false), "nothing was reported");
}

#[test]
fn the_last_verdict_of_a_socket_is_the_one_that_counts() {
    let mut desk = Desk::text(OPTIONS);
    let unclear = verdict(Code::Unknown, Confidence::Low, None, &[], "");
    let fine = verdict(Code::IdlePool, Confidence::High, Some(false), &[], "");
    desk.report(Case::new(1, 10, unclear).report(), NOW);
    desk.report(Case::new(1, 10, fine).report(), NOW);
    let summary = desk.finish(totals(NOW));
    assert_eq!((summary.leak.total(), summary.leak.no, summary.by_cause.len()), (1, 1, 1));
    assert!(!gate(&summary, true, false));
}

#[test]
fn many_ended_causes_are_forgotten_and_still_counted() {
    let mut desk = Desk::text(OPTIONS);
    let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &[], "");
    for id in 0..12_000_u32 {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + id).to_string();
        desk.report(Case::new(id, 10, v.clone()).client(&ip, 443).report(), NOW);
        if id != 5 {
            desk.report(release(id, NOW, Fact::Known(Ending::Closed), Fact::unknown("")), NOW);
        }
    }
    let summary = desk.finish(totals(NOW));
    assert_eq!((summary.leak.yes, summary.stuck, summary.released.total()), (12_000, 1, 11_999));
    assert_eq!(summary.by_cause.len() as u64 + summary.causes_forgotten, 12_000);
    assert!(summary.by_cause.len() <= 10_000);
    assert_eq!(summary.by_cause[0].stuck, 1, "what is stuck is never forgotten");
}

#[test]
fn a_broken_pipe_goes_up_and_the_other_sink_goes_on() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let page = Page::default();
    let mut desk = Desk::json(false);
    desk.reporter = Reporter::new(vec![
        Box::new(JsonSink::new(Box::new(Broken), false)),
        Box::new(JsonSink::new(Box::new(page.clone()), false)),
    ]);
    let report = leak(0, 1, 1).remove(0);
    let error = desk.reporter.report(report, &desk.clock, NOW).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let (_, written) = desk.reporter.finish(totals(NOW), &desk.clock);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(assert_valid(&page.take()).len(), 2);
}

/// Closed 14 s after each EOF, never more than eight at a time: no leak that goes on.
#[test]
fn what_is_closed_late_is_not_called_leaked_and_comes_after_what_grows() {
    let balance = Growth {
        watched: Duration::from_mins(2),
        births: 20,
        closes: 12,
        per_minute: 4.0,
        at_least: -0.5,
        at_most: 9.0,
    };
    let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &["0 bytes unread"], "Close it.");
    let run = |growth| {
        let mut desk = Desk::text(OPTIONS);
        for id in 0..20 {
            if id >= 8 {
                desk.report(release(id - 8, NOW, Fact::Known(Ending::Closed), Fact::unknown("")), NOW);
            }
            let case = Case::new(id, 14, v.clone()).held(vec![holder(72, "closer", "/usr/bin/closer", 3)]);
            desk.report(Case { growth, ..case }.report(), NOW);
        }
        desk.all(leak(100, 2, 71));
        let summary = desk.finish(totals(NOW));
        (summary, desk.out.take())
    };
    let (summary, text) = run(Some(balance));
    assert_eq!((summary.leak.yes, summary.closed.yes, summary.stuck), (22, 12, 10));
    assert!(gate(&summary, true, false), "the contract of the exit code is as it was");
    assert!(text.contains("22 judged a leak, of which 12 closed late"), "{text}");
    assert!(text.contains("closes late, bounded: 8 at a time"), "{text}");
    assert_eq!(summary.by_cause[0].stuck, 2, "what may grow comes first");
    for growth in [None, Some(Growth { at_least: 0.1, ..balance }), Some(Growth { closes: 0, ..balance })] {
        let (summary, text) = run(growth);
        assert!(!text.contains("bounded"), "{growth:?}: {text}");
        assert_eq!(summary.by_cause[0].stuck, 8);
    }
}

#[test]
fn a_cause_is_called_by_the_worst_of_its_sockets_and_shows_one_of_those() {
    let unclear = verdict(Code::IdlePool, Confidence::Medium, None, &["not watched"], "Wait.");
    let fine = verdict(Code::IdlePool, Confidence::High, Some(false), &["bounded"], "Nothing.");
    let (one, two) = (Case::new(1, 10, unclear.clone()), Case::new(2, 10, unclear));
    let well = |case: &Case| Case { verdict: fine.clone(), ..case.clone() }.report();
    for (last, head) in [
        (vec![well(&one)], "IDLE_POOL (medium)  1 unclear, 1 harmless"),
        (vec![well(&two)], "IDLE_POOL (medium)  1 unclear, 1 harmless"),
        (vec![well(&one), well(&two)], "IDLE_POOL (high)  harmless"),
    ] {
        let mut desk = Desk::text(OPTIONS);
        desk.all(vec![one.report(), two.report()]);
        desk.all(last);
        // They are looked at again and again.
        desk.all(if head.contains("1 unclear") { vec![one.report(), well(&two)] } else { Vec::new() });
        desk.finish(totals(NOW));
        let text = desk.out.take();
        let end = text.rfind("IDLE_POOL (").unwrap();
        assert!(text[end..].starts_with(head), "{text}");
    }
}

/// JUnit and annotations have it in a title, beside other text.
#[test]
fn a_story_quotes_what_could_pass_for_text_around_it() {
    let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &[], "");
    let mut process = holder(7, "python3", "/usr/bin/python3", 3);
    of(&mut process).program = Some("python3 x, nginx[88]\n".into());
    let finding = Case::new(1, 10, v).held(vec![process]).finding();
    let mut out = Vec::new();
    closewait_trace::report::junit::write(&mut out, &[&finding]).unwrap();
    let text = String::from_utf8(out).unwrap();
    let title = "1 socket of python3[7] &quot;x, nginx[88]\\n&quot; stuck in CLOSE_WAIT: EOF_IGNORED";
    assert!(text.contains(title), "{text}");
}

/// Which way a connection was opened, its descriptor, whether it is a leak, and the program's own
/// functions: as text has them.
#[test]
fn a_story_tells_a_socket_as_text_does() {
    let v = verdict(Code::IdlePool, Confidence::Medium, None, &[], "");
    let mut frames = stack(&["_PyEval_EvalFrame", "lease", "main"]);
    frames[0].module = Some("/usr/bin/python3.11".into());
    for frame in &mut frames[1..] {
        (frame.how, frame.module) = (How::Python, None);
        (frame.file, frame.line) = (Some("/srv/pool.py".into()), Some(7));
    }
    frames.insert(2, frames[0].clone());
    let opener = Fact::Known(frames);
    let mut case = Case::new(1, 10, v).held(vec![holder(7, "python3", "/usr/bin/python3", 5)]).opened(
        7,
        "python3",
        OpenedVia::Connect,
        opener,
    );
    case.role = Fact::Known(Role::Client);
    let tuple = case.tuple;
    let finding = case.finding();
    let mut junit = Vec::new();
    closewait_trace::report::junit::write(&mut junit, &[&finding]).unwrap();
    let mut annotation = Vec::new();
    closewait_trace::report::annotations::write(&mut annotation, &[&finding], None).unwrap();
    let [junit, annotation] = [junit, annotation].map(|out| String::from_utf8(out).unwrap());
    for text in [junit.replace("&gt;", ">"), annotation.replace("%0A", "\n")] {
        let place = format!("\nwhere: connected {} -> {}, fd 5\n", tuple.local, tuple.remote);
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("stuck in CLOSE_WAIT: IDLE_POOL (unclear), opened in lease"), "{text}");
        assert!(text.contains("  lease (/srv/pool.py:7)\n  main (") && !text.contains("_PyEval"), "{text}");
    }
    let two = [&finding, &finding];
    let mut junit = Vec::new();
    closewait_trace::report::junit::write(&mut junit, &two).unwrap();
    assert!(String::from_utf8(junit).unwrap().contains("\nwhere: e.g. connected "));
}
