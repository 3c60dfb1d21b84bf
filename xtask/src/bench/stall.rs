//! What happens when the reader of the ring does not run for a while: how large the ring
//! must be for 100 ms of it, by calculation and by a stopped process; and that five seconds
//! of it are reported as loss.

use super::{
    storm::{Kind, PORT, Storm},
    tracer,
};
use crate::{ebpf, stopwatch::Stopwatch, workspace};
use anyhow::{Context, Result, ensure};
use closewait_ebpf::{Edge, TaskEdge};
use nix::sys::signal::Signal;
use serde::Serialize;
use std::{fmt::Write as _, fs, path::Path, time::Duration};

/// In the ring, of each record (BPF_RINGBUF_HDR_SZ).
const HEADER: usize = 8;
/// The reader comes by at least so often (`driver::DRAIN_EVERY`): what has come since its
/// last visit is in the ring when it stops.
const DRAIN: Duration = Duration::from_millis(100);
/// The stop that must lose nothing, and one that may.
const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(5);

#[derive(Serialize)]
pub(super) struct Stall {
    /// Of a storm that was not traced with stops
    per_second: f64,
    bytes_per_connection: usize,
    /// For the short stop
    needed: f64,
    ring: u32,
    stops: Vec<Stop>,
}

/// A storm during which the reader was stopped.
#[derive(Serialize)]
struct Stop {
    ms: u128,
    times: u32,
    connections: f64,
    lost: u64,
    by_kind: String,
}

impl Stall {
    /// `object`: the one that the tool embeds, if not the committed one.
    pub(super) fn measure(tool: &Path, storm: &Storm, object: Option<&Path>) -> Result<Self> {
        let committed = workspace::prebuilt_dir().join(ebpf::OBJECT);
        let object = object.unwrap_or(&committed);
        let object = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
        let ring = ebpf::maps(&object)?.into_iter().find(|map| map.name == "RECORDS");
        let ring = ring.context("the object has no map RECORDS")?.max_entries;
        eprintln!("bench: stall");
        let per_second = storm.blow(&Kind::default(), storm.args.seconds, 0)?.per_second();
        let bytes_per_connection = bytes_per_connection();
        let stops = vec![stopped(tool, storm, SHORT, 5)?, stopped(tool, storm, LONG, 1)?];
        let needed = needed(per_second, bytes_per_connection, SHORT);
        Ok(Self { per_second, bytes_per_connection, needed, ring, stops })
    }

    pub(super) fn markdown(&self) -> String {
        let Self { per_second, bytes_per_connection, needed, ring, stops } = self;
        let mut text = format!(
            "\n**A reader that stalls**: {per_second:.0} connections/s of {bytes_per_connection} bytes need \
             {:.0} KiB of ring for a stall of {} ms after a drain of {} ms; the ring has {} KiB",
            needed / 1024.0,
            SHORT.as_millis(),
            DRAIN.as_millis(),
            ring >> 10
        );
        for Stop { ms, times, connections, lost, by_kind } in stops {
            let by_kind = if by_kind.is_empty() { String::new() } else { format!(" ({by_kind})") };
            let _ = write!(
                text,
                "; stopped {times} x {ms} ms in {connections:.0} connections: it says that {lost} records were lost\
                 {by_kind}"
            );
        }
        text + "\n"
    }
}

/// Into CLOSE_WAIT and out of it, as they lie in the ring.
fn bytes_per_connection() -> usize {
    (Edge::SIZE + HEADER).next_multiple_of(8) + (TaskEdge::SIZE + HEADER).next_multiple_of(8)
}

/// Bytes of ring for a stall of `stall`.
#[expect(clippy::cast_precision_loss, reason = "some hundred bytes")]
fn needed(per_second: f64, bytes: usize, stall: Duration) -> f64 {
    per_second * bytes as f64 * (stall + DRAIN).as_secs_f64()
}

fn stopped(tool: &Path, storm: &Storm, stop: Duration, times: u32) -> Result<Stop> {
    let running = tracer::ours("stall", tool, &[]).start_ours(storm.net, PORT)?;
    // A second between two, so that each begins with a ring that was drained.
    let pause = Duration::from_secs(1);
    let seconds = u32::try_from(((stop + pause) * times + pause).as_secs()).unwrap_or(60) + 1;
    let blown = std::thread::scope(|scope| -> Result<_> {
        let blowing = scope.spawn(|| storm.blow(&Kind::default(), seconds, 0));
        for _ in 0..times {
            Stopwatch::pause(pause);
            running.signal(Signal::SIGSTOP)?;
            Stopwatch::pause(stop);
            running.signal(Signal::SIGCONT)?;
        }
        blowing.join().map_err(|_| anyhow::anyhow!("the storm's thread has panicked"))?
    })?;
    let cost = running.stop()?;
    ensure!(blown.connections > 0.0, "there was no storm");
    let lost = cost.lost.context("it does not say what was lost")?;
    Ok(Stop { ms: stop.as_millis(), times, connections: blown.connections, lost, by_kind: cost.lost_by_kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_holds_what_comes_between_two_drains_and_in_a_stall() {
        assert!((needed(40_000.0, 100, Duration::from_millis(100)) - 800_000.0).abs() < 1.0);
        assert_eq!(bytes_per_connection() % 8, 0);
        assert!(bytes_per_connection() > Edge::SIZE + TaskEdge::SIZE);
    }
}
