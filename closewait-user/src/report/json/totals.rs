//! The JSON lines about more than one socket: causes, losses, notices and the
//! summary.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::item::Gap;
use crate::report::Moment;
use crate::report::counts::{ByEnding, ByLeak};
use crate::report::ledger::{Cause, Same};
use crate::report::model::{Age, Ending, Level, Notice};
use crate::report::summary::{Copies, Cost, Summary};
use crate::text::Text;
use crate::verdict::Code;

use super::processes::{ProcessLine, processes};
use super::stuck::Stuck;
use super::values::{AgeMs, millis, timestamp};

#[derive(Serialize, JsonSchema)]
pub(crate) struct CauseLine {
    /// RFC 3339, UTC.
    pub ts: String,
    /// Names the cause; the same after a restart and on another host.
    pub cause: String,
    /// The process to blame; null when unknown.
    pub owner: Option<String>,
    /// What that runs, as of a holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Text>,
    /// Its processes that have sockets stuck now.
    pub pids: Vec<u32>,
    /// Those with most sockets, 20 at most.
    pub processes: Vec<ProcessLine>,
    pub code: Code,
    /// Sockets stuck now, by `leak`.
    pub sockets: ByLeak,
    /// Sockets that were reported and have ended, by `leak`.
    pub ended: ByLeak,
    /// Of the oldest that is stuck now; null when none is.
    pub oldest_ms: Option<AgeMs>,
    /// The local port, if they share one.
    pub local_port: Option<u16>,
    /// The remote port, if they share one.
    pub remote_port: Option<u16>,
    /// Number of remote addresses.
    pub remotes: u64,
    /// One of the sockets, as a `stuck` line has it.
    pub example: Stuck,
}

