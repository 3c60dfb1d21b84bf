//! The text for people.

use std::time::Duration;

use closewait_trace::fact::Fact;
use closewait_trace::item::Gap;
use closewait_trace::report::text::LEAST;
use closewait_trace::report::{
    Apart, CauseId, Copies, Cost, Ending, FirstLook, Report, Style, TextOptions, Totals,
};
use closewait_trace::tracker::TrackerStats;
use closewait_trace::verdict::{Code, Confidence};
use unicode_width::UnicodeWidthStr;

use crate::desk::{Desk, OPTIONS, Page, assert_fits, golden, totals};
use crate::made::{
    Case, NOW, endings, holder, hostile, incident, interpreted, leak, of, one_of_each, release, talk, verdict,
};

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

/// What one interpreter runs in several processes parts its causes, which nothing else does
/// where no stack is known; workers of one program stay together.
#[test]
fn programs_of_one_interpreter_have_heads_of_their_own() {
    let mut desk = Desk::text(OPTIONS);
    desk.all(interpreted());
    desk.finish(totals(NOW));
    let text = desk.out.take();
    assert_fits(&text);
    golden("programs.txt", &text);
}

#[test]
fn a_gate_says_what_it_goes_by() {
    for (least, running, says) in [
        (
            100,
            Some(10_000),
            "1 socket in CLOSE_WAIT for 100ms or longer at the end of the process, or for 10s before: 1 leaked",
        ),
        (
            0,
            Some(10_000),
            "1 socket in CLOSE_WAIT for any time at the end of the process, or for 10s before: 1 leaked",
        ),
        (50, Some(50), "1 socket in CLOSE_WAIT for 50ms or longer: 1 leaked"),
        (50, None, "1 socket in CLOSE_WAIT for 50ms or longer: 1 leaked"),
    ] {
        let (threshold, running) = (Duration::from_millis(least), running.map(Duration::from_millis));
        let mut desk = Desk::text(TextOptions { threshold, once: true, ..OPTIONS });
        desk.all(leak(0, 1, 70));
        desk.finish(Totals { threshold, running, ..totals(NOW) });
        let text = desk.out.take().replace('\n', " ");
        assert!(text.starts_with(says), "{text}");
    }
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
                assert!(line.width() <= width.max(LEAST), "{width}: {line}");
            }
        }
    }
}

/// Of what one needs to act, nothing is cut where lines are short.
#[test]
fn a_narrow_terminal_has_every_pid_descriptor_and_code() {
    let words = |width| {
        let style = Style { color: false, width };
        let mut desk = Desk::text(TextOptions { style, ..OPTIONS });
        desk.all(incident());
        desk.finish(totals(NOW));
        desk.out.take().split_whitespace().collect::<String>()
    };
    let whole = words(99);
    let mut wanted = Vec::new();
    for report in incident() {
        let (Report::Stuck(finding) | Report::Ghost(finding)) = report else { continue };
        wanted.push(finding.verdict.code.to_string());
        if let Fact::Known(holder) = finding.owner() {
            wanted.extend([format!("{}]", holder.pid), format!("fd{}", holder.fd)]);
        }
    }
    // What is told of causes of many sockets is an example of each.
    wanted.retain(|word| whole.contains(word));
    assert!(wanted.len() > 10, "{wanted:?}");
    for width in LEAST..99 {
        let narrow = words(width);
        for word in &wanted {
            assert!(narrow.contains(word), "{word:?} is missing at {width}: {narrow}");
        }
    }
}

