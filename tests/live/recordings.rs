//! A recording gives the same reports as the run that it was made of.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::kept;
use super::netns::{Netns, output};
use super::schema;
use super::tool::{Ended, Tool, binary};
use super::waiting::show;
use super::workload::{CLIENT, SERVER, Workload};

/// The reports of a recording.
fn replayed(file: &Path, more: &[&str]) -> Vec<Value> {
    let mut command = Command::new(binary());
    // Nobody's privileges are needed: not even those to read another's files.
    command.arg("replay").arg(file).args(["-o", "json"]).args(more);
    // What of it cannot be read is told on stderr.
    command.stderr(Stdio::inherit());
    output(&mut command).lines().map(schema::parse).collect()
}

/// What the tool spent is only known when it has ended.
fn without_cost(reports: &[Value]) -> Vec<Value> {
    let mut reports = reports.to_vec();
    for report in reports.iter_mut().filter(|report| report["kind"] == "summary") {
        let summary = report.as_object_mut().expect("an object");
        for field in ["cost", "ts", "duration_ms"] {
            summary.remove(field);
        }
    }
    reports
}

/// Compares report by report and field by field: the whole would be unreadable.
fn are_the_same(again: &[Value], before: &[Value], name: &str) {
    let sequence = || {
        let of = |reports: &[Value]| reports.iter().map(in_short).collect::<Vec<_>>().join("\n");
        format!("live:\n{}\nreplayed:\n{}", of(before), of(again))
    };
    assert_eq!(again.len(), before.len(), "{name}: reports\n{}", sequence());
    for (at, (again, before)) in again.iter().zip(before).enumerate() {
        let fields = before.as_object().expect("an object");
        for (field, value) in fields {
            let kind = &before["kind"];
            assert_eq!(&again[field], value, "{name}: {field} of a {kind} report, no. {at}\n{}", sequence());
        }
        assert_eq!(again.as_object().map(serde_json::Map::len), Some(fields.len()), "{name}: {again}");
    }
}

/// What tells one report from another.
fn in_short(report: &Value) -> String {
    let of = |path| report.pointer(path).unwrap_or(&Value::Null).to_string();
    ["/ts", "/kind", "/socket/local/port", "/socket/remote/port", "/socket/inode", "/verdict/code", "/cause"]
        .map(of)
        .join(" ")
}

/// The recording of a run gives its reports.
pub(crate) fn gives_the_reports_of(ended: &Ended, file: &Path, name: &str) {
    let again = replayed(file, &[]);
    are_the_same(&without_cost(&again), &without_cost(&ended.reports), name);
    show(&format!("{name}: {} reports, the same from the recording", again.len()));
}

