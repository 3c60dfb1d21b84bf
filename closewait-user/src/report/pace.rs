//! When to speak: the pace of grouped output. A cause is worth printing when it
//! is new or has doubled, and a screen at most every two seconds.
//!
//! In: which cause grew, and now. Out: which causes are due. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::MonoNs;

use super::Moment;
use super::cause::CauseId;

/// Least time between two screens.
const SCREEN: Duration = Duration::from_secs(2);

/// Sockets that are lost together are found together: wait this long for the rest
/// before the first of them is printed.
const SETTLE: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Sockets when a cause was last printed.
    printed: HashMap<CauseId, u64>,
    /// Causes that grew since, with their count when last printed (0: never).
    due: HashMap<CauseId, u64>,
    due_since: MonoNs,
    /// The first look is over.
    looked: bool,
    last_screen: Option<MonoNs>,
}

impl Pace {
    /// A finding of `cause` was recorded.
    pub(super) fn found(&mut self, cause: CauseId, at: Moment<'_>) {
        let now = at.ledger.stuck(cause);
        let before = self.printed.get(&cause).copied().unwrap_or(0);
        if now >= (before * 2).max(1) {
            if self.due.is_empty() {
                self.due_since = at.now;
            }
            self.due.insert(cause, before);
        }
    }

    /// The first look is over: what it found is due now.
    pub(super) fn looked(&mut self, now: MonoNs) {
        self.looked = true;
        self.due_since = now - SETTLE;
    }

    /// When [`Pace::take`] has something to give.
    pub(super) fn deadline(&self) -> Option<MonoNs> {
        // While the first look lasts, its whole is worth waiting for, but not for ever.
        let settled = self.due_since + if self.looked { SETTLE } else { SCREEN };
        let paced = self.last_screen.map_or(settled, |last| settled.max(last + SCREEN));
        (!self.due.is_empty()).then_some(paced)
    }

    /// The causes to print now, with their count when last printed.
    pub(super) fn take(&mut self, at: Moment<'_>) -> Option<HashMap<CauseId, u64>> {
        if self.deadline().is_none_or(|deadline| at.now < deadline) {
            return None;
        }
        let mut due = std::mem::take(&mut self.due);
        // What has ended while it waited is no news any more.
        due.retain(|cause, _| at.ledger.stuck(*cause) > 0);
        for cause in due.keys() {
            self.printed.insert(*cause, at.ledger.stuck(*cause));
        }
        // A cause whose sockets are all gone is new when it comes back.
        self.printed.retain(|cause, _| at.ledger.stuck(*cause) > 0);
        if due.is_empty() {
            return None;
        }
        self.last_screen = Some(at.now);
        Some(due)
    }
}
