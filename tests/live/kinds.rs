//! One test for each way a socket can be left in CLOSE_WAIT: what is said about it
//! besides who holds it, which [`Workload::is_reported_by`] checks. To add a way,
//! add a test here, and an option or a program in tests/scenarios.

use std::time::Duration;

use closewait_trace::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::leaked::{Leaked, opener_is_missing, stack_ends_early, stack_is_missing};
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Ended, THRESHOLD_MS, Tool};
use super::waiting::{show, until};
use super::workload::{SERVER, Side, Workload};

/// The reports of three leaks by `leaky_server` with these options.
fn three_leaks(options: &[&str]) -> Vec<Value> {
    let net = Netns::new();
    let workload = Workload { server: options, ..SERVER };
    let ended = workload.is_reported_by(Tool::trace(&net, &[]), &net);
    ended.of_kind("stuck").cloned().collect()
}

/// Every report has this verdict and this many bytes unread, the FIN being one.
fn all_are(reports: &[Value], code: &str, unread: u32) {
    for report in reports {
        assert_eq!(report["verdict"]["code"], code, "{report}");
        assert_eq!(report["queues"]["recv"], unread, "{report}");
    }
}

#[test]
fn nothing_is_read() {
    all_are(&three_leaks(&["--read", "none"]), "NOT_READING", 8);
}

#[test]
fn one_byte_is_read() {
    all_are(&three_leaks(&["--read", "some"]), "NOT_READING", 7);
}

#[test]
fn bytes_are_only_peeked_at() {
    all_are(&three_leaks(&["--read", "peek"]), "NOT_READING", 8);
}

#[test]
fn one_read_takes_bytes_and_fin() {
    all_are(&three_leaks(&["--read", "once"]), "EOF_CONSUMED", 0);
}

/// Who holds a socket was not asked at the first look, when nobody could.
#[test]
fn one_is_accepted_between_two_looks() {
    let net = Netns::new();
    let server = Scenario::start(&net, "leaky_server", &["--leak", "3"]);
    let port = server.port();
    let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("it runs");
    let mut tool = Tool::trace(&net, &[]);
    let client = Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "3"]);
    client.done();
    // The second look comes 400 ms after the first. On a slow machine this may be before
    // both or after: the end is the same.
    let between = Clock::mono_now() + Duration::from_millis(THRESHOLD_MS + 250);
    until("the first look was taken", || (Clock::mono_now() >= between).then_some(()));
    kill_process(pid, Signal::CONT).expect("it runs");
    let leaks = server.done();
    let held = |ended: &Ended| {
        leaks.iter().all(|(&port, kept)| {
            let of_port = ended.of_kind("stuck").filter(|line| line["socket"]["remote"]["port"] == port);
            of_port.last().is_some_and(|line| {
                line["holders"][0]["pid"] == kept.pid && line["holders"][0]["fd"] == kept.fd
            })
        })
    };
    assert!(tool.prints(held), "their holders are told");
    let ended = tool.signal(Signal::INT);
    for line in ended.of_kind("stuck") {
        assert_ne!(line["verdict"]["code"], "UNHELD", "{line}");
    }
}

#[test]
fn a_child_holds_it() {
    // The holders are compared with the children the server says it left them to.
    let reports = three_leaks(&["--fork"]);
    assert!(reports.iter().all(|report| report["opener"]["pid"] != report["holders"][0]["pid"]));
}

/// The server ends as soon as it has accepted; its children keep the sockets. The
/// stack can be named if the tool had time to learn where its code was: it has
/// when the first of the sockets, accepted on the same path, is already reported.
#[test]
fn the_opener_is_gone() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let server = Scenario::start(&net, "leaky_server", &["--fork", "--leave", "--leak", "4"]);
    let port = server.port();
    let call = |times| Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", times]);
    let _first = call("1");
    tool.has_reported("stuck", 1);
    let other = Some(call("3"));
    let leaks = server.done();
    let functions = SERVER.functions;
    let leaked = Leaked { net: &net, port, side: Side::Server, leaks, leaker: server, other, functions };
    leaked.is_reported_by(tool);
}

/// The same, but nothing was known of the process before it ended.
#[test]
fn the_opener_is_gone_at_once() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let leaked = Workload { server: &["--fork", "--leave"], ..SERVER }.run(&net, &net);
    tool.has_reported("stuck", 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    for report in ended.of_kind("stuck") {
        assert!(leaked.holder_is_right(report), "{report}");
        assert!(leaked.opener_is_right(report), "{report}");
        let is_said = stack_is_missing(report) || stack_ends_early(report);
        assert!(leaked.stack_is_right(report) || is_said, "{report}");
    }
}