/// Runs a workload to its end, every socket closed late, and compares.
fn recorded(net: &Netns, file: &Path, workload: Workload, options: &[&str]) -> Ended {
    let path = file.to_str().expect("a path");
    let mut tool = Tool::trace(net, &[&["--record", path], options].concat());
    let mut leaked = workload.run(net, net);
    tool.has_reported("stuck", workload.leak);
    leaked.leaker.tell("close");
    tool.has_reported("released", workload.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    ended
}

#[test]
fn give_the_reports_of_the_live_run() {
    let dir = kept::dir();
    for (name, workload) in [
        ("server", Workload { leak: 11, close: 97, ..SERVER }),
        ("readers", Workload { server: &["--read", "once"], ..SERVER }),
        ("no readers", Workload { server: &["--read", "none"], ..SERVER }),
        ("some reading", Workload { server: &["--read", "some"], ..SERVER }),
        ("peeking", Workload { server: &["--read", "peek"], ..SERVER }),
        ("client", CLIENT),
    ] {
        let net = Netns::new();
        let file = dir.path().join(name);
        let ended = recorded(&net, &file, workload, &[]);
        gives_the_reports_of(&ended, &file, name);
        let mode =
            std::fs::metadata(&file).map(|file| std::os::unix::fs::PermissionsExt::mode(&file.permissions()));
        assert_eq!(mode.expect("a file") & 0o777, 0o600);
        let bytes = std::fs::metadata(&file).expect("a file").len();
        show(&format!(
            "recording of {} stuck and {} closed in time: {bytes} bytes",
            workload.leak, workload.close
        ));
    }
}

#[test]
fn can_be_asked_for_less_and_for_other_forms() {
    let net = Netns::new();
    let dir = kept::dir();
    let file = dir.path().join("recording");
    let ended = recorded(&net, &file, SERVER, &[]);
    let stuck =
        |more: &[&str]| replayed(&file, more).iter().filter(|report| report["kind"] == "stuck").count();
    let port = ended.of_kind("stuck").next().expect("a report")["socket"]["remote"]["port"].to_string();
    assert_eq!(stuck(&[]), 3);
    assert_eq!(stuck(&["--remote-port", &port]), 1);
    assert_eq!(stuck(&["--exclude-comm", "leaky_server"]), 0);
    assert_eq!(stuck(&["--threshold", "1h"]), 0);
    assert_eq!(stuck(&["--to", "1ms"]), 0);
    assert_eq!(stuck(&["--from", "1h"]), 0);
    let text = output(Command::new(binary()).arg("replay").arg(&file));
    assert!(text.contains("leaky_server") && text.contains("accept_and_forget"), "{text}");
}

#[test]
fn name_no_address_when_redacted() {
    let net = Netns::new();
    net.add_address("203.0.113.7/32");
    let dir = kept::dir();
    let file = dir.path().join("recording");
    let away = Workload {
        server: &["--bind", "203.0.113.7"],
        client: &["--send", "7", "--to", "203.0.113.7"],
        ..SERVER
    };
    let ended = recorded(&net, &file, away, &["--redact"]);
    assert!(ended.printed.iter().any(|line| line.contains("203.0.113.7")), "{}", ended.everything());
    let again = replayed(&file, &[]);
    assert_eq!(again.iter().filter(|report| report["kind"] == "stuck").count(), 3);
    for report in &again {
        assert!(!report.to_string().contains("203.0.113.7"), "{report}");
        assert!(!report.to_string().contains("--send"), "{report}");
    }
}

#[test]
fn that_are_cut_off_or_damaged_show_what_is_whole() {
    let net = Netns::new();
    let dir = kept::dir();
    let file = dir.path().join("recording");
    recorded(&net, &file, SERVER, &[]);
    let whole = std::fs::read(&file).expect("a file");
    let other = dir.path().join("other");
    let run = |bytes: &[u8]| {
        std::fs::write(&other, bytes).expect("a file");
        Command::new(binary()).args(["replay", "-o", "json"]).arg(&other).output().expect("it runs")
    };
    for percent in [1, 13, 37, 61, 99] {
        let cut = run(&whole[..whole.len() * percent / 100]);
        let said = String::from_utf8_lossy(&cut.stderr).into_owned();
        assert!(matches!(cut.status.code(), Some(0 | 2)), "{percent} %: {said}");
        assert!(said.contains("cut off"), "{percent} %: {said}");
    }
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    let flipped = run(&flipped);
    assert!(String::from_utf8_lossy(&flipped.stderr).contains("damaged"), "{flipped:?}");
    assert_eq!(flipped.status.code(), Some(0));
    for (bytes, words) in [
        (b"".as_slice(), "empty"),
        (b"PK\x03\x04", "no recording"),
        (b"closewait-trace recording 9\n", "format 9"),
    ] {
        let refused = run(bytes);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(words), "{refused:?}");
    }
}

#[test]
fn are_rotated_within_their_limit() {
    let net = Netns::new();
    let dir = kept::dir();
    let file = dir.path().join("recording");
    let storm = Workload { leak: 3, close: 6997, ..SERVER };
    recorded(&net, &file, storm, &["--record-max", "1M"]);
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let before = dir.path().join("recording.1");
    assert!(size(&file) + size(&before) <= 1 << 20, "{} + {}", size(&file), size(&before));
    show(&format!(
        "recording of 7000 connections: {} bytes per connection",
        (size(&file) + size(&before)) / 7000
    ));
}

#[test]
fn are_compared_with_each_other_and_with_reports() {
    let net = Netns::new();
    let dir = kept::dir();
    let run = |name: &str, workload: Workload| {
        let file = dir.path().join(name);
        let ended = recorded(&net, &file, workload, &[]);
        let lines = dir.path().join(format!("{name}.json"));
        std::fs::write(&lines, ended.printed.join("\n")).expect("a file");
        (file, lines)
    };
    // The same port, which is a part of what names a cause.
    let port = ["--port", "47111"];
    let (before, before_lines) = run("before", Workload { server: &port, ..SERVER });
    let (after, after_lines) = run("after", Workload { server: &port, leak: 5, ..SERVER });
    let diff = |a: &Path, b: &Path, options: &[&str]| {
        let mut command = Command::new(binary());
        let out =
            command.arg("diff").args([a, b]).args(["-o", "json"]).args(options).output().expect("it runs");
        let lines = String::from_utf8(out.stdout).expect("text");
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        (lines, out.status.code())
    };
    for (a, b) in [(&before, &after), (&before_lines, &after_lines), (&before, &after_lines)] {
        let (lines, code) = diff(a, b, &["--fail-on-growth"]);
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(
            (&line["change"], &line["before"], &line["after"]),
            (&"grown".into(), &3.into(), &5.into()),
            "{line}"
        );
        assert_eq!(line["owner"], "leaky_server", "{line}");
        assert_eq!(code, Some(1));
    }
    assert_eq!(diff(&after, &after_lines, &["--fail-on-growth"]), (Vec::new(), Some(0)));
    let (lines, code) = diff(&after, &before, &["--fail-on-growth"]);
    assert_eq!((&lines[0]["change"], code), (&"shrunk".into(), Some(0)));
}

