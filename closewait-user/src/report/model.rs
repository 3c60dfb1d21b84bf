//! What the sinks are told: findings, releases, losses and notices.
//!
//! In: what the tracker, enrichment and the verdict made. Out: one type,
//! [`Report`], that every sink understands. Nothing here reads a clock or
//! formats anything.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::{Gap, Task};
use crate::stack::fold::own_frames;
use crate::tracker::{Released, Since, Suspect, SuspectKind};
use crate::verdict::{Code, Evidence, Frame, Holder, Policy, Threads, Verdict, Words, words};

use super::cause::CauseId;

/// Something to report.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// A socket in CLOSE_WAIT over the threshold. Repeating one that has not
    /// changed is harmless: it is not reported again.
    Stuck(Box<Finding>),
    /// TCP is gone, a file descriptor is not.
    Ghost(Box<Finding>),
    /// A socket that had been reported left CLOSE_WAIT.
    Released(Box<Release>),
    /// Everything that was there at the start has been judged.
    FirstLook(FirstLook),
    /// Records were lost.
    Loss(Gap),
    /// Something the reader should know about the tool itself.
    Notice(Notice),
}

/// A socket over the threshold and the decision about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// When the verdict was made.
    pub at: MonoNs,
    /// The socket.
    pub suspect: Suspect,
    /// What is known about it.
    pub evidence: Evidence,
    /// Why it is stuck.
    pub verdict: Verdict,
    /// What to say of that; `None`: what follows from all of the above.
    pub words: Option<Box<Words>>,
    /// Which cause it belongs to.
    pub cause: CauseId,
    /// It was reported before, and its verdict or holders have changed since.
    /// Set by the [`super::Reporter`], which remembers.
    pub update: bool,
}

impl Finding {
    /// A finding made `at`, with its cause worked out.
    pub fn new(at: MonoNs, suspect: Suspect, evidence: Evidence, verdict: Verdict) -> Self {
        let cause = CauseId::of(&suspect, &evidence, verdict.code);
        Self { at, suspect, evidence, verdict, words: None, cause, update: false }
    }

    /// The verdict in sentences. Of thousands of findings few are printed, so they are
    /// put into words when that happens.
    pub fn says(&self) -> Cow<'_, Words> {
        match &self.words {
            Some(words) => Cow::Borrowed(words),
            None => Cow::Owned(self.worded(self.at)),
        }
    }

    /// The same, as it is read at `now`, which may be long after the look.
    pub fn says_at(&self, now: MonoNs) -> Cow<'_, Words> {
        match &self.words {
            Some(words) => Cow::Borrowed(words),
            None => Cow::Owned(self.worded(now.max(self.at))),
        }
    }

    fn worded(&self, told: MonoNs) -> Words {
        words(&self.suspect, &self.evidence, self.at, told, &Policy::default())
    }

    /// How long it has been stuck.
    pub fn age(&self) -> Age {
        Age::of(&self.suspect, self.at)
    }

    /// What the threads of its owner do, where that explains the socket.
    pub fn threads(&self) -> Option<&Fact<Arc<Threads>>> {
        let explains = matches!(self.verdict.code, Code::NotAccepted | Code::NotReading | Code::EofIgnored);
        explains.then_some(&self.evidence.threads)
    }

    /// How long until the local ports towards its server are used up, at least and at
    /// most; `None` when that cannot be foretold.
    pub fn ports_full_in(&self) -> Option<(Duration, Duration)> {
        let ports = self.evidence.ports.known()?;
        ports.growth?.time_to(ports.total.saturating_sub(ports.used).into())
    }

    /// The innermost function of the program that opened it, where that has a name.
    pub fn opened_in(&self) -> Option<&str> {
        let stack = self.evidence.opener.known()?.stack.known()?;
        own_frames(stack).first()?.symbol.as_deref()
    }

    /// Whom to name: see [`owner`].
    pub fn owner(&self) -> Fact<&Holder> {
        owner(&self.evidence)
    }
}

/// The process to name for a socket: its listener's when nobody accepted it, else
/// the holder that opened it, else the holder with the lowest pid.
pub fn owner(evidence: &Evidence) -> Fact<&Holder> {
    if let Fact::Known(listener) = &evidence.listener {
        return listener
            .holder
            .as_ref()
            .map_or_else(|| Fact::unknown("no process was found listening for it"), Fact::Known);
    }
    let holders = match &evidence.holders {
        Fact::Known(holders) => holders,
        Fact::Unknown(reason) => return Fact::Unknown(reason.clone()),
    };
    let opener = evidence.opener.known().map(|o| o.task.pid);
    holders
        .iter()
        .min_by_key(|h| (Some(h.pid) != opener, h.pid, h.fd))
        .map_or_else(|| Fact::unknown("no process has a file descriptor on it"), Fact::Known)
}

