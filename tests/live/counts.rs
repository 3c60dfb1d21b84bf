//! Known workloads: 101 connections that leak among 997 that close in time. Exactly
//! the 101 are reported, each with its holder, fd, opener and opening function.

use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Ended, Tool};
use super::workload::{CLIENT, SERVER, Workload};

const MANY: Workload = Workload { leak: 101, close: 997, ..SERVER };

/// Few, where only the address family is of interest.
const FEW: Workload = Workload { leak: 11, close: 13, ..SERVER };

fn is_reported(workload: &Workload) -> Ended {
    let net = Netns::new();
    workload.is_reported_by(Tool::trace(&net, &[]), &net)
}

#[test]
fn c_server() {
    is_reported(&MANY);
}

#[test]
fn go_server() {
    let functions = &["main.acceptAndForget", "main.handleClient", "main.serve", "main.main"];
    is_reported(&Workload { program: "go_leaky_server", functions, ..MANY });
}

#[test]
fn client_that_never_closes() {
    is_reported(&Workload { leak: 101, close: 997, ..CLIENT });
}

#[test]
fn ipv6() {
    let ended = is_reported(&Workload { server: &["--bind", "::1"], client: &["--to", "::1"], ..FEW });
    assert!(ended.of_kind("stuck").all(|report| report["socket"]["family"] == "ipv6"));
}

#[test]
fn ipv4_mapped_into_ipv6() {
    let ended = is_reported(&Workload { server: &["--bind", "::"], ..FEW });
    for report in ended.of_kind("stuck") {
        assert_eq!(report["socket"]["local"]["ip"], "::ffff:127.0.0.1", "{report}");
        assert_eq!(report["socket"]["remote"]["ip"], "::ffff:127.0.0.1", "{report}");
    }
}

#[test]
fn a_pair_that_closes_in_time_is_not_reported() {
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let server = Scenario::start(&net, "leaky_server", &["--close", "499"]);
    let port = server.port();
    let client = Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "499"]);
    client.done();
    server.done();
    // A leak made after all that marks the moment when their deadlines have passed;
    // it is all that is reported.
    Workload { leak: 1, ..SERVER }.is_reported_by(tool, &net);
}
