//! Recordings made on real kernels (tests/recordings) give the reports that they gave before;
//! and what a recording tells beside them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use closewait_trace::clock::Clock;
use closewait_trace::recording::entry::{End, Entry, Header};
use closewait_trace::recording::{Recorder, Settings};
use closewait_trace::report::{Cost, FirstLook};

use crate::desk::{THRESHOLD, assert_valid, golden, totals};
use crate::made::{NOW, ago};

/// Five sockets were reported 3.5 s after the start, and closed 4 s later.
#[test]
fn a_part_of_a_recording_is_replayed_by_time() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/linux-5.10.recording");
    let counts = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_closewait-trace"));
        let out = command.args(["replay", "-o", "json"]).args(options).arg(&path).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        let lines = assert_valid(std::str::from_utf8(&out.stdout).unwrap());
        let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
        (of("stuck"), of("released"))
    };
    let (before, between) = ("2026-11-28T08:03:48Z", "2026-11-28T08:03:51Z");
    let after = "2026-11-28T08:03:54Z";
    for (options, stuck_and_released) in [
        (&[][..], (5, 5)),
        (&["--to", before], (0, 0)),
        (&["--to", between], (5, 0)),
        (&["--from", before, "--to", between], (5, 0)),
        // What was stuck already is what one wants to see there.
        (&["--from", between], (5, 5)),
        (&["--from", "6s"], (5, 5)),
        (&["--from", after], (0, 0)),
    ] {
        assert_eq!(counts(options), stuck_and_released, "{options:?}");
    }
}

#[test]
fn recordings_of_kernels_give_the_reports_they_gave() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let mut kernels = 0;
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let kernel = path.file_stem().unwrap().to_str().unwrap();
        let replay = |format: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_closewait-trace"));
            let out = command.args(["replay", "--color", "never", "-o", format]).arg(&path).output().unwrap();
            assert!(out.status.success() && out.stderr.is_empty(), "{kernel}: {out:?}");
            String::from_utf8(out.stdout).unwrap()
        };
        golden(&format!("{kernel}.txt"), &replay("text"));
        let lines = replay("json");
        assert_eq!(lines.lines().filter(|line| line.contains(r#""kind":"stuck""#)).count(), 5);
        assert_valid(&lines);
        golden(&format!("{kernel}.jsonl"), &lines);
        kernels += 1;
    }
    assert!(kernels > 0, "no recording in {}", dir.display());
}

/// Live told that it could not look everywhere: so does its recording, also one that was cut
/// off, or whose beginning a later part has replaced.
#[test]
fn namespaces_that_could_not_be_looked_into_are_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(NOW, SystemTime::UNIX_EPOCH + Duration::from_hours(498_666));
    let unread = |name: &str, entries: Vec<Entry>| {
        let path = dir.path().join(name);
        let header = Header {
            tool: "test".into(),
            kernel: "test".into(),
            began: ago(120),
            threshold: THRESHOLD,
            degraded: Vec::new(),
            redacted: false,
            part: 1,
        };
        let settings = Settings { path: path.clone(), max: None, redact: false };
        let mut recorder = Recorder::create(&settings, header).unwrap();
        for entry in entries {
            recorder.entry(entry, ago(119), &clock);
        }
        recorder.finish().unwrap();
        let replay = |format: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_closewait-trace"));
            let out = command.args(["replay", "-o", format]).arg(&path).output().unwrap();
            assert!(out.status.success() && out.stderr.is_empty(), "{name}: {out:?}");
            String::from_utf8(out.stdout).unwrap()
        };
        let lines = assert_valid(&replay("json"));
        let summary = lines.iter().find(|line| line["kind"] == "summary").unwrap();
        let count = |what: &str| summary["totals"][what].as_u64().unwrap();
        let counts = ["unread_namespaces", "unreached_namespaces", "failed_namespace_looks"].map(count);
        (counts, replay("text"))
    };
    let first = || Entry::FirstLook(FirstLook::default());
    let end = |unread, unreached, failed_looks| {
        let (began, at, stats, cost) = (ago(120), NOW, totals(NOW).tracker, Cost::default());
        let degraded = Vec::new();
        Entry::End(Box::new(End { began, at, degraded, stats, cost, unread, unreached, failed_looks }))
    };
    let (some, text) = unread("cut off", vec![Entry::Unread(5), first()]);
    assert_eq!(some, [5, 0, 5]);
    // On the first screen and on the last, and in the summary.
    assert_eq!(text.matches("5 network namespaces could not be looked into").count(), 3, "{text}");
    assert_eq!(unread("a later part", vec![end(2, 0, 9)]).0, [2, 0, 9]);
    let (none, text) = unread("mended", vec![Entry::Unread(5), first(), Entry::Unread(0), end(0, 0, 5)]);
    assert_eq!((none, text.matches("could not be looked into").count()), ([0, 0, 5], 1), "{text}");
    assert!(text.contains("5 looks into network namespaces failed or had holes, in all"), "{text}");
    let (ended, text) = unread("ended early", vec![end(0, 7, 0)]);
    assert_eq!(ended, [0, 7, 0]);
    assert!(text.contains("7 network namespaces were not reached before the end"), "{text}");
}
