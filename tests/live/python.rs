//! Python programs: which of their functions opened a socket and which read its EOF, six
//! functions deep; in the main thread and another, in an event loop, as a client of the
//! standard library; by every interpreter of a known version on this machine. Printed as a
//! table.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::deep::{EOF_READ, OPENER, right};
use super::netns::Netns;
use super::scenario::programs;
use super::tool::{Ended, Tool, binary};
use super::waiting::show;
use super::workload::{CLIENT, SERVER, Workload};

/// The versions whose frames are known.
const VERSIONS: [&str; 3] = ["3.11", "3.12", "3.13"];

/// An interpreter.
struct Python {
    exe: PathBuf,
    version: String,
    /// Where its standard library is, if it would not find that.
    library: Option<(&'static str, PathBuf)>,
}

impl Python {
    fn at(exe: PathBuf) -> Option<Self> {
        let has_none = exe.starts_with("/usr/bin") && !Path::new("/usr/lib/python3.11").exists();
        let path = || std::env::join_paths([programs().join("python3.zip"), programs().into()]);
        let library = has_none.then(|| ("PYTHONPATH", path().unwrap().into()));
        let mut command = Command::new(&exe);
        command.args(["-S", "-c", "import sys; print(*sys.version_info[:3], sep='.')"]);
        command.envs(library.clone());
        let said = command.output().ok().filter(|said| said.status.success())?;
        let version = String::from_utf8(said.stdout).ok()?.trim().to_owned();
        let is_known = VERSIONS.iter().any(|known| version.starts_with(&format!("{known}.")));
        is_known.then_some(Self { exe, version, library })
    }

    /// All of known versions.
    fn all() -> Vec<Self> {
        let versions = VERSIONS.map(|version| PathBuf::from(format!("/usr/bin/python{version}")));
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let pyenv = home.join(".pyenv/versions").read_dir().into_iter().flatten().flatten();
        let pyenv = pyenv.map(|version| version.path().join("bin/python3"));
        let exes: BTreeSet<_> =
            versions.into_iter().chain(pyenv).filter_map(|exe| exe.canonicalize().ok()).collect();
        let all: Vec<_> = exes.into_iter().filter_map(Self::at).collect();
        assert!(!all.is_empty(), "no interpreter of Python {}", VERSIONS.join(", "));
        all
    }

    /// A program that runs the scenario by this interpreter.
    fn scenario(&self, dir: &TempDir) -> PathBuf {
        self.running(&programs().join("deep_python.py"), &dir.path().join("scenario"))
    }

