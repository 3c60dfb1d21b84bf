//! What the tool takes where nothing happens: CPU, memory, wake-ups.

use super::{
    budget::{Line, Measured},
    process::{Usage, rss_anon},
    spread::{Spread, some},
    storm::PORT,
    tracer,
};
use crate::{netns::Netns, stopwatch::Stopwatch};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{path::Path, time::Duration};

/// After the first screen, when memory of the start has been given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Seconds of a look.
const LOOK: u32 = 5;

#[derive(Serialize)]
pub(super) struct Idle {
    /// % of a core
    cpu: Spread,
    /// MiB
    rss_anon: Spread,
    /// Voluntary context switches, each second
    wakeups: Spread,
}

impl Idle {
    /// Looks so many times at a tool in an empty namespace.
    pub(super) fn measure(tool: &Path, net: &Netns, looks: u32) -> Result<Self> {
        eprintln!("bench: idle, {looks} looks of {LOOK} s");
        let running = tracer::ours("idle", tool, &[]).start_ours(net, PORT)?;
        Stopwatch::pause(SETTLE);
        let (mut cpu, mut memory, mut wakeups) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..looks {
            let (before, watch) = (Usage::of(running.pid()), Stopwatch::start());
            Stopwatch::pause(Duration::from_secs(LOOK.into()));
            let used = Usage::of(running.pid()) - before;
            let seconds = watch.elapsed().as_secs_f64();
            cpu.push(used.cpu.as_secs_f64() / seconds * 100.0);
            #[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
            wakeups.push(used.wakeups as f64 / seconds);
            memory.push(rss_anon(running.pid()).context("it has ended")?);
        }
        running.stop()?;
        Ok(Self { cpu: some(&cpu)?, rss_anon: some(&memory)?, wakeups: some(&wakeups)? })
    }

    pub(super) fn measured(&self) -> Vec<Measured> {
        vec![Measured::new(Line::IdleCpu, self.cpu), Measured::new(Line::IdleMemory, self.rss_anon)]
    }

    pub(super) fn markdown(&self) -> String {
        let Self { cpu, rss_anon, wakeups } = self;
        format!(
            "\n**Idle**: {} % of a core, RssAnon {} MiB, {} wake-ups a second\n",
            cpu.shown(2),
            rss_anon.shown(1),
            wakeups.shown(1)
        )
    }
}
