//! Ghosts that were there before the tool: found by the kernel's iterator, without it,
//! and without any tracing.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Ended, Tool, binary, json_of};

/// The ways to look, and whether the way tells the remote end and the error.
const WAYS: [(&[&str], bool); 3] =
    [(&[], true), (&["--without", "iter_task_file"], false), (&["--btf", "/no/such/btf"], false)];

/// Three ghosts of a kind, beside sockets that are none, are found with their holders
/// and cause, and released.
fn are_found(kind: &str, code: &str) {
    for (options, tells) in WAYS {
        let net = Netns::new();
        let mut program = Scenario::start(&net, "closed", &[kind, "3"]);
        let leaks = program.done();
        let none = Scenario::start(&net, "closed", &["never", "2"]);
        none.done();
        let mut tool = Tool::spawn(Command::new(binary()).args(json_of(&net)).args(options));
        tool.has_reported("ghost", 3);
        program.tell("close");
        tool.has_reported("released", 3);
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        let mut fds: Vec<_> = leaks.values().map(|leak| json!([leak.pid, leak.fd])).collect();
        let mut reported = holders(&ended);
        fds.sort_by_key(Value::to_string);
        reported.sort_by_key(Value::to_string);
        assert_eq!(reported, fds, "{options:?}\n{}", ended.everything());
        for ghost in ended.of_kind("ghost") {
            assert_eq!(ghost["age_ms"]["max"], Value::Null, "{ghost}");
            assert!(ghost["age_ms"]["min"].as_u64() >= Some(2000), "{ghost}");
            assert_eq!(ghost["verdict"]["leak"], true, "{ghost}");
            if tells {
                assert_eq!(ghost["verdict"]["code"], code, "{ghost}");
                let port =
                    ghost["socket"]["remote"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
                assert!(leaks.contains_key(&port.expect("a port")), "{ghost}");
            } else {
                assert_ne!(ghost["verdict"]["confidence"], "high", "{ghost}");
            }
        }
    }
}

fn holders(ended: &Ended) -> Vec<Value> {
    let one = |ghost: &Value| json!([ghost["holders"][0]["pid"], ghost["holders"][0]["fd"]]);
    ended.of_kind("ghost").map(one).collect()
}

#[test]
fn by_reset() {
    are_found("reset", "GHOST_RESET");
}

#[test]
fn by_shutdown_without_close() {
    are_found("shutdown", "GHOST_SHUTDOWN");
}

#[test]
fn reset_before_anything_was_sent() {
    are_found("silent", "GHOST_RESET");
}

/// They are no sockets in CLOSE_WAIT, also where they do not fit the filter.
#[test]
fn that_do_not_fit_the_filter() {
    let net = Netns::new();
    let program = Scenario::start(&net, "closed", &["reset", "3"]);
    program.done();
    let args = ["snapshot", "--netns", &net.path(), "-o", "json", "--threshold", "1ms", "--pid", "1"];
    let ended = Tool::spawn(Command::new(binary()).args(args)).end();
    ended.exits(0);
    let summary = ended.of_kind("summary").next().expect("a summary");
    for (what, sockets) in [("in_close_wait", 0), ("left_out", 0), ("left_out_ghosts", 3), ("reported", 0)] {
        assert_eq!(summary["totals"][what], sockets, "{what} of {summary}");
    }
}

/// One look shows them too, and does not call them a leak yet.
#[test]
fn in_a_snapshot() {
    let net = Netns::new();
    let (program, none) =
        (Scenario::start(&net, "closed", &["reset", "3"]), Scenario::start(&net, "closed", &["never", "2"]));
    none.done();
    let leaks = program.done();
    let args = ["snapshot", "--netns", &net.path(), "-o", "json", "--threshold", "1ms"];
    let ended = Tool::spawn(Command::new(binary()).args(args)).end();
    ended.exits(0);
    assert_eq!(holders(&ended).len(), leaks.len(), "{}", ended.everything());
    for ghost in ended.of_kind("ghost") {
        assert_eq!(ghost["verdict"]["leak"], Value::Null, "{ghost}");
    }
}