    /// Makes `file` a program that has this interpreter run a script.
    fn running(&self, script: &Path, file: &Path) -> PathBuf {
        let mut text = "#!/bin/sh\n".to_owned();
        if let Some((variable, path)) = &self.library {
            let _ = writeln!(text, "export {variable}={}", path.display());
        }
        let _ = writeln!(text, "exec '{}' -S '{}' \"$@\"", self.exe.display(), script.display());
        std::fs::write(file, text).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
        file.to_owned()
    }
}

/// Of a snapshot there are no stacks: what parts two services is what their interpreter runs.
#[test]
fn two_programs_of_one_interpreter_are_two_owners() {
    let python = Python::all().remove(0);
    let (net, dir) = (Netns::new(), tempfile::tempdir().unwrap());
    let names = ["orders_api.py", "a\u{1b}[2J\n.py"];
    let programs = names.map(|name| {
        let script = dir.path().join(name);
        std::fs::copy(programs().join("deep_python.py"), &script).unwrap();
        python.running(&script, &dir.path().join(format!("run-{}", name.len())))
    });
    let leaked: Vec<_> = programs
        .iter()
        .map(|program| Workload { program: program.to_str().unwrap(), ..SERVER }.run(&net, &net))
        .collect();
    let snapshot = |format| {
        let mut command = Command::new(binary());
        command.args(["snapshot", "--threshold", "10ms", "-o", format, "--netns", &net.path()]);
        let ended = Tool::spawn(&mut command).end();
        ended.exits(0);
        ended
    };
    let (json, text) = (snapshot("json"), snapshot("text"));
    let interpreter = python.exe.file_name().unwrap().to_str().unwrap();
    let mut causes = BTreeSet::new();
    for (leaked, name) in leaked.iter().zip(names) {
        let reports: Vec<_> = json.of_kind("stuck").filter(|report| leaked.include(report)).collect();
        assert_eq!(reports.len(), SERVER.leak, "{}", json.everything());
        for report in reports {
            assert_eq!(report["holders"][0]["program"], format!("{interpreter} {name}"), "{report}");
            causes.insert(report["cause"].to_string());
        }
        let shown = match name {
            "orders_api.py" => name,
            // In quotes, as it has a bracket.
            _ => r#""a\u{1b}[2J\n.py""#,
        };
        let head = format!("{interpreter}[{}] {shown}  ", leaked.leaker.pid());
        assert!(text.printed.iter().any(|line| line.starts_with(&head)), "{head}\n{}", text.everything());
    }
    assert_eq!(causes.len(), 2, "{}", json.everything());
}

fn symbols(stack: &Value) -> Vec<&str> {
    let frames = stack.as_array().map(Vec::as_slice).unwrap_or_default();
    let python = frames.iter().filter(|frame| frame["how"] == "python");
    python.map(|frame| frame["symbol"].as_str().unwrap_or_default()).collect()
}

/// The lines of the program at which a stack is in these functions.
fn line_of(stack: &Value, function: &str) -> (Option<String>, Option<u64>) {
    let frames = stack.as_array().map(Vec::as_slice).unwrap_or_default();
    let frame = frames.iter().find(|frame| frame["how"] == "python" && frame["symbol"] == function);
    let file = frame.and_then(|frame| frame["file"].as_str());
    let file = file.and_then(|file| Path::new(file).file_name()?.to_str().map(str::to_owned));
    (file, frame.and_then(|frame| frame["line"].as_u64()))
}

/// The number of the line of the scenario that has this text.
fn line_with(text: &str) -> u64 {
    let source = std::fs::read_to_string(programs().join("deep_python.py")).unwrap();
    let at = source.lines().position(|line| line.trim() == text).unwrap();
    u64::try_from(at + 1).unwrap()
}

fn trace(python: &Python, options: &[&str], functions: &'static [&'static str]) -> Ended {
    let (net, dir) = (Netns::new(), tempfile::tempdir().unwrap());
    let program = python.scenario(&dir);
    let workload = Workload { program: program.to_str().unwrap(), server: options, functions, ..SERVER };
    workload.is_reported_by(Tool::trace(&net, &[]), &net)
}

#[test]
fn six_python_functions_are_named_in_any_thread() {
    let mut table = String::from("opener  EOF read   of 6 functions, in each of 3 sockets\n");
    let mut all_right = true;
    for python in Python::all() {
        for options in [&[][..], &["--in", "thread"]] {
            let ended = trace(&python, options, &["leak_here"]);
            let (mut openers, mut eofs) = (Vec::new(), Vec::new());
            for report in ended.of_kind("stuck") {
                let (opener, eof) = (&report["opener"]["stack"], &report["eof_read"]["stack"]);
                openers.push(right(opener, &OPENER));
                // Of the six, a comprehension was a function of its own before 3.12.
                let names: Vec<_> =
                    symbols(eof).into_iter().filter(|name| !name.contains("<listcomp>")).collect();
                eofs.push(names.iter().zip(EOF_READ).take_while(|(name, want)| *name == want).count());
                let accept = line_with("sock, _ = listener.accept()");
                assert_eq!(line_of(opener, "leak_here"), (Some("deep_python.py".into()), Some(accept)));
                let call = line_with("return dispatch(Handler().handle, listener)");
                assert_eq!(line_of(opener, "serve").1, Some(call), "{report}");
                assert_eq!(line_of(eof, "read_on").1, Some(line_with("while sock.recv(256):")), "{report}");
            }
            all_right &= openers == [6; 3] && eofs == [6; 3];
            let _ = writeln!(
                table,
                "{openers:?}  {eofs:?}  {} {options:?} {}",
                python.version,
                python.exe.display()
            );
        }
    }
    show(&table);
    assert!(all_right, "{table}");
}

