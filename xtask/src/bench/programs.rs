//! How long the BPF programs of one process have run, by the kernel's own statistics.

use anyhow::{Context, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde::Serialize;
use std::{collections::BTreeSet, fs, os::fd::OwnedFd};

/// The kernel counts while this lives. By descriptor and not by sysctl, so that nothing has
/// to be set back, not even by a benchmark that was killed (BPF_ENABLE_STATS, 5.8).
pub(super) struct Counting(#[expect(dead_code, reason = "kept open")] OwnedFd);

impl Counting {
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn start() -> Result<Self> {
        enable_stats(Stats::RunTime).map(Self).context("the kernel does not count BPF run time")
    }
}

/// One program's count since it was loaded.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) runs: u64,
    pub(super) ns: u64,
}

/// Of the programs that `pid` has a descriptor or a link of: other instances may run.
///
/// # Errors
/// When the kernel does not list its programs.
pub(super) fn of_process(pid: u32) -> Result<Vec<Ran>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    of_ids(&texts.flat_map(|text| ids(&text)).collect())
}

/// Of the programs with these ids.
///
/// # Errors
/// When the kernel does not list its programs.
pub(super) fn of_ids(ids: &BTreeSet<u32>) -> Result<Vec<Ran>> {
    let mut all = Vec::new();
    for program in loaded_programs() {
        // One that ended meanwhile is another process's.
        let Ok(program) = program else { continue };
        if ids.contains(&program.id()) {
            all.push(Ran {
                name: program.name_as_str().unwrap_or("?").to_owned(),
                runs: program.run_count(),
                ns: u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX),
            });
        }
    }
    anyhow::ensure!(all.len() == ids.len(), "the kernel lists {} of {} programs", all.len(), ids.len());
    Ok(all)
}

/// `prog_id:` in a fdinfo file.
fn ids(info: &str) -> Vec<u32> {
    info.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()).collect()
}

/// What the programs took in `connections`, less what counting itself takes: that is what a
/// program of two instructions seems to take, `floor_ns` a run.
pub(super) fn net_us_per_connection(ran: &[Ran], floor_ns: f64, connections: f64) -> f64 {
    ran.iter().map(|ran| net_ns(ran, floor_ns)).sum::<f64>() / connections / 1000.0
}

/// The same of one program, all its runs together, ns.
#[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
pub(super) fn net_ns(ran: &Ran, floor_ns: f64) -> f64 {
    (ran.ns as f64 - ran.runs as f64 * floor_ns).max(0.0)
}

/// ns a run; `None` when it did not run.
#[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
pub(super) fn per_run(ran: &Ran) -> Option<f64> {
    (ran.runs > 0).then(|| ran.ns as f64 / ran.runs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(runs: u64, ns: u64) -> Ran {
        Ran { name: "it".into(), runs, ns }
    }

    #[test]
    fn the_cost_of_counting_is_taken_off_each_run() {
        let programs = [ran(200, 60_000), ran(100, 120_000), ran(10, 100)];
        // 60,000 - 200 * 50 and 120,000 - 100 * 50; the third is all counting.
        assert!((net_us_per_connection(&programs, 50.0, 100.0) - 1.65).abs() < 1e-9);
        assert!((net_us_per_connection(&programs, 0.0, 100.0) - 1.801).abs() < 1e-9);
        assert_eq!(per_run(&ran(0, 0)), None);
        assert_eq!(per_run(&ran(4, 100)), Some(25.0));
    }

    #[test]
    fn programs_are_known_by_their_descriptors() {
        assert_eq!(ids("pos:\t0\nprog_type:\t17\nprog_id:\t512\n"), [512]);
        assert_eq!(ids("link_type:\traw_tracepoint\nlink_id:\t3\nprog_id:\t7\n"), [7]);
        assert!(ids("pos:\t0\nmap_id:\t4\n").is_empty());
    }
}
