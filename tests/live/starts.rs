//! Ways to start the tool inside a network namespace. `ip netns exec` gives it a
//! /sys without tracefs; `nsenter --net` keeps the caller's.

use std::process::Command;

use rustix::process::Signal;

use super::leaked::{Leaked, opener_is_missing};
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Ended, Tool, binary, json_of};
use super::waiting::until;
use super::workload::{SERVER, Side, Workload};

/// The tool, started by `command`, finds what leaks in its own namespace.
fn traces(net: &Netns, command: &mut Command) {
    let options = ["--netns", "self", "-o", "json", "--threshold", "2s", "--require-trace"];
    let mut tool = Tool::spawn(command.args(options));
    tool.attached();
    Workload { leak: 7, ..SERVER }.is_reported_by(tool, net);
}

#[test]
fn by_ip_netns_exec() {
    let net = Netns::new();
    traces(&net, Command::new("ip").args(["netns", "exec", net.name()]).arg(binary()));
}

#[test]
fn by_nsenter() {
    let net = Netns::new();
    traces(&net, &mut net.command(binary()));
}

/// What is already stuck is found too; nobody saw it being opened.
#[test]
fn after_the_leak() {
    let net = Netns::new();
    let leaked = SERVER.run(&net, &net);
    leaked.agree_with_ss();
    let mut tool = Tool::trace(&net, &[]);
    tool.has_reported("stuck", 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    were_there_before(&leaked, &ended);
}

/// One look, without BPF, finds the same.
#[test]
fn for_one_look() {
    let net = Netns::new();
    let leaked = SERVER.run(&net, &net);
    leaked.agree_with_ss();
    let ended = until("all are old enough", || {
        let ended = Tool::spawn(Command::new(binary()).arg("snapshot").args(json_of(&net))).end();
        ended.exits(0);
        (ended.of_kind("stuck").count() == 3).then_some(ended)
    });
    were_there_before(&leaked, &ended);
}

fn were_there_before(leaked: &Leaked, ended: &Ended) {
    assert_eq!(ended.of_kind("stuck").count(), 3, "{}", ended.everything());
    for report in ended.of_kind("stuck") {
        assert!(leaked.include(report), "{report}");
        assert!(leaked.holder_is_right(report), "{report}");
        assert!(opener_is_missing(report), "{report}");
    }
}

/// A namespace that no process is in, only sockets: who made them has gone back to its own.
#[test]
fn into_a_namespace_without_processes() {
    let (home, away) = (Netns::new(), Netns::new());
    let path = away.path();
    let workload = Workload { server: &["--listen-in", &path], ..SERVER };
    let tool = Tool::trace(&away, &[]);
    let mut leaked = workload.run(&home, &away);
    leaked.net = &away;
    leaked.other = None;
    leaked.is_reported_by(tool);
}

/// A call of accept() that began before the trace is one whose end it sees.
#[test]
fn while_a_server_waits_in_accept() {
    let net = Netns::new();
    let server = Scenario::start(&net, "leaky_server", &["--leak", "3"]);
    let port = server.port();
    until("the server sleeps", || server.is_asleep().then_some(()));
    let tool = Tool::trace(&net, &[]);
    let other = Some(Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "3"]));
    let leaks = server.done();
    let functions = SERVER.functions;
    Leaked { net: &net, port, side: Side::Server, leaks, leaker: server, other, functions }
        .is_reported_by(tool);
}
