//! The one place of the chores that reads a clock.

use std::time::{Duration, Instant};

/// Time since it was made.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "this is the room of the clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Lets time pass, where that is what is measured.
    #[allow(clippy::disallowed_methods, reason = "this is the room of the clock")]
    pub(crate) fn pause(time: Duration) {
        std::thread::sleep(time);
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of `limit`, zero when it has passed.
    pub(crate) fn left_of(self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}
