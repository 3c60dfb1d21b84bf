//! `doctor` says what this kernel offers and which way openers are learned.

use std::process::Command;

use super::tool::{Tool, binary};
use super::waiting::show;

/// The hooks that can tell who accepted a socket, best first.
pub(crate) const ACCEPT_HOOKS: [&str; 3] = ["fentry", "kprobe", "sys_exit_accept"];

#[test]
fn it_names_the_way_openers_are_taken() {
    let ended = Tool::spawn(Command::new(binary()).arg("doctor")).end();
    ended.exits(0);
    let ways = |line: &&String| {
        line.to_lowercase().contains("opener") && ACCEPT_HOOKS.iter().any(|hook| line.contains(hook))
    };
    let lines: Vec<_> = ended.printed.iter().filter(ways).cloned().collect();
    assert!(!lines.is_empty(), "{}", ended.everything());
    show(&format!("doctor on openers:\n{}", lines.join("\n")));
}
