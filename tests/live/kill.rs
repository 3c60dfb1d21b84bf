//! `kill` destroys what was chosen and nothing else, and says what became of the
//! descriptors. Only sockets that the test made, in a namespace of its own.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::leaked::Leaked;
use super::netns::Netns;
use super::refusals::Nobody;
use super::scenario::Scenario;
use super::tool::{Ended, Tool, binary};
use super::waiting::{show, until};
use super::workload::{SERVER, Workload};

/// What is younger is not looked at; what is not certain to be as old is spared.
const THRESHOLD: [&str; 2] = ["--threshold", "500ms"];

fn kill(net: &Netns, more: &[&str]) -> Ended {
    let options = ["kill", "-o", "json", "--netns", &net.path()];
    Tool::spawn(Command::new(binary()).args(options).args(THRESHOLD).args(more)).end()
}

/// The lines of sockets with this outcome.
fn came_out<'a>(ended: &'a Ended, outcome: &'a str) -> impl Iterator<Item = &'a Value> {
    ended.of_kind("killed").filter(move |line| line["outcome"] == outcome)
}

/// Waits until a dry run would destroy `count` sockets; `None` where this kernel cannot.
fn would_destroy(net: &Netns, more: &[&str], count: usize) -> Option<Ended> {
    let dry = until("the sockets are old enough", || {
        let dry = kill(net, more);
        let cannot = dry.talk.iter().any(|line| line.contains("CONFIG_INET_DIAG_DESTROY"));
        (cannot || came_out(&dry, "would_destroy").count() == count).then_some(dry)
    });
    if dry.code() == Some(2) {
        show("kill: NOT RUN, this kernel was built without CONFIG_INET_DIAG_DESTROY");
        return None;
    }
    dry.exits(0);
    Some(dry)
}

/// Each line is about one of these sockets, each once, and names its holder.
fn are_of(leaked: &Leaked<'_>, ended: &Ended, outcome: &str) {
    let mut ports: Vec<_> = came_out(ended, outcome).map(|line| leaked.port(line)).collect();
    ports.sort_unstable();
    assert!(ports.iter().eq(leaked.leaks.keys()), "{}", ended.everything());
    for line in came_out(ended, outcome) {
        assert!(leaked.holder_is_right(line), "{line}");
        assert!(line["cookie"].as_str().is_some_and(|cookie| cookie.parse::<u64>().is_ok()), "{line}");
    }
}

/// The one owner: its descriptors before and after, and how many are still open.
fn owner(ended: &Ended) -> [Option<u64>; 3] {
    let owners: Vec<_> = ended.of_kind("owner").collect();
    let [owner] = owners[..] else { panic!("{}", ended.everything()) };
    ["fds_before", "fds_after", "open"].map(|field| owner[field].as_u64())
}

#[test]
fn what_fits_is_destroyed_and_its_descriptors_stay() {
    let net = Netns::new();
    let wanted = SERVER.run(&net, &net);
    let other = Workload { leak: 2, ..SERVER }.run(&net, &net);
    let port = ["--local-port", &wanted.port];
    let Some(dry) = would_destroy(&net, &port, SERVER.leak) else { return };
    are_of(&wanted, &dry, "would_destroy");
    assert_eq!(owner(&dry)[1..], [None, None], "a dry run knows nothing of after");
    assert_eq!(net.close_wait().len(), SERVER.leak + 2, "a dry run destroys nothing");

    let done = kill(&net, &[port.as_slice(), &["--yes"]].concat());
    done.exits(0);
    are_of(&wanted, &done, "destroyed");
    let [before, after, open] = owner(&done);
    assert_eq!((before, open), (after, Some(SERVER.leak as u64)), "{}", done.everything());
    let told =
        done.of_kind("notice").any(|notice| notice["text"].as_str().unwrap().contains("frees no descriptor"));
    assert!(told, "{}", done.everything());
    // What was not asked for is all there is left.
    other.agree_with_ss();
    // And what is a ghost now is not destroyed again.
    let again = kill(&net, &[port.as_slice(), &["--yes"]].concat());
    again.exits(0);
    assert_eq!(again.of_kind("killed").count(), 0, "{}", again.everything());
}

