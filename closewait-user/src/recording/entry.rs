//! What a recording says besides items.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, MonoNs, Sleep, Sleeps};
use crate::fact::Fact;
use crate::item::Gap;
use crate::report::{Closer, Cost, Ending, Finding, FirstLook, Notice, Release};
use crate::tracker::{Released, SocketId, Suspect, TrackerStats};
use crate::verdict::Evidence;

/// One line: what happened, and when it is by both clocks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The driver's time, which reports are made at.
    pub now: MonoNs,
    /// The clock that reports take wall time from.
    pub clock: Pair,
    /// What happened.
    pub entry: Entry,
}

/// Monotonic and wall time of one moment; the latter since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pair {
    mono: MonoNs,
    wall: Duration,
    /// When the machine slept before, the last time first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    slept: Vec<Sleep>,
}

impl Pair {
    /// Of a clock.
    pub fn of(clock: &Clock) -> Self {
        let (mono, wall) = clock.pair();
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { mono, wall, slept: clock.sleeps().iter().copied().collect() }
    }

    /// The clock again.
    pub fn clock(&self) -> Clock {
        let wall = SystemTime::UNIX_EPOCH.checked_add(self.wall).unwrap_or(SystemTime::UNIX_EPOCH);
        Clock::fixed(self.mono, wall).after(Sleeps::of(&self.slept))
    }
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The first line of every file.
    Header(Header),
    /// A socket was looked at for a verdict.
    Looked(Box<Looked>),
    /// A socket that had been reported goes on under another id: it turned ghost.
    Forgotten(SocketId),
    /// A socket that had been reported is stuck no more.
    Released(Box<Ended>),
    /// Everything present at the start had been judged.
    FirstLook(FirstLook),
    /// So many network namespaces could not be looked into from now on; none before the first.
    Unread(u64),
    /// Records were lost.
    Loss(Gap),
    /// Something about the tool itself.
    Notice(Notice),
    /// So many entries could not be written in time.
    Dropped(u64),
    /// The run ended.
    End(Box<End>),
}

/// What the recording was made by, and of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version that recorded.
    pub tool: String,
    /// The kernel's release.
    pub kernel: String,
    /// Tracing began.
    pub began: MonoNs,
    /// Sockets were looked at once they had been in CLOSE_WAIT this long.
    pub threshold: Duration,
    /// What was off from the start, and why.
    pub degraded: Vec<String>,
    /// Addresses and command lines were taken out.
    pub redacted: bool,
    /// 1 for the first file, more after the recording was rotated.
    pub part: u32,
}

/// What a verdict was made from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Looked {
    /// When the verdict was made.
    pub at: MonoNs,
    /// The socket.
    pub suspect: Suspect,
    /// What was known about it.
    pub evidence: Evidence,
}

impl Looked {
    /// Of a finding.
    pub fn of(finding: &Finding) -> Self {
        Self { at: finding.at, suspect: finding.suspect.clone(), evidence: finding.evidence.clone() }
    }
}

/// How a socket that had been reported ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Which, when, and where to.
    pub released: Released,
    /// How.
    pub how: Fact<Ending>,
    /// Who ended it.
    pub closer: Fact<Closer>,
}

impl Ended {
    /// Of a release.
    pub fn of(release: &Release) -> Self {
        Self { released: release.released.clone(), how: release.how.clone(), closer: release.closer.clone() }
    }

    /// The release again.
    pub fn release(self) -> Release {
        let Self { released, how, closer } = self;
        Release { released, how, closer, before: None, cause: None }
    }
}

/// The end of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// When it began: some milliseconds after the header was written.
    pub began: MonoNs,
    /// When.
    pub at: MonoNs,
    /// What was off, and why: that of the header and what came later.
    pub degraded: Vec<String>,
    /// What the tracker had counted.
    pub stats: TrackerStats,
    /// What the tool itself used.
    pub cost: Cost,
    /// Network namespaces that could not be looked into at last.
    #[serde(default)]
    pub unread: u64,
    /// And those that the run ended before it came to them.
    #[serde(default)]
    pub unreached: u64,
    /// Of all looks into network namespaces, those that failed or whose answer had holes.
    #[serde(default)]
    pub failed_looks: u64,
}
