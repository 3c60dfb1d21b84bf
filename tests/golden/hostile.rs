//! Names that attack the terminal, the layout or the parser; stacks of every kind.

use closewait_trace::clock::MonoNs;
use closewait_trace::fact::Fact;
use closewait_trace::report::Report;
use closewait_trace::tracker::Since;
use closewait_trace::verdict::{Code, Confidence, How, Listener, OpenedVia};

use super::{Case, fds, holder, of, stack, tuple, verdict};

/// A finding for each.
pub(crate) fn hostile() -> Vec<Report> {
    let v = |code| verdict(code, Confidence::Medium, Some(true), &["Recv-Q 0"], "Close it.");
    let names = [
        "\u{1b}[31mred\u{1b}[0m",
        "a\nb\r\t",
        "\u{202e}gpj.exe\u{202c}",
        "java[1]  leak",
        "lossy\u{fffd}\u{fffd}",
        "back\\slash",
        "日本語のプロセス名前",
        "\u{9b}2J\u{7f}\u{0}",
        "",
    ];
    let mut reports = Vec::new();
    for (i, name) in (0_u32..).zip(names) {
        let mut h = holder(100 + i, name, &format!("/tmp/{name}/{}", "long".repeat(60)), i);
        of(&mut h).container = Some(format!("docker {name}{}", "0123456789abcdef".repeat(4)).into());
        // Of a recording that was made up: what is read is bounded.
        of(&mut h).program = (i % 2 == 0).then(|| format!("{name} x  {name}{}", "y".repeat(200)).into());
        h.cloexec = Fact::unknown("no fdinfo");
        of(&mut h).uid = Fact::unknown("no status");
        if i == 3 {
            of(&mut h).exe = Fact::unknown("EACCES\u{1b}]0;x\u{7}");
        }
        let deep: Vec<String> = (0..128).map(|f| format!("{name}::frame_{}", f / (i + 1))).collect();
        let deep = stack(&deep.iter().map(String::as_str).collect::<Vec<_>>());
        let mut verdict = v(Code::EofIgnored);
        verdict.evidence = vec![format!("seen in {name}"), "x".repeat(300)];
        verdict.next = format!("Ask {name} to close it. {}", "Really. ".repeat(60));
        let mut case = Case::new(i, 60 + u64::from(i), verdict).held(vec![h]);
        case.tuple = tuple(
            "2001:db8:1111:2222:3333:4444:5555:6666",
            65_535,
            "2001:db8:ffff:ffff:ffff:ffff:ffff:fff2",
            65_534,
        );
        reports.push(case.opened(100 + i, name, OpenedVia::Accept, Fact::Known(deep)).report());
    }
    // Frames without symbols, with nothing at all, from scanning; an empty stack.
    let mut frames = stack(&[
        "ns::pool<std::map<int, std::vector<std::string>>>::take(std::string const&)",
        "b",
        "c",
        "c",
    ]);
    frames[1].symbol = None;
    frames[1].build_id = Some("5d1c9a0f\u{1b}7b2e44d09f3b8c6a1e5f7d2043b9c8a6".into());
    frames[2].how = How::Scan;
    frames[3].symbol = None;
    frames[3].module = None;
    let h = fds(holder(200, "plain", "/usr/bin/plain", 3), u64::MAX, 0);
    let case = Case::new(50, 5, v(Code::NotReading)).held(vec![h.clone()]);
    reports.push(case.opened(200, "plain", OpenedVia::Accept, Fact::Known(frames)).report());
    let case = Case::new(51, 5, v(Code::SlowReader)).held(vec![h]);
    reports.push(case.opened(200, "plain", OpenedVia::Accept, Fact::Known(Vec::new())).report());
    // Nothing is known at all.
    let mut blank = Case::new(52, 5, verdict(Code::Unknown, Confidence::Low, None, &[], ""));
    blank.look_failed = Some("the socket could not be looked at: \u{1b}[2J".into());
    blank.role = Fact::unknown("opened before this trace began");
    blank.since = Since::NoLaterThan(MonoNs(0));
    reports.push(blank.report());
    // The listener's process is hidden.
    let mut orphan = Case::new(53, 5, v(Code::NotAccepted));
    orphan.listener = Fact::Known(Listener { holder: None, queue: u32::MAX, limit: 0 });
    reports.push(orphan.report());
    // Held by nobody.
    reports.push(Case::new(54, 5, v(Code::Unheld)).held(Vec::new()).report());
    reports
}
