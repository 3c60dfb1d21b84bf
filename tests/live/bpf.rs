//! Which BPF programs a process has, and which the kernel has.

use std::collections::BTreeSet;
use std::fs;

use aya::maps::{Map, MapData, PerCpuArray, loaded_maps};

use super::waiting::until;

/// Ids of the programs that process `pid` has a descriptor or a link of.
pub(crate) fn programs_of(pid: u32) -> BTreeSet<u32> {
    numbers_of(pid, "prog_id:")
}

/// Ids of the maps that process `pid` has a descriptor of.
pub(crate) fn maps_of(pid: u32) -> BTreeSet<u32> {
    numbers_of(pid, "map_id:")
}

/// What the programs of process `pid` count themselves (`closewait_ebpf::counter`).
pub(crate) fn counters_of(pid: u32) -> PerCpuArray<MapData, u64> {
    let ids = maps_of(pid);
    let ours = loaded_maps().filter_map(Result::ok).filter(|map| ids.contains(&map.id()));
    let counters = { ours }.find(|map| map.name_as_str() == Some("COUNTERS")).expect("it traces");
    let map = MapData::from_id(counters.id()).expect("it is there while the tool is");
    PerCpuArray::try_from(Map::PerCpuArray(map)).expect("counts on each CPU")
}

fn numbers_of(pid: u32, field: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .flat_map(|text| {
            let ids = text.lines().filter_map(|line| line.strip_prefix(field)?.trim().parse().ok());
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

/// The same of maps.
pub(crate) fn maps_are_gone(maps: &BTreeSet<u32>) {
    until("the kernel frees the maps", || {
        let loaded: BTreeSet<u32> = loaded_maps().filter_map(Result::ok).map(|map| map.id()).collect();
        maps.is_disjoint(&loaded).then_some(())
    });
}
