//! Of two servers that leak, each filter leaves one.

use std::process::Command;

use rustix::process::Signal;

use super::netns::Netns;
use super::tool::{Tool, binary};
use super::workload::{SERVER, Workload};

#[test]
fn each_filter_leaves_one_of_two() {
    let net = Netns::new();
    // Both have leaked before the tool starts, so that it judges them together.
    let wanted = SERVER.run(&net, &net);
    let other = Workload { program: "go_leaky_server", ..SERVER }.run(&net, &net);
    let pid = wanted.leaker.pid().to_string();
    for filter in [
        ["--pid", &pid],
        ["--comm", "leaky_server"],
        ["--exclude-comm", "go_leaky_server"],
        ["--local-port", &wanted.port],
        ["--exclude-port", &other.port],
    ] {
        let mut tool = Tool::trace(&net, &filter);
        tool.has_reported("stuck", SERVER.leak);
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        assert_eq!(ended.of_kind("stuck").count(), SERVER.leak, "{filter:?}: {}", ended.everything());
        for report in ended.of_kind("stuck") {
            assert!(wanted.include(report), "{filter:?}: {report}");
            assert!(wanted.holder_is_right(report), "{filter:?}: {report}");
        }
    }
}

#[test]
fn what_does_not_fit_is_counted_apart_and_a_name_that_nothing_has_is_told() {
    let net = Netns::new();
    let workload = SERVER.run(&net, &net);
    let leaked = SERVER.leak as u64;
    let snapshot = |more: [&str; 2]| {
        let mut command = Command::new(binary());
        command.args(["snapshot", "--threshold", "10ms", "-o", "json", "--netns", &net.path()]).args(more);
        Tool::spawn(&mut command).end()
    };
    for (filter, hint) in
        [(["--comm", "leaky_serve"], Some("did you mean leaky_server?")), (["--pid", "1"], None)]
    {
        let ended = snapshot(filter);
        ended.exits(0);
        assert_eq!(ended.of_kind("stuck").count(), 0, "{}", ended.everything());
        let summary = ended.of_kind("summary").next().expect("a summary");
        assert_eq!(summary["totals"]["left_out"], leaked, "{summary}");
        let hints: Vec<_> = ended.of_kind("notice").filter_map(|notice| notice["hint"].as_str()).collect();
        assert_eq!(hints.first().copied(), hint, "{}", ended.everything());
    }
    let port = workload.port.as_str();
    let ended = snapshot(["--exclude-port", port]);
    let summary = ended.of_kind("summary").next().expect("a summary");
    assert_eq!(summary["totals"]["left_out"], leaked, "{summary}");
    // No process has a number above the kernel's limit (PID_MAX_LIMIT, 4 Mi).
    snapshot(["--pid", "4194305"]).exits(2).said("there is no such process");
}
