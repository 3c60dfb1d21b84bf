//! Programs built and started by the tests themselves.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use closewait_trace::item::Task;

/// For a program without arguments.
pub(crate) const NO_ARGS: [&str; 0] = [];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stack").join(name)
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the C program; `extra` are more flags.
pub(crate) fn build_c(to: &Path, extra: &[&str]) {
    let flags =
        ["-O2", "-fno-omit-frame-pointer", "-falign-functions=1", "-fno-toplevel-reorder", "-pthread"];
    run(Command::new("gcc")
        .args(flags)
        .args(extra)
        .arg("-D_GNU_SOURCE")
        .arg(source("target.c"))
        .arg("-o")
        .arg(to));
}

/// Builds the Go program.
pub(crate) fn build_go(to: &Path) {
    run(Command::new("go").args(["build", "-o"]).arg(to).arg(source("target.go")));
}

/// Builds the Rust program.
pub(crate) fn build_rust(to: &Path) {
    let flags = ["-O", "-g", "-Cforce-frame-pointers=yes", "--edition=2024"];
    run(Command::new("rustc").args(flags).arg(source("target.rs")).arg("-o").arg(to));
}

/// A running program that has printed its call path.
pub(crate) struct Target {
    child: Child,
    /// The process that printed, which need not be the child itself.
    pub(crate) task: Task,
    /// What it printed.
    pub(crate) addrs: Vec<u64>,
}

impl Target {
    /// Starts the program and reads its path.
    pub(crate) fn start<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[A]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        let addrs = line.split_whitespace().filter_map(hex).collect();
        let pid = child.id();
        // The program run with "thread" prints its thread's id first.
        let tid = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(pid);
        Self { child, task: Task { pid, tid, comm: "target".into() }, addrs }
    }

    /// The same for a program that `unshare --fork` started as its child.
    pub(crate) fn start_unshared(args: &[&OsStr]) -> Self {
        let mut target = Self::start("unshare", args);
        let parent = target.task.pid;
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let pid = children.split_whitespace().next().unwrap().parse().unwrap();
        (target.task.pid, target.task.tid) = (pid, pid);
        target
    }

    /// Ends the process and waits until it is gone.
    pub(crate) fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}
