//! How often a stack is copied while connections come and go by the same few paths: the
//! first few of each path are, however many follow. `CLOSEWAIT_STORM_SECS=20` for more
//! than the 100,000 connections of a busy minute.

use rustix::process::Signal;

use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::Tool;
use super::waiting::show;

/// What `-v` says of each.
const COPIED: &str = "closewait-trace: copied ";

/// A program connects, accepts, and reads an EOF: three paths.
#[test]
fn a_storm_on_three_paths_is_copied_a_few_times() {
    let seconds = std::env::var("CLOSEWAIT_STORM_SECS").unwrap_or_else(|_| "2".to_owned());
    let net = Netns::new();
    let tool = Tool::trace(&net, &["-v"]);
    let storm = Scenario::start(&net, "storm", &["--seconds", &seconds]);
    storm.port();
    let connections = storm.expect("done").number("connections");
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let copies = ended.talk.iter().filter(|line| line.starts_with(COPIED)).count();
    show(&format!("{connections} connections by 3 paths: {copies} stacks copied"));
    assert!(connections > 1_000, "too few to tell");
    assert!((3..100).contains(&copies), "{copies} copies\n{}", ended.everything());
}
