//! A known workload: so many connections that leak among so many that close in
//! time, on one side or the other.

use rustix::process::Signal;

use super::leaked::Leaked;
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Ended, Tool};
use super::waiting::show;

/// Which end forgets to close after the other has closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// Who leaks how much. Take one of the constants and change what matters.
#[derive(Clone, Copy)]
pub(crate) struct Workload<'a> {
    /// The side that leaks.
    pub(crate) side: Side,
    /// The server, one of tests/scenarios.
    pub(crate) program: &'a str,
    /// More options for the server.
    pub(crate) server: &'a [&'a str],
    /// The client, likewise.
    pub(crate) caller: &'a str,
    /// More options for the client.
    pub(crate) client: &'a [&'a str],
    /// Connections that are never closed.
    pub(crate) leak: usize,
    /// Connections that are closed in time.
    pub(crate) close: usize,
    /// Names that must be in the opener's stack.
    pub(crate) functions: &'static [&'static str],
}

/// A server that leaks three connections.
pub(crate) const SERVER: Workload = Workload {
    side: Side::Server,
    program: "leaky_server",
    server: &[],
    caller: "leaky_client",
    client: &["--send", "7"],
    leak: 3,
    close: 0,
    functions: &["accept_and_forget", "handle_client", "serve", "main"],
};

/// A client that leaks two.
pub(crate) const CLIENT: Workload = Workload {
    side: Side::Client,
    client: &[],
    leak: 2,
    functions: &["connect_and_forget", "call_server", "work", "main"],
    ..SERVER
};

impl Workload<'_> {
    /// Runs it inside `net` while `tool` traces, until every leak is reported; then
    /// ends the tool and checks every report.
    pub(crate) fn is_reported_by(&self, tool: Tool, net: &Netns) -> Ended {
        self.run(net, net).is_reported_by(tool)
    }

    /// Runs the server in one namespace and the client in another; returns when all
    /// connections have been made, and all but the leaked ones closed.
    pub(crate) fn run<'n>(&self, server_net: &'n Netns, client_net: &'n Netns) -> Leaked<'n> {
        let (leak, close) = (self.leak.to_string(), self.close.to_string());
        let all = (self.leak + self.close).to_string();
        // Not every program can do anything but leak.
        let leaks =
            if self.close > 0 { vec!["--leak", &leak, "--close", &close] } else { vec!["--leak", &leak] };
        let closes_first = ["--first", "--close", &all];
        let (server_does, client_does) = match self.side {
            Side::Server => (leaks.as_slice(), closes_first.as_slice()),
            Side::Client => (closes_first.as_slice(), leaks.as_slice()),
        };
        let server = Scenario::start(server_net, self.program, &[server_does, self.server].concat());
        let port = server.port();
        let client = Scenario::start(
            client_net,
            self.caller,
            &[["--port", &port].as_slice(), client_does, self.client].concat(),
        );
        let (leaks, _) = match self.side {
            Side::Server => (server.done(), client.done()),
            Side::Client => (client.done(), server.done()),
        };
        let (net, leaker, other) = match self.side {
            Side::Server => (server_net, server, client),
            Side::Client => (client_net, client, server),
        };
        Leaked { net, port, side: self.side, leaks, leaker, other: Some(other), functions: self.functions }
    }
}

impl Leaked<'_> {
    /// Waits until `tool` has reported every leak, ends it and checks every report.
    pub(crate) fn is_reported_by(&self, mut tool: Tool) -> Ended {
        // The last connection made is one that leaks: once it is reported, the deadlines
        // of all others have passed.
        tool.has_reported("stuck", self.leaks.len());
        self.agree_with_ss();
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        for loss in ended.of_kind("loss") {
            show(&format!("lost while tracing {}: {loss}", self.net.name()));
        }
        self.are_reported_in(&ended);
        assert!(ended.of_kind("notice").all(|notice| notice["level"] != "warning"), "{}", ended.everything());
        assert_eq!(ended.reports.last().map(|last| &last["kind"]), Some(&"summary".into()));
        ended
    }
}
