//! What the tool says about itself on stderr: notes, warnings, and with `-vv` the
//! log of the BPF programs. Never on stdout, which carries reports only.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

/// Lines that are held back while a screen is drawn where stderr would write.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);
/// Of more, the last are lost.
const HELD_MAX: usize = 1000;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // Other crates speak only when something is wrong, or when everything is wanted.
        let ours = record.target().starts_with("closewait");
        if self.enabled(record.metadata()) && (ours || record.level() <= Level::Warn) {
            match &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(held) if held.len() < HELD_MAX => held.push(record.args().to_string()),
                Some(_) => {}
                None => {
                    let line = || writeln!(std::io::stderr(), "closewait-trace: {}", record.args());
                    drop(crate::progress::aside(line));
                }
            }
        }
    }

    fn flush(&self) {}
}

/// Holds back what is logged from now on, or no longer.
pub fn hold_back(hold: bool) {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = hold.then(Vec::new);
}

/// What was held back since the last time.
pub fn held_back() -> Vec<String> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take).unwrap_or_default()
}

/// Starts logging to stderr: warnings, with `-v` what is being done, with `-vv` everything.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    // A second call (in tests) finds the logger set already, which is what it wants.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(level);
}
