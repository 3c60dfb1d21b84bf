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

#[test]
fn it_finds_a_leak_of_its_own() {
    let ended = Tool::spawn(Command::new(binary()).args(["doctor", "--self-test"])).end();
    ended.exits(0);
    for word in ["found", "holder", "opener"] {
        let line = |line: &String| line.trim_start().starts_with(word) && !line.contains("unknown");
        assert!(ended.printed.iter().any(line), "{word}: {}", ended.everything());
    }
    show(&ended.printed.join("\n"));
}

/// What is looked for is found by the fallbacks too.
#[test]
fn it_finds_it_by_the_hooks_it_is_told_to() {
    let mut command = Command::new(binary());
    command.args(["doctor", "--self-test", "--without", "iter_task_file"]);
    let ended = Tool::spawn(&mut command).end();
    ended.exits(0);
    assert!(!ended.printed.iter().any(|line| line.contains("WRONG")), "{}", ended.everything());
}
