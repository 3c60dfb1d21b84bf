//! `doctor` says what this kernel offers and which way openers are learned.

use std::fs;
use std::process::Command;

use serde_json::Value;

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

/// Purposes of a line of JSON, by their names.
fn purpose<'a>(line: &'a Value, name: &str) -> &'a Value {
    let purposes = line["purposes"].as_array().expect("a list");
    purposes.iter().find(|it| it["purpose"] == name).unwrap_or_else(|| panic!("no {name}: {line}"))
}

#[test]
fn in_json_it_says_what_is_lost_and_how_to_get_it() {
    let mut command = Command::new(binary());
    command.args(["doctor", "-o", "json", "--self-test"]);
    for hook in ["sock_recv_length", "fentry", "kprobe"] {
        command.args(["--without", hook]);
    }
    let tool = Tool::spawn(&mut command);
    let doctor = tool.pid();
    let ended = tool.end();
    ended.exits(0);
    let [line] = ended.reports.as_slice() else { panic!("one line: {}", ended.everything()) };
    assert_eq!(line["kind"], "doctor");
    assert_eq!(line["can_trace"], true);
    let eof = purpose(line, "EOF reads");
    assert!(eof["by"].is_null() && eof["lost"].is_string(), "{eof}");
    assert!(
        eof["get_by"].as_array().expect("a list").contains(&"no --without sock_recv_length".into()),
        "{eof}"
    );
    // Without trampolines and kprobes it is the dear way.
    let accept = purpose(line, "accept openers");
    assert_eq!(accept["by"], "sys_exit_accept");
    assert!(accept["cost"].is_string(), "{accept}");
    assert_eq!(line["self_test"]["passed"], true, "{line}");
    assert_eq!(line["self_test"]["checks"][0]["right"], true);
    // The tracer that it ran names the task whose namespace it looks at.
    let its_own = format!("/proc/{doctor}/task/");
    let names_it = |pid: &fs::DirEntry| {
        fs::read(pid.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&its_own))
    };
    let left: Vec<_> = fs::read_dir("/proc").expect("/proc").flatten().filter(names_it).collect();
    assert!(left.is_empty(), "left running: {left:?}");
}
