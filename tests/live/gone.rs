//! Servers that are not where, or what, they were when their stacks are named: in a root of
//! their own, replaced on disk, or ended. Named all the same, or the report says why not.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::netns::{Netns, output};
use super::scenario::{Scenario, programs};
use super::tool::Tool;
use super::waiting::until;

/// Functions of leaky_server that must be in its stacks.
const FUNCTIONS: [&str; 4] = ["accept_and_forget", "handle_client", "serve", "main"];

/// A server that leaks two connections.
fn leak(net: &Netns, program: &str, args: &[&str]) -> [Scenario; 2] {
    let server = Scenario::start(net, program, &[args, &["--leak", "2"]].concat());
    let port = server.port();
    let client = Scenario::start(net, "leaky_client", &["--port", &port, "--first", "--close", "2"]);
    server.done();
    client.done();
    [server, client]
}

/// The reports of both.
fn reported(mut tool: Tool) -> Vec<Value> {
    tool.has_reported("stuck", 2);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    ended.of_kind("stuck").cloned().collect()
}

fn are_named(stack: &Value) -> bool {
    let frames = stack.as_array().map(Vec::as_slice).unwrap_or_default();
    FUNCTIONS.iter().all(|name| frames.iter().any(|frame| frame["symbol"] == *name))
}

/// Compiled as the scenario programs are, so that it needs nothing beside it.
fn build_static(to: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/scenarios/leaky_server.c");
    let flags = [
        "-std=gnu11",
        "-O2",
        "-fno-omit-frame-pointer",
        "-fno-optimize-sibling-calls",
        "-static",
        "-pthread",
    ];
    output(Command::new("cc").args(flags).arg(source).arg("-o").arg(to));
}

#[test]
fn in_a_root_and_namespaces_of_its_own() {
    let root = tempfile::tempdir().expect("a directory");
    build_static(&root.path().join("server"));
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let root = format!("--root={}", root.path().display());
    let args = ["--mount", "--pid", "--fork", "--kill-child", &root, "/server"];
    let running = leak(&net, "/usr/bin/unshare", &args);
    let children = format!("/proc/{0}/task/{0}/children", running[0].pid());
    let pid: u32 = fs::read_to_string(children).expect("its child").trim().parse().expect("one child");
    for report in reported(tool) {
        assert!(
            are_named(&report["opener"]["stack"]) && are_named(&report["eof_read"]["stack"]),
            "{report:#}"
        );
        assert_eq!(report["opener"]["pid"], pid, "as this namespace knows it: {report:#}");
        assert_eq!(report["holders"][0]["pid"], pid, "{report:#}");
        let frame = &report["opener"]["stack"][1];
        assert!(frame["module"].as_str().is_some_and(|module| module.ends_with("/server")), "{frame:#}");
    }
}

#[test]
fn upgraded_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("server");
    fs::copy(programs().join("leaky_server"), &program).expect("a copy");
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let _running = leak(&net, program.to_str().expect("text"), &[]);
    // What is there from now on has other functions at these places.
    fs::remove_file(&program).expect("it is there");
    fs::copy(programs().join("leaky_client"), &program).expect("another program");
    for report in reported(tool) {
        assert!(
            are_named(&report["opener"]["stack"]) && are_named(&report["eof_read"]["stack"]),
            "{report:#}"
        );
    }
}

/// The server has ended, and its children hold what it opened.
#[test]
fn ended_and_started_anew() {
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let first = leak(&net, "leaky_server", &["--fork", "--leave"]);
    let pid = first[0].pid();
    until("the end of the server", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z')).then_some(())
    });
    let again = Scenario::start(&net, "leaky_server", &["--leak", "1"]);
    for report in reported(tool) {
        let opener = &report["opener"];
        assert_eq!(opener["pid"], pid, "{report:#}");
        assert!(are_named(&opener["stack"]) || opener["stack_unknown"].is_string(), "{report:#}");
        assert!(
            report["holders"][0]["pid"] != pid && report["holders"][0]["pid"] != again.pid(),
            "{report:#}"
        );
    }
}
