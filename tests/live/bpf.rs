//! Which BPF programs a process has, and which the kernel has.

use std::collections::BTreeSet;
use std::fs;

use super::waiting::until;

/// Ids of the programs that process `pid` has a descriptor or a link of.
pub(crate) fn programs_of(pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .flat_map(|text| {
            let ids = text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
            ids.collect::<Vec<u32>>()
        })
        .collect()
}

/// Waits until the kernel has none of these programs any more; it frees them a little
/// after the last descriptor is closed.
pub(crate) fn are_gone(programs: &BTreeSet<u32>) {
    until("the kernel frees the programs", || {
        let loaded: BTreeSet<u32> =
            aya::programs::loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect();
        programs.is_disjoint(&loaded).then_some(())
    });
}
