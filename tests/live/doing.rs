//! What the owner of a stuck socket does instead of reading or accepting.

use rustix::process::Signal;
use serde_json::Value;

use super::netns::Netns;
use super::scenario::{Said, Scenario};
use super::tool::{Ended, Tool};
use super::waiting::show;

/// A server that is stuck in `place`, with `idle` more threads, and one connection to it
/// that its client has closed; returns what was said of it, and the server's own words.
fn stuck_in(place: &str, options: &[&str]) -> (Value, Said, u32) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let server = Scenario::start(&net, "stuck_worker", &[&["--in", place], options].concat());
    let port = server.port();
    let client =
        Scenario::start(&net, "leaky_client", &["--port", &port, "--send", "3", "--first", "--close", "1"]);
    client.done();
    let stuck = server.expect("stuck");
    tool.has_reported("stuck", 1);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let report = about(&ended, &port);
    show(&format!("{place} {options:?}: {}", report["threads"]["summary"]));
    assert_eq!(report["threads"]["pid"], server.pid(), "{report}");
    (report, stuck, server.pid())
}

fn about(ended: &Ended, port: &str) -> Value {
    let port: u64 = port.parse().expect("a port");
    let mut reports = ended.of_kind("stuck").filter(|report| report["socket"]["local"]["port"] == port);
    reports.next().unwrap_or_else(|| panic!("{}", ended.everything())).clone()
}

/// The only group of threads, none of which has run for about the time between two looks.
fn keeps_still(report: &Value, syscall: &str) -> String {
    let groups = report["threads"]["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 1, "{report}");
    assert_eq!(
        (&groups[0]["syscall"], &groups[0]["state"]),
        (&syscall.into(), &"waiting".into()),
        "{report}"
    );
    assert!(groups[0]["still_ms"].as_u64() >= Some(300), "{report}");
    groups[0]["on"].as_str().unwrap_or_default().to_owned()
}

fn verdict(report: &Value) -> &str {
    report["verdict"]["code"].as_str().expect("a code")
}

#[test]
fn it_connects_to_what_does_not_answer() {
    for (options, code) in [(&[][..], "NOT_ACCEPTED"), (&["--accept"], "NOT_READING")] {
        let (report, stuck, pid) = stuck_in("connect", options);
        assert_eq!(verdict(&report), code);
        let to = format!("127.0.0.1:{}", stuck.number("port"));
        assert_eq!(keeps_still(&report, "connect"), to);
        let summary = report["threads"]["summary"].as_str().expect("text");
        let begins = format!("its only thread stuck_worker[{pid}] is in connect() to {to} for >= ");
        assert!(summary.starts_with(&begins), "{summary}");
        if code == "NOT_ACCEPTED" {
            let evidence = report["verdict"]["evidence"].to_string();
            assert!(evidence.contains("none of its threads is in accept()"), "{evidence}");
        }
    }
}

#[test]
fn it_waits_for_an_answer_on_another_connection() {
    let (report, stuck, _) = stuck_in("recv", &["--accept"]);
    let (fd, port) = (stuck.number("fd"), stuck.number("port"));
    assert_eq!(keeps_still(&report, "recvfrom"), format!("fd {fd}, connected to 127.0.0.1:{port}"));
}

#[test]
fn it_waits_for_a_lock() {
    let (report, ..) = stuck_in("futex", &[]);
    keeps_still(&report, "futex");
    let (report, ..) = stuck_in("futex", &["--accept", "--idle", "12"]);
    keeps_still(&report, "futex");
    let summary = report["threads"]["summary"].as_str().expect("text");
    assert!(summary.starts_with("all 13 threads are in futex() for >= "), "{summary}");
}

#[test]
fn it_sleeps() {
    let (report, ..) = stuck_in("sleep", &["--accept"]);
    keeps_still(&report, "clock_nanosleep");
}

#[test]
fn it_is_stopped() {
    for (options, code) in [(&[][..], "NOT_ACCEPTED"), (&["--accept"], "NOT_READING")] {
        let (report, _, pid) = stuck_in("stop", options);
        assert_eq!(report["threads"]["groups"][0]["state"], "stopped", "{report}");
        // It has had no chance to close.
        assert_eq!((verdict(&report), &report["verdict"]["leak"]), (code, &Value::Null), "{report}");
        let next = report["verdict"]["next"].as_str().expect("text");
        assert!(next.contains(&format!("kill -CONT {pid}")), "{next}");
    }
}

#[test]
fn it_computes_while_the_others_wait() {
    let (report, _, pid) = stuck_in("spin", &["--accept", "--idle", "96"]);
    let summary = report["threads"]["summary"].as_str().expect("text");
    assert!(summary.starts_with("32 of 97 threads were looked at: 31 are in futex() for >= "), "{summary}");
    let groups = report["threads"]["groups"].as_array().expect("groups");
    let busy: Vec<_> = groups.iter().filter(|group| group["state"] == "running").collect();
    let [busy] = busy.as_slice() else { panic!("{report}") };
    assert_eq!((&busy["tid"], &busy["syscall"]), (&pid.into(), &Value::Null));
    assert!(busy["cpu_ms"].as_u64() > Some(0), "{report}");
}
