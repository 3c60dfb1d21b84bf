//! Six named functions deep, in each language and the ways it is compiled and run: how many
//! of the six the tool names, in order, for who opened a socket and for who read its EOF,
//! and how their frames were found. One table, from one run of the tool.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::kept;
use super::netns::{Netns, output};
use super::scenario::{Scenario, programs};
use super::tool::Tool;
use super::waiting::show;

/// Sockets that each program leaks.
const LEAKS: usize = 2;

const OPENER: [&str; 6] = ["leakHere", "takeOne", "handle", "dispatch", "serve", "runServer"];
const EOF_READ: [&str; 6] = ["readOn", "fillBuffer", "parseLine", "nextRequest", "converse", "runClient"];

/// Finds a program that is not among the scenario programs.
const ENV: &str = "/usr/bin/env";

/// What C++'s library and its compiler put between the six.
const BETWEEN: [&str; 5] = ["_M_invoke", "operator()", "std::", "__invoke", "_FUN"];

/// A program, what is right of it at least, and why that is not all.
struct Row {
    name: &'static str,
    command: Vec<String>,
    /// Of six functions, for the opener and for the EOF read.
    least: [usize; 2],
    why: &'static str,
}

fn row(name: &'static str, command: &[&str], least: [usize; 2], why: &'static str) -> Row {
    Row { name, command: command.iter().map(|&word| word.to_owned()).collect(), least, why }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(name)
}

/// Compiles what is not among the scenario programs, all at once.
fn build(dir: &Path) {
    let cc = |compiler: &str, flags: &[&str], from: &str, to: &str| {
        let mut command = Command::new(compiler);
        command.args(flags).arg("-o").arg(dir.join(to)).arg(source(from));
        command
    };
    let go = |flags: &[&str], to: &str| {
        let mut command = cc("go", &[&["build"], flags].concat(), "live/languages/server.go", to);
        command.env("GO111MODULE", "off").env("CGO_ENABLED", "0");
        command
    };
    let mut java = Command::new("javac");
    java.arg("-d").arg(dir).arg(source("live/languages/Server.java"));
    let without = ["-O2", "-fomit-frame-pointer", "-pthread"];
    let commands = [
        cc("g++", &[&without[..], &["-std=c++17"]].concat(), "live/languages/server.cpp", "cpp"),
        cc("gcc", &[&without[..], &["-static"]].concat(), "scenarios/deep_server.c", "static"),
        go(&[], "go"),
        go(&["-ldflags=-s -w"], "go_stripped"),
        java,
    ];
    std::thread::scope(|scope| {
        for mut command in commands {
            scope.spawn(move || output(&mut command));
        }
    });
}

const NOT_ASKED: &str = "--jit-maps takes CAP_KILL and CAP_DAC_OVERRIDE for JVMs of others";

/// A JVM is asked for names. Not with the capabilities of a service, if it is somebody else's.
fn of_a_jvm(row: Row) -> Row {
    if kept::is_asked_for() { Row { least: [0, 0], why: NOT_ASKED, ..row } } else { row }
}

fn rows(dir: &Path) -> Vec<Row> {
    let text = |path: &Path| path.to_str().expect("a path that is text").to_owned();
    let built = |name: &str| text(&dir.join(name));
    let scenario = |name: &str| text(&programs().join(name));
    let here = text(dir);
    let java = |options: &[&str]| {
        let quiet = [ENV, "java", "-XX:CompileCommand=quiet", "-XX:CompileCommand=dontinline,Server::*"];
        [&quiet, options, &["-cp", &here, "Server"]].concat().iter().map(|&it| it.to_owned()).collect()
    };
    let script = text(&source("live/languages/client.js"));
    // In a directory of its own: V8 leaves a log there.
    let node = [ENV, "-C", &here, "node"];
    let names = ["--perf-basic-prof", "--interpreted-frames-native-stack"];
    let unnamed = "no names without --perf-basic-prof";
    let scanned = "one may be missed where frames are looked for word by word";
    let uv = "the event loop reads, no function of the program does";
    vec![
        row("C -O2", &[&scenario("deep_server")], [6, 6], ""),
        row("C -O2 -static", &[&built("static")], [6, 6], ""),
        row("C++ -O2, exceptions", &[&built("cpp")], [6, 6], ""),
        row("Rust release, lto, panic=abort", &[&scenario("rs_deep_server")], [6, 6], ""),
        row("Go", &[&built("go")], [6, 6], ""),
        row("Go, stripped", &[&built("go_stripped")], [6, 6], ""),
        of_a_jvm(Row {
            name: "Java -XX:+PreserveFramePointer",
            command: java(&["-XX:+PreserveFramePointer"]),
            least: [6, 6],
            why: "",
        }),
        of_a_jvm(Row { name: "Java", command: java(&[]), least: [5, 5], why: scanned }),
        row("Node --perf-basic-prof", &[&node[..], &names, &[&script]].concat(), [6, 0], uv),
        row("Node", &[&node[..], &[&script]].concat(), [0, 0], unnamed),
    ]
}

