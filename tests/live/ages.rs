//! How old a socket is that was there before the tool: the true age is inside the
//! bounds that are printed, whatever has happened to the socket since; where the age
//! is printed as exact, it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use closewait_trace::clock::{Clock, MonoNs};
use rustix::process::{Pid, Signal, kill_process};

use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::{Ended, Tool, binary};
use super::waiting::show;

/// A millisecond is what both clocks are printed in.
const ROUNDING_MS: i64 = 2;
const EXACT_WITHIN_MS: i64 = 50;

/// Kinds by the port of the client's end, and when they entered CLOSE_WAIT: not before
/// and not after.
type Truth = BTreeMap<u64, (String, MonoNs, MonoNs)>;

fn truth(program: &Scenario) -> Truth {
    program.expect("ready");
    let mut truth = Truth::new();
    loop {
        let said = program.hear();
        if said.word == "done" {
            return truth;
        }
        let ms = |key| MonoNs(0) + Duration::from_millis(said.number(key).into());
        let entered = (ms("from_ms"), ms("to_ms") + Duration::from_millis(1));
        truth.insert(said.number("port").into(), (said.text("kind").to_owned(), entered.0, entered.1));
    }
}

/// Checks every report against the truth; the bounds by kind.
fn compared(truth: &Truth, ended: &Ended) -> BTreeMap<String, String> {
    let clock = Clock::read();
    let mut seen = BTreeMap::new();
    for report in ended.of_kind("stuck").filter(|report| report["update"] != true) {
        let (kind, from, to) = &truth[&report["socket"]["remote"]["port"].as_u64().expect("a port")];
        let at = humantime::parse_rfc3339(report["ts"].as_str().expect("a time")).expect("a time");
        let ago = |entered| millis_between(clock.wall(entered), at);
        let bound = |name: &str| report["age_ms"][name].as_i64();
        let min = bound("min").expect("a lower bound");
        let max = bound("max").unwrap_or_else(|| panic!("nothing bounds its age: {report}"));
        let exact = min == max;
        assert_eq!(exact, report["since"].is_string(), "{report}");
        assert_eq!(exact, report["since_within_ms"].is_u64(), "{report}");
        let tolerance = if exact { EXACT_WITHIN_MS } else { ROUNDING_MS };
        let (least, most) = (ago(*to), ago(*from));
        assert!(
            min <= most + tolerance && least <= max + tolerance,
            "{kind}: true {least}..{most}, {report}"
        );
        let width = if exact { "exact".to_owned() } else { format!("{} ms wide", max - min) };
        seen.insert(kind.clone(), width);
    }
    seen
}

fn millis_between(from: SystemTime, to: SystemTime) -> i64 {
    let ms = |time: Duration| i64::try_from(time.as_millis()).expect("a short time");
    to.duration_since(from).map_or_else(|early| -ms(early.duration()), ms)
}

#[test]
fn of_older_sockets_are_true() {
    let net = Netns::new();
    let program = Scenario::start(&net, "ages", &[]);
    let truth = truth(&program);
    let mut table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Early, and again and again while probes are answered, data goes out and is read.
    for _ in 0..4 {
        let ended = look(&net);
        for (kind, width) in compared(&truth, &ended) {
            table.entry(kind).or_default().push(width);
        }
    }
    let rows: Vec<_> =
        table.iter().map(|(kind, widths)| format!("  {kind:<16} {}", widths.join(", "))).collect();
    show(&format!("age of older sockets, at four looks:\n{}", rows.join("\n")));
    assert_eq!(table.len(), truth.len(), "every kind was reported");
    for kind in ["eof_read", "unread", "bytes_unread", "old_data", "talked", "not_accepted"] {
        assert!(table[kind].iter().all(|width| width == "exact"), "{kind}: {:?}", table[kind]);
    }
    for kind in ["keepalive", "sending", "zero_window", "peer_reads_late"] {
        assert_ne!(table[kind].last().map(String::as_str), Some("exact"), "{kind} was disturbed");
    }
}

/// Attached programs change nothing about what was there before.
#[test]
fn are_true_when_tracing_too() {
    let net = Netns::new();
    let program = Scenario::start(&net, "ages", &[]);
    let truth = truth(&program);
    let mut tool = Tool::spawn(Command::new(binary()).args(options(&net)));
    tool.attached();
    tool.has_reported("stuck", truth.len());
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    compared(&truth, &ended);
}

/// The kernel stamps records with its own clock, whatever this process' own says.
#[test]
fn are_true_in_a_time_namespace() {
    let within = |ahead: &str, program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--time", "--monotonic", ahead, "--boottime", ahead, "--fork"]).arg(program);
        command
    };
    if !within("3600", "true".as_ref()).status().is_ok_and(|status| status.success()) {
        return show("no time namespaces here");
    }
    for ahead in ["3600", "-5"] {
        let net = Netns::new();
        let mut tool = Tool::spawn(within(ahead, &binary()).args(options(&net)));
        tool.attached();
        let program = Scenario::start(&net, "ages", &[]);
        let truth = truth(&program);
        tool.has_reported("stuck", truth.len());
        let clock = Clock::read();
        let children = format!("/proc/{0}/task/{0}/children", tool.pid());
        let itself = std::fs::read_to_string(children).expect("it runs").trim().parse().ok();
        let itself = itself.and_then(Pid::from_raw).expect("unshare has one child");
        kill_process(itself, Signal::INT).expect("it runs");
        let ended = tool.end();
        let mut seen = 0;
        for report in ended.of_kind("stuck") {
            let (kind, from, to) = &truth[&report["socket"]["remote"]["port"].as_u64().expect("a port")];
            let at = humantime::parse_rfc3339(report["ts"].as_str().expect("a time")).expect("a time");
            let ago = |entered| millis_between(clock.wall(entered), at);
            let age = report["age_ms"]["min"].as_i64().expect("a lower bound");
            let is_true = (ago(*to) - ROUNDING_MS..=ago(*from) + ROUNDING_MS).contains(&age);
            assert!(is_true, "{ahead} s: {kind}: true {}..{}, {report}", ago(*to), ago(*from));
            seen += 1;
        }
        assert_eq!(seen, truth.len(), "{ahead} s: {}", ended.everything());
        let ended = Tool::spawn(within(ahead, &binary()).arg("snapshot").args(options(&net))).end();
        assert_eq!(compared(&truth, &ended).len(), truth.len(), "{ahead} s, older");
    }
}

fn look(net: &Netns) -> Ended {
    let ended = Tool::spawn(Command::new(binary()).arg("snapshot").args(options(net))).end();
    ended.exits(0);
    ended
}

/// Every socket is old enough to be reported.
fn options(net: &Netns) -> [String; 6] {
    ["--netns", &net.path(), "-o", "json", "--threshold", "1ms"].map(str::to_owned)
}
