//! What the tool says about itself on stderr: notes, warnings, and with `-vv` the
//! log of the BPF programs. Never on stdout, which carries reports only.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // Other crates speak only when something is wrong, or when everything is wanted.
        let ours = record.target().starts_with("closewait");
        if self.enabled(record.metadata()) && (ours || record.level() <= Level::Warn) {
            let _ = writeln!(std::io::stderr(), "closewait-trace: {}", record.args());
        }
    }

    fn flush(&self) {}
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
