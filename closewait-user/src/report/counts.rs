//! Counts of sockets: by whether they are a leak, by how they ended. What is not
//! known is counted apart, never as one of the others.

use super::model::Ending;

/// Sockets by whether they are a leak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByLeak {
    /// Leaked.
    #[serde(rename = "true")]
    pub yes: u64,
    /// The evidence cannot tell.
    #[serde(rename = "null")]
    pub unclear: u64,
    /// Harmless.
    #[serde(rename = "false")]
    pub no: u64,
}

impl ByLeak {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.yes + self.unclear + self.no
    }

    /// The worst that is there; `Some(false)` when nothing is.
    pub fn worst(&self) -> Option<bool> {
        match self {
            Self { yes: 1.., .. } => Some(true),
            Self { unclear: 1.., .. } => None,
            _ => Some(false),
        }
    }

    pub(super) fn of(&mut self, leak: Option<bool>) -> &mut u64 {
        match leak {
            Some(true) => &mut self.yes,
            None => &mut self.unclear,
            Some(false) => &mut self.no,
        }
    }

    /// Counts one socket.
    pub fn count(&mut self, leak: Option<bool>) {
        *self.of(leak) += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.yes += other.yes;
        self.unclear += other.unclear;
        self.no += other.no;
    }
}

/// One socket each.
impl FromIterator<Option<bool>> for ByLeak {
    fn from_iter<T: IntoIterator<Item = Option<bool>>>(leaks: T) -> Self {
        let mut counts = Self::default();
        leaks.into_iter().for_each(|leak| counts.count(leak));
        counts
    }
}

/// What is not in a report, whatever became of it: who reads "nothing is stuck" has to know
/// of what that is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Apart {
    /// Sockets that have been in CLOSE_WAIT for the threshold, of which the filter wants none
    /// of the holders.
    pub by_holder: u64,
    /// Those among them that have ended since. (A trace forgets them, a gate does not.)
    pub ended: u64,
    /// Ghosts of which the filter wants none of the holders.
    pub ghosts: u64,
    /// Sockets in CLOSE_WAIT at the last look, for any time, whose ports the filter leaves out.
    pub by_ends: u64,
    /// Network namespaces that the last look could not be taken in.
    pub unread: u64,
    /// And those that the run ended before it came to them.
    pub unreached: u64,
    /// Of all looks into network namespaces, those that failed or whose answer had holes.
    pub failed_looks: u64,
}

impl Apart {
    /// Sockets in CLOSE_WAIT that do not fit the filter.
    pub const fn unfit(&self) -> u64 {
        self.by_holder.saturating_add(self.by_ends)
    }

    /// Whether there are some, or ghosts.
    pub const fn has_unfit(&self) -> bool {
        self.unfit() > 0 || self.ghosts > 0
    }

    /// Network namespaces of which it is not known what is stuck there.
    pub const fn unseen(&self) -> u64 {
        self.unread.saturating_add(self.unreached)
    }
}

/// Sockets by how they ended; what is not known has a place of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByEnding {
    known: [u64; Ending::ALL.len()],
    /// The end was not seen.
    pub unknown: u64,
    /// Of those known: closed by a garbage collector's finalizer, which the code path that
    /// opened them left it to.
    pub by_finalizer: u64,
}

impl ByEnding {
    /// One socket; `None`: its end was not seen.
    pub(super) fn one(how: Option<Ending>, by_finalizer: bool) -> Self {
        let mut one = Self { by_finalizer: by_finalizer.into(), ..Self::default() };
        match how {
            Some(how) => one.known[how as usize] = 1,
            None => one.unknown = 1,
        }
        one
    }

    /// How many ended in this way.
    pub fn get(&self, how: Ending) -> u64 {
        self.known[how as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.known.iter().sum::<u64>() + self.unknown
    }

    pub(super) fn add(&mut self, other: Self) {
        self.unknown += other.unknown;
        self.by_finalizer += other.by_finalizer;
        for how in Ending::ALL {
            self.known[how as usize] += other.get(how);
        }
    }
}
