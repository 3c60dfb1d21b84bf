//! `doctor --self-test`: leaks a socket in a namespace of its own, runs the tool on it as
//! anybody would, and compares what it says with what is true.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::leak::Leak;
use crate::cli::KernelArgs;
use crate::clock::{Clock, MonoNs};
use crate::error::Failure;
use crate::exit::Exit;
use crate::fact::Fact;
use crate::report::doctor::{Check, SelfTest};

/// Reported when it has been in CLOSE_WAIT for this long.
const THRESHOLD: &str = "300ms";
/// Programs are attached in a tenth of a second, and a report takes less than a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line of the tool's.
enum Line {
    Out(String),
    Err(String),
}

/// The tool ends by itself then, should nobody be left to end it.
const LIFETIME: &str = "60s";

/// Runs the test. An error: it could not be run.
pub(super) fn run(kernel: &KernelArgs) -> Result<SelfTest, Failure> {
    let leak = Leak::prepare().map_err(|error| Failure {
        exit: Exit::CannotTrace,
        ..Failure::new(format!("the self-test cannot make a network namespace: {error}"))
            .hint("run it as root: sudo closewait-trace doctor --self-test")
    })?;
    let tool = Tool::start(&leak, kernel)?;
    let until = Clock::mono_now() + PATIENCE;
    tool.attached(until)?;
    let since = Clock::mono_now();
    let fd = leak.leak().map_err(|error| Failure::new(format!("the self-test cannot leak: {error}")))?;
    let found = tool.finds(until);
    let after = Clock::mono_now().since(since);
    Ok(found.map_or(SelfTest::NotFound(after), |report| judged(&report, fd, after)))
}

/// The tool, on the leak's namespace.
struct Tool {
    child: Child,
    lines: Receiver<Line>,
}

impl Tool {
    fn start(leak: &Leak, kernel: &KernelArgs) -> Result<Self, Failure> {
        let cannot =
            |error: io::Error| Failure::new(format!("the self-test cannot run this program: {error}"));
        let mut command = Command::new("/proc/self/exe");
        command.args([
            "--output",
            "json",
            "--require-trace",
            "--threshold",
            THRESHOLD,
            "--duration",
            LIFETIME,
            "--netns",
            &leak.netns(),
        ]);
        for hook in &kernel.without {
            command.args(["--without", hook.name()]);
        }
        if let Some(btf) = &kernel.btf {
            command.arg("--btf").arg(btf);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(cannot)?;
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            listen(out, sender.clone(), Line::Out).map_err(cannot)?;
        }
        if let Some(err) = child.stderr.take() {
            listen(err, sender, Line::Err).map_err(cannot)?;
        }
        Ok(Self { child, lines })
    }

    /// Waits until it says that it traces.
    fn attached(&self, until: MonoNs) -> Result<(), Failure> {
        let mut said = Vec::new();
        while let Some(line) = self.line(until) {
            let (Line::Out(line) | Line::Err(line)) = line;
            if line.starts_with("closewait-trace: tracing ") && !line.contains("cannot run") {
                return Ok(());
            }
            said.push(line);
        }
        Err(Failure::new(format!("the self-test's trace did not begin: {}", said.join("\n  "))))
    }

    /// Waits for a report of a stuck socket.
    fn finds(&self, until: MonoNs) -> Option<Value> {
        loop {
            let Line::Out(line) = self.line(until)? else { continue };
            let report: Value = serde_json::from_str(&line).ok()?;
            if report["kind"] == "stuck" {
                return Some(report);
            }
        }
    }

    fn line(&self, until: MonoNs) -> Option<Line> {
        self.lines.recv_timeout(until.since(Clock::mono_now())).ok()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

/// Sends every line of a pipe.
fn listen(
    pipe: impl Read + Send + 'static,
    sender: Sender<Line>,
    line: fn(String) -> Line,
) -> io::Result<()> {
    let lines = BufReader::new(pipe).lines();
    let send = move || {
        // Read to the end, whoever listens: a full pipe would stop the tool.
        for text in lines.map_while(Result::ok) {
            let _ = sender.send(line(text));
        }
    };
    std::thread::Builder::new().spawn(send).map(drop)
}

/// What was told of the leak, compared with what is true of it.
fn judged(report: &Value, fd: i32, after: Duration) -> SelfTest {
    let remark = |why: &Value| why.as_str().map(str::to_owned);
    let holders = report["holders"].as_array().map(Vec::as_slice).unwrap_or_default();
    let held = matches!(holders, [holder] if is_ours(holder) && holder["fd"] == fd);
    let holder = Check {
        what: "holder",
        right: Fact::Known(held),
        frames: None,
        remark: remark(&report["holders_unknown"]),
    };
    let task = |(what, name): (&'static str, &str)| {
        let task = &report[name];
        if task.is_null() {
            let why = report[format!("{name}_unknown")].as_str().unwrap_or("no reason was given");
            return Check { what, right: Fact::unknown(why.to_owned()), frames: None, remark: None };
        }
        Check {
            what,
            right: Fact::Known(is_ours(task)),
            frames: task["stack"].as_array().map(Vec::len),
            remark: remark(&task["stack_unknown"]),
        }
    };
    let checks = [holder].into_iter().chain([("opener", "opener"), ("EOF read", "eof_read")].map(task));
    SelfTest::Found {
        after,
        verdict: report["verdict"]["code"].as_str().unwrap_or("no verdict").to_owned(),
        checks: checks.collect(),
    }
}

fn is_ours(task: &Value) -> bool {
    task["pid"] == std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(report: &Value) -> SelfTest {
        judged(report, 7, Duration::from_millis(812))
    }

    #[test]
    fn only_the_right_holder_passes() {
        let me = std::process::id();
        let task = json!({"pid": me, "stack": [1, 2, 3], "stack_unknown": null});
        let good = json!({
            "verdict": {"code": "EOF_IGNORED"}, "holders": [{"pid": me, "fd": 7}], "opener": task, "eof_read": null,
            "eof_read_unknown": "no hook",
        });
        let test = judge(&good);
        assert!(test.passed(), "{test:?}");
        let SelfTest::Found { checks, .. } = test else { panic!("it was found") };
        assert_eq!(checks[1].frames, Some(3));
        assert_eq!(checks[2].right, Fact::unknown("no hook"), "what was not told is not wrong");
        for (pointer, value) in [
            ("/holders/0/pid", json!(me + 1)),
            ("/holders/0/fd", json!(8)),
            ("/holders", json!([])),
            ("/holders", json!([{"pid": me, "fd": 7}, {"pid": me, "fd": 8}])),
            ("/opener/pid", json!(me + 1)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let test = judge(&bad);
            assert!(!test.passed(), "{pointer}: {test:?}");
        }
        assert!(!SelfTest::NotFound(PATIENCE).passed());
    }
}