/// How many of the six follow each other, callees first, and how their frames were found.
fn right(stack: &Value, six: &[&str]) -> (usize, String) {
    let frames = stack.as_array().map(Vec::as_slice).unwrap_or_default();
    // `take_one` and `takeOne` are one function; what stands before and after a name is no part of it.
    let plain = |text: &str| text.replace('_', "").to_lowercase();
    let is = |frame: &Value, name: &str| {
        let symbol = frame["symbol"].as_str().unwrap_or_default();
        symbol.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| plain(word) == plain(name))
    };
    let (mut found, mut hows) = (0, BTreeMap::<&str, usize>::new());
    for frame in frames {
        if six.get(found).is_some_and(|name| is(frame, name)) {
            found += 1;
            *hows.entry(frame["how"].as_str().unwrap_or("?")).or_default() += 1;
        } else if found > 0 && found < six.len() {
            let symbol = frame["symbol"].as_str().unwrap_or("?");
            if !BETWEEN.iter().any(|between| symbol.contains(between)) {
                break;
            }
        }
    }
    (found, hows.iter().map(|(how, n)| format!("{n} {how}")).collect::<Vec<_>>().join(", "))
}

/// A running program of a row, and the other end of its connections.
struct Running {
    row: Row,
    program: Scenario,
    other: Option<Scenario>,
}

impl Running {
    fn start(row: Row, net: &Netns) -> Self {
        let is_client = row.name.starts_with("Node");
        let leaks = LEAKS.to_string();
        let other = is_client.then(|| Scenario::start(net, "leaky_server", &["--first", "--close", &leaks]));
        let port = other.as_ref().map(Scenario::port);
        let mut words: Vec<&str> = row.command[1..].iter().map(String::as_str).collect();
        words.extend(["--leak", &leaks]);
        if let Some(port) = &port {
            words.extend(["--port", port]);
        }
        let program = Scenario::start(net, &row.command[0], &words);
        Self { row, program, other }
    }

    /// Makes the connections of a server.
    fn serve(&mut self, net: &Netns) {
        let port = self.program.port();
        let leaks = LEAKS.to_string();
        if self.other.is_none() {
            let client = ["--port", &port, "--first", "--close", &leaks];
            self.other = Some(Scenario::start(net, "leaky_client", &client));
        }
    }
}

#[test]
fn six_functions_of_each_language_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    build(dir.path());
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &["--jit-maps"]);
    let mut running: Vec<_> = rows(dir.path()).into_iter().map(|row| Running::start(row, &net)).collect();
    for program in &mut running {
        program.serve(&net);
    }
    tool.has_reported("stuck", LEAKS * running.len());
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let mut table =
        format!("{:34} {:22} {:22} of 6 functions, in each of {LEAKS} sockets\n", "", "opener", "EOF read");
    let mut wrong = String::new();
    for Running { row, program, .. } in &running {
        let of_it = |report: &&Value| report["opener"]["pid"] == program.pid();
        let reports: Vec<_> = ended.of_kind("stuck").filter(of_it).collect();
        assert_eq!(reports.len(), LEAKS, "{}: {}", row.name, ended.everything());
        let column = |who: &str, six: &[&str]| {
            let found: Vec<_> = reports.iter().map(|report| right(&report[who]["stack"], six)).collect();
            let least = found.iter().map(|(right, _)| *right).min().unwrap_or_default();
            let shown: Vec<_> = found.iter().map(|(right, _)| right.to_string()).collect();
            (least, format!("{} ({})", shown.join(" "), found[0].1))
        };
        let (opener, eof) = (column("opener", &OPENER), column("eof_read", &EOF_READ));
        let _ = writeln!(table, "{:34} {:22} {:22} {}", row.name, opener.1, eof.1, row.why);
        let asked_all_the_same = row.why == NOT_ASKED && opener.0 > 0;
        if opener.0 < row.least[0] || eof.0 < row.least[1] || asked_all_the_same {
            let _ = writeln!(wrong, "{}: {reports:#?}", row.name);
        }
        let _ = std::fs::remove_file(format!("/tmp/perf-{}.map", program.pid()));
    }
    show(&table);
    assert!(wrong.is_empty(), "{table}{wrong}");
}
