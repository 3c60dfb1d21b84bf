//! Waiting: for conditions, never for times. A deadline only ends a test that
//! would otherwise hang, so it is as long as an emulated kernel may need.

use std::io::Write;
use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};

/// The longest that any one condition may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// The moment at which a wait is given up.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(pub(crate) MonoNs);

impl Deadline {
    /// The longest wait, from now.
    pub(crate) fn patient() -> Self {
        Self(Clock::mono_now() + PATIENCE)
    }

    /// What is left of it; zero when it has passed.
    pub(crate) fn left(self) -> Duration {
        self.0.since(Clock::mono_now())
    }
}

/// Looks until there is something to see; `what` names it for the failure.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::patient();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(!deadline.left().is_zero(), "waited {PATIENCE:?} in vain: {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the interval of polling, inside a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Prints `text` although the test passes: the harness captures only `println!` and its like.
pub(crate) fn show(text: &str) {
    let mut whole = String::from("\n");
    whole.push_str(text.trim_end());
    whole.push('\n');
    let _ = std::io::stderr().lock().write_all(whole.as_bytes());
}

/// Lets a time pass that is itself what is tested: a random moment of a life.
#[expect(clippy::disallowed_methods, reason = "nothing is waited for")]
pub(crate) fn let_pass(time: Duration) {
    std::thread::sleep(time);
}
