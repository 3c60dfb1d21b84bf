//! Many network namespaces, as on a host of containers: all are looked into, an interrupt ends
//! that, and those that are not looked into are counted.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use closewait_trace::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::scenario::{Scenario, programs};
use super::tool::{Ended, Tool, binary};
use super::waiting::{show, until};

/// So many, if the kernel makes them in [`WITHIN`].
const MANY: &str = "300";
/// Seconds.
const WITHIN: &str = "60";

/// Network namespaces with a process and a socket in CLOSE_WAIT each; gone when dropped.
struct Crowd {
    _running: Scenario,
    /// By the number of the namespace: the process, its descriptor, and the peer's port.
    stuck: BTreeMap<u64, [u64; 3]>,
}

impl Crowd {
    fn new() -> Self {
        let mut command = Command::new(programs().join("crowd"));
        let running =
            Scenario::spawn("crowd", command.args(["--namespaces", MANY, "--within", WITHIN, "--tell", "1"]));
        let mut stuck = BTreeMap::new();
        loop {
            let said = running.hear();
            if said.word == "ready" {
                assert_eq!(said.number("namespaces") as usize, stuck.len());
                assert!(stuck.len() > 20, "the kernel made no more than {} in {WITHIN} s", stuck.len());
                return Self { _running: running, stuck };
            }
            let told = ["pid", "fd", "port"].map(|key| u64::from(said.number(key)));
            stuck.insert(said.number("netns").into(), told);
        }
    }

    /// Reports about its sockets, each with the number of its namespace.
    fn reported<'a>(&'a self, ended: &'a Ended) -> impl Iterator<Item = (u64, &'a Value)> {
        ended.of_kind("stuck").filter_map(|report| {
            let netns = report["socket"]["netns"].as_u64()?;
            self.stuck.contains_key(&netns).then_some((netns, report))
        })
    }

    /// Each was reported, once, and with its holder.
    fn is_reported_in(&self, ended: &Ended) {
        let mut seen = BTreeMap::new();
        for (netns, report) in self.reported(ended) {
            let holders = report["holders"].as_array().expect("holders are known");
            let [holder] = holders.as_slice() else { panic!("not one holder: {report}") };
            let told = [&holder["pid"], &holder["fd"], &report["socket"]["remote"]["port"]];
            let before = seen.insert(netns, told.map(|number| number.as_u64().expect("a number")));
            assert_eq!(before, None, "reported twice: {report}");
        }
        assert_eq!(seen, self.stuck);
    }
}

fn totals(ended: &Ended) -> &Value {
    let summary = ended.reports.last().expect("a summary");
    assert_eq!(summary["kind"], "summary", "{}", ended.everything());
    &summary["totals"]
}

const ARGS: [&str; 5] = ["-o", "json", "--threshold", "1ms", "--netns"];

#[test]
fn what_is_stuck_in_many_namespaces_is_found_with_its_holders() {
    let crowd = Crowd::new();
    let began = Clock::mono_now();
    let ended = Tool::spawn(Command::new(binary()).arg("snapshot").args(ARGS).arg("all")).end();
    show(&format!("{} namespaces in {:?}", crowd.stuck.len(), Clock::mono_now().since(began)));
    ended.exits(0);
    crowd.is_reported_in(&ended);
    assert_eq!(totals(&ended)["unreached_namespaces"], 0, "{}", ended.everything());

    let mut tool = Tool::spawn(Command::new(binary()).args(ARGS).arg("all"));
    tool.comes_to_print("a report of each", |ended| crowd.reported(ended).count() >= crowd.stuck.len());
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    crowd.is_reported_in(&ended);
}

/// It is stopped in the middle of its look, so that the signal comes there whatever the speed
/// of the machine.
#[test]
fn an_interrupt_ends_a_look_and_what_was_not_reached_is_counted() {
    let crowd = Crowd::new();
    for _ in 0..20 {
        let mut tool = Tool::spawn(Command::new(binary()).arg("snapshot").args(ARGS).arg("all"));
        let pid = i32::try_from(tool.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        until("it has looked into some namespaces, or has ended", || {
            let fds = std::fs::read_dir(format!("/proc/{}/fd", tool.pid())).map_or(0, Iterator::count);
            (fds > 20 || !tool.is_running()).then_some(())
        });
        for signal in [Signal::STOP, Signal::INT] {
            kill_process(pid, signal).expect("it is our child");
        }
        let began = Clock::mono_now();
        let ended = tool.signal(Signal::CONT);
        let within = Clock::mono_now().since(began);
        ended.exits(0);
        let unreached = totals(&ended)["unreached_namespaces"].as_u64().expect("a count");
        show(&format!("{unreached} namespaces were left, it ended within {within:?}"));
        if unreached == 0 {
            // It had looked into all of them when it was stopped.
            continue;
        }
        let left = format!("the run ended before {unreached} of ");
        let ghosts = "the run ended before all descriptors had been looked at: ghosts may be missing";
        for said in [&left, ghosts] {
            assert!(ended.everything().contains(said), "{}", ended.everything());
        }
        assert!(crowd.reported(&ended).count() < crowd.stuck.len());
        assert!(within < Duration::from_secs(10), "{within:?}");
        return;
    }
    panic!("it was never stopped in the middle of a look");
}

/// Descriptors for what it needs to run, and none to enter a namespace by.
#[test]
fn namespaces_for_which_there_is_no_descriptor_are_counted() {
    let crowd = Crowd::new();
    // How many it needs to run is its own affair.
    for limit in 8..40 {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}")).arg(binary()).arg("snapshot").args(ARGS).arg("all");
        let ended = Tool::spawn(&mut command).end();
        if ended.code() != Some(0) {
            continue;
        }
        let found = crowd.reported(&ended).count();
        let unread = totals(&ended)["unread_namespaces"].as_u64().expect("a count");
        let failed = totals(&ended)["failed_namespace_looks"].as_u64().expect("a count");
        show(&format!("with {limit} descriptors {found} were found, {unread} namespaces were not read"));
        // Whatever is not found is in a namespace of which that is said.
        let told = found as u64 + unread >= crowd.stuck.len() as u64;
        assert!(told || ended.everything().contains("cannot list /proc"), "{}", ended.everything());
        assert!(failed >= unread, "{}", ended.everything());
        if told && unread > 0 {
            // Each of a few is told by itself.
            let said = if unread > 3 {
                " network namespaces could not be looked into"
            } else {
                "network namespace "
            };
            assert!(ended.everything().contains(said), "{}", ended.everything());
        }
        if found == crowd.stuck.len() {
            assert_eq!(unread, 0, "{}", ended.everything());
            return;
        }
    }
    panic!("with no number of descriptors all are found");
}
