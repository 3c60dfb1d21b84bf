//! Reports compared character by character with the files in tests/golden.
//!
//! `UPDATE=1 cargo test --test golden` rewrites the files; the diff is then what
//! a reviewer reads.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

#[path = "golden/desk.rs"]
mod desk;
#[path = "golden/doctor.rs"]
mod doctor;
#[path = "golden/flame.rs"]
mod flame;
#[path = "metrics/host.rs"]
mod host;
#[path = "golden/html.rs"]
mod html;
#[path = "golden/kubernetes.rs"]
mod kubernetes;
#[path = "golden/made.rs"]
mod made;
#[path = "manifest.rs"]
mod manifest;
#[path = "golden/manual.rs"]
mod manual;
#[path = "golden/metrics.rs"]
mod metrics;
#[path = "golden/recordings.rs"]
mod recordings;
#[path = "golden/top.rs"]
mod top;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use closewait_trace::clock::MonoNs;
use closewait_trace::fact::Fact;
use closewait_trace::item::{Gap, Netns, Task};
use closewait_trace::report::schema::{schema, schema_file};
use closewait_trace::report::{
    CauseId, Closer, Copies, Cost, Ending, FirstLook, JsonSink, Level, Notice, Release, Report, Reporter,
    Style, TextOptions, gate,
};
use closewait_trace::tcp::State;
use closewait_trace::tracker::{Released, Since, SocketId, TrackerStats};
use closewait_trace::verdict::{Code, Confidence, OpenedVia};
use unicode_width::UnicodeWidthStr;

use desk::{Desk, OPTIONS, Page, assert_fits, assert_valid, golden, same_as_file, totals};
use made::{Case, NOW, ago, eof_read, fds, holder, hostile, incident, stack, tuple, verdict};

#[test]
fn an_incident_says_what_is_stuck_who_since_when_why_and_what_to_do() {
    let mut desk = Desk::text(OPTIONS);
    desk.all(incident());
    let mut totals = totals(NOW);
    totals.lost = Gap { enter: 7, recursion: 5, ..Gap::default() };
    totals.degraded = vec!["no stacks of sockets opened before this trace".into()];
    totals.cost = Cost {
        cpu: Some(Duration::from_millis(812)),
        rss: Some(11_010_048),
        bpf: Some(Duration::from_millis(31)),
        stacks: Some(Copies { copied: 42, put_off: 3, lost: 0 }),
    };
    desk.finish(totals);
    let text = desk.out.take();
    assert_fits(&text);
    golden("incident.txt", &text);
}

#[test]
fn hostile_names_are_inert_and_fit() {
    for (group, file) in [(true, "hostile.txt"), (false, "hostile-sockets.txt")] {
        let mut desk = Desk::text(TextOptions { group, ..OPTIONS });
        desk.all(hostile());
        desk.finish(totals(NOW));
        let text = desk.out.take();
        assert_fits(&text);
        golden(file, &text);
    }
}

#[test]
fn every_width_is_kept() {
    for width in 0..140 {
        for group in [true, false] {
            let style = Style { color: false, width };
            let mut desk = Desk::text(TextOptions { style, group, ..OPTIONS });
            desk.all(hostile());
            desk.finish(totals(NOW));
            for line in desk.out.take().lines() {
                assert!(line.width() <= width.max(60), "{width}: {line}");
            }
        }
    }
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let page = |color| {
        let style = Style { color, width: 99 };
        let mut desk = Desk::text(TextOptions { style, ..OPTIONS });
        desk.all(hostile());
        desk.finish(totals(NOW));
        desk.out.take()
    };
    let colored = page(true);
    assert!(colored.contains("\x1b[1;31m"));
    let mut plain = String::new();
    for (i, part) in colored.split("\x1b[").enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    let trimmed = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(trimmed(&plain), trimmed(&page(false)));
}

#[test]
fn when_nothing_is_stuck_the_reader_learns_that_somebody_looked() {
    let mut desk = Desk::text(OPTIONS);
    desk.report(Report::FirstLook(FirstLook { watched: 38_212, young: 3 }), NOW);
    let first = desk.out.take();
    let mut totals = totals(NOW + Duration::from_mins(10));
    totals.tracker = TrackerStats::default();
    desk.finish(totals);
    golden("nothing.txt", &format!("{first}{}", desk.out.take()));
}

