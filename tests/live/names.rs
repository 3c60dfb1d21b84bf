//! Names that are chosen to do harm, end to end: whoever owns a process chooses its name, its
//! command line, the path of its program, its cgroup, its threads' names, and what its perf map
//! says. The output stays one record per line, and does nothing to a terminal, a parser, a
//! browser or a CI runner.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use closewait_trace::report::escape::is_hidden;
use rustix::process::Signal;

use super::kept;
use super::metrics::{exposition, serving_with};
use super::netns::Netns;
use super::scenario::{Scenario, programs};
use super::tool::binary;
use super::waiting::{show, until};

/// An escape sequence, also as one character; a line's end, also as others know it; quotes; markup;
/// a CI runner's command; the end of a JSON string; text that runs backwards; bytes that are no UTF-8.
const HOSTILE: &[&[u8]] = &[
    b"\x1b[31m\x1b]0;owned\x07\xc2\x9b2J",
    b"a\n::error::owned\r\nb",
    b"\"}\n{\"kind\":\"stuck\"}",
    b"<script>alert('1')</script>&amp;<!--",
    "\u{202e}gpj.exe\u{2066}\u{200b}\u{2028}\u{85}".as_bytes(),
    b"\xff\xfe\xc0\xaf\\u{41}\\",
    b"]]>%0A::set-env name=PATH::",
];

/// All of them in one.
fn all_of_them() -> Vec<u8> {
    HOSTILE.join(&b' ')
}

/// As a path's last part has it: at most 255 bytes, without a slash.
fn file_name() -> OsString {
    let mut name: Vec<u8> =
        all_of_them().into_iter().map(|byte| if byte == b'/' { b'|' } else { byte }).collect();
    name.truncate(250);
    OsStr::from_bytes(&name).to_owned()
}

/// The program under a name that does harm.
struct Server {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Server {
    fn new() -> Self {
        let dir = kept::dir();
        let path = dir.path().join(file_name());
        fs::copy(programs().join("names"), &path).expect("a copy");
        Self { _dir: dir, path }
    }

    /// Its arguments: name, command line of 4 KiB, symbol of 4 KiB without the line's end.
    fn names(comm: &[u8]) -> [OsString; 5] {
        let long = all_of_them().repeat(4096 / all_of_them().len() + 1);
        let symbol: Vec<u8> = long.iter().copied().filter(|byte| *byte != b'\n').collect();
        let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        [word(comm), word(&long), word(&symbol), "--count".into(), "2".into()]
    }

