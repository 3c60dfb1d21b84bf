//! What a process can do with its own memory so that who looks into it stands still.

use std::time::Duration;

use rustix::process::Signal;

use super::kept;
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::Tool;
use super::waiting::show;
use closewait_trace::clock::Clock;

/// A thread waits in poll(), and its `struct pollfd` is in a page that is never fetched.
#[test]
fn memory_that_does_not_come_holds_nobody_up() {
    let (net, dir) = (Netns::new(), kept::dir());
    let server = Scenario::start(&net, "hung_memory", &["--mount", dir.path().to_str().expect("text")]);
    let ready = server.hear();
    if ready.word == "without" {
        return show("memory that does not come: not tried, there is no FUSE here");
    }
    let port = ready.number("port").to_string();
    let client =
        Scenario::start(&net, "leaky_client", &["--port", &port, "--send", "3", "--first", "--close", "1"]);
    client.done();
    server.expect("hung");
    let mut tool = Tool::trace(&net, &[]);
    tool.has_reported("stuck", 1);
    let before = Clock::mono_now();
    let ended = tool.signal(Signal::INT);
    ended.exits(0).said("the memory of process").said(&server.pid().to_string());
    assert!(Clock::mono_now().since(before) < Duration::from_secs(30), "it did not end at once");
    let report = ended.of_kind("stuck").next().expect("a report");
    let groups = report["threads"]["groups"].as_array().expect("groups");
    assert!(groups.iter().any(|group| group["syscall"] == "poll"), "{report}");
}
