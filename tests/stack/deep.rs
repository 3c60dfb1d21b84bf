//! Stacks six functions deep, in each language and the ways it is compiled: which
//! of the six are named, in order. Copied as the kernel side copies them, unwound
//! and named by the tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use closewait_trace::stack::Stack;
use closewait_trace::stack::capture::Capture;
use closewait_trace::stack::places::Processes;
use closewait_trace::stack::symbolize::Symbols;
use closewait_trace::verdict::How;

use crate::blocked::Blocked;
use crate::process::run;

/// The six as C has them; other languages write some of them differently.
pub(crate) const SIX: [&str; 6] = ["leak_here", "take_one", "handle", "dispatch", "serve", "run_server"];

pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stack/deep").join(name)
}

/// Compiles `six.c` or `six.cpp`.
pub(crate) fn build(to: &Path, compiler: &str, file: &str, flags: &[&str]) {
    run(Command::new(compiler).args(flags).arg(source(file)).arg("-o").arg(to));
}

/// The C program as distributions compile: no frame pointers, no debug information.
pub(crate) fn build_c(to: &Path) {
    build(to, "gcc", "six.c", &["-O2", "-fomit-frame-pointer"]);
}

/// Unwinds and names.
pub(crate) fn named(blocked: &Blocked, capture: &Capture) -> Stack {
    let placed = Processes::default().unwind(&blocked.task, capture).unwrap();
    Symbols::default().stack(&placed)
}

/// How many of the names are there, in this order; none after a frame between them
/// that is not there in truth (`also`: what else may be).
fn right(stack: &Stack, six: &[&str], also: &[&str]) -> usize {
    let symbols: Vec<_> = stack.frames.iter().map(|frame| frame.symbol.as_deref().unwrap_or("?")).collect();
    let (mut found, mut at) = (0, 0);
    for name in six {
        let Some(n) = (at..symbols.len()).find(|&n| is(symbols[n], name)) else { continue };
        let other = |n: &usize| found > 0 && !also.iter().any(|also| symbols[*n].contains(also));
        if let Some(wrong) = (at..n).find(other) {
            crate::waiting::show(&format!("not there in truth: {}", symbols[wrong]));
            return found;
        }
        (found, at) = (found + 1, n + 1);
    }
    found
}

/// Whether the name is a whole word of the symbol.
fn is(symbol: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    symbol
        .match_indices(name)
        .any(|(at, _)| !symbol[..at].ends_with(part) && !symbol[at + name.len()..].starts_with(part))
}

/// One line for each frame.
pub(crate) fn brief(stack: &Stack) -> String {
    let lines = stack.frames.iter().map(|frame| {
        let inlined = if frame.inlined { " inlined" } else { "" };
        let name = frame.symbol.as_deref().unwrap_or("?");
        format!(
            "{:#x} {name} {:?}{inlined} {}",
            frame.addr,
            frame.how,
            frame.module.as_deref().unwrap_or("?")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The row of the table, and the number that is right.
#[track_caller]
pub(crate) fn check(what: &str, stack: &Stack, six: &[&str], also: &[&str], least: usize) {
    let right = right(stack, six, also);
    let count = |how| stack.frames.iter().filter(|frame| !frame.inlined && frame.how == how).count();
    let hows = [("kernel", How::Kernel), ("dwarf", How::Dwarf), ("fp", How::Fp), ("scan", How::Scan)];
    let hows: Vec<_> = hows
        .into_iter()
        .filter_map(|(name, how)| Some((name, count(how))).filter(|(_, n)| *n > 0))
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    // Past libtest's capture: the table is for readers of a passing run.
    let note = stack.note.as_deref().unwrap_or("-");
    crate::waiting::show(&format!("{what:40} {right} of {}   {:40} {note}", six.len(), hows.join(", ")));
    assert!(right >= least, "{what}: {right} of 6 right\n{}", brief(stack));
}

#[test]
fn c_without_frame_pointers() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build_c(&program);
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    check("C -O2", &stack, &SIX, &[], 6);
    assert_eq!(stack.note, None, "{}", brief(&stack));
    assert_eq!(stack.frames[0].how, How::Kernel);
    assert!(stack.frames[1..].iter().all(|frame| frame.how == How::Dwarf), "{}", brief(&stack));
    let names: Vec<_> = stack.frames.iter().filter_map(|frame| frame.symbol.as_deref()).collect();
    assert_eq!(names.last(), Some(&"_start"), "down to where the program starts");
}

#[test]
fn c_with_frame_pointers_and_no_tables() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    let flags = ["-O2", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    build(&program, "gcc", "six.c", &flags);
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    check("C -O2, frame pointers only", &stack, &SIX, &[], 6);
}

#[test]
fn static_c() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build(&program, "gcc", "six.c", &["-O2", "-static"]);
    let blocked = Blocked::start(&program, &["one"]);
    check("C -O2 -static (glibc)", &named(&blocked, &blocked.capture()), &SIX, &[], 6);
}

#[test]
fn c_with_debug_frame_only() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    let flags = ["-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-gz=zlib"];
    build(&program, "gcc", "six.c", &flags);
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    check("C -O2, compressed .debug_frame only", &stack, &SIX, &[], 6);
    assert!(stack.frames[2..8].iter().all(|frame| frame.how == How::Dwarf), "{}", brief(&stack));
}

#[test]
fn a_signal_handler_leads_back_to_what_it_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build_c(&program);
    let blocked = Blocked::start(&program, &["signal"]);
    let stack = named(&blocked, &blocked.capture());
    check("C -O2, in a signal handler", &stack, &SIX, &[], 6);
    assert!(stack.frames.iter().any(|frame| frame.symbol.as_deref() == Some("handler")), "{}", brief(&stack));
    assert!(stack.frames[1..].iter().all(|frame| frame.how == How::Dwarf), "{}", brief(&stack));
}

