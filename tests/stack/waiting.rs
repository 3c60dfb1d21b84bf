//! Waiting for a condition, with a deadline that only ends a test that would hang.

use std::io::Write;
use std::time::Duration;

use closewait_trace::clock::Clock;

/// Far longer than anything here takes, also beside other work.
const PATIENCE: Duration = Duration::from_mins(2);

/// Looks until there is something to see; `what` names it for the failure.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Clock::mono_now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Clock::mono_now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::yield_now();
    }
}

/// Prints a line although the test passes: the harness captures only `println!` and its like.
pub(crate) fn show(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