impl CauseLine {
    pub(crate) fn new(cause: &Cause<'_>, at: Moment<'_>) -> Self {
        let one = |port| match port {
            Same::One(port) => Some(port),
            _ => None,
        };
        let oldest = cause.oldest.map(|(latest, earliest)| Age::between(latest, earliest, at.now));
        Self {
            ts: timestamp(at.clock, at.now),
            cause: cause.id.to_string(),
            owner: cause.exemplar.owner().known().map(|h| h.comm.to_string()),
            program: cause.exemplar.owner().known().and_then(|h| h.told_program().cloned()),
            pids: cause.processes.keys().copied().collect(),
            processes: processes([cause]),
            code: cause.exemplar.verdict.code,
            sockets: cause.now,
            ended: cause.gone,
            oldest_ms: oldest.map(AgeMs::from),
            local_port: one(cause.local_port),
            remote_port: one(cause.remote_port),
            remotes: cause.remotes.len() as u64,
            example: Stuck::new(cause.exemplar, at.clock),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct LossLine {
    /// RFC 3339, UTC.
    pub ts: String,
    /// Nothing was lost between the loss before and this.
    pub from: String,
    /// The losses had happened by then.
    pub to: String,
    pub lost: Lost,
}

impl LossLine {
    pub(crate) fn new(gap: &Gap, at: Moment<'_>) -> Self {
        Self {
            ts: timestamp(at.clock, at.now),
            from: timestamp(at.clock, gap.from),
            to: timestamp(at.clock, gap.to),
            lost: gap.into(),
        }
    }
}

/// Records, but for `missed`, which counts sockets.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lost {
    /// All of them. An entry can be in it twice: as a record and as `missed`.
    pub total: u64,
    /// Entries into CLOSE_WAIT.
    pub enter: u64,
    /// Exits from CLOSE_WAIT.
    pub leave: u64,
    /// Ends of life.
    pub destroy: u64,
    /// First sights of a call path.
    pub path: u64,
    /// Openers that found no room.
    pub opener: u64,
    /// Runs of a program the kernel skipped.
    pub recursion: u64,
    /// Records that could not be parsed.
    pub malformed: u64,
    /// Edges of sockets whose protocol or namespace could not be read.
    pub unreadable: u64,
    /// Sockets that entered CLOSE_WAIT unrecorded while the trace ran, and that a
    /// later look found.
    pub missed: u64,
}

impl From<&Gap> for Lost {
    fn from(gap: &Gap) -> Self {
        Self {
            total: gap.total(),
            enter: gap.enter,
            leave: gap.leave,
            destroy: gap.destroy,
            path: gap.path,
            opener: gap.opener,
            recursion: gap.recursion,
            malformed: gap.malformed,
            unreadable: gap.unreadable,
            missed: gap.missed,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct NoticeLine {
    /// RFC 3339, UTC.
    pub ts: String,
    pub level: Level,
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl NoticeLine {
    pub(crate) fn new(notice: &Notice, at: Moment<'_>) -> Self {
        Self {
            ts: timestamp(at.clock, at.now),
            level: notice.level,
            text: notice.text.clone(),
            hint: notice.hint.clone(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct SummaryLine {
    /// RFC 3339, UTC.
    pub ts: String,
    /// When tracing began.
    pub began: String,
    pub duration_ms: u64,
    pub threshold_ms: u64,
    pub totals: TotalsLine,
    /// Reported sockets by `leak`, by their last verdict.
    pub leak: ByLeak,
    /// Reported sockets by their last verdict and `leak`.
    pub by_verdict: BTreeMap<&'static str, ByLeak>,
    /// Worst first.
    pub by_cause: Vec<CauseCountLine>,
    /// The processes with most sockets stuck at the end, 20 at most.
    pub processes: Vec<ProcessLine>,
    /// Causes without a stuck socket that were too many to keep.
    pub causes_forgotten: u64,
    /// How long the sockets that were closed late or in time had been in CLOSE_WAIT: from
    /// the edge into it to the edge to LAST_ACK, both of which were seen.
    pub dwell: Vec<Bucket>,
    pub lost: Lost,
    /// What was off, and why.
    pub degraded: Vec<String>,
    pub cost: CostLine,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotalsLine {
    /// Sockets watched: those that were in CLOSE_WAIT at some time.
    pub watched: u64,
    /// Sockets that were in CLOSE_WAIT at some time.
    pub entered: u64,
    /// Sockets that left it.
    pub left: u64,
    /// Sockets in it at the end.
    pub in_close_wait: u64,
    /// Sockets reported as stuck or ghost.
    pub reported: u64,
    /// Sockets that are old enough to be reported and were only counted: there was no room
    /// for them in memory, or no time before the end.
    pub only_counted: u64,
    /// Of those reported, still stuck.
    pub stuck: u64,
    /// Sockets in CLOSE_WAIT at the end that are not reported because they do not fit the
    /// filter: by who holds them, if they were in it for the threshold, or by their ports.
    pub left_out: u64,
    /// Ghosts that are not reported because nobody who holds them fits the filter.
    pub left_out_ghosts: u64,
    /// Network namespaces that the last look could not be taken in: what is stuck there is
    /// not known.
    pub unread_namespaces: u64,
    /// Network namespaces that the run ended before it came to them: nor is it known there.
    pub unreached_namespaces: u64,
    /// Looks into a network namespace that failed, or whose answer had holes, of all that were
    /// taken: what got stuck there and ended between two others was not seen.
    pub failed_namespace_looks: u64,
    /// Of those reported, ended.
    pub released: ReleasedCount,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleasedCount {
    pub total: u64,
    pub closed: u64,
    pub aborted: u64,
    pub exited: u64,
    pub destroyed: u64,
    /// The end itself was not seen.
    pub unknown: u64,
    /// Of these, closed by a garbage collector's finalizer: their code path leaks.
    pub by_finalizer: u64,
}

impl From<ByEnding> for ReleasedCount {
    fn from(endings: ByEnding) -> Self {
        Self {
            total: endings.total(),
            closed: endings.get(Ending::Closed),
            aborted: endings.get(Ending::Aborted),
            exited: endings.get(Ending::Exited),
            destroyed: endings.get(Ending::Destroyed),
            unknown: endings.unknown,
            by_finalizer: endings.by_finalizer,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CauseCountLine {
    pub cause: String,
    /// The process to blame; null when unknown.
    pub owner: Option<String>,
    /// What that runs, as of a holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Text>,
    pub code: Code,
    /// Reported sockets by `leak`, ended ones included.
    pub sockets: ByLeak,
    /// Still stuck.
    pub stuck: u64,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bucket {
    /// Less than this; null in the last bucket.
    pub lt_ms: Option<u64>,
    pub count: u64,
}

/// What the tool itself used; null where it could not be measured.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CostLine {
    pub cpu_ms: Option<u64>,
    pub rss_bytes: Option<u64>,
    /// CPU time of the BPF programs; the kernel counts it only when told to.
    pub bpf_ms: Option<u64>,
    /// User stacks copied by the BPF programs; null where they are not copied.
    pub stacks: Option<Copies>,
}

impl From<Cost> for CostLine {
    fn from(cost: Cost) -> Self {
        Self {
            cpu_ms: cost.cpu.map(millis),
            rss_bytes: cost.rss,
            bpf_ms: cost.bpf.map(millis),
            stacks: cost.stacks,
        }
    }
}

impl SummaryLine {
    pub(crate) fn new(summary: &Summary, at: Moment<'_>) -> Self {
        let totals = &summary.totals;
        Self {
            ts: timestamp(at.clock, totals.ended),
            began: timestamp(at.clock, totals.began),
            duration_ms: millis(totals.ended.since(totals.began)),
            threshold_ms: millis(totals.threshold),
            totals: TotalsLine {
                watched: totals.watched,
                entered: totals.entered(),
                left: totals.left(),
                in_close_wait: totals.tracker.tracked,
                reported: summary.leak.total(),
                only_counted: totals.tracker.waiting,
                stuck: summary.stuck,
                left_out: summary.apart.unfit(),
                left_out_ghosts: summary.apart.ghosts,
                unread_namespaces: summary.apart.unread,
                unreached_namespaces: summary.apart.unreached,
                failed_namespace_looks: summary.apart.failed_looks,
                released: summary.released.into(),
            },
            leak: summary.leak,
            by_verdict: summary.by_verdict.iter().map(|(code, n)| (code.name(), *n)).collect(),
            by_cause: summary
                .by_cause
                .iter()
                .map(|c| CauseCountLine {
                    cause: c.cause.to_string(),
                    owner: c.owner.clone(),
                    program: c.program.clone(),
                    code: c.code,
                    sockets: c.sockets,
                    stuck: c.stuck,
                })
                .collect(),
            processes: processes(&at.ledger.causes()),
            causes_forgotten: summary.causes_forgotten,
            dwell: totals
                .tracker
                .dwell
                .buckets()
                .map(|(bound, count)| Bucket { lt_ms: bound.map(millis), count })
                .collect(),
            lost: (&totals.lost).into(),
            degraded: totals.degraded.clone(),
            cost: totals.cost.into(),
        }
    }
}
