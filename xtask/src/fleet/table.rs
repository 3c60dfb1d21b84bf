//! From what was measured on a few hosts to what many would send and store. Pure.

use super::alert::Lines;
use std::fmt::Write;

/// Hosts of the fleet that is extrapolated to.
const FLEET: f64 = 10_000.0;
/// Of the stuck sockets, so many are replaced by others in an hour; for events only.
const REPLACED: f64 = 0.1;

/// What one host of a kind answers to a scrape.
pub(super) struct Kind {
    pub(super) sockets: u32,
    pub(super) hosts: usize,
    pub(super) series: usize,
    /// Bytes of the text.
    pub(super) plain: usize,
    /// And with gzip, which Prometheus asks for.
    pub(super) packed: usize,
}

/// What Prometheus has stored.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) samples: u64,
    pub(super) series: u64,
    pub(super) chunks: u64,
    pub(super) index: u64,
}

impl Disk {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn per_sample(&self) -> f64 {
        self.chunks as f64 / self.samples as f64
    }

    /// Every block has an index of its series.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn per_series(&self) -> f64 {
        self.index as f64 / self.series as f64
    }
}

/// Both tables, in Markdown; `interval` is that of the fleet's scrapes, in seconds.
pub(super) fn markdown(kinds: &[Kind], disk: &Disk, lines: Option<&Lines>, interval: f64) -> String {
    let scrapes = 3600.0 / interval;
    let mut text = format!(
        "Scraped every {interval} s. On disk: {:.2} bytes a sample, {:.0} bytes of index a series and block of 2 h \
         ({} samples of {} series).\n\n\
         | stuck sockets | series | scrape, bytes | with gzip | a host: sent, KiB/h | stored, KiB/h | \
         {FLEET:.0} hosts: series | samples/s | sent, MiB/s | stored, GiB/day |\n|{}\n",
        disk.per_sample(),
        disk.per_series(),
        disk.samples,
        disk.series,
        "---|".repeat(10),
    );
    for kind in kinds {
        let series = number(kind.series);
        let sent = number(kind.packed) * scrapes;
        let stored = series * (scrapes * disk.per_sample() + disk.per_series() / 2.0);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} | {:.0} | {:.2} M | {:.0} | {:.1} | {:.1} |",
            kind.sockets,
            kind.series,
            kind.plain,
            kind.packed,
            sent / 1024.0,
            stored / 1024.0,
            series * FLEET / 1e6,
            series * FLEET / interval,
            sent * FLEET / 3600.0 / f64::from(1 << 20),
            stored * FLEET * 24.0 / f64::from(1 << 30),
        );
    }
    let Some(Lines { stuck, released }) = lines else { return text };
    let _ = write!(
        text,
        "\nEvents (`-o json`): {stuck} bytes for a socket that is stuck, with its stacks, and {released} when it has \
         ended.\n\n\
         | stuck sockets | a host: once, MiB | each hour, if {:.0} % are replaced, MiB | {FLEET:.0} hosts: once, GiB | \
         each hour, GiB |\n|{}\n",
        REPLACED * 100.0,
        "---|".repeat(5),
    );
    for kind in kinds {
        let sockets = f64::from(kind.sockets);
        let once = sockets * number(*stuck);
        let hourly = sockets * REPLACED * (number(*stuck) + number(*released));
        let mib = f64::from(1 << 20);
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.1} | {:.1} |",
            kind.sockets,
            once / mib,
            hourly / mib,
            once * FLEET / mib / 1024.0,
            hourly * FLEET / mib / 1024.0,
        );
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_multiplied_out() {
        let kinds = [Kind { sockets: 100, hosts: 3, series: 90, plain: 9000, packed: 2048 }];
        let disk = Disk { samples: 1000, series: 10, chunks: 1500, index: 2000 };
        let lines = Lines { stuck: 4096, released: 1024 };
        let text = markdown(&kinds, &disk, Some(&lines), 15.0);
        // 240 scrapes an hour: 480 KiB sent; 90 series of 240 samples of 1.5 bytes, and half of 200 bytes of index.
        assert!(
            text.contains("| 100 | 90 | 9000 | 2048 | 480 | 40 | 0.90 M | 60000 | 1.3 | 9.3 |"),
            "{text}"
        );
        assert!(text.contains("| 100 | 0.39 | 0.05 | 3.8 | 0.5 |"), "{text}");
    }
}