/// The second trace begins when they are stuck: it knows neither their opener nor their EOF.
#[test]
fn sockets_of_two_traces_are_recognised() {
    let net = Netns::new();
    let dir = kept::dir();
    let path = |name: &str| dir.path().join(name);
    let mut leaked = None;
    for name in ["first", "second"] {
        let file = path(name);
        let mut tool = Tool::trace(&net, &["--record", file.to_str().expect("a path")]);
        if leaked.is_none() {
            leaked = Some(SERVER.run(&net, &net));
        }
        tool.has_reported("stuck", SERVER.leak);
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        std::fs::write(path(&format!("{name}.json")), ended.printed.join("\n")).expect("a file");
    }
    for (a, b) in [("first", "second"), ("second", "first"), ("first.json", "second.json")] {
        let mut command = Command::new(binary());
        command.arg("diff").args([path(a), path(b)]).args(["-o", "json", "--all", "--fail-on-growth"]);
        let out = command.output().expect("it runs");
        let lines = String::from_utf8(out.stdout).expect("text");
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let [line] = lines.as_slice() else { panic!("{a} {b}: {lines:?}") };
        assert_eq!(
            (&line["change"], &line["before"], &line["after"]),
            (&"same".into(), &3.into(), &3.into()),
            "{a} {b}: {line}"
        );
        assert_eq!(
            (&line["code"], &line["recognised"]),
            (&"EOF_IGNORED".into(), &3.into()),
            "{a} {b}: {line}"
        );
        let talk = String::from_utf8_lossy(&out.stderr);
        assert!(talk.contains("3 sockets are in both runs"), "{talk}");
        assert_eq!(out.status.code(), Some(0));
    }
}

#[test]
fn two_tracers_do_not_share_a_recording_and_nothing_else_is_written_over() {
    let net = Netns::new();
    let dir = kept::dir();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let file = path("recording");
    let first = Tool::trace(&net, &["--record", &file]);
    let record = |file: &str| {
        let mut command = Command::new(binary());
        command.args(["--netns", &net.path(), "--duration", "100ms", "--record", file]);
        Tool::spawn(&mut command).end()
    };
    let second = record(&file);
    second.exits(2).said("another closewait-trace records to it").said(&file);
    assert!(!second.talk.iter().any(|line| line.contains("tracing")), "{}", second.everything());
    first.signal(Signal::INT).exits(0);
    record(&file).exits(0).said("is overwritten");
    let other = path("other");
    std::fs::write(&other, "not ours").expect("our file");
    kept::hand_over(other.as_ref());
    record(&other).exits(2).said("is no recording");
    assert_eq!(std::fs::read_to_string(&other).expect("our file"), "not ours");
    record(&path("missing/recording")).exits(2).said("cannot record to");
    assert!(!Path::new(&path("missing")).exists());

    // Nor what a full recording takes the name of.
    let full = |file: &str| {
        let mut command = Command::new(binary());
        command.args(["--netns", &net.path(), "--duration", "100ms", "--record-max", "1M"]);
        Tool::spawn(command.args(["--record", file])).end()
    };
    let before = path("full.1");
    std::fs::write(&before, "not ours").expect("our file");
    full(&path("full")).exits(2).said("--record-max").said(&before).said("is no recording");
    assert_eq!(std::fs::read_to_string(&before).expect("our file"), "not ours");
    assert!(!Path::new(&path("full")).exists(), "nothing was recorded");
    std::fs::copy(&file, &before).expect("our file");
    full(&path("full")).exits(0).said("is overwritten when");
}

/// What cannot run leaves no file that looks as if something had been recorded.
#[test]
fn no_trace_leaves_no_file() {
    let net = Netns::new();
    let dir = kept::dir();
    let file = dir.path().join("recording");
    let record = |options: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["--netns", &net.path(), "--duration", "100ms", "--record"]).arg(&file);
        Tool::spawn(command.args(options)).end()
    };
    let cannot = ["--require-trace", "--without", "raw_tp", "--without", "tracepoint"];
    record(&cannot).exits(77);
    assert!(!file.exists());
    record(&[]).exits(0);
    let before = std::fs::read(&file).expect("a recording");
    record(&cannot).exits(77);
    assert_eq!(std::fs::read(&file).expect("it is there"), before);
}
