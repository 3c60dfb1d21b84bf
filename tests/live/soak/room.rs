//! What the tool takes while it runs: memory, descriptors, threads.

use closewait_trace::clock::{Clock, MonoNs};

/// Samples of one process.
#[derive(Default)]
pub(crate) struct Room {
    /// All that is resident: also the ring, which the kernel counts twice, and pages of
    /// executables, which it takes away and brings back as it likes.
    pub(crate) resident: Memory,
    /// What the tool has allocated, and its copies of other programs' symbols (shared memory).
    pub(crate) own: Memory,
    pub(crate) most_fds: usize,
    pub(crate) most_threads: usize,
}

impl Room {
    /// Looks once.
    pub(crate) fn look(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        let kib = |name| field(name)?.parse::<f64>().ok();
        let (Some(resident), Some(anonymous), Some(shared)) =
            (kib("VmRSS:"), kib("RssAnon:"), kib("RssShmem:"))
        else {
            return;
        };
        let threads = field("Threads:").and_then(|threads| threads.parse().ok()).unwrap_or_default();
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let now = Clock::mono_now();
        self.resident.add(now, resident);
        self.own.add(now, anonymous + shared);
        self.most_fds = self.most_fds.max(fds);
        self.most_threads = self.most_threads.max(threads);
    }
}

/// Samples of one kind of memory, in KiB.
#[derive(Default)]
pub(crate) struct Memory {
    samples: Vec<(MonoNs, f64)>,
    pub(crate) most_kib: f64,
}

impl Memory {
    fn add(&mut self, at: MonoNs, kib: f64) {
        self.samples.push((at, kib));
        self.most_kib = self.most_kib.max(kib);
    }

    /// At the last look, KiB.
    pub(crate) fn last_kib(&self) -> f64 {
        self.samples.last().map_or(0.0, |(_, kib)| *kib)
    }

    /// By how much it grows: the slope of a line through all samples but those of the first
    /// third, in KiB per minute; `None` before there are enough.
    pub(crate) fn slope(&self) -> Option<f64> {
        let warm = &self.samples[self.samples.len() / 3..];
        let first = warm.first()?.0;
        let points: Vec<_> =
            warm.iter().map(|(at, kib)| (at.since(first).as_secs_f64() / 60.0, *kib)).collect();
        let count = f64::from(u32::try_from(points.len()).ok().filter(|count| *count >= 10)?);
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
            (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
        });
        (below > 0.0).then(|| above / below)
    }
}
