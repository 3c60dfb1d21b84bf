//! What a process has used, as the kernel counts it: CPU time, wake-ups, memory.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use std::{fs, ops::Sub, time::Duration};

/// CPU time, and voluntary context switches: how often it slept and was woken.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) wakeups: u64,
}

impl Usage {
    /// Of all threads of `pid` that run now (proc_pid_status(5); schedstat's first figure is
    /// time on a CPU in nanoseconds, kernel/sched/stats.c).
    pub(super) fn of(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let mut all = Self::default();
        for task in tasks {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let ns = read("schedstat").split_whitespace().next().and_then(|ns| ns.parse().ok());
            all.cpu += Duration::from_nanos(ns.unwrap_or(0));
            all.wakeups += field(&read("status"), "voluntary_ctxt_switches:").unwrap_or(0);
        }
        all
    }

    /// Of the children of this process that have been waited for, and theirs.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn of_children() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
        let time = |time: nix::sys::time::TimeVal| {
            let us = |part: i64| Duration::from_micros(part.unsigned_abs());
            us(time.tv_sec() * 1_000_000) + us(time.tv_usec())
        };
        let wakeups = usage.voluntary_context_switches().unsigned_abs();
        Ok(Self { cpu: time(usage.user_time()) + time(usage.system_time()), wakeups })
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
        }
    }
}

/// Anonymous memory of `pid`, MiB; `None` when it is gone.
pub(super) fn rss_anon(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53 KiB")]
    field(&status, "RssAnon:").map(|kib| kib as f64 / 1024.0)
}

/// Memory that could be used, MiB (proc_meminfo(5)).
pub(super) fn memory_available() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:").map(|kib| kib / 1024)
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "nonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\nRssAnon:\t   2048 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "RssAnon:"), Some(2048));
        assert_eq!(field(status, "VmRSS:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(Usage::of(std::process::id()).cpu > Duration::ZERO);
        assert!(rss_anon(std::process::id()).is_some_and(|mib| mib > 0.1));
        assert!(rss_anon(u32::MAX).is_none());
        assert!(memory_available().is_some_and(|mib| mib > 0));
    }
}