    /// Started in `net`; it has leaked.
    fn leak(&self, net: &Netns, comm: &[u8]) -> Scenario {
        let mut command = net.command(&self.path);
        let started = Scenario::spawn("names", command.args(Self::names(comm)));
        started.done();
        started
    }
}

/// A cgroup with such a name, as a unit of systemd would have it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn with(pid: u32) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let name: Vec<u8> = file_name().as_bytes().iter().copied().filter(|byte| *byte != b'\n').collect();
        let name = [&name[..], format!("-{}.service", std::process::id()).as_bytes()].concat();
        points.filter_map(|line| line.split(' ').nth(4)).find_map(|point| {
            let made = Self(Path::new(point).join(OsStr::from_bytes(&name)));
            fs::create_dir(&made.0).ok()?;
            fs::write(made.0.join("cgroup.procs"), pid.to_string()).ok().map(|()| made)
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The perf map of a program that was killed.
struct PerfMap(u32);

impl Drop for PerfMap {
    fn drop(&mut self) {
        let _ = fs::remove_file(format!("/tmp/perf-{}.map", self.0));
    }
}

/// No terminal acts on it, no reader of lines sees another line in it.
fn is_harmless(what: &str, text: &str) {
    for line in text.split('\n') {
        let bad = line.chars().find(|c| is_hidden(*c));
        assert_eq!(bad, None, "{what}: {line:?}");
    }
}

/// Whatever wants to be a command of a CI runner is one of ours.
fn commands_are_ours(what: &str, text: &str) {
    for line in text.split(['\n', '\r']).filter(|line| line.trim_start().starts_with("::")) {
        let known = ["::error ", "::warning ", "::notice "].iter().any(|start| line.starts_with(start));
        assert!(known && !line.starts_with("::error::"), "{what}: {line:?}");
    }
}

/// How many sockets are stuck, as a parser of the exposition reads it: a series a line, its labels
/// in quotes, in which quotes and backslashes are escaped.
fn stuck_by_metrics(exposition: &str) -> u64 {
    let series = exposition.lines().filter_map(|line| line.strip_prefix("closewait_stuck_sockets{"));
    let values = series.map(|labels| {
        let mut rest = labels;
        loop {
            let (_, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {labels:?}"));
            let mut escaped = false;
            let end = value.find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let (_, after) =
                value.split_at(end.unwrap_or_else(|| panic!("no end of a label in {labels:?}")) + 1);
            match after.strip_prefix("} ") {
                Some(value) => {
                    return value.parse::<u64>().unwrap_or_else(|_| panic!("no count in {labels:?}"));
                }
                None => rest = after.strip_prefix(',').unwrap_or_else(|| panic!("{after:?} in {labels:?}")),
            }
        }
    });
    values.sum()
}

/// What a command has written, as it is.
fn written(command: &mut Command) -> (String, String) {
    let out = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(out.stdout), text(out.stderr))
}

#[test]
fn names_do_no_harm() {
    let server = Server::new();
    let lines: usize = std::thread::scope(|scope| {
        let all: Vec<_> = HOSTILE.iter().map(|comm| scope.spawn(|| lines_about(&server, comm))).collect();
        all.into_iter().map(|one| one.join().expect("harm was done, see above")).sum()
    });
    show(&format!(
        "names that are chosen to do harm: {lines} JSON lines, SVG, HTML, metrics, text: none does"
    ));
}

/// Traces a server that calls itself `comm`, in every form of output; how many lines of JSON.
fn lines_about(server: &Server, comm: &[u8]) -> usize {
    let net = Netns::new();
    let dir = kept::dir();
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let (image, folded, recording) = (path("flame.svg"), path("flame.folded"), path("recording"));
    let files = ["--flame", &image, "--flame", &folded, "--record", &recording, "-v"];
    let (mut tool, metrics) = serving_with(&net, &files);
    let leaking = server.leak(&net, comm);
    let map = PerfMap(leaking.pid());
    let cgroup = Cgroup::with(leaking.pid());
    tool.has_reported("stuck", 2);
    let exposition = exposition(metrics);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    is_harmless("metrics", &exposition);
    assert_eq!(stuck_by_metrics(&exposition), 2, "{exposition}");
    // Each line was held against the schema already.
    for line in &ended.printed {
        is_harmless("JSON", line);
    }
    for line in &ended.talk {
        is_harmless("stderr", line);
    }
    let report = ended.of_kind("stuck").next().expect("a report");
    let frames = report["opener"]["stack"].as_array().expect("a stack");
    let by_map = frames.iter().filter_map(|frame| frame["symbol"].as_str()).any(|it| it.contains("owned"));
    assert!(!cfg!(target_arch = "x86_64") || by_map, "the perf map was not used: {report:#}");
    let lines = ended.printed.len();

    let svg = fs::read_to_string(&image).expect("UTF-8");
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&svg, options).expect("well formed");
    let scripts = document.descendants().filter(|node| node.has_tag_name("script")).count();
    assert!(scripts <= 1 && !svg.contains("<script>alert"), "markup of a name");
    for node in document.descendants().filter(|node| {
        node.is_text()
            && !node
                .parent()
                .is_some_and(|it| it.tag_name().name() == "script" || it.tag_name().name() == "style")
    }) {
        is_harmless("SVG", node.text().unwrap_or_default());
    }
    is_harmless("folded", &fs::read_to_string(&folded).expect("UTF-8"));

    let text = |name: &str, command: &mut Command| {
        let (stdout, stderr) = written(command);
        is_harmless(name, &stdout);
        is_harmless(name, &stderr);
        stdout.len()
    };
    let own = ["--netns", &net.path(), "--threshold", "1s"];
    let screen = text("snapshot", Command::new(binary()).arg("snapshot").args(own));
    assert!(screen > 100, "nothing was reported");
    text("snapshot --no-group", Command::new(binary()).args(["snapshot", "--no-group"]).args(own));
    text("trace", Command::new(binary()).args(own).args(["--duration", "2s"]));
    text("replay", Command::new(binary()).args(["replay", &recording, "-vv"]));
    text("replay as JSON", Command::new(binary()).args(["replay", &recording, "-o", "json"]));
    let page = path("page.html");
    text("replay as a page", Command::new(binary()).args(["replay", &recording, "--html", &page]));
    let html = fs::read_to_string(&page).expect("UTF-8");
    is_harmless("HTML", &html);
    assert!(html.contains("owned") && !html.contains("<script>alert"), "markup of a name");
    text("diff", Command::new(binary()).args(["diff", "--all", &recording, &recording]));
    drop((leaking, cgroup, map));
    lines
}

#[test]
fn the_gate_is_no_way_into_a_ci_runner() {
    let server = Server::new();
    // A line's end, a command, markup; each is in the other names, too.
    for comm in [HOSTILE[1], HOSTILE[6]] {
        let net = Netns::new();
        let dir = kept::dir();
        let junit = dir.path().join("junit.xml");
        let mut gate = net.command(binary());
        gate.args(["run", "--threshold", "300ms", "--junit"]).arg(&junit).env("GITHUB_ACTIONS", "true");
        gate.arg("--").arg(&server.path).args(Server::names(comm));
        let mut child =
            gate.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        until("it has leaked", || (net.close_wait().len() == 2).then_some(()));
        super::waiting::let_pass(std::time::Duration::from_millis(1200));
        drop(child.stdin.take());
        let out = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8(out.stderr).expect("UTF-8");
        assert_eq!(out.status.code(), Some(1), "{stderr}");
        is_harmless("stderr of run", &stderr);
        commands_are_ours("stderr of run", &stderr);
        assert!(stderr.contains("::error "), "no annotation: {stderr}");
        let xml = fs::read_to_string(&junit).expect("UTF-8");
        let document = roxmltree::Document::parse(&xml).expect("well formed");
        let cases = document.descendants().filter(|node| node.has_tag_name("failure")).count();
        assert!(cases >= 1, "{xml}");
        is_harmless("JUnit", &xml);
    }
}
