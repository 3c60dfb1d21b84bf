//! Sockets that TCP has ended while a process still has a descriptor on them:
//! no table of sockets shows them any more.

use rustix::process::Signal;
use serde_json::json;

use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::Tool;

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
