//! `run`: the leak gate around a command.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use closewait_trace::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::bpf::{are_gone, maps_are_gone, maps_of, programs_of};
use super::kept;
use super::lines::Lines;
use super::netns::{Netns, output};
use super::scenario::{Scenario, programs};
use super::schema;
use super::tool::binary;
use super::waiting::{Deadline, show, until};

/// A command in the gate.
pub(crate) struct Gate {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

/// What came of it.
pub(crate) struct Passed {
    status: ExitStatus,
    pub(crate) printed: Vec<String>,
    talk: Vec<String>,
}

impl Gate {
    /// Stops it once its command is ready: at which port that listens, and the gate's process.
    fn stands_still(&mut self) -> (String, Pid) {
        let ready = self.hear();
        let port = ready.split("port=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
        let pid = self.child.id();
        let itself = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(itself, Signal::STOP).expect("it runs");
        until("the gate stands still", || stat(pid).contains(") T ").then_some(()));
        (port.to_owned(), itself)
    }

    /// Runs `words` in `net`.
    pub(crate) fn around(net: &Netns, options: &[&str], words: &[&str]) -> Self {
        Self::spawn(net.command(binary()).arg("run").args(options).arg("--").args(words))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Lines::of(child.stdout.take().expect("piped"));
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// The command's next line.
    pub(crate) fn hear(&self) -> String {
        self.stdout.next(Deadline::patient()).expect("the command says something")
    }

    /// Waits for its end; the command's input ends.
    pub(crate) fn end(mut self) -> Passed {
        drop(self.stdin.take());
        let status = until("the end of the gate", || self.child.try_wait().expect("our own child"));
        let (printed, talk) = (self.stdout.rest(), self.stderr.rest());
        assert!(!talk.iter().any(|line| line.contains("panicked")), "{}", talk.join("\n"));
        Passed { status, printed, talk }
    }
}

impl Passed {
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.talk.join("\n"));
        let last = self.talk.last().expect("a last line");
        assert!(last.starts_with("closewait-trace: ") && last.ends_with(&format!("exit {code}")), "{last}");
        self
    }

