//! The tool under test: started, awaited, signalled, read.

use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use closewait_trace::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::age::is_emulated;
use super::kept;
use super::lines::Lines;
use super::netns::Netns;
use super::schema;
use super::waiting::{Deadline, until};

/// How long a socket has to be in CLOSE_WAIT in these tests. A program that closes
/// in time does so within milliseconds, but an emulated kernel may stall.
pub(crate) const THRESHOLD_MS: u64 = 2000;

/// The start of the line on stderr that says the programs are attached.
const ATTACHED: &str = "closewait-trace: tracing";

/// A running tool; killed when dropped.
pub(crate) struct Tool {
    child: Child,
    stdout: Option<Lines>,
    stderr: Lines,
    json: bool,
    ended: Ended,
}

/// What the tool has left behind.
#[derive(Default)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: Option<ExitStatus>,
    /// Lines of stdout.
    pub(crate) printed: Vec<String>,
    /// The same, parsed, each allowed by the schema, when the tool was to print JSON.
    pub(crate) reports: Vec<Value>,
    /// Lines of stderr.
    pub(crate) talk: Vec<String>,
}

/// Long enough for a report to be made and corrected: sockets are looked at anew every 10 s.
fn time_to_report() -> Deadline {
    if is_emulated() { Deadline::patient() } else { Deadline(Clock::mono_now() + Duration::from_secs(30)) }
}

/// What starts the tool: the executable, or what takes capabilities away first.
pub(crate) fn binary() -> PathBuf {
    if kept::is_asked_for() { kept::start().to_owned() } else { executable() }
}

/// The executable: `CLOSEWAIT_TRACE_BIN`, else the one this test was built with. For tests that
/// see themselves to what it may do.
pub(crate) fn executable() -> PathBuf {
    std::env::var_os("CLOSEWAIT_TRACE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_closewait-trace").into(), Into::into)
}

/// Arguments for tracing `net` as JSON, for a command made by the caller.
pub(crate) fn json_of(net: &Netns) -> Vec<String> {
    let threshold = format!("{THRESHOLD_MS}ms");
    ["--netns", &net.path(), "-o", "json", "--threshold", &threshold].map(str::to_owned).to_vec()
}

impl Tool {
    /// Traces `net` as JSON; returns when the programs are attached.
    pub(crate) fn trace(net: &Netns, more: &[&str]) -> Self {
        let mut tool = Self::spawn(Command::new(binary()).args(json_of(net)).args(more));
        tool.attached();
        tool
    }

