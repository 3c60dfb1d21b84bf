//! What the tool itself has used.

use std::fs;
use std::time::Duration;

use closewait_ebpf::counter;
use rustix::time::{ClockId, clock_gettime};

use crate::report::{Copies, Cost};
use crate::source::ring::RingSource;

/// CPU time and memory of this process so far, and the run time of its programs
/// where the kernel counts it (sysctl kernel.bpf_stats_enabled).
pub(super) fn cost(source: Option<&RingSource>) -> Cost {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Cost {
        cpu: u64::try_from(cpu.tv_sec)
            .ok()
            .zip(u32::try_from(cpu.tv_nsec).ok())
            .map(|(sec, nsec)| Duration::new(sec, nsec)),
        rss: fs::read_to_string("/proc/self/statm").ok().and_then(|statm| resident(&statm)),
        bpf: source.and_then(RingSource::run_time),
        stacks: source.map(copies).filter(|copies| *copies != Copies::default()),
    }
}

fn copies(source: &RingSource) -> Copies {
    let totals = source.totals();
    Copies {
        copied: totals.get(counter::COPIED),
        put_off: totals.get(counter::COPY_PUT_OFF),
        lost: totals.get(counter::LOST_COPY),
    }
}

/// Resident bytes, from /proc/PID/statm (in pages).
fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_the_second_field_in_pages() {
        let page = rustix::param::page_size() as u64;
        assert_eq!(resident("5000 300 200 10 0 400 0\n"), Some(300 * page));
        assert_eq!(resident("5000"), None);
        assert_eq!(resident(""), None);
    }
}