    pub(crate) fn said(&self, words: &str) -> &Self {
        assert!(
            self.talk.iter().any(|line| line.contains(words)),
            "no {words:?} in\n{}",
            self.talk.join("\n")
        );
        self
    }
}

/// A file that goes with the test.
struct Scrap(PathBuf);

impl Scrap {
    fn new(name: &str) -> Self {
        // The directory that cargo offers is not there in a virtual machine.
        let path = std::env::temp_dir().join(format!("closewait-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("it was written")
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs `leaky_server` in the gate until its clients, which are outside, have closed;
/// then it ends without closing what it was told to leak.
fn server(options: &[&str], leaks: &[&str]) -> Passed {
    let net = Netns::new();
    let program = programs().join("leaky_server");
    let gate = Gate::around(&net, options, &[&[program.to_str().expect("text")], leaks].concat());
    let ready = gate.hear();
    let port = ready.split("port=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
    let all: usize = leaks.iter().filter_map(|word| word.parse::<usize>().ok()).sum();
    let client = ["--port", port, "--first", "--close", &all.to_string()];
    Scenario::start(&net, "leaky_client", &client).done();
    while !gate.hear().starts_with("done") {}
    stay();
    gate.end()
}

/// How long sockets are in CLOSE_WAIT here before their process ends: that they were is
/// what the gate goes by.
fn stay() {
    let until_then = Clock::mono_now() + Duration::from_millis(800);
    until("sockets have been in CLOSE_WAIT for a while", || (Clock::mono_now() >= until_then).then_some(()));
}

/// Longer than whoever closes in time takes, on any machine; shorter than [`stay`].
const SHORT: [&str; 2] = ["--threshold", "500ms"];

#[test]
fn a_leak_fails_and_none_passes() {
    let leaked = server(&SHORT, &["--leak", "3", "--close", "2"]);
    leaked.exits(1).said("3 sockets leaked, of 1 cause").said("EOF_IGNORED").said("accept_and_forget");
    server(&SHORT, &["--leak", "0", "--close", "5"]).exits(0).said("no socket leaked");
}

/// A filter by process leaves out what ended with another, and says so; what it is asked for
/// counts, though that has ended, too.
#[test]
fn what_the_filter_leaves_out_is_counted_and_told() {
    let report = Scrap::new("left-out");
    let with = |comm| [&SHORT[..], &["--comm", comm, "-o", "json", "--report", report.path()]].concat();
    server(&with("other"), &["--leak", "3"])
        .exits(0)
        .said("no socket leaked, 3 left out by the filter; exit 0");
    let summary = |text: String| serde_json::from_str::<Value>(text.lines().last().expect("a line"));
    let summary = summary(report.text()).expect("JSON");
    assert_eq!(
        (&summary["kind"], &summary["totals"]["left_out"]),
        (&"summary".into(), &3.into()),
        "{summary}"
    );
    server(&with("leaky_server"), &["--leak", "3"]).exits(1).said("3 sockets leaked, of 1 cause; exit 1");
}

/// What nobody has accepted yet may be the command's: only a look tells. A stranger's is none of
/// the sockets that the summary tells of.
#[test]
fn its_summary_is_of_the_command_only() {
    let net = Netns::new();
    let stranger = Scenario::start(&net, "leaky_server", &["--never-accept"]);
    let report = Scrap::new("own");
    let program = programs().join("leaky_server");
    let program = program.to_str().expect("text");
    let options = [&SHORT[..], &["-o", "json", "--report", report.path()]].concat();
    let gate = Gate::around(&net, &options, &[program, "--leak", "1", "--close", "2"]);
    let ready = gate.hear();
    let port = ready.split("port=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
    for (port, closes) in [(port, "3"), (&*stranger.port(), "5")] {
        Scenario::start(&net, "leaky_client", &["--port", port, "--first", "--close", closes]).done();
    }
    while !gate.hear().starts_with("done") {}
    stay();
    gate.end().exits(1).said("1 socket leaked");
    let text = report.text();
    let summary: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    for (what, sockets) in
        [("watched", 3), ("entered", 3), ("left", 3), ("in_close_wait", 0), ("reported", 1)]
    {
        assert_eq!(summary["totals"][what], sockets, "{what} of {summary}");
    }
}

/// A verdict takes until half a second after the start of CLOSE_WAIT; a close before that
/// must not hide that it came too late. (A slow machine that is judged before passes too.)
#[test]
fn what_is_closed_late_counts_before_its_verdict_too() {
    let net = Netns::new();
    let program = programs().join("leaky_server");
    let program = program.to_str().expect("text");
    let mut gate = Gate::around(&net, &["--threshold", "150ms"], &[program, "--leak", "1"]);
    let ready = gate.hear();
    let port = ready.split("port=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
    Scenario::start(&net, "leaky_client", &["--port", port, "--first", "--close", "1"]).done();
    while !gate.hear().starts_with("done") {}
    let late = Clock::mono_now() + Duration::from_millis(400);
    until("it is late", || (Clock::mono_now() >= late).then_some(()));
    gate.stdin.as_mut().expect("piped").write_all(b"close\n").expect("it listens");
    gate.end().exits(1).said("1 socket leaked").said("EOF_IGNORED").said("accept_and_forget");
}

/// The kernel's own times decide, not when the gate had time to look: one that is not
/// scheduled while a socket comes and is closed late counts it, with its stacks.
#[test]
fn what_is_closed_late_counts_although_nobody_looked() {
    for (read, verdict) in [("once", "EOF_IGNORED"), ("none", "NOT_READING")] {
        let leaks = ["--read", read, "--leak", "1"];
        unseen(&leaks, Duration::from_millis(400))
            .exits(1)
            .said("1 socket leaked")
            .said(verdict)
            .said("accept_and_forget");
    }
    unseen(&["--leak", "0", "--close", "5"], Duration::ZERO).exits(0).said("no socket leaked");
}

/// A gate that is stopped while its command, `leaky_server`, leaks, and closes after `dwell`.
fn unseen(leaks: &[&str], dwell: Duration) -> Passed {
    let net = Netns::new();
    let program = programs().join("leaky_server");
    let words = [&[program.to_str().expect("text")], leaks].concat();
    let mut gate = Gate::around(&net, &["--threshold", "150ms"], &words);
    let (port, itself) = gate.stands_still();
    let all: usize = leaks.iter().filter_map(|word| word.parse::<usize>().ok()).sum();
    let client = ["--port", &port, "--first", "--close", &all.to_string()];
    Scenario::start(&net, "leaky_client", &client).done();
    while !gate.hear().starts_with("done") {}
    let late = Clock::mono_now() + dwell;
    until("it is late", || (Clock::mono_now() >= late).then_some(()));
    gate.stdin.as_mut().expect("piped").write_all(b"close\n").expect("it listens");
    until("all are closed", || net.close_wait().is_empty().then_some(()));
    kill_process(itself, Signal::CONT).expect("it stands still");
    // Stacks are named while their process runs.
    stay();
    gate.end()
}

/// The record of an entry may be lost; when it was, the kernel side has remembered, and tells with
/// the end of the process.
#[test]
fn what_leaked_counts_although_the_record_of_its_entry_was_lost() {
    let net = Netns::new();
    let program = programs().join("leaky_server");
    let words = [program.to_str().expect("text"), "--leak", "3", "--close", "84"];
    let mut gate = Gate::around(&net, &["--room", "RECORDS=4096"], &words);
    let (port, itself) = gate.stands_still();
    Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "87"]).done();
    while !gate.hear().starts_with("done") {}
    let stuck = Clock::mono_now() + Duration::from_millis(150);
    until("they are stuck", || (Clock::mono_now() >= stuck).then_some(()));
    let pid = gate.child.id();
    let before = waits_of(pid);
    kill_process(itself, Signal::CONT).expect("it stands still");
    // It waits each time when it has emptied the ring, in which there is room for ends then. Not
    // so long that it looks for what the records did not tell.
    until("the gate goes on", || (waits_of(pid) > before + 1).then_some(()));
    drop(gate.stdin.take());
    gate.end().exits(1).said("entered CLOSE_WAIT").said("3 sockets leaked, of 1 cause");
}

/// How often a process has gone to sleep.
fn waits_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a number")
}

fn stat(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

#[test]
fn what_leaked_is_known_by_suppressions_and_maxima() {
    let known = Scrap::new("known");
    std::fs::write(&known.0, "# ours\nframe:*accept_and_forget* comm:leaky_server\nframe:nothing\n")
        .expect("written");
    let leaks = ["--leak", "3"];
    let with = |more: &[&str]| server(&[&SHORT, more].concat(), &leaks);
    with(&["--suppressions", known.path()])
        .exits(0)
        .said("3 more suppressed")
        .said(":2: frame:*accept_and_forget* comm:leaky_server: suppressed 3")
        .said(":3: frame:nothing: suppresses nothing");
    with(&["--max", "3"]).exits(0).said("(at most 3 allowed)");
    with(&["--max", "2"]).exits(1);
    let baseline = Scrap::new("baseline");
    with(&["--suppressions", baseline.path(), "--update-baseline"])
        .exits(0)
        .said(&format!("{}: 1 line was added", baseline.path()));
    let written = baseline.text();
    let says = written.starts_with("cause:") && written.contains("of leaky_server, 3, opened in ");
    assert!(says, "{written}");
    // The cause has the same id in another run, on another port.
    with(&["--suppressions", baseline.path()]).exits(0).said("3 more suppressed");
    let empty = Scrap::new("empty");
    let healthy = |more: &[&str]| server(&[&SHORT, more].concat(), &["--leak", "0"]);
    healthy(&["--suppressions", empty.path(), "--update-baseline"]).exits(0).said("nothing was added");
    healthy(&["--suppressions", empty.path()]).exits(0);
    assert_eq!(empty.text(), "");
}

#[test]
fn a_file_that_everybody_may_write_hides_no_leak() {
    let known = Scrap::new("open");
    std::fs::write(&known.0, "frame:*\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&known.0, mode).expect("our own file");
    let net = Netns::new();
    let passed = Gate::around(&net, &["--suppressions", known.path()], &["true"]).end();
    assert_eq!(passed.status.code(), Some(2));
    passed.said("everybody may write to it");
}

#[test]
fn reports_go_where_they_were_asked_to() {
    let (json, junit) = (Scrap::new("json"), Scrap::new("junit"));
    let options = [&SHORT[..], &["-o", "json", "--report", json.path(), "--junit", junit.path()]].concat();
    let passed = server(&options, &["--leak", "2"]);
    passed.exits(1);
    assert_eq!(passed.talk.len(), 1, "{}", passed.talk.join("\n"));
    let lines: Vec<Value> = json.text().lines().map(schema::parse).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("stuck").len(), of("released").len(), of("summary").len()), (2, 2, 1));
    for line in of("released") {
        assert_eq!(line["how"], "exited", "{line}");
    }
    let text = junit.text();
    assert!(text.contains(r#"failures="1""#) && text.contains("accept_and_forget"), "{text}");
}

#[test]
fn annotations_are_written_where_they_are_read() {
    let net = Netns::new();
    let program = programs().join("leaky_server");
    let mut command = net.command(binary());
    command.env("GITHUB_ACTIONS", "true").args(["run", "-t", "1ms", "--"]).arg(program).args(["--leak", "1"]);
    let gate = Gate::spawn(&mut command);
    let port =
        gate.hear().split("port=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port").to_owned();
    Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "1"]).done();
    while !gate.hear().starts_with("done") {}
    stay();
    gate.end()
        .exits(1)
        .said("::error ")
        .said("title=closewait-trace EOF_IGNORED::1 socket of leaky_server[")
        .said("%0Awhere: accepted 127.0.0.1:");
}

#[test]
fn the_command_ends_as_it_would_without() {
    let net = Netns::new();
    // All signals that end a process.
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31] {
        let passed = Gate::around(&net, &[], &["sh", "-c", &format!("ulimit -c 0; kill -{number} $$")]).end();
        let signal = nix::sys::signal::Signal::try_from(number).expect("a signal");
        passed.exits(128 + number).said(&format!("was killed by {signal}"));
        assert_eq!(passed.status.signal(), None);
    }
    let passed = Gate::around(&net, &[], &["sh", "-c", "kill -40 $$"]).end();
    passed.exits(168).said("was killed by signal 40");
    let passed = Gate::around(&net, &[], &["/nowhere/to/be/found"]).end();
    assert_eq!(passed.status.code(), Some(2));
    passed.said("cannot start /nowhere/to/be/found").said("there is no such file");
    let passed = Gate::around(&net, &[], &["/tmp"]).end();
    assert_eq!(passed.status.code(), Some(2));
    passed.said("/tmp is a directory");
}

#[test]
fn what_it_prints_is_its_own() {
    let net = Netns::new();
    let mut bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    bytes.extend(b"no newline at the end");
    let mut command = net.command(binary());
    command
        .args(["run", "-v", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).expect("it reads"));
    let output = child.wait_with_output().expect("our own child");
    writer.join().expect("it writes");
    assert!(output.status.success() && output.stdout == bytes, "{} bytes", output.stdout.len());
}

#[test]
fn descendants_count_and_strangers_do_not() {
    let net = Netns::new();
    // A stranger leaks beside the gate.
    let stranger = Scenario::start(&net, "leaky_server", &["--leak", "2"]);
    let port = stranger.port();
    let client = Scenario::start(&net, "leaky_client", &["--port", &port, "--first", "--close", "2"]);
    client.done();
    stranger.done();
    Gate::around(&net, &SHORT, &["true"]).end().exits(0).said("no socket leaked");

    // A daemon in a session of its own, of which nothing is heard any more, leaks.
    let program = programs().join("leaky_client");
    let server = Scenario::start(&net, "leaky_server", &["--first", "--leak", "0", "--close", "1"]);
    let done = Scrap::new("daemon");
    let script = format!(
        "(sleep 1 | setsid {} --port {} --leak 1 > {} 2> /dev/null &); \
         while ! grep -q done {}; do sleep 0.02; done; sleep 1.5",
        program.display(),
        server.port(),
        done.path(),
        done.path()
    );
    Gate::around(&net, &SHORT, &["sh", "-c", &script]).end().exits(1).said("1 socket leaked");
}

#[test]
fn what_it_leaves_running_is_named() {
    let net = Netns::new();
    let script = "sleep 1000 < /dev/null > /dev/null 2> /dev/null & echo $!";
    let gate = Gate::around(&net, &[], &["sh", "-c", script]);
    let pid: i32 = gate.hear().parse().expect("a pid");
    let passed = gate.end();
    passed.exits(0).said(&format!("left running by the command: sleep[{pid}]"));
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it was left running");
}

/// All exit codes are passed on. What a gate has in the kernel goes with it, and so do its
/// processes and files.
#[test]
fn nothing_stays_behind() {
    let net = Netns::new();
    let dir = kept::dir();
    let (mut programs, mut maps) = (BTreeSet::new(), BTreeSet::new());
    let codes: Vec<i32> = (0..=255).collect();
    // Some at a time: most of a start, and of an end, is waiting for the kernel.
    for some in codes.chunks(4) {
        let start = |code: &i32| {
            let mut command = net.command(binary());
            command.args(["run", "--", "sh", "-c", &format!("echo on; read line; exit {code}")]);
            Gate::spawn(command.current_dir(&dir).env("TMPDIR", dir.path()))
        };
        let mut gates: Vec<_> = some.iter().map(start).collect();
        for gate in &gates {
            assert_eq!(gate.hear(), "on");
            programs.extend(programs_of(gate.child.id()));
            maps.extend(maps_of(gate.child.id()));
        }
        for gate in &mut gates {
            drop(gate.stdin.take());
        }
        for (code, gate) in some.iter().zip(gates) {
            gate.end().exits(*code).said(&format!("sh ended with {code}; no socket leaked"));
        }
    }
    assert!(programs.len() >= 256 && maps.len() >= 256, "{} programs, {} maps", programs.len(), maps.len());
    show(&format!("256 gates: {} programs and {} maps in all", programs.len(), maps.len()));
    are_gone(&programs);
    maps_are_gone(&maps);
    let inside = output(Command::new("ip").args(["netns", "pids", net.name()]));
    assert_eq!(inside.trim(), "", "processes are left");
    assert_eq!(std::fs::read_dir(&dir).expect("it is there").count(), 0, "files are left");
}