    /// Starts it by a command of the caller's.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let (mut tool, stdout) = Self::spawn_unread(command);
        tool.read(stdout);
        tool
    }

    /// The same, but its stdout is left to the caller.
    pub(crate) fn spawn_unread(command: &mut Command) -> (Self, ChildStdout) {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("piped");
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        let json = command.get_args().any(|argument| argument == "json");
        (Self { child, stdout: None, stderr, json, ended: Ended::default() }, stdout)
    }

    /// Begins to read its stdout.
    pub(crate) fn read(&mut self, stdout: ChildStdout) {
        self.stdout = Some(Lines::of(stdout));
    }

    /// Stops it while `happens` does.
    pub(crate) fn stopped<T>(&self, happens: impl FnOnce() -> T) -> T {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::STOP).expect("it runs");
        let stat = format!("/proc/{}/stat", self.pid());
        until("the tool stands still", || {
            std::fs::read_to_string(&stat).ok()?.contains(") T ").then_some(())
        });
        let done = happens();
        kill_process(pid, Signal::CONT).expect("it is stopped");
        done
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it says that its programs are attached.
    pub(crate) fn attached(&mut self) {
        self.says(ATTACHED);
    }

    /// Waits for a line on stderr that begins with `start`.
    pub(crate) fn says(&mut self, start: &str) -> String {
        let deadline = Deadline::patient();
        while let Some(line) = self.stderr.next(deadline) {
            self.ended.talk.push(line.clone());
            if line.starts_with(start) {
                return line;
            }
        }
        panic!("it ended without saying {start:?}; it said:\n{}", self.ended.talk.join("\n"));
    }

    /// Waits until it has printed `count` reports of `kind`, updates not counted.
    pub(crate) fn has_reported(&mut self, kind: &str, count: usize) {
        while self.ended.of_kind(kind).count() < count {
            self.read_line(&format!("{count} were reported {kind}"));
        }
    }

    /// Waits until it has printed a line that contains `words`.
    pub(crate) fn has_printed(&mut self, words: &str) {
        while !self.ended.printed.iter().any(|line| line.contains(words)) {
            self.read_line(&format!("it printed {words:?}"));
        }
    }

    /// Reads until what it has printed is `enough`; `false` when that did not come in time.
    pub(crate) fn prints(&mut self, enough: impl Fn(&Ended) -> bool) -> bool {
        let deadline = time_to_report();
        while !enough(&self.ended) {
            let stdout = self.stdout.as_ref().expect("stdout is read");
            match stdout.next_before(deadline) {
                Ok(Some(line)) => self.ended.take(line, self.json),
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// Hands over what it prints until then; [`Tool::end`] has only the rest.
    pub(crate) fn reports_until(&mut self, deadline: Deadline) -> Vec<Value> {
        let stdout = self.stdout.as_ref().expect("stdout is read");
        while let Ok(line) = stdout.next_before(deadline) {
            let line = line.unwrap_or_else(|| panic!("it ended:\n{}", self.ended.everything()));
            self.ended.take(line, self.json);
        }
        self.ended.printed.clear();
        std::mem::take(&mut self.ended.reports)
    }

    /// Reads until what it has printed is `enough`, which may take minutes; `what` names it
    /// for the failure.
    pub(crate) fn comes_to_print(&mut self, what: &str, enough: impl Fn(&Ended) -> bool) {
        let deadline = Deadline::patient();
        while !enough(&self.ended) {
            let stdout = self.stdout.as_ref().expect("stdout is read");
            match stdout.next_before(deadline) {
                Ok(Some(line)) => self.ended.take(line, self.json),
                Ok(None) | Err(_) => panic!("it did not print {what}:\n{}", self.ended.everything()),
            }
        }
    }

    fn read_line(&mut self, before: &str) {
        let stdout = self.stdout.as_ref().expect("stdout is read");
        match stdout.next(Deadline::patient()) {
            Some(line) => self.ended.take(line, self.json),
            None => panic!("it ended before {before}:\n{}", self.ended.everything()),
        }
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn signal(self, signal: Signal) -> Ended {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the tool runs");
        self.end()
    }

    /// Waits for its end. It must never have panicked.
    pub(crate) fn end(mut self) -> Ended {
        let status = until("the end of the tool", || self.child.try_wait().expect("our own child"));
        let mut ended = std::mem::take(&mut self.ended);
        ended.status = Some(status);
        for line in self.stdout.as_ref().map(Lines::rest).unwrap_or_default() {
            ended.take(line, self.json);
        }
        ended.talk.extend(self.stderr.rest());
        assert!(!ended.talk.iter().any(|line| line.contains("panicked")), "{}", ended.everything());
        ended
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The exit code must be `expected`.
    pub(crate) fn exits(&self, expected: i32) -> &Self {
        assert_eq!(self.code(), Some(expected), "{:?}\n{}", self.status, self.everything());
        self
    }

    /// Some line on stderr must contain `words`.
    pub(crate) fn said(&self, words: &str) -> &Self {
        assert!(
            self.talk.iter().any(|line| line.contains(words)),
            "nothing about {words:?}\n{}",
            self.everything()
        );
        self
    }

    /// The reports of one kind, updates left out.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.reports.iter().filter(move |report| report["kind"] == kind && report["update"] != true)
    }

    fn take(&mut self, line: String, json: bool) {
        if json {
            self.reports.push(schema::parse(&line));
        }
        self.printed.push(line);
    }

    /// All it printed, for a failure message.
    pub(crate) fn everything(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.printed.join("\n"), self.talk.join("\n"))
    }
}