/// Bounds of the time a socket has been stuck; of a ghost, since its CLOSE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Age {
    /// At least this long.
    pub min: Duration,
    /// At most this long; `None` when nothing bounds it.
    pub max: Option<Duration>,
}

impl Age {
    /// The age at `now`.
    pub fn of(suspect: &Suspect, now: MonoNs) -> Self {
        let (latest, earliest) = entered(suspect);
        Self::between(latest, earliest, now)
    }

    /// The age at `now` of what got stuck not after `latest` and not before `earliest`.
    pub fn between(latest: MonoNs, earliest: Option<MonoNs>, now: MonoNs) -> Self {
        let min = now.since(latest);
        Self { min, max: earliest.map(|at| now.since(at).max(min)) }
    }

    /// Both bounds are the same.
    pub fn is_exact(&self) -> bool {
        self.max == Some(self.min)
    }
}

/// When a suspect got stuck: not after the first, not before the second (`None`:
/// nothing bounds it).
pub fn entered(suspect: &Suspect) -> (MonoNs, Option<MonoNs>) {
    match suspect.kind {
        SuspectKind::Ghost { closed, .. } if suspect.was_found_closed() => (closed, None),
        SuspectKind::Ghost { closed, .. } => (closed, Some(closed)),
        SuspectKind::Stuck => bounds(suspect.since, suspect.not_before),
    }
}

/// The bounds of `since`: not after the first, not before the second.
pub fn bounds(since: Since, not_before: Option<MonoNs>) -> (MonoNs, Option<MonoNs>) {
    match since {
        Since::Seen(at) | Since::Inferred(at) => (at, Some(at)),
        Since::NoLaterThan(at) => (at, not_before),
    }
}

/// The end of a stuck socket.
#[derive(Clone, PartialEq, Debug)]
pub struct Release {
    /// Which socket, when, and where to.
    pub released: Released,
    /// How it ended.
    pub how: Fact<Ending>,
    /// Who ended it.
    pub closer: Fact<Closer>,
    /// What had been reported of it, when that was kept.
    pub before: Option<Box<Finding>>,
    /// The cause it was reported under. Set by the [`super::Reporter`], which remembers.
    pub cause: Option<CauseId>,
}

impl Release {
    /// The error with which the connection ended, an errno: 32 (or 104) a reset by the
    /// peer, 110 a timeout, 103 destroyed from outside; `None` for none, or not known.
    pub fn error(&self) -> Option<u32> {
        self.released.by.as_ref()?.error.filter(|&error| error != 0)
    }

    /// A finalizer closed it.
    pub fn by_finalizer(&self) -> bool {
        self.closer.known().is_some_and(|closer| closer.by_finalizer)
    }

    /// How it ended, as it is printed for people.
    pub fn words(&self) -> String {
        match (self.how.known(), self.error()) {
            (Some(Ending::Destroyed), Some(32 | 104)) => "reset by the peer".into(),
            (Some(Ending::Destroyed), Some(110)) => "given up by the kernel: no answer in time".into(),
            (Some(Ending::Destroyed), Some(103)) => "destroyed from outside".into(),
            (Some(Ending::Destroyed), Some(error)) => format!("ended by the network, error {error}"),
            (Some(how), _) => how.words().into(),
            (None, _) => "gone".into(),
        }
    }
}

/// How a socket left CLOSE_WAIT.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    serde::Serialize,
    schemars::JsonSchema,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// The application closed it, late.
    Closed,
    /// The application closed it with unread data or a zero linger time: a RST went out.
    Aborted,
    /// Its process ended.
    Exited,
    /// Reset by the peer, given up after a timeout, or destroyed from outside (`ss -K`):
    /// [`Release::error`] tells. No descriptor is left.
    Destroyed,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Aborted, Self::Exited, Self::Destroyed];

    /// As it is printed for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Closed => "closed late",
            Self::Aborted => "aborted by the program",
            Self::Exited => "ended with the process",
            Self::Destroyed => "reset, timed out or destroyed",
        }
    }
}

/// Who ended a socket.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Closer {
    /// The task.
    pub task: Task,
    /// Its user stack, innermost frame first.
    pub stack: Fact<Arc<Vec<Frame>>>,
    /// A garbage collector's finalizer did it: the code path leaks.
    pub by_finalizer: bool,
}

/// What there was when everything present at the start had been judged, or at a later time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct FirstLook {
    /// Sockets that were watched so far.
    pub watched: u64,
    /// Of these, in CLOSE_WAIT now, for less than the threshold.
    pub young: u64,
}

/// How much a notice matters.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    serde::Serialize,
    schemars::JsonSchema,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Note,
    /// Something is off, and what is reported is less than it could be.
    Warning,
}

/// Something the reader should know about the tool itself.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// One sentence.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}
