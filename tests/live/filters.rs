//! Of two servers that leak, each filter leaves one.

use rustix::process::Signal;

use super::netns::Netns;
use super::tool::Tool;
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