#[test]
fn two_python_paths_that_are_one_to_the_interpreter_are_told_apart() {
    for python in Python::all() {
        let ended = trace(&python, &["--in", "two"], &["leak_here"]);
        let ways: Vec<_> = ended
            .of_kind("stuck")
            .map(|report| {
                let names = symbols(&report["opener"]["stack"]);
                names.iter().find(|name| name.ends_with("_way")).map(|name| (*name).to_owned())
            })
            .map(Option::unwrap_or_default)
            .collect();
        let mut sorted = ways.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["first_way", "second_way", "second_way"], "{} {ways:?}", python.version);
    }
}

#[test]
fn the_callbacks_of_an_event_loop_are_named() {
    for python in Python::all() {
        let ended = trace(&python, &["--in", "asyncio"], &["by_event_loop"]);
        for report in ended.of_kind("stuck") {
            for (end, function) in
                [("opener", "_accept_connection"), ("eof_read", "_read_ready__data_received")]
            {
                let names = symbols(&report[end]["stack"]);
                let has = |name: &str| names.iter().any(|symbol| symbol.ends_with(name));
                assert!(
                    has(function) && has("run_forever") && has("<module>"),
                    "{} {names:?}",
                    python.version
                );
            }
        }
    }
}

#[test]
fn a_client_of_the_standard_library_is_named_by_its_own_function() {
    for python in Python::all() {
        let (net, dir) = (Netns::new(), tempfile::tempdir().unwrap());
        let program = python.scenario(&dir);
        let functions = &["create_connection", "Pool.lease", "call_server"];
        let workload = Workload { caller: program.to_str().unwrap(), functions, ..CLIENT };
        let ended = workload.is_reported_by(Tool::trace(&net, &[]), &net);
        for report in ended.of_kind("stuck") {
            let eof: Vec<_> = symbols(&report["eof_read"]["stack"]);
            assert_eq!(eof.first().copied(), Some("read_on"), "{} {report}", python.version);
        }
    }
}

#[test]
fn an_interpreter_that_nobody_could_know_of_is_known_after_its_first_stack() {
    let Some(python) = Python::all().into_iter().find(|python| python.exe.starts_with("/usr/bin")) else {
        show("NOT RUN: an interpreter that nobody could know of: there is none in /usr/bin to copy");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("interpreter");
    std::fs::copy(&python.exe, &copy).unwrap();
    let library = python.library.or_else(|| Some(("PYTHONHOME", "/usr".into())));
    let python = Python { exe: copy, library, version: python.version };
    let (net, program) = (Netns::new(), python.scenario(&dir));
    let mut tool = Tool::trace(&net, &[]);
    let workload = Workload { program: program.to_str().unwrap(), leak: 1, ..SERVER };
    let first = workload.run(&net, &net);
    tool.has_reported("stuck", 1);
    let second = workload.run(&net, &net);
    tool.has_reported("stuck", 2);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    for report in ended.of_kind("stuck") {
        let opener = &report["opener"];
        if first.include(report) {
            let note = opener["stack_note"].as_str().unwrap_or_default();
            assert!(note.contains("its interpreter was not known before this stack was taken"), "{report}");
            assert_eq!(symbols(&opener["stack"]), Vec::<&str>::new(), "{report}");
        } else {
            assert!(second.include(report), "{report}");
            assert_eq!(right(&opener["stack"], &OPENER), 6, "{report}");
        }
    }
}
