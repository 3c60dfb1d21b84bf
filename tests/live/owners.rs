//! The owner is not whoever runs when the FIN arrives. Over a steered wire that is
//! a bystander; on loopback (all other tests) it is the other end's process.

use rustix::process::Signal;

use super::leaked::opener_is_missing;
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::Tool;
use super::veth::Veth;
use super::waiting::show;
use super::workload::{CLIENT, SERVER, Side};

/// Leaks over a wire whose packets arrive on the CPU of a bystander. The holder is
/// right every time. The opener is right whenever the entry into CLOSE_WAIT was seen;
/// where it was not (the kernel may skip a run of a program), the tool finds the socket
/// by looking, and says that it does not know.
fn names_the_owner(side: Side) {
    let wire = Veth::steered_to_cpu_0();
    let net: &Netns = if side == Side::Server { &wire.server } else { &wire.client };
    let _bystander = Scenario::start(net, "bystander", &["--cpu", "0"]);
    let mut tool = Tool::trace(net, &[]);
    let leaked = wire.leak_elsewhere(if side == Side::Server { SERVER } else { CLIENT });
    tool.has_reported("stuck", leaked.leaks.len());
    leaked.agree_with_ss();
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    leaked.are_all_in(&ended);
    let mut missed = 0;
    for report in ended.of_kind("stuck") {
        assert!(leaked.holder_is_right(report), "{report}");
        if report["missed"] == true && opener_is_missing(report) {
            missed += 1;
        } else {
            assert!(leaked.opener_is_right(report), "{report}");
            assert!(leaked.stack_is_right(report), "{report}");
        }
    }
    let end = if side == Side::Server { "server" } else { "client" };
    show(&format!(
        "{end} over a steered wire: 101 of 101 holders right, {} openers right, {missed} entries not seen",
        101 - missed
    ));
}

#[test]
fn server_over_a_steered_wire() {
    names_the_owner(Side::Server);
}

#[test]
fn client_over_a_steered_wire() {
    names_the_owner(Side::Client);
}
