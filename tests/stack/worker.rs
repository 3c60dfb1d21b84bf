//! The background threads: asked while the process lives, answered later.

use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use closewait_trace::fact::Fact;
use closewait_trace::item::{Path, StackId, Task};
use closewait_trace::stack::Stacks;
use closewait_trace::stack::worker::MAX_WAITING;

use crate::assert_is_c_path;
use crate::process::{NO_ARGS, Target, build_c};

/// Far longer than anything here takes; reached only when a test fails.
const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn path(target: &Target, stack: u32) -> Path {
    Path {
        at: Clock::mono_now(),
        task: target.task.clone(),
        stack: StackId(stack),
        addrs: target.addrs.clone(),
        copy: None,
        python: None,
    }
}

#[test]
fn a_stack_is_named_once_and_kept_when_the_process_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let mut target = Target::start(&program, &NO_ARGS);
    let (pid, id) = (target.task.pid, StackId(7));
    let stacks = Stacks::spawn().unwrap();
    assert_eq!(stacks.get(pid, id).reason(), Some("its call path was not recorded"));

    stacks.remember(path(&target, id.0));
    let named = block_on(stacks.wait(pid, id, DEADLINE));
    target.end();
    std::fs::remove_file(&program).unwrap();
    assert_is_c_path(named.known().unwrap());
    assert_eq!(stacks.get(pid, id), named);
    assert!(stacks.get(pid + 1, id).known().is_none(), "a stack id is valid with its process only");

    // The closer's stack comes at the end; the process may have exited by then.
    stacks.remember(path(&target, id.0 + 1));
    let late = block_on(stacks.wait(pid, StackId(id.0 + 1), DEADLINE));
    assert_is_c_path(late.known().unwrap());
    let counts = stacks.counts();
    assert_eq!((counts.asked, counts.named, counts.unknown, counts.dropped), (2, 2, 0, 0));
}

#[test]
fn a_process_gone_too_early_is_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let mut target = Target::start(&program, &NO_ARGS);
    target.end();
    let (pid, id) = (target.task.pid, StackId(7));
    let stacks = Stacks::spawn().unwrap();
    stacks.remember(path(&target, id.0));
    let reason = format!("process {pid} exited before its maps could be read");
    assert_eq!(block_on(stacks.wait(pid, id, DEADLINE)), Fact::unknown(reason));
    assert_eq!(stacks.counts().unknown, 1);
}

/// Its record is older than the process that has its number now.
#[test]
fn a_number_that_was_used_again_names_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let target = Target::start(&program, &NO_ARGS);
    let (pid, id) = (target.task.pid, StackId(7));
    let stacks = Stacks::spawn().unwrap();
    stacks.remember(Path { at: MonoNs(1), ..path(&target, id.0) });
    let reason = format!("process {pid} has exited, and its number is another's now");
    assert_eq!(block_on(stacks.wait(pid, id, DEADLINE)), Fact::unknown(reason));
    // The control: the same record, made while it ran.
    stacks.remember(path(&target, 8));
    assert_is_c_path(block_on(stacks.wait(pid, StackId(8), DEADLINE)).known().unwrap());
}

#[test]
fn addresses_of_another_program_are_not_named() {
    let me = std::process::id();
    let task = Task { pid: me, tid: me, comm: "test".into() };
    let stacks = Stacks::spawn().unwrap();
    let named = |id, addrs| {
        let (at, stack) = (Clock::mono_now(), StackId(id));
        stacks.remember(Path { at, task: task.clone(), stack, addrs, copy: None, python: None });
        block_on(stacks.wait(me, stack, DEADLINE))
    };
    let other = named(1, vec![0x1000, 0x2000]);
    assert!(other.reason().unwrap().contains("0x1000 is not in the code of its process"), "{other:?}");
    assert_eq!(named(2, vec![]).reason(), Some("kernel gave an empty stack"));
}

#[test]
fn asking_for_more_than_can_wait_neither_blocks_nor_loses_count() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &["-g"]);
    let target = Target::start(&program, &NO_ARGS);
    let stacks = Stacks::spawn().unwrap();
    // All at once, to a worker that has yet to read its first symbols.
    let asked = 4 * u32::try_from(MAX_WAITING).unwrap();
    for id in 0..asked {
        stacks.remember(path(&target, id));
    }
    let facts: Vec<_> =
        (0..asked).map(|id| block_on(stacks.wait(target.task.pid, StackId(id), DEADLINE))).collect();
    let counts = stacks.counts();
    let given_up = |fact: &&Fact<_>| fact.reason().is_some_and(|why| why.contains("were waiting already"));
    let (named, dropped) = (
        facts.iter().filter(|fact| fact.known().is_some()).count() as u64,
        facts.iter().filter(given_up).count() as u64,
    );
    assert_eq!(counts.asked, u64::from(asked));
    assert_eq!((counts.named, counts.dropped), (named, dropped));
    assert_eq!(named + dropped, u64::from(asked), "each was answered");
    assert!(dropped > 0, "the queue is bounded");
}
