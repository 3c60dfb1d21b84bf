//! The gate around the test suites of five languages (tests/suites), each run by the
//! runner that people use, once closing what it opens and once forgetting to.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::kept::{self, setpriv};
use super::netns::{Netns, output};
use super::tool::binary;

/// A suite, and how it is run.
struct Suite<'a> {
    /// The runner and its arguments.
    command: &'a [&'a str],
    /// Where it is run.
    dir: &'a Path,
    /// Options of the gate.
    gate: &'a [&'a str],
    /// The code or the thread that the report has to name.
    guilty: &'a str,
}

impl Suite<'_> {
    fn run(&self, net: &Netns, home: &Path, gated: bool, leaks: bool) -> Output {
        let (tool, user) = (binary(), setpriv());
        let mut words = Vec::new();
        if gated {
            words.extend([text(&tool), "run"]);
            words.extend(self.gate);
            words.push("--");
        } else if kept::is_asked_for() {
            words.extend(user.iter().map(String::as_str));
        }
        words.extend(self.command);
        let mut command = net.command(words[0]);
        command.args(&words[1..]);
        command.env_remove("SUITE_LEAKS").env_remove("GITHUB_ACTIONS").current_dir(self.dir);
        if leaks {
            command.env("SUITE_LEAKS", "1");
        }
        if kept::is_asked_for() {
            // Runners keep caches there; and those of root's home are root's.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let open = std::env::split_paths(&path).filter(|dir| kept::is_open(dir));
            command.env("HOME", home).env("PATH", std::env::join_paths(open).expect("it was one"));
        }
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// What is said of the leak.
    fn is_judged(&self) -> String {
        let (net, home) = (Netns::new(), kept::dir());
        let mut last = String::new();
        for (leaks, code, words) in [(false, 0, "no socket leaked"), (true, 1, "1 socket leaked")] {
            let bare = self.run(&net, home.path(), false, leaks);
            let gated = self.run(&net, home.path(), true, leaks);
            let said = String::from_utf8_lossy(&gated.stderr);
            assert!(bare.status.success(), "{:?}: {bare:?}", self.command);
            assert_eq!(gated.status.code(), Some(code), "leaks: {leaks}\n{said}");
            assert!(said.contains(words), "no {words:?} in\n{said}");
            assert_eq!(without_figures(&gated.stdout), without_figures(&bare.stdout));
            if leaks {
                assert!(said.contains("EOF_IGNORED") && said.contains(self.guilty), "{said}");
            }
            last = said.into_owned();
        }
        last
    }
}

/// What runners print of times differs from run to run.
fn without_figures(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let figures = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
    let mut all: Vec<char> = figures.collect();
    all.dedup_by(|a, b| *a == '0' && *b == '0');
    all.into_iter().collect()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/suites").canonicalize().expect("the suites")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[test]
fn of_rust() {
    let dir = kept::dir();
    output(
        Command::new("rustc")
            .args(["--test", "-g", "-Cforce-frame-pointers=yes", "--edition=2024", "-o"])
            .arg(dir.path().join("suite"))
            .arg(sources().join("suite.rs")),
    );
    Suite {
        command: &["./suite", "--test-threads=1"],
        dir: dir.path(),
        gate: &[],
        guilty: "suite::fetch_quote (suite.rs:",
    }
    .is_judged();
}

/// The interpreter closes what is open before it ends. Only with its names in the closer's
/// stack is that known to be no close by the program; without, its time counts.
#[test]
fn of_python() {
    let suite = sources().join("suite.py");
    Suite {
        command: &["python3", text(&suite)],
        dir: &sources(),
        gate: &["--threshold", "250ms"],
        guilty: "a read by python3",
    }
    .is_judged();
}

/// With `-o` the runner leaves the symbols in the program it makes. Without, the names are
/// those that the program needs itself.
#[test]
fn of_go() {
    let dir = kept::dir();
    let program = dir.path().join("suite.test");
    for options in [&["-o", text(&program)][..], &[]] {
        Suite {
            command: &[&["go", "test", "-count=1"], options, &["."]].concat(),
            dir: &sources().join("go"),
            gate: &[],
            guilty: "suite.fetchQuote (suite_test.go:",
        }
        .is_judged();
    }
}

#[test]
fn of_java() {
    let dir = kept::dir();
    output(Command::new("javac").arg("-d").arg(dir.path()).arg(sources().join("Suite.java")));
    Suite {
        command: &["java", "-ea", "-cp", text(dir.path()), "Suite"],
        dir: dir.path(),
        gate: &[],
        guilty: "a read by fetch-quote[",
    }
    .is_judged();
}

/// The runtime closes what is open when its loop has ended: that is why it counts though nothing
/// was open for the threshold.
#[test]
fn of_node() {
    let suite = sources().join("suite.test.mjs");
    let said = Suite {
        command: &["node", "--test", text(&suite)],
        dir: &sources(),
        gate: &[],
        guilty: "node::TCPWrap::Connect",
    }
    .is_judged();
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("closed it only by the runtime's clean-up at its end, "), "{said}");
}