#[test]
fn close_on_exec_is_told() {
    let told = |options: &[&str]| -> Vec<Value> {
        three_leaks(options).iter().map(|report| report["holders"][0]["cloexec"].clone()).collect()
    };
    assert_eq!(told(&["--cloexec"]), [true, true, true]);
    assert_eq!(told(&[]), [false, false, false]);
}

#[test]
fn closed_late() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let mut leaked = SERVER.run(&net, &net);
    tool.has_reported("stuck", 3);
    leaked.leaker.tell("close");
    tool.has_reported("released", 3);
    until("ss shows none any more", || net.close_wait().is_empty().then_some(()));
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    leaked.are_reported_in(&ended);
    for released in ended.of_kind("released") {
        assert!(leaked.include(released), "{released}");
        assert_eq!(released["how"], "closed", "{released}");
        assert_eq!(released["closer"]["pid"], leaked.leaker.pid(), "{released}");
    }
}

#[test]
fn never_accepted() {
    let net = Netns::new();
    let server = Scenario::start(&net, "leaky_server", &["--never-accept", "--backlog", "17"]);
    let port = server.port();
    let mut tool = Tool::trace(&net, &[]);
    let calls = ["--port", &port, "--first", "--send", "7", "--close", "5"];
    let client = Scenario::start(&net, "leaky_client", &calls);
    client.done();
    tool.has_reported("stuck", 5);
    until("ss shows the five", || (net.close_wait().len() == 5).then_some(()));
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    assert_eq!(ended.of_kind("stuck").count(), 5, "{}", ended.everything());
    for report in ended.of_kind("stuck") {
        assert_eq!(report["verdict"]["code"], "NOT_ACCEPTED", "{report}");
        assert_eq!(report["verdict"]["leak"], true, "{report}");
        assert_eq!(report["holders"], Value::Array(vec![]), "{report}");
        let listener = &report["listener"];
        assert_eq!(listener["pid"], server.pid(), "{report}");
        assert_eq!((&listener["queue"], &listener["limit"]), (&5.into(), &17.into()), "{report}");
    }
}

/// It does call accept(), which has no descriptor to give.
#[test]
fn not_accepted_for_want_of_descriptors() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let leaks = ["--nofile", "40", "--leak", "60", "--read", "none"];
    let server = Scenario::start(&net, "leaky_server", &leaks);
    let port = server.port();
    let client = Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "60"]);
    client.done();
    let mut leaked = 0;
    while server.hear().word == "leak" {
        leaked += 1;
    }
    tool.has_reported("stuck", 60);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let is_queued = |report: &&Value| report["verdict"]["code"] == "NOT_ACCEPTED";
    let queued: Vec<_> = ended.of_kind("stuck").filter(is_queued).collect();
    assert_eq!(queued.len(), 60 - leaked, "{}", ended.everything());
    for report in queued {
        let (why, advice) =
            (report["verdict"]["evidence"].to_string(), report["verdict"]["next"].to_string());
        let pid = server.pid();
        let full = format!("leaky_server[{pid}] is out of descriptors, with 40 in use and a limit of 40");
        assert!(why.contains(&full) && why.contains("EMFILE") && !why.contains("in accept()"), "{report}");
        assert!(advice.contains("higher limit than 40"), "{report}");
        let nofile = &report["limits"]["nofile"];
        assert_eq!((&nofile["used"], &nofile["soft"]), (&40.into(), &40.into()), "{report}");
    }
}

#[test]
fn accepted_by_io_uring() {
    let net = Netns::new();
    let said = Scenario::start(&net, "uring_server", &[]).hear();
    if said.word == "refused" {
        show(&format!("io_uring accept: NOT RUN, this kernel refuses io_uring: {said:?}"));
        return;
    }
    let mut tool = Tool::trace(&net, &[]);
    let leaked = Workload { program: "uring_server", leak: 7, ..SERVER }.run(&net, &net);
    tool.has_reported("stuck", 7);
    leaked.agree_with_ss();
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let openers = ended.of_kind("stuck").filter(|report| leaked.opener_is_right(report)).count();
    show(&format!("io_uring accept: {openers} of 7 with their opener"));
    assert_eq!(ended.of_kind("stuck").count(), 7, "{}", ended.everything());
    for report in ended.of_kind("stuck") {
        assert!(leaked.include(report), "{report}");
        assert!(leaked.holder_is_right(report), "{report}");
        assert!(leaked.opener_is_right(report) || opener_is_missing(report), "{report}");
    }
}
