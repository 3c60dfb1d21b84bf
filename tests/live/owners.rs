//! The owner is not whoever runs when the FIN arrives. Over a steered wire that is
//! neither of the programs; on loopback (all other tests) it is the other one.

use super::tool::Tool;
use super::veth::{SERVER_IP, Veth};
use super::workload::{CLIENT, SERVER, Workload};

/// The CPU both programs are bound to: not 0, where the packets are handled, unless
/// there is no other.
fn elsewhere() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cpus - 1).to_string()
}

#[test]
fn server_over_a_steered_wire() {
    let wire = Veth::steered_to_cpu_0();
    let tool = Tool::trace(&wire.server, &[]);
    let cpu = elsewhere();
    let workload = Workload {
        server: &["--bind", SERVER_IP, "--cpu", &cpu],
        client: &["--to", SERVER_IP, "--cpu", &cpu],
        leak: 101,
        close: 97,
        ..SERVER
    };
    workload.run(&wire.server, &wire.client).is_reported_by(tool);
}

#[test]
fn client_over_a_steered_wire() {
    let wire = Veth::steered_to_cpu_0();
    let tool = Tool::trace(&wire.client, &[]);
    let cpu = elsewhere();
    let workload = Workload {
        server: &["--bind", SERVER_IP, "--cpu", &cpu],
        client: &["--to", SERVER_IP, "--cpu", &cpu],
        leak: 101,
        close: 97,
        ..CLIENT
    };
    workload.run(&wire.server, &wire.client).is_reported_by(tool);
}
