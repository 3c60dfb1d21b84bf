//! Made-up hosts that serve what the tool would, scraped by Prometheus for a while.

use super::prometheus::{Programs, Prometheus, pause, request};
use super::table::{Disk, Kind};
use crate::{stopwatch::Stopwatch, workspace};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Of 20 hosts, so many have so many stuck sockets in so many processes. A host with
/// 100,000 takes a hundred megabytes here.
const MIX: [(u32, u32, u32); 3] = [(13, 0, 1), (6, 100, 5), (1, 100_000, 500)];
const OF: u32 = 20;

/// What a scrape of them is, and what Prometheus keeps of it.
pub(super) struct Scraped {
    pub(super) kinds: Vec<Kind>,
    pub(super) disk: Disk,
    /// The slowest scrape of the last round, seconds.
    pub(super) slowest: f64,
    /// Scrapes that failed in the time.
    pub(super) failed: f64,
}

/// # Errors
/// When the hosts do not come up, or Prometheus does not.
pub(super) fn scraped(programs: &Programs, example: &Path, hosts: u32, time: Duration) -> Result<Scraped> {
    let fleet = Fleet::start(example, hosts)?;
    let kinds = fleet
        .addresses
        .iter()
        .map(|(&sockets, addresses)| kind(sockets, addresses))
        .collect::<Result<_>>()?;
    let dir = workspace::target_dir().join(format!("fleet/hosts-{}", std::process::id()));
    let targets: Vec<String> = fleet.addresses.values().flatten().cloned().collect();
    let prometheus = Prometheus::start(programs, dir, &targets, None)?;
    let all = format!("count(up == 1) == {}", targets.len());
    prometheus.comes_to(&all, Duration::from_mins(1))?;
    let clock = Stopwatch::start();
    while !clock.left_of(time).is_zero() {
        pause();
    }
    let range = time.as_secs();
    let failed = prometheus
        .value(&format!("sum(count_over_time(up[{range}s])) - sum(sum_over_time(up[{range}s]))"))?;
    let slowest = prometheus.value("max(scrape_duration_seconds)")?;
    let disk = disk(&prometheus.snapshot()?)?;
    Ok(Scraped { kinds, disk, slowest, failed })
}

/// One host's scrape, with and without compression.
fn kind(sockets: u32, addresses: &[String]) -> Result<Kind> {
    let address = addresses.first().context("no host")?;
    let (_, plain) = request(address, "GET", "/metrics", "")?;
    let (head, packed) = request(address, "GET", "/metrics", "Accept-Encoding: gzip\r\n")?;
    ensure!(head.contains("content-encoding: gzip"), "not compressed: {head}");
    let text = String::from_utf8_lossy(&plain).into_owned();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    Ok(Kind { sockets, hosts: addresses.len(), series, plain: plain.len(), packed: packed.len() })
}

/// What the blocks below `snapshot` take.
fn disk(snapshot: &Path) -> Result<Disk> {
    let mut disk = Disk::default();
    for block in fs::read_dir(snapshot)?.flatten().map(|block| block.path()) {
        let Ok(meta) = fs::read_to_string(block.join("meta.json")) else { continue };
        let meta: Value = serde_json::from_str(&meta)?;
        let stat =
            |name: &str| meta["stats"][name].as_u64().with_context(|| format!("no {name} in meta.json"));
        disk.samples += stat("numSamples")?;
        disk.series += stat("numSeries")?;
        disk.index += fs::metadata(block.join("index"))?.len();
        for chunk in fs::read_dir(block.join("chunks"))? {
            disk.chunks += chunk?.metadata()?.len();
        }
    }
    ensure!(disk.samples > 0, "Prometheus has written no sample");
    Ok(disk)
}

/// The process that all hosts are in; it ends when our end of its stdin does.
struct Fleet {
    child: Child,
    /// By stuck sockets.
    addresses: BTreeMap<u32, Vec<String>>,
}

impl Fleet {
    fn start(example: &Path, hosts: u32) -> Result<Self> {
        let mut command = Command::new(example);
        let mut expected = 0;
        for (part, sockets, processes) in MIX {
            let count = (hosts * part / OF).max(1);
            expected += count;
            command.arg(format!("{count}x{sockets}/{processes}"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the hosts")?;
        let said = BufReader::new(child.stdout.take().context("they have no stdout")?);
        let mut fleet = Self { child, addresses: BTreeMap::new() };
        for line in said.lines().take(usize::try_from(expected)?) {
            let line = line?;
            let (address, sockets) =
                line.split_once(' ').with_context(|| format!("the hosts said {line}"))?;
            fleet.addresses.entry(sockets.parse()?).or_default().push(address.to_owned());
        }
        let started: usize = fleet.addresses.values().map(Vec::len).sum();
        ensure!(started == usize::try_from(expected)?, "only {started} of {expected} hosts have started");
        Ok(fleet)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