/// A leak in one process: `n` sockets from `first` on.
fn leak(first: u32, n: u32, pid: u32) -> Vec<Report> {
    let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &["0 bytes unread"], "Close it.");
    (first..first + n)
        .map(|id| {
            let h = fds(holder(pid, "server", "/usr/bin/server", id), u64::from(id), 20_000);
            let case = Case::new(id, 10 + u64::from(id) / 100, v.clone()).held(vec![h]);
            case.opened(pid, "server", OpenedVia::Accept, Fact::Known(stack(&["serve", "main"]))).report()
        })
        .collect()
}

fn release(id: u32, at: MonoNs, how: Fact<Ending>, closer: Fact<Closer>) -> Report {
    Report::Released(Box::new(Release {
        released: Released {
            not_before: None,
            id: SocketId::from_parts(id, 1),
            netns: Netns(4_026_531_840),
            tuple: tuple("10.0.0.1", 8080, "10.0.0.2", 50_000),
            since: Since::Seen(ago(12)),
            at,
            to: Some(State::LastAck),
            by: None,
            was_suspect: true,
        },
        how,
        closer,
        before: None,
        cause: None,
    }))
}

#[test]
fn five_thousand_sockets_of_one_cause_are_a_handful_of_screens() {
    let ms = |n| NOW + Duration::from_millis(n);
    let mut desk = Desk::text(OPTIONS);
    let mut story = String::new();
    let mut say = |what: &str, page: &Page| {
        let text = page.take();
        assert_fits(&text);
        story += "=== ";
        story += what;
        story += "\n";
        story += &text;
    };

    desk.all(leak(0, 3, 70));
    assert_eq!(desk.out.take(), "", "nothing before the first look is over");
    desk.report(Report::FirstLook(FirstLook { watched: 100, young: 0 }), ms(900));
    say("the first screen", &desk.out);
    assert_eq!(desk.reporter.deadline(), None);

    // One more is no news; the sixth is: doubled.
    desk.all(leak(3, 1, 70));
    assert_eq!(desk.reporter.deadline(), None);
    for (i, report) in leak(4, 4_996, 70).into_iter().enumerate() {
        desk.report(report, ms(1_000 + i as u64 / 100));
    }
    assert_eq!(desk.reporter.deadline(), Some(ms(2_900)), "at most one screen per 2 s");
    desk.tick(ms(2_899));
    assert_eq!(desk.out.take(), "");
    desk.tick(ms(2_900));
    say("one screen for what has doubled eleven times", &desk.out);

    // A new cause, after a quiet time: printed once the burst has settled.
    for report in leak(9_000, 4, 71) {
        let Report::Stuck(mut finding) = report else { unreachable!() };
        finding.suspect.tuple.local.port = 9_090;
        finding.cause = CauseId::of(&finding.suspect, &finding.evidence, finding.verdict.code);
        desk.report(Report::Stuck(finding), ms(60_000));
    }
    assert_eq!(desk.reporter.deadline(), Some(ms(60_200)));
    desk.tick(ms(60_200));
    say("a new cause", &desk.out);

    // The process is restarted: 4,990 go at once; nothing is printed for that.
    for id in 0..4_990 {
        let how = if id % 10 == 0 { Ending::Closed } else { Ending::Exited };
        desk.report(release(id, ms(70_000), Fact::Known(how), Fact::unknown("not recorded")), ms(70_000));
    }
    assert_eq!(desk.reporter.deadline(), None);
    desk.tick(ms(80_000));
    assert_eq!(desk.out.take(), "");
    let summary = desk.finish(totals(ms(80_000)));
    say("the end", &desk.out);
    assert_eq!((summary.leak.yes, summary.stuck, summary.released.total()), (5_004, 14, 4_990));
    golden("screens.txt", &story);
}

