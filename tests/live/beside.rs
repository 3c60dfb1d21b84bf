//! What happens to the tool on a host that people use: another one beside it, an upgrade of
//! its executable while it runs.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::kept::{self, Copy};
use super::netns::Netns;
use super::tool::{Tool, json_of};
use super::workload::SERVER;

/// Each tells the same, and the end of one is nothing to the other.
#[test]
fn two_instances_do_not_mind_each_other() {
    let net = Netns::new();
    let mut both = [Tool::trace(&net, &[]), Tool::trace(&net, &[])];
    let first = SERVER.run(&net, &net);
    for tool in &mut both {
        tool.has_reported("stuck", SERVER.leak);
    }
    let [one, mut other] = both;
    let ended = one.signal(Signal::INT);
    ended.exits(0);
    first.are_reported_in(&ended);
    let second = SERVER.run(&net, &net);
    other.has_reported("stuck", 2 * SERVER.leak);
    let ended = other.signal(Signal::INT);
    ended.exits(0);
    for leaked in [&first, &second] {
        let about: Vec<_> = ended.of_kind("stuck").filter(|report| leaked.include(report)).collect();
        assert_eq!(about.len(), SERVER.leak, "{}", ended.everything());
        for report in about {
            assert!(leaked.holder_is_right(report) && leaked.opener_is_right(report), "{report}");
            assert!(leaked.stack_is_right(report), "{report}");
        }
    }
}

/// As a package manager does it: another file has its name from then on.
#[test]
fn its_executable_is_replaced_while_it_runs() {
    let dir = kept::dir();
    let Copy { program, start } = Copy::new(dir.path());
    let net = Netns::new();
    let mut tool = Tool::spawn(Command::new(&start).args(json_of(&net)));
    tool.attached();
    fs::remove_file(&program).expect("it is there");
    fs::write(&program, "no program").expect("a file");
    SERVER.run(&net, &net).is_reported_by(tool);
}
