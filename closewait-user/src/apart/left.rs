//! What has been learned of whom to ask: who did not answer in time is left alone for a while, and
//! nobody is asked while too many children stand still. Shared by all threads.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::MonoNs;

/// While so many children are left behind, or so many that were asked about are left alone, nothing
/// is asked: each costs the time that is waited for it.
const MAX: usize = 8;
/// So many are told of.
const MAX_TOLD: usize = 64;

/// What was not answered, of one kind of question.
#[derive(Debug)]
pub(crate) struct Left {
    past: Mutex<Past>,
    /// Who has not answered is left alone for so long.
    penance: Duration,
}

#[derive(Debug)]
struct Past {
    /// Who did not answer, and when.
    late: Vec<(u64, MonoNs)>,
    told: Vec<u64>,
    /// Children that are to be gone.
    children: Vec<libc::pid_t>,
}

impl Left {
    pub(crate) const fn new(penance: Duration) -> Self {
        let past = Past { late: Vec::new(), told: Vec::new(), children: Vec::new() };
        Self { past: Mutex::new(past), penance }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child was given up.
    pub(super) fn add(&self, child: libc::pid_t) {
        let mut past = self.past();
        past.children.push(child);
        past.reap();
    }

    /// Whether something may be asked about this now.
    pub(super) fn allows(&self, about: u64, now: MonoNs) -> bool {
        let mut past = self.past();
        if past.late.is_empty() && past.children.is_empty() {
            return true;
        }
        past.late.retain(|(_, at)| now.since(*at) < self.penance);
        past.reap();
        past.late.len() < MAX && past.children.len() < MAX && past.late.iter().all(|(of, _)| *of != about)
    }

    pub(super) fn is_late(&self, about: u64, now: MonoNs) {
        self.past().late.push((about, now));
    }

    /// Whether that this one does not answer is to be told: the first time, and of a bounded number.
    pub(crate) fn is_news(&self, about: u64) -> bool {
        let told = &mut self.past().told;
        let is_news = told.len() < MAX_TOLD && !told.contains(&about);
        if is_news {
            told.push(about);
        }
        is_news
    }
}

impl Past {
    /// Takes notice of the end of children, which no signal tells.
    fn reap(&mut self) {
        self.children.retain(|&child| {
            // SAFETY: waitpid without a place for the status writes nothing here; they are our children.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) == 0 }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_is_asked_again_a_while_later() {
        let left = Left::new(Duration::from_mins(1));
        let at = |s| MonoNs(0) + Duration::from_secs(s);
        left.is_late(7, at(100));
        assert_eq!([(7, 159), (8, 159), (7, 160)].map(|(of, s)| left.allows(of, at(s))), [false, true, true]);
        (0..8).for_each(|of| left.is_late(of, at(200 + of)));
        assert_eq!([259, 260].map(|s| left.allows(99, at(s))), [false, true], "they are too many");
        let news = (0..200).filter(|of| left.is_news(of % 100)).count();
        assert_eq!(news, MAX_TOLD);
    }
}
