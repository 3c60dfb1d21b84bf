//! How many stuck sockets are reported one by one, so that the memory of this process has a
//! bound whatever happens on the host. In: how much memory there is for it. Out: a number of
//! sockets. Pure, but for [`Memory::read`].
//!
//! The order in which things give way to too many stuck sockets: they are looked at in rounds
//! of [`ROUND`] or more, the oldest first; between rounds is a rest, a longer one before those are
//! looked at again that were reported before; and beyond the bound they are counted only,
//! until others have ended. What is looked at again late, and what is only counted, is said.

use std::path::{Path, PathBuf};

/// So many are looked at together. A round costs a walk over all sockets of the host, and
/// memory for each of its sockets: fewer rounds take more memory, more rounds more time.
pub(super) const ROUND: usize = 100_000;
/// And so many where there are many more.
pub(super) const ROUND_MAX: usize = 250_000;

/// What one reported socket takes while it is stuck, and its part of a round, bytes, as
/// `cargo xtask bounds` has measured it, and some more.
const PER_SOCKET: u64 = 1 << 10;
/// So many have room whatever the memory seems to be.
const LEAST: u64 = 10_000;
/// More are never reported one by one: nobody reads that.
const MOST: u64 = 1_000_000;

/// What bounds the memory of this process, bytes; `None` where nothing does, or it is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Memory {
    /// What the host has left.
    available: Option<u64>,
    /// Of its cgroup and those above.
    cgroup: Option<u64>,
    /// Of its data (RLIMIT_DATA, RLIMIT_AS).
    own: Option<u64>,
}

impl Memory {
    /// As it is now.
    pub(super) fn read() -> Self {
        use rustix::process::{Resource, getrlimit};
        let text = |path: &Path| std::fs::read_to_string(path).ok();
        let limits = [Resource::Data, Resource::As].map(|limit| getrlimit(limit).current);
        Self {
            available: text("/proc/meminfo".as_ref()).as_deref().and_then(available),
            cgroup: text("/proc/self/cgroup".as_ref())
                .as_deref()
                .and_then(|cgroup| limit_files(cgroup).iter().filter_map(|file| limit(&text(file)?)).min()),
            own: limits.into_iter().flatten().min(),
        }
    }

    /// How many sockets may be reported one by one: they may take half of the memory.
    pub(super) fn sockets(self) -> usize {
        let least = [self.available, self.cgroup, self.own].into_iter().flatten().min();
        let sockets = least.map_or(MOST, |bytes| (bytes / 2 / PER_SOCKET).clamp(LEAST, MOST));
        usize::try_from(sockets).unwrap_or(usize::MAX)
    }
}

/// MemAvailable of /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that limit the memory of a process in these cgroups, as they are mounted
/// everywhere: of its own cgroup and of all above it, in both versions.
fn limit_files(cgroup: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            all if all.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a namespace of cgroups the path may lead out of what is mounted: then only the root fits.
        let own = Path::new(path.trim_start_matches('/'));
        files.extend(own.ancestors().map(|at| Path::new(root).join(at).join(file)));
    }
    files
}

/// What such a file says. Version 1 has a number of pages that no host has for no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes| bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_sockets_take_half_of_the_memory_at_most() {
        const GIB: u64 = 1 << 30;
        let memory = |available, cgroup, own| Memory { available, cgroup, own }.sockets();
        let table = [
            (memory(None, None, None), 1_000_000),
            (memory(Some(64 * GIB), None, None), 1_000_000),
            (memory(Some(64 * GIB), Some(GIB), None), 524_288),
            (memory(Some(64 * GIB), Some(2 * GIB), Some(GIB / 4)), 131_072),
            (memory(Some(GIB / 8), Some(2 * GIB), None), 65_536),
            (memory(Some(0), None, None), 10_000),
        ];
        for (n, (got, want)) in table.into_iter().enumerate() {
            assert_eq!(got, want, "{n}");
        }
        assert!(Memory::read().available.is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn limits_are_read_of_a_cgroup_and_of_those_above_it() {
        let files = |cgroup| limit_files(cgroup).into_iter().map(|file| file.display().to_string()).collect();
        let v2: Vec<_> = files("0::/system.slice/closewait-trace.service\n");
        let below = "/sys/fs/cgroup/system.slice";
        assert_eq!(
            v2,
            [
                format!("{below}/closewait-trace.service/memory.max"),
                format!("{below}/memory.max"),
                "/sys/fs/cgroup/memory.max".into()
            ]
        );
        let v1: Vec<_> = files("9:cpuset:/x\n4:cpu,memory:/pod\nnonsense\n");
        let root = "/sys/fs/cgroup/memory";
        assert_eq!(
            v1,
            [format!("{root}/pod/memory.limit_in_bytes"), format!("{root}/memory.limit_in_bytes")]
        );
        assert_eq!(
            [limit("max\n"), limit("9223372036854771712\n"), limit("4096\n")],
            [None, None, Some(4096)]
        );
        assert_eq!(available("MemFree: 1 kB\nMemAvailable:   20 kB\n"), Some(20_480));
    }
}
