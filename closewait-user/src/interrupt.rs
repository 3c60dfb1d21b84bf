//! That a run is to end, as work that takes long learns it in its middle: the event loop, which
//! is told by [`crate::driver::Stop`], does not turn meanwhile.
//!
//! In: SIGINT and SIGTERM. Out: whether to begin anything more, and whether to go on with what
//! was begun. It ends nothing by itself.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::{Clock, MonoNs};

/// What was begun, and the last looks, may go on for so long.
const GRACE: Duration = Duration::from_millis(700);

/// What is said of that which was not looked at any more.
pub const UNLOOKED: &str = "the run was interrupted before that was looked at";

/// See the module. By default nothing interrupts.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    noticed: Arc<OnceLock<MonoNs>>,
}

impl Interrupt {
    /// Raised by SIGINT and SIGTERM, beside whoever else listens for them.
    pub fn by_signals() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [libc::SIGINT, libc::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.raised))?;
        }
        Ok(interrupt)
    }

    /// Whether the run is to end: nothing more is to be begun.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// Whether the time is over that is left then: what was begun is to be left as it is.
    pub fn is_over(&self) -> bool {
        self.is_raised() && self.is_over_at(Clock::mono_now())
    }

    fn is_over_at(&self, now: MonoNs) -> bool {
        now >= *self.noticed.get_or_init(|| now) + GRACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_has_some_time_from_when_it_is_noticed() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.is_raised() && !interrupt.is_over());
        interrupt.raised.store(true, Ordering::Relaxed);
        let other = interrupt.clone();
        assert!(other.is_raised());
        let noticed = MonoNs(5_000_000_000);
        assert!(!interrupt.is_over_at(noticed));
        assert!(!other.is_over_at(noticed + GRACE - Duration::from_nanos(1)));
        assert!(other.is_over_at(noticed + GRACE));
    }
}
