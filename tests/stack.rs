//! Stacks of real processes: alive, gone, their binary deleted or replaced, in a
//! root of their own; compiled from C, Go and Rust, with and without symbols.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "stack/process.rs"]
mod process;

use std::path::Path;

use closewait_trace::item::Task;
use closewait_trace::stack::Stack;
use closewait_trace::stack::places::Processes;
use closewait_trace::stack::symbolize::Symbols;
use closewait_trace::verdict::Frame;
use process::{Target, build_c};

const NO_ARGS: [&str; 0] = [];

/// Places and names a stack at once.
fn stack_of(task: &Task, addrs: &[u64]) -> Stack {
    let placed = Processes::default().place(task, addrs).unwrap();
    Symbols::default().stack(&placed)
}

fn symbols(stack: &Stack) -> Vec<(&str, bool)> {
    stack.frames.iter().map(|f| (f.symbol.as_deref().unwrap_or("?"), f.inlined)).collect()
}

#[track_caller]
fn assert_in_module(frame: &Frame, program: &Path) {
    assert_eq!(frame.module.as_deref(), program.to_str());
}

#[test]
fn c_with_debug_information_has_inlined_calls_and_lines() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &["-g"]);
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &target.addrs);
    assert_eq!(symbols(&stack)[..3], [("take", true), ("serve", false), ("main", false)], "{stack:#?}");
    let source = include_str!("stack/target.c");
    for frame in &stack.frames[..3] {
        assert_in_module(frame, &program);
        assert!(frame.file.as_ref().unwrap().ends_with("tests/stack/target.c"), "{frame:?}");
        let mark = format!("/* line of {} */", frame.symbol.as_ref().unwrap());
        let line = source.lines().position(|line| line.contains(&mark)).unwrap() + 1;
        assert_eq!(frame.line, u32::try_from(line).ok(), "{frame:?}");
    }
    assert_eq!(stack.frames[1].addr, target.addrs[0], "the address is kept as it was on the stack");
    // The call is serve's last instruction: looked up as it is, the address names what follows.
    let after = stack_of(&target.task, &[target.addrs[0] + 1]);
    assert_eq!(symbols(&after), [("follower", false)]);
}
