//! How a stuck socket ends, and who is said to have ended it.

use rustix::process::Signal;
use serde_json::Value;

use super::leaked::Leaked;
use super::netns::{Netns, output};
use super::scenario::Scenario;
use super::tool::Tool;
use super::waiting::show;
use super::workload::{SERVER, Workload};

/// Three sockets are reported, then ended by `end`; each release must say `how`. The
/// releases, and who leaked.
fn released(server: &[&str], how: &str, end: impl FnOnce(&mut Leaked)) -> (Vec<Value>, u32) {
    released_of(&Workload { server, ..SERVER }, how, end)
}

fn released_of(workload: &Workload, how: &str, end: impl FnOnce(&mut Leaked)) -> (Vec<Value>, u32) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let mut leaked = workload.run(&net, &net);
    tool.has_reported("stuck", 3);
    end(&mut leaked);
    tool.has_reported("released", 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let releases: Vec<_> = ended.of_kind("released").cloned().collect();
    for release in &releases {
        assert_eq!(release["how"], how, "{release}");
    }
    let summary = ended.of_kind("summary").next().expect("a summary");
    assert_eq!(summary["totals"]["released"][how], 3, "{summary}");
    let by_finalizer = releases.iter().filter(|it| it["closer"]["by_finalizer"] == true).count();
    assert_eq!(summary["totals"]["released"]["by_finalizer"], by_finalizer, "{summary}");
    (releases, leaked.leaker.pid())
}

#[test]
fn closed_late() {
    let (releases, server) = released(&[], "closed", |leaked| leaked.leaker.tell("close"));
    for release in releases {
        assert_eq!(release["closer"]["pid"], server, "{release}");
        assert_eq!(release["state"], "LAST_ACK", "{release}");
        assert_eq!(release["closer"]["by_finalizer"], false, "{release}");
        let stack = release["closer"]["stack"].to_string();
        assert!(stack.contains("close"), "{release}");
    }
}

/// The program forgot them, and its collector cleans up: the path leaks all the same.
#[test]
fn closed_by_a_finalizer() {
    let functions = &["main.acceptAndForget", "main.handleClient", "main.serve", "main.main"];
    let workload = Workload { program: "go_leaky_server", server: &["--drop"], functions, ..SERVER };
    let (releases, server) = released_of(&workload, "closed", |leaked| leaked.leaker.tell("collect"));
    for release in releases {
        assert_eq!(release["closer"]["pid"], server, "{release}");
        assert_eq!(release["closer"]["by_finalizer"], true, "{release}");
        let stack = release["closer"]["stack"].to_string();
        assert!(stack.contains("runtime.run") && stack.contains("net.(*netFD).Close"), "{release}");
        // What it was reported for still stands.
        assert!(release["cause"].is_string(), "{release}");
    }
}

/// With data unread, close() resets the connection.
#[test]
fn aborted() {
    let (releases, server) = released(&["--read", "none"], "aborted", |leaked| leaked.leaker.tell("close"));
    for release in releases {
        assert_eq!(release["closer"]["pid"], server, "{release}");
        assert_eq!(release["state"], "CLOSE", "{release}");
        assert!(release["error"].is_null(), "{release}");
    }
}

/// The kernel closes what a process leaves open, which is no late close of the program.
#[test]
fn ended_with_their_process() {
    for read in ["eof", "none"] {
        let (releases, server) =
            released(&["--fork", "--read", read], "exited", |leaked| leaked.leaker.tell("close"));
        for release in releases {
            let closer = release["closer"]["pid"].as_u64().expect("a closer");
            assert_ne!(closer, u64::from(server), "a child was killed: {release}");
        }
    }
}

/// Destroyed by `ss -K`, which is the closer. Nobody has accepted them, so that no
/// descriptor is left.
#[test]
fn destroyed_from_outside() {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let server = Scenario::start(&net, "leaky_server", &["--never-accept"]);
    let port = server.port();
    let client = Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "3"]);
    client.done();
    tool.has_reported("stuck", 3);
    output(net.command("ss").args(["-K", "-t", "state", "close-wait"]));
    if !net.close_wait().is_empty() {
        show("destroyed by ss -K: NOT RUN, this kernel has no SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)");
        return;
    }
    tool.has_reported("released", 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    for release in ended.of_kind("released") {
        assert_eq!(release["how"], "destroyed", "{release}");
        assert_eq!(release["error"], 103, "{release}");
        assert_eq!(release["closer"]["comm"], "ss", "{release}");
    }
}
