//! Recordings made on real kernels (tests/recordings) give the reports that they gave before.

use std::path::Path;
use std::process::Command;

use crate::desk::{assert_valid, golden};

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
