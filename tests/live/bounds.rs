//! More of something than the tool may have: it goes on, and says what that costs.

use std::process::Command;

use super::netns::Netns;
use super::tool::{Tool, binary};
use super::workload::SERVER;

/// More network namespaces than the tool may have descriptors: the leak in the last is found.
#[test]
fn more_namespaces_than_descriptors() {
    let all: Vec<Netns> = (0..60).map(|_| Netns::new()).collect();
    let last = all.last().expect("one");
    let leaked = SERVER.run(last, last);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=40").arg(binary()).args(["snapshot", "-o", "json", "--threshold", "1ms"]);
    let ended = Tool::spawn(&mut command).end();
    ended.exits(0);
    let about =
        ended.of_kind("stuck").filter(|report| leaked.include(report) && leaked.holder_is_right(report));
    assert_eq!(about.count(), SERVER.leak, "{}", ended.everything());
    assert!(!ended.everything().contains("Too many open files"), "{}", ended.everything());
}
