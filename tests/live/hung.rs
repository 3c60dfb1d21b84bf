//! What a process can do with its own memory and descriptors so that who looks into it stands still.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::kept;
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Tool, binary};
use super::waiting::{show, until};
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

/// A descriptor is a socket when it is listed, and then a file whose server answers nobody: what is
/// asked of it, and that it was closed again, is never answered.
#[test]
fn a_descriptor_that_becomes_a_file_holds_nobody_up() {
    let (net, dir) = (Netns::new(), kept::dir());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("our directory");
    let server = Scenario::start(&net, "hung_socket", &["--mount", dir.path().to_str().expect("text")]);
    if server.hear().word == "without" {
        return show("descriptors that become files: not tried, there is no FUSE here");
    }
    for _ in 0..40 {
        let mut tool = Command::new(binary());
        tool.args(["snapshot", "--netns", &net.path()]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut tool = tool.spawn().expect("it runs");
        let status = until("a snapshot ends", || tool.try_wait().expect("our child"));
        assert!(status.success());
    }
}

/// A server whose program lies where nobody answers, and its port; `None` where there is no FUSE.
pub(crate) fn program_that_does_not_come(net: &Netns, dir: &TempDir) -> Option<(Scenario, String)> {
    let server = Scenario::start(net, "hung_program", &["--mount", dir.path().to_str().expect("text")]);
    let ready = server.hear();
    (ready.word != "without").then(|| (server, ready.number("port").to_string()))
}

/// Its peer closes a connection, and it does not.
pub(crate) fn is_left(net: &Netns, server: &Scenario, port: &str) {
    let client =
        Scenario::start(net, "leaky_client", &["--port", port, "--send", "3", "--first", "--close", "1"]);
    client.done();
    server.expect("leak");
}

/// Neither what is read of programs before tracing begins, nor what is read of them for stacks, waits
/// for who serves them.
#[test]
fn a_program_that_does_not_come_holds_nobody_up() {
    let (net, dir) = (Netns::new(), kept::dir());
    let Some((server, port)) = program_that_does_not_come(&net, &dir) else {
        return show("a program that does not come: not tried, there is no FUSE here");
    };
    let mut tool = Tool::trace(&net, &[]);
    is_left(&net, &server, &port);
    tool.has_reported("stuck", 1);
    let before = Clock::mono_now();
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    assert!(Clock::mono_now().since(before) < Duration::from_secs(30), "it did not end at once");
    let report = ended.of_kind("stuck").last().expect("a report").to_string();
    assert!(report.contains("does not answer"), "{report}");
}
