//! What unwinding and naming cost, printed and not judged: a thousand stacks of a
//! hundred processes. Run with `--release` for numbers that mean something.

use std::fs;

use closewait_trace::clock::Clock;
use closewait_trace::stack::places::Processes;
use closewait_trace::stack::symbolize::Symbols;

use crate::blocked::Blocked;
use crate::deep::build_c;
use crate::waiting::show;

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or("?").to_owned();
    [line("RssAnon"), line("RssShmem")].join(" ").replace('\t', " ")
}

#[test]
fn a_thousand_stacks_of_a_hundred_processes() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build_c(&program);
    let blocked: Vec<_> =
        (0..100).map(|n| Blocked::start(&program, &["frames".to_owned(), n.to_string()])).collect();
    let captures: Vec<_> = blocked.iter().map(Blocked::capture).collect();
    let (mut processes, mut symbols) = (Processes::default(), Symbols::default());
    let before = memory();
    let (mut unwinding, mut naming) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        for (blocked, capture) in blocked.iter().zip(&captures) {
            let began = Clock::mono_now();
            let placed = processes.unwind(&blocked.task, capture).unwrap();
            let unwound = Clock::mono_now();
            let stack = symbols.stack(&placed);
            naming.push(Clock::mono_now().since(unwound));
            unwinding.push(unwound.since(began));
            assert!(stack.frames.iter().any(|frame| frame.symbol.as_deref() == Some("run_server")));
        }
    }
    for (what, times) in [("placed and unwound", &mut unwinding), ("named", &mut naming)] {
        let (cold, total) = (times[0], times.iter().sum::<std::time::Duration>());
        times.sort();
        show(&format!("1,000 stacks {what}: first {cold:?}, median {:?}, all {total:?}", times[500]));
    }
    show(&format!("before: {before}; after: {}", memory()));
}
