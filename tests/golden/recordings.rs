//! Recordings made on real kernels (tests/recordings) give the reports that they gave before.

use std::path::Path;
use std::process::Command;

use crate::desk::{assert_valid, golden};

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