#[test]
fn holders_that_have_no_room_are_counted() {
    let holders = 9;
    let held = (0..holders).map(|n| {
        let mut process = holder(1_234_560 + n, "python3.11", "/usr/bin/python3.11", 7);
        of(&mut process).program = Some(format!("python3.11 order-service-{n}.py").into());
        process
    });
    let v = verdict(Code::Inherited, Confidence::Medium, Some(true), &["0 bytes unread"], "Close it.");
    let finding = Case::new(1, 20, v).held(held.collect()).report();
    for width in LEAST..240 {
        for group in [true, false] {
            let style = Style { color: false, width };
            let mut desk = Desk::text(TextOptions { style, group, ..OPTIONS });
            desk.report(finding.clone(), NOW);
            desk.finish(totals(NOW));
            let text = desk.out.take();
            assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("python3.11[1234560]"), "the owner at {width}: {text}");
            let (_, held) = words.split_once(" held by ").unwrap();
            let (held, _) = held.split_once(" opened ").unwrap();
            let more = held.strip_suffix(" more").unwrap_or_else(|| panic!("{width}: {text}"));
            let more: usize = more.rsplit_once(' ').unwrap().1.parse().unwrap();
            let told = held.matches(" fd 7").count();
            assert_eq!(told + more, holders as usize, "{width}: {text}");
            assert!(width < 200 || told == 6 && held.contains("] order-service-5.py fd"), "{text}");
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

#[test]
fn a_screen_that_is_repeated_tells_of_now() {
    let every = Duration::from_mins(1);
    let mut desk = Desk::text(TextOptions { interval: Some(every), ..OPTIONS });
    desk.report(Report::FirstLook(FirstLook { watched: 38_212, young: 3 }), NOW);
    let first = desk.out.take();
    assert!(first.contains("38,212 watched, 3 in CLOSE_WAIT now"), "{first}");
    for (minute, watching, words) in [
        (1, FirstLook { watched: 38_215, young: 6 }, "38,215 watched, 6 in CLOSE_WAIT now"),
        (2, FirstLook { watched: 38_215, young: 0 }, "38,215 watched, none is in CLOSE_WAIT now"),
    ] {
        desk.reporter.set_watching(watching);
        desk.tick(NOW + every * minute);
        let screen = desk.out.take();
        assert!(screen.contains(words), "{screen}");
    }
}

#[test]
fn nothing_is_said_of_what_was_looked_at_only() {
    let mut story = String::new();
    for apart in [
        Apart { by_holder: 5, ..Apart::default() },
        Apart { by_ends: 1, ..Apart::default() },
        Apart { unread: 5, ..Apart::default() },
        Apart { by_holder: 1_000, by_ends: 2, unread: 1, ..Apart::default() },
        Apart { unreached: 1, ..Apart::default() },
        Apart { unread: 2, unreached: 7_000, failed_looks: 17, ..Apart::default() },
        Apart { by_holder: 69, ghosts: 15, ..Apart::default() },
        Apart { ghosts: 1, ..Apart::default() },
    ] {
        let mut desk = Desk::text(OPTIONS);
        desk.reporter.set_apart(apart);
        let mut totals = totals(NOW);
        totals.tracker = TrackerStats { tracked: apart.by_holder + 2, ..TrackerStats::default() };
        let summary = desk.finish(totals);
        assert_eq!(summary.young(), 2, "those that do not fit are not young");
        story += &desk.out.take();
        story += "\n";
    }
    assert_fits(&story);
    golden("apart.txt", &story);
}

#[test]
fn what_happened_so_long_ago_is_as_of_the_screen() {
    let every = Duration::from_secs(10);
    let mut desk = Desk::text(TextOptions { interval: Some(every), ..OPTIONS });
    for mut report in one_of_each() {
        if let Report::Stuck(finding) | Report::Ghost(finding) = &mut report {
            finding.words = None;
            desk.report(report, NOW);
        }
    }
    desk.report(Report::FirstLook(FirstLook::default()), NOW);
    let agos = |screen: String| -> Vec<f64> {
        let screen = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        let before = screen.split(" s ago").map(|text| text.rsplit(' ').next().expect("a word"));
        let numbers: Vec<_> = before.filter_map(|word| word.parse().ok()).collect();
        assert!(screen.contains("returned 0 (EOF)"), "{screen}");
        numbers
    };
    let first = agos(desk.out.take());
    desk.tick(NOW + every);
    let second = agos(desk.out.take());
    let later: Vec<_> = first.iter().map(|seconds| seconds + 10.0).collect();
    assert_eq!(second, later);
    assert!(!first.is_empty());
}

#[test]
fn what_does_not_fit_is_in_close_wait_all_the_same() {
    let mut desk = Desk::text(OPTIONS);
    desk.reporter.set_apart(Apart { by_holder: 69, ghosts: 15, ..Apart::default() });
    let mut totals = totals(NOW);
    (totals.watched, totals.tracker) = (69, TrackerStats { tracked: 69, ..TrackerStats::default() });
    desk.finish(totals);
    let text = desk.out.take().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("69 watched, none that fits is in CLOSE_WAIT now"), "{text}");
    assert!(text.contains("69 in it now"), "{text}");
    assert!(text.contains("69 sockets in CLOSE_WAIT and 15 ghosts do not fit the filter"), "{text}");
}

#[test]
fn of_one_look_there_is_one_report_at_the_end() {
    let mut desk = Desk::text(TextOptions { once: true, ..OPTIONS });
    desk.all(incident());
    assert_eq!(desk.reporter.deadline(), None);
    // Later than any screen of a trace.
    desk.tick(NOW + Duration::from_secs(10));
    assert_eq!(desk.out.take(), "");
    desk.finish(totals(NOW + Duration::from_secs(10)));
    let text = desk.out.take();
    assert_eq!(text.matches(" in CLOSE_WAIT for 10s or longer").count(), 1, "{text}");
    assert!(!text.contains("\n-- "), "{text}");
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
    let mut totals = totals(NOW);
    totals.tracker.waiting = 46_400;
    desk.finish(totals);
    let text = desk.out.take();
    assert_fits(&text);
    golden("limit.txt", &text);
}

#[test]
fn one_socket_at_a_time() {
    let mut desk = Desk::text(TextOptions { group: false, ..OPTIONS });
    desk.all(one_of_each());
    desk.all(endings());
    let mut totals = totals(NOW);
    totals.tracker = TrackerStats::default();
    desk.finish(totals);
    let text = desk.out.take();
    assert_fits(&text);
    golden("sockets.txt", &text);
}

#[test]
fn notices_and_losses_are_talk_not_reports() {
    let mut desk = Desk::text(OPTIONS);
    desk.all(talk());
    assert_eq!(desk.out.take(), "");
    golden("notes.txt", &desk.notes.take());
}