#[test]
fn an_interval_repeats_the_whole_report() {
    let mut desk = Desk::text(TextOptions { interval: Some(Duration::from_secs(5)), ..OPTIONS });
    desk.all(leak(0, 3, 70));
    desk.report(Report::FirstLook(FirstLook { watched: 100, young: 0 }), NOW);
    let first = desk.out.take();
    assert_eq!(desk.reporter.deadline(), Some(NOW + Duration::from_secs(5)));
    desk.all(leak(0, 99, 70));
    desk.tick(NOW + Duration::from_secs(4));
    assert_eq!(desk.out.take(), "");
    desk.tick(NOW + Duration::from_secs(5));
    let second = desk.out.take();
    assert!(first.starts_with("3 sockets in") && second.starts_with("\n99 sockets in"), "{first}{second}");
}

#[test]
fn the_causes_beyond_the_limit_are_counted() {
    let mut desk = Desk::text(TextOptions { limit: 2, ..OPTIONS });
    for pid in 1..=5_u32 {
        for report in leak(pid * 100, pid, pid) {
            let Report::Stuck(mut finding) = report else { unreachable!() };
            finding.verdict.leak = [Some(true), None, Some(false)][pid as usize % 3];
            finding.cause.0 = pid;
            desk.report(Report::Stuck(finding), NOW);
        }
    }
    desk.finish(totals(NOW));
    let text = desk.out.take();
    assert_fits(&text);
    golden("limit.txt", &text);
}

#[test]
fn notices_and_losses_are_talk_not_reports() {
    let mut desk = Desk::text(OPTIONS);
    talk(&mut desk);
    assert_eq!(desk.out.take(), "");
    golden("notes.txt", &desk.notes.take());
}

fn talk(desk: &mut Desk) {
    let gap = Gap { from: ago(2), to: ago(1), enter: 100, leave: 20, malformed: 1, ..Gap::default() };
    desk.report(Report::Loss(gap), NOW);
    for (level, hint) in [(Level::Note, None), (Level::Warning, Some("run as root\u{1b}[2J".to_owned()))] {
        let text = "no stacks: \u{202e}perf_event_paranoid is 3".to_owned();
        desk.report(Report::Notice(Notice { level, text, hint }), NOW);
    }
}

/// Releases of every kind.
fn endings(desk: &mut Desk) {
    desk.all(leak(0, 4, 70));
    let task = Task { pid: 70, tid: 71, comm: "server".into() };
    let collector = Closer {
        task: task.clone(),
        stack: Fact::Known(
            stack(&["net.(*netFD).Close", "runtime.runfinq@mfinal.go:255", "runtime.goexit"]).into(),
        ),
        by_finalizer: true,
    };
    let killer = Closer { task, stack: Fact::unknown("the kernel gave none: EFAULT"), by_finalizer: false };
    desk.report(release(0, NOW, Fact::Known(Ending::Closed), Fact::Known(collector)), NOW);
    desk.report(release(1, NOW, Fact::Known(Ending::Destroyed), Fact::Known(killer)), NOW);
    let unseen = || Fact::unknown("its last edge was lost");
    desk.report(release(2, NOW, unseen(), Fact::unknown("its last edge was lost")), NOW);
    let Report::Released(mut kept) = release(3, NOW, Fact::Known(Ending::Exited), Fact::unknown("it exited"))
    else {
        unreachable!()
    };
    let Report::Stuck(finding) = leak(3, 1, 70).remove(0) else { unreachable!() };
    kept.before = Some(finding);
    desk.report(Report::Released(kept), NOW);
}

#[test]
fn one_socket_at_a_time() {
    let mut desk = Desk::text(TextOptions { group: false, ..OPTIONS });
    let mut shown = BTreeSet::new();
    for report in incident() {
        let (Report::Stuck(finding) | Report::Ghost(finding)) = &report else { unreachable!() };
        if shown.insert(finding.verdict.code) {
            desk.report(report, NOW);
        }
    }
    endings(&mut desk);
    let mut totals = totals(NOW);
    totals.tracker = TrackerStats::default();
    desk.finish(totals);
    let text = desk.out.take();
    assert_fits(&text);
    golden("sockets.txt", &text);
}

