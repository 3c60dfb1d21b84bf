//! The summary: what was seen, lost, degraded and spent, and the exit decision.
//!
//! In: the driver's totals and the ledger. Out: one value that the sinks print,
//! and [`gate`], which decides between exit codes 0 and 1. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::item::Gap;
use crate::text::Text;
use crate::tracker::TrackerStats;
use crate::verdict::Code;

use super::cause::CauseId;
use super::counts::{Apart, ByEnding, ByLeak};
use super::ledger::Ledger;

/// What the driver knows and the ledger does not.
#[derive(Clone, PartialEq, Debug)]
pub struct Totals {
    /// Tracing began.
    pub began: MonoNs,
    /// Tracing ended.
    pub ended: MonoNs,
    /// A socket was reported once it had been in CLOSE_WAIT this long.
    pub threshold: Duration,
    /// In a gate: only when its process had ended then, else after so long.
    pub running: Option<Duration>,
    /// Sockets watched: those that were in CLOSE_WAIT at some time.
    pub watched: u64,
    /// What the tracker has counted.
    pub tracker: TrackerStats,
    /// Everything that was lost.
    pub lost: Gap,
    /// What was off, and why: one sentence each.
    pub degraded: Vec<String>,
    /// What the tool itself used.
    pub cost: Cost,
}

impl Totals {
    /// Sockets that were in CLOSE_WAIT at some time.
    pub fn entered(&self) -> u64 {
        self.tracker.lives()
    }

    /// Sockets that left it, seen or inferred.
    pub fn left(&self) -> u64 {
        self.tracker.left.saturating_add(self.tracker.healed)
    }
}

/// What the tool itself used; `None` where it could not be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// CPU time of this process, user and system.
    pub cpu: Option<Duration>,
    /// Its resident memory, bytes.
    pub rss: Option<u64>,
    /// CPU time of the BPF programs; the kernel counts it only when told to.
    pub bpf: Option<Duration>,
    /// User stacks that the programs copied; `None` where they were not asked to.
    #[serde(default)]
    pub stacks: Option<Copies>,
}

/// User stacks that were to be copied. One that was put off or lost is copied when its
/// call path is next taken, if it is.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Copies {
    /// Copied.
    pub copied: u64,
    /// Not copied, because there were too many at once.
    pub put_off: u64,
    /// Not copied, because the ring for them was full.
    pub lost: u64,
}

/// Everything there is to say at the end.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// From the driver.
    pub totals: Totals,
    /// Reported sockets that are stuck still.
    pub stuck: u64,
    /// Reported sockets that have ended, by how.
    pub released: ByEnding,
    /// Reported sockets by whether they are (or were) a leak, by their last verdict.
    pub leak: ByLeak,
    /// Those among them that the application closed after all, late.
    pub closed: ByLeak,
    /// Reported sockets by their last verdict.
    pub by_verdict: BTreeMap<Code, ByLeak>,
    /// Causes, worst first.
    pub by_cause: Vec<CauseCount>,
    /// Causes left out of `by_cause` because no socket was stuck on them any more
    /// and there were too many.
    pub causes_forgotten: u64,
    /// What is in none of these.
    pub apart: Apart,
}

/// One cause, counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CauseCount {
    /// Which.
    pub cause: CauseId,
    /// Its verdict.
    pub code: Code,
    /// The name of the process to blame.
    pub owner: Option<String>,
    /// What that runs, where that tells more.
    pub program: Option<Text>,
    /// The innermost function of the program that opened one of them.
    pub opened: Option<String>,
    /// Its sockets, ended ones included.
    pub sockets: ByLeak,
    /// Those stuck still.
    pub stuck: u64,
}

impl Summary {
    /// Reported ghosts, ended ones included.
    pub fn ghosts(&self) -> u64 {
        self.by_verdict.iter().filter(|(code, _)| code.is_ghost()).map(|(_, n)| n.total()).sum()
    }

    /// Sockets that are in CLOSE_WAIT and have not been for the threshold.
    pub fn young(&self) -> u64 {
        let unfit = self.apart.by_holder.saturating_sub(self.apart.ended);
        let stuck: u64 = self.by_cause.iter().filter(|c| !c.code.is_ghost()).map(|c| c.stuck).sum();
        let old = stuck.saturating_add(unfit).saturating_add(self.totals.tracker.waiting);
        self.totals.tracker.tracked.saturating_sub(old)
    }

    /// Adds up `ledger`.
    pub fn new(totals: Totals, ledger: &Ledger) -> Self {
        let (forgotten, causes_forgotten) = ledger.forgotten();
        let mut by_verdict = forgotten.clone();
        let mut by_cause = Vec::new();
        let mut stuck = 0;
        for cause in ledger.causes() {
            let mut sockets = cause.now;
            sockets.add(cause.gone);
            stuck += cause.now.total();
            by_verdict.entry(cause.exemplar.verdict.code).or_default().add(sockets);
            by_cause.push(CauseCount {
                cause: cause.id,
                code: cause.exemplar.verdict.code,
                owner: cause.exemplar.owner().known().map(|h| h.comm.to_string()),
                program: cause.exemplar.owner().known().and_then(|h| h.told_program().cloned()),
                opened: cause.exemplar.opened_in().map(str::to_owned),
                sockets,
                stuck: cause.now.total(),
            });
        }
        let mut leak = ByLeak::default();
        for counts in by_verdict.values() {
            leak.add(*counts);
        }
        let (released, closed, apart) = (ledger.endings(), ledger.closed(), ledger.apart());
        Self { totals, stuck, released, leak, closed, by_verdict, by_cause, causes_forgotten, apart }
    }
}

/// Whether the exit code says "stuck sockets found": with `fail_on_stuck`, when a
/// leak was reported, or something unclear unless `allow_unknown`. What is
/// harmless never counts.
pub fn gate(summary: &Summary, fail_on_stuck: bool, allow_unknown: bool) -> bool {
    fail_on_stuck && (summary.leak.yes > 0 || (summary.leak.unclear > 0 && !allow_unknown))
}