#[test]
fn cpp_with_templates_and_exceptions() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build(&program, "g++", "six.cpp", &["-O2", "-std=c++17"]);
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    check("C++ -O2", &stack, &SIX, &["_M_invoke", "operator()", "std::"], 6);
    let names: Vec<_> = stack.frames.iter().filter_map(|frame| frame.symbol.as_deref()).collect();
    assert!(names.iter().any(|name| name.starts_with("shop::Pool<int>::leak_here(int)")), "{names:?}");
}

#[test]
fn rust_release_with_inlined_calls() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    let flags = ["-Copt-level=3", "-Clto=fat", "-Cpanic=abort", "-Cdebuginfo=1", "-Cforce-frame-pointers=no"];
    run(Command::new("rustc")
        .args(flags)
        .args(["--edition=2024"])
        .arg(source("six.rs"))
        .arg("-o")
        .arg(&program));
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    check("Rust release, lto, panic=abort", &stack, &SIX, &["black_box"], 6);
    let inlined = |frame: &&closewait_trace::verdict::Frame| frame.symbol.as_deref() == Some("six::take_one");
    let frame = stack.frames.iter().find(inlined).unwrap();
    assert!(frame.inlined && frame.line.is_some() && frame.file.is_some(), "{frame:#?}");
}

#[test]
fn go_in_a_goroutine() {
    let dir = tempfile::tempdir().unwrap();
    let six = ["leakHere", "takeOne", "handle", "dispatch", "serve", "runServer"];
    let stack_of = |flags| {
        let program = dir.path().join("six");
        run(Command::new("go").args(["build", "-ldflags", flags, "-o"]).arg(&program).arg(source("six.go")));
        let blocked = Blocked::start(&program, &["one"]);
        named(&blocked, &blocked.capture())
    };
    let stack = stack_of("");
    check("Go", &stack, &six, &[], 6);
    let names: Vec<_> = stack.frames.iter().filter_map(|frame| frame.symbol.as_deref()).collect();
    assert!(names.last().unwrap().starts_with("runtime.goexit"), "{names:?}");
    // Without unwind tables and symbols: the same addresses, since the code is the same, and
    // the names that the program needs itself.
    let stripped = stack_of("-s -w");
    check("Go, stripped", &stripped, &six, &[], 6);
    let addrs = |stack: &Stack| {
        let frames = stack.frames.iter().filter(|frame| !frame.inlined);
        frames.map(|frame| frame.addr).collect::<Vec<_>>()
    };
    assert_eq!(addrs(&stripped), addrs(&stack), "{}", brief(&stripped));
}

/// A perf map that a runtime wrote, removed when the test ends.
pub(crate) struct Map(PathBuf);

impl Map {
    pub(crate) fn of(pid: u32) -> Self {
        Self(format!("/tmp/perf-{pid}.map").into())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn java(what: &str, options: &[&str], least: usize) {
    let six = ["leakHere", "takeOne", "handle", "dispatch", "serve", "runServer"];
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("javac").arg("-d").arg(dir.path()).arg(source("Six.java")));
    let dont_inline = "-XX:CompileCommand=dontinline,Six::*";
    let mut command = Command::new("java");
    command.args(["-XX:CompileCommand=quiet", dont_inline]).args(options);
    command.arg("-cp").arg(dir.path()).arg("Six");
    let blocked = Blocked::spawn(command);
    assert_eq!(blocked.task.comm, "six-worker");
    let _map = Map::of(blocked.task.pid);
    run(Command::new("jcmd").arg(blocked.task.pid.to_string()).arg("Compiler.perfmap"));
    let stack = named(&blocked, &blocked.capture());
    check(what, &stack, &six, &[], least);
}

#[test]
fn java_with_frame_pointers() {
    java("Java 17 -XX:+PreserveFramePointer", &["-XX:+PreserveFramePointer"], 6);
}

#[test]
fn java_without_frame_pointers() {
    java("Java 17", &[], 5);
}

#[test]
fn java_compiled_by_c1_only() {
    java("Java 17 -XX:TieredStopAtLevel=1", &["-XX:TieredStopAtLevel=1"], 5);
}

#[test]
fn node_with_a_perf_map() {
    let six = ["leakHere", "takeOne", "handle", "dispatch", "serve", "runServer"];
    // Where it leaves a log of its own.
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("node");
    command.current_dir(&dir);
    command.args(["--perf-basic-prof", "--interpreted-frames-native-stack"]).arg(source("six.js"));
    let blocked = Blocked::spawn(command);
    let _map = Map::of(blocked.task.pid);
    check("Node 20 --perf-basic-prof", &named(&blocked, &blocked.capture()), &six, &[], 6);
}

#[test]
fn python_as_installed() {
    let blocked = Blocked::start("python3", &[source("six.py")]);
    let stack = named(&blocked, &blocked.capture());
    check("Python as installed (native frames)", &stack, &["_PyEval_EvalFrameDefault"], &[], 0);
    assert!(stack.note.as_ref().is_some_and(|note| note.contains("-X perf")), "{:?}", stack.note);
}
