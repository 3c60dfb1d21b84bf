//! Sockets that TCP has ended while a process still has a descriptor on them:
//! no table of sockets shows them any more.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::leaked::Leaked;
use super::netns::{Netns, ip};
use super::scenario::Scenario;
use super::tool::{Ended, THRESHOLD_MS, Tool};
use super::waiting::{let_pass, until};
use super::workload::SERVER;

/// Three ghosts of a kind: reported with cause and holder, and then released.
fn haunts(kind: &str, code: &str) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let mut program = Scenario::start(&net, "ghosts", &[kind, "--count", "3"]);
    let leaks = program.done();
    tool.has_reported("ghost", 3);
    assert!(net.close_wait().is_empty(), "ss shows a ghost");
    program.tell("close");
    tool.has_reported("released", 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    assert_eq!(ended.of_kind("ghost").count(), 3, "{}", ended.everything());
    for ghost in ended.of_kind("ghost") {
        let port = ghost["socket"]["remote"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let kept = leaks.get(&port.expect("a port")).unwrap_or_else(|| panic!("not one of ours: {ghost}"));
        assert_eq!(ghost["verdict"]["code"], code, "{ghost}");
        assert_eq!(ghost["verdict"]["leak"], json!(true), "{ghost}");
        assert_eq!(ghost["holders"][0]["pid"], kept.pid, "{ghost}");
        assert_eq!(ghost["holders"][0]["fd"], kept.fd, "{ghost}");
        assert_eq!(ghost["opener"]["pid"], kept.pid, "{ghost}");
    }
}

#[test]
fn by_reset() {
    haunts("reset", "GHOST_RESET");
}

#[test]
fn by_shutdown_without_close() {
    haunts("shutdown", "GHOST_SHUTDOWN");
}

/// An abort ends the socket and its descriptor at once: nothing to report.
#[test]
fn an_abort_is_none() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let _aborts = Scenario::start(&net, "ghosts", &["abort", "--count", "7"]).done();
    let mut haunting = Scenario::start(&net, "ghosts", &["shutdown"]);
    haunting.done();
    // Made after the others: once it is reported, their time has passed too.
    tool.has_reported("ghost", 1);
    haunting.tell("close");
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    assert_eq!(ended.of_kind("ghost").count(), 1, "{}", ended.everything());
    assert_eq!(ended.of_kind("stuck").count(), 0, "{}", ended.everything());
}

/// Sockets that were reported stuck, and then shut down where nothing goes out, and nothing comes back.
fn shut_down_in_silence(net: &Netns) -> (Tool, Leaked<'_>) {
    let mut tool = Tool::trace(net, &[]);
    let mut leaked = SERVER.run(net, net);
    tool.has_reported("stuck", SERVER.leak);
    ip(&["-n", net.name(), "link", "set", "lo", "down"]);
    leaked.leaker.tell("shutdown");
    (tool, leaked)
}

/// All of `leaked` have been shut down, are told as ghosts, and closed then.
fn ghosts_are_closed(mut tool: Tool, mut leaked: Leaked<'_>) -> Ended {
    tool.has_reported("ghost", SERVER.leak);
    leaked.leaker.tell("close");
    tool.has_reported("released", SERVER.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    // Of the ghosts, and none of them before.
    assert_eq!(ended.of_kind("released").count(), SERVER.leak, "{}", ended.everything());
    ended
}

/// Its peer answers a shutdown late: until then it is in LAST_ACK, by no close.
#[test]
fn a_shutdown_is_no_release_while_its_peer_is_silent() {
    let net = Netns::new();
    let (tool, leaked) = shut_down_in_silence(&net);
    until("they are in LAST_ACK", || (net.close_wait().is_empty()).then_some(()));
    // The FIN was dropped; it is sent again after 200 ms or a little more.
    let_pass(Duration::from_millis(500));
    ip(&["-n", net.name(), "link", "set", "lo", "up"]);
    let ended = ghosts_are_closed(tool, leaked);
    assert_eq!(ended.of_kind("ghost").count(), SERVER.leak, "{}", ended.everything());
    assert!(ended.of_kind("ghost").all(|ghost| ghost["verdict"]["code"] == "GHOST_SHUTDOWN"));
}

/// A peer that never answers: what is known is told, and it is not a close.
#[test]
fn a_shutdown_that_nobody_answers_is_not_called_a_close() {
    let net = Netns::new();
    let (mut tool, _leaked) = shut_down_in_silence(&net);
    tool.has_reported("released", SERVER.leak);
    let ended = tool.signal(Signal::INT);
    for release in ended.of_kind("released") {
        assert!(release["how"].is_null(), "{release}");
        let why = release["how_unknown"].as_str().unwrap_or_default();
        assert!(why.contains("shut down and not closed"), "{release}");
    }
}

/// They are shut down while the tool stands still for longer than the threshold: it finds ghosts at once,
/// and they are no second set of sockets beside the stuck ones.
#[test]
fn what_turned_ghost_while_the_tool_was_stopped_is_counted_once() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let mut leaked = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    tool.stopped(|| {
        leaked.leaker.tell("shutdown");
        until("they are shut down", || net.close_wait().is_empty().then_some(()));
        let_pass(Duration::from_millis(THRESHOLD_MS) + Duration::from_secs(1));
    });
    let ended = ghosts_are_closed(tool, leaked);
    let latest = ended.of_kind("ghost").filter_map(|ghost| ghost["ts"].as_str()).max();
    for release in ended.of_kind("released") {
        assert!(release["ts"].as_str() > latest, "{release}, and the ghosts were told at {latest:?}");
    }
}