/// A thread that waits in accept() has a number reserved, which is no descriptor.
#[test]
fn numbers_that_accept_reserves_are_not_counted() {
    let net = Netns::new();
    let leaks = ["--leak", "3", "--read", "none", "--wait", "5"];
    let server = Scenario::start(&net, "leaky_server", &leaks);
    let port = server.port();
    let client = Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "3"]);
    client.done();
    server.done();
    let tasks = format!("/proc/{}/task", server.pid());
    let in_accept = || {
        let tasks = std::fs::read_dir(&tasks).unwrap().filter_map(Result::ok);
        let calls = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok());
        // accept() and accept4(), as either libc calls them.
        let names = [libc::SYS_accept, libc::SYS_accept4].map(|number| format!("{number} "));
        (calls.filter(|call| names.iter().any(|name| call.starts_with(name))).count() == 5).then_some(())
    };
    until("five threads wait in accept()", in_accept);
    let shown = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
    let mut tool = Tool::trace(&net, &[]);
    tool.has_reported("stuck", 3);
    let traced = tool.signal(Signal::INT);
    for report in traced.of_kind("stuck") {
        assert_eq!(report["limits"]["nofile"]["used"], shown, "{report}");
    }
    if would_destroy(&net, &[], 3).is_none() {
        return;
    }
    let done = kill(&net, &["--yes"]);
    done.exits(0);
    assert_eq!(owner(&done), [Some(shown), Some(shown), Some(3)], "{}", done.everything());
}

#[test]
fn an_owner_that_heeds_the_error_gives_its_descriptors_back() {
    let net = Netns::new();
    let leaked = Workload { program: "heeding", ..SERVER }.run(&net, &net);
    if would_destroy(&net, &[], SERVER.leak).is_none() {
        return;
    }
    let done = kill(&net, &["--yes", "--remote", "127.0.0.1"]);
    done.exits(0);
    are_of(&leaked, &done, "destroyed");
    let [before, after, open] = owner(&done);
    assert_eq!((after, open), (before.map(|n| n - SERVER.leak as u64), Some(0)), "{}", done.everything());
}

#[test]
fn what_was_not_accepted_is_spared_unless_it_is_named() {
    let net = Netns::new();
    let server = Scenario::start(&net, "leaky_server", &["--never-accept"]);
    let calls = ["--port", &server.port(), "--first", "--close", "3"];
    let client = Scenario::start(&net, "leaky_client", &calls);
    client.done();
    let name = ["--verdict", "not_accepted"];
    if would_destroy(&net, &name, 3).is_none() {
        return;
    }
    let spared = kill(&net, &["--yes"]);
    spared.exits(0);
    assert_eq!(came_out(&spared, "spared").count(), 3, "{}", spared.everything());
    assert_eq!(spared.of_kind("killed").count(), 3, "{}", spared.everything());
    assert_eq!(net.close_wait().len(), 3);
    let done = kill(&net, &["--yes", name[0], name[1]]);
    done.exits(0);
    assert_eq!(came_out(&done, "destroyed").count(), 3, "{}", done.everything());
    assert_eq!(net.close_wait().len(), 0);
    assert_eq!(done.of_kind("owner").next().unwrap()["pid"], server.pid(), "{}", done.everything());
}

#[test]
fn what_is_not_certain_to_be_old_enough_is_spared() {
    let net = Netns::new();
    let leaked = SERVER.run(&net, &net);
    if would_destroy(&net, &[], SERVER.leak).is_none() {
        return;
    }
    let spared = kill(&net, &["--yes", "--older-than", "1h"]);
    spared.exits(0);
    are_of(&leaked, &spared, "spared");
    leaked.agree_with_ss();
}

/// Who may not is told what is missing, for each socket, and exits 2.
#[test]
fn without_the_capability_nothing_is_destroyed() {
    let net = Netns::new();
    let leaked = SERVER.run(&net, &net);
    if would_destroy(&net, &[], SERVER.leak).is_none() {
        return;
    }
    let nobody = Nobody::new();
    let mut tool = Command::new("nsenter");
    tool.args([&format!("--net={}", net.path()), "--setuid=65534", "--setgid=65534", "--"])
        .arg(nobody.tool());
    tool.args(["kill", "-o", "json", "--netns", "self", "--yes"]).args(THRESHOLD);
    let refused = Tool::spawn(&mut tool).end();
    refused.exits(2).said("not destroyed");
    assert_eq!(came_out(&refused, "failed").count(), SERVER.leak, "{}", refused.everything());
    for line in came_out(&refused, "failed") {
        assert!(line["reason"].as_str().unwrap().contains("CAP_NET_ADMIN"), "{line}");
    }
    leaked.agree_with_ss();
}
