//! When nothing can be found out: a socket of a network namespace that no process, thread
//! or mount refers to. Its edges are recorded; to look at it, one would have to enter.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{THRESHOLD_MS, Tool, binary};

#[test]
fn a_socket_that_cannot_be_looked_at_has_no_verdict() {
    let net = Netns::new();
    let threshold = format!("{THRESHOLD_MS}ms");
    let mut tool =
        Tool::spawn(Command::new(binary()).args(["--netns", "all", "-o", "json", "--threshold", &threshold]));
    tool.attached();
    let mut program = Scenario::start(&net, "receiving", &["adrift", "--count", "3"]);
    program.expect("ready");
    let inside = program.expect("inside").number("netns");
    program.done();
    let ours = |line: &&Value| line["socket"]["netns"] == inside;
    tool.comes_to_print("three sockets", |ended| ended.of_kind("stuck").filter(ours).count() == 3);
    program.tell("close");
    program.expect("closed");
    tool.comes_to_print("three ends", |ended| ended.of_kind("released").filter(ours).count() == 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    for line in ended.of_kind("stuck").filter(ours) {
        let verdict = &line["verdict"];
        assert_eq!((&verdict["code"], &verdict["leak"]), (&"UNKNOWN".into(), &Value::Null), "{line}");
        assert_eq!(verdict["confidence"], "low", "{line}");
        let missing = verdict["missing"].to_string();
        assert!(missing.contains("no process, thread or mount referred to network namespace"), "{line}");
        assert_eq!(line["holders"], Value::Array(vec![]), "{line}");
        assert!(line["holders_unknown"].is_string(), "{line}");
        // What was recorded is known all the same.
        assert_eq!(line["opener"]["pid"], program.pid(), "{line}");
        assert_eq!(line["age_ms"]["min"], line["age_ms"]["max"], "{line}");
    }
    for line in ended.of_kind("released").filter(ours) {
        assert_eq!(
            (&line["how"], &line["closer"]["pid"]),
            (&"closed".into(), &program.pid().into()),
            "{line}"
        );
    }
}
