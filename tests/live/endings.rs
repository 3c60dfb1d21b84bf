//! However it ends, no program stays in the kernel and the exit code is right.

use std::process::Command;

use rustix::process::Signal;

use super::bpf::{are_gone, programs_of};
use super::netns::Netns;
use super::tool::{Tool, binary, json_of};
use super::waiting::until;
use super::workload::{SERVER, Workload};

fn ends_well_by(signal: Signal) {
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let programs = programs_of(tool.pid());
    assert!(!programs.is_empty(), "a tracing tool has programs");
    let ended = tool.signal(signal);
    ended.exits(0);
    assert_eq!(ended.of_kind("summary").count(), 1, "{}", ended.everything());
    are_gone(&programs);
}

#[test]
fn by_ctrl_c() {
    ends_well_by(Signal::INT);
}

#[test]
fn by_sigterm() {
    ends_well_by(Signal::TERM);
}

#[test]
fn by_its_duration() {
    let net = Netns::new();
    let tool = Tool::trace(&net, &["--duration", "1s"]);
    let programs = programs_of(tool.pid());
    let ended = tool.end();
    ended.exits(0);
    assert_eq!(ended.of_kind("summary").count(), 1, "{}", ended.everything());
    are_gone(&programs);
}

#[test]
fn by_ctrl_c_during_load() {
    let net = Netns::new();
    let mut tool = Tool::spawn(Command::new(binary()).args(json_of(&net)));
    // It has its first program and has not yet said that it traces.
    let programs = until("a first program is loaded", || {
        assert!(tool.is_running(), "it ended by itself");
        let programs = programs_of(tool.pid());
        (!programs.is_empty()).then_some(programs)
    });
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    are_gone(&programs);
}

#[test]
fn when_nobody_reads_its_stdout() {
    let net = Netns::new();
    let (mut tool, stdout) = Tool::spawn_unread(Command::new(binary()).args(json_of(&net)));
    tool.attached();
    let programs = programs_of(tool.pid());
    drop(stdout);
    let _leaked = SERVER.run(&net, &net);
    // It ends by itself when it has something to say.
    tool.end().exits(0);
    are_gone(&programs);
}

/// Exit code 1 is for those who asked for it, and for leaks.
#[test]
fn with_fail_on_stuck() {
    let leak = Workload { server: &["--read", "none"], ..SERVER };
    for (option, code) in [(["--fail-on-stuck"].as_slice(), 1), (&[], 0)] {
        let net = Netns::new();
        let mut tool = Tool::trace(&net, option);
        let _leaked = leak.run(&net, &net);
        tool.has_reported("stuck", leak.leak);
        let ended = tool.signal(Signal::INT);
        ended.exits(code);
        assert!(ended.of_kind("stuck").all(|report| report["verdict"]["leak"] == true));
    }
    let net = Netns::new();
    Tool::trace(&net, &["--fail-on-stuck"]).signal(Signal::INT).exits(0);
}