#[test]
fn json_lines_are_the_contract() {
    let mut desk = Desk::json(false);
    let mut shown = BTreeSet::new();
    for report in incident() {
        let (Report::Stuck(finding) | Report::Ghost(finding)) = &report else { unreachable!() };
        if shown.insert(finding.verdict.code) {
            desk.report(report, NOW);
        }
    }
    endings(&mut desk);
    talk(&mut desk);
    desk.finish(totals(NOW));
    let lines = desk.out.take();
    let kinds: BTreeSet<_> =
        assert_valid(&lines).iter().map(|l| l["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["ghost", "loss", "notice", "released", "stuck", "summary"]
    );
    golden("lines.jsonl", &lines);
}

#[test]
fn json_by_cause() {
    let mut desk = Desk::json(true);
    desk.all(incident());
    desk.finish(totals(NOW));
    let lines = desk.out.take();
    let parsed = assert_valid(&lines);
    assert!(parsed.iter().all(|l| l["kind"] == "cause" || l["kind"] == "summary"));
    golden("causes.jsonl", &lines);
}

#[test]
fn every_json_line_is_valid_whatever_the_names_and_however_many() {
    let mut desk = Desk::json(false);
    desk.all(hostile());
    desk.all(incident());
    desk.finish(totals(NOW));
    let lines = desk.out.take();
    assert!(lines.chars().all(|c| c == '\n' || !c.is_control()), "raw control characters");
    assert!(!lines.contains('\u{202e}'), "raw bidi controls");
    let parsed = assert_valid(&lines);
    assert_eq!(parsed.len(), hostile().len() + incident().len() + 1);
    let names: Vec<_> = parsed.iter().filter_map(|l| l["holders"][0]["comm"].as_str()).collect();
    assert!(names.contains(&"\u{202e}gpj.exe\u{202c}"), "escaped in JSON, the same when parsed");

    // "pids with more than 10 stuck sockets", as jq would answer it.
    let mut pids = BTreeMap::new();
    for line in parsed.iter().filter(|l| l["kind"] == "stuck") {
        for holder in line["holders"].as_array().unwrap() {
            *pids.entry(holder["pid"].as_u64().unwrap()).or_insert(0) += 1;
        }
    }
    pids.retain(|_, n| *n > 10);
    assert_eq!(pids.into_iter().collect::<Vec<_>>(), [(21_773, 4_924)]);
}

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

#[test]
fn a_json_line_waits_for_no_more_than_the_next_tick() {
    let page = Page::default();
    let mut desk = Desk::json(false);
    let out = io::BufWriter::with_capacity(1 << 20, page.clone());
    desk.reporter = Reporter::new(vec![Box::new(JsonSink::new(Box::new(out), false))]);
    assert_eq!(desk.reporter.deadline(), None);
    desk.all(leak(0, 100, 1));
    assert_eq!(page.take(), "");
    assert_eq!(desk.reporter.deadline(), Some(NOW), "due at once");
    desk.tick(NOW);
    assert_eq!(assert_valid(&page.take()).len(), 100);
    assert_eq!(desk.reporter.deadline(), None);
}

#[test]
fn the_committed_schema_is_the_one_the_code_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/closewait-trace.schema.json");
    same_as_file(&path, &schema_file());
}

#[test]
fn the_schema_refuses_what_is_not_a_line() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut desk = Desk::json(false);
    desk.all(leak(0, 1, 70));
    let line = assert_valid(&desk.out.take()).remove(0);
    assert!(validator.is_valid(&line));
    for (pointer, value) in [
        ("/schema", serde_json::json!(2)),
        ("/kind", serde_json::json!("gone")),
        ("/verdict/code", serde_json::json!("NOT_A_CODE")),
        ("/holders", serde_json::Value::Null),
        ("/socket/local/port", serde_json::json!(65_536)),
        ("/age_ms", serde_json::json!(7)),
    ] {
        let mut wrong = line.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
    let mut more = line.clone();
    more["surprise"] = 1.into();
    assert!(!validator.is_valid(&more), "a field the schema does not know");
    let mut less = line;
    less.as_object_mut().unwrap().remove("cause");
    assert!(!validator.is_valid(&less), "a field left out");
}
