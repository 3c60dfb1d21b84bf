//! What goes on in chores that take minutes: a line for each on stderr, if that is a terminal
//! and nobody reads stdout; nothing in a pipe or in CI.

use std::io::{self, IsTerminal};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All lines; several machines run at a time.
static LINES: LazyLock<MultiProgress> = LazyLock::new(|| {
    let able = std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
    let seen = able && io::stderr().is_terminal() && io::stdout().is_terminal();
    MultiProgress::with_draw_target(if seen {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    })
});

/// One chore; its line goes when it is dropped.
pub(crate) struct Chore(ProgressBar);

/// A chore begins.
pub(crate) fn begin(name: &str) -> Chore {
    let line = LINES.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {elapsed}  {wide_msg}") {
        line.set_style(style.tick_chars("|/-\\ "));
    }
    line.set_prefix(name.to_owned());
    // A hidden line needs no thread.
    if !LINES.is_hidden() {
        line.enable_steady_tick(Duration::from_millis(500));
    }
    Chore(line)
}

impl Chore {
    /// What it does now; the name of a test, say.
    pub(crate) fn does(&self, what: &str) {
        self.0.set_message(what.chars().filter(|c| !c.is_control()).collect::<String>());
    }
}

impl Drop for Chore {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        LINES.remove(&self.0);
    }
}

/// Prints while no line is there.
pub(crate) fn aside<T>(print: impl FnOnce() -> T) -> T {
    LINES.suspend(print)
}
