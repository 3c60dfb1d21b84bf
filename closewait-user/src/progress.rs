//! Progress of what takes longer than a second, on stderr.
//!
//! Who waits at a terminal sees that something goes on; nobody else sees anything: nothing is
//! drawn unless a command allows it ([`allow`]), stderr is a terminal, and nobody else may be
//! writing to that. It is taken away before anything is printed ([`stdout`], [`aside`]) and
//! when it ends, so that a terminal keeps only what was reported.
//!
//! One thing at a time makes progress: there is one terminal. So it is a value of the process,
//! as the log is, and whoever reads a file can say how far it is ([`Counting`]).

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::privileges::{self, Work};

/// What is done sooner needs none.
const LATE: Duration = Duration::from_secs(1);
/// How often it is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

const OF_A_TOTAL: &str = "{msg}  {wide_bar} {percent:>3} %  {bytes} of {total_bytes}  {eta} left";
const WAITING: &str = "{spinner} {msg}  {elapsed}";

static ALLOWED: AtomicBool = AtomicBool::new(false);
static CURRENT: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// What an open file leads to, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stream {
    Terminal,
    /// A regular file.
    File,
    /// A pipe, or anything else: who reads it may write to the terminal.
    Other,
}

impl Stream {
    fn of(file: impl IsTerminal + std::os::fd::AsFd) -> Self {
        if file.is_terminal() {
            return Self::Terminal;
        }
        let stat = rustix::fs::fstat(file);
        let is_file = |mode| rustix::fs::FileType::from_raw_mode(mode).is_file();
        if stat.is_ok_and(|stat| is_file(stat.st_mode)) { Self::File } else { Self::Other }
    }
}

/// Whether progress can be shown. `json`: what is printed is for programs; on a terminal it
/// is not mixed with anything. `term` is TERM: a dumb terminal cannot take a line back.
fn is_shown(stderr: Stream, stdout: Stream, json: bool, term: Option<&str>) -> bool {
    let able = term.is_some_and(|term| !term.is_empty() && term != "dumb");
    let undisturbed = match stdout {
        Stream::Terminal => !json,
        Stream::File => true,
        Stream::Other => false,
    };
    stderr == Stream::Terminal && able && undisturbed
}

/// From now on progress is shown where it can be. `json`: what is printed is for programs.
pub fn allow(json: bool) {
    let term = std::env::var("TERM").ok();
    let shown = is_shown(Stream::of(io::stderr()), Stream::of(io::stdout()), json, term.as_deref());
    ALLOWED.store(shown, Ordering::Relaxed);
}

/// From now on none is shown: the terminal is somebody else's.
pub fn forbid() {
    ALLOWED.store(false, Ordering::Relaxed);
}

/// How long something has taken that is to be shown. Tests, which cannot make everything take
/// long, set it in milliseconds.
fn late() -> Duration {
    let test = std::env::var("CLOSEWAIT_TEST_PROGRESS_AFTER_MS");
    test.ok().and_then(|ms| ms.parse().ok()).map_or(LATE, Duration::from_millis)
}

/// Something under way; over when dropped.
#[must_use = "it is over when it is dropped"]
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

/// `what` begins. `total`: of this many bytes; `None` when nobody knows how much there is.
pub fn begin(what: &str, total: Option<u64>) -> Progress {
    // What is a part of something under way shows as that.
    if !ALLOWED.load(Ordering::Relaxed) || current().is_some() {
        return Progress(None);
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
    let template = if total.is_some() { OF_A_TOTAL } else { WAITING };
    // A template that is wrong is a test's to find; progress is no reason to fail.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
    }
    bar.set_message(what.to_owned());
    let (end, ended) = channel();
    let drawn = bar.clone();
    let late = late();
    if late.is_zero() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.tick();
    }
    let draw = move || {
        privileges::settle_thread(Work::Draw);
        if !late.is_zero() {
            if ended.recv_timeout(late) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            drawn.set_draw_target(ProgressDrawTarget::stderr());
        }
        loop {
            drawn.tick();
            if ended.recv_timeout(DRAW_EVERY) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        drawn.finish_and_clear();
    };
    let drawing = std::thread::Builder::new().name("progress".into()).spawn(draw);
    *current() = Some(bar);
    Progress(drawing.ok().map(|drawing| (end, drawing)))
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some((end, drawing)) = self.0.take() else { return };
        *current() = None;
        drop(end);
        let _ = drawing.join();
    }
}

fn current() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes away what is drawn while `print` writes to the terminal.
pub fn aside<T>(print: impl FnOnce() -> T) -> T {
    let bar = current().clone();
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Stdout, before which progress makes way; what is written comes out when it is flushed.
pub fn stdout() -> Box<dyn Write> {
    if ALLOWED.load(Ordering::Relaxed) && io::stdout().is_terminal() {
        Box::new(BufWriter::new(Aside(io::stdout())))
    } else {
        Box::new(io::stdout())
    }
}

/// Stderr, before which progress makes way.
pub fn stderr() -> Box<dyn Write> {
    if ALLOWED.load(Ordering::Relaxed) {
        Box::new(LineWriter::new(Aside(io::stderr())))
    } else {
        Box::new(io::stderr())
    }
}

struct Aside<W>(W);

impl<W: Write> Write for Aside<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        aside(|| self.0.write_all(buf).and_then(|()| self.0.flush())).map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A file, each byte of which is progress when it is read.
pub struct Counting(pub File);

impl Read for Counting {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buf)?;
        if let Some(bar) = &*current() {
            bar.inc(read as u64);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_waits_at_a_terminal_sees_it() {
        use Stream::{File, Other, Terminal};
        for (stderr, stdout, json, term, want) in [
            (Terminal, Terminal, false, Some("xterm"), true),
            (Terminal, File, false, Some("xterm"), true),
            (Terminal, File, true, Some("xterm"), true),
            // A pager has the terminal.
            (Terminal, Other, false, Some("xterm"), false),
            (Terminal, Terminal, true, Some("xterm"), false),
            (Terminal, Terminal, false, Some("dumb"), false),
            (Terminal, Terminal, false, Some(""), false),
            (Terminal, Terminal, false, None, false),
            (Other, Terminal, false, Some("xterm"), false),
            (File, Terminal, false, Some("xterm"), false),
        ] {
            assert_eq!(is_shown(stderr, stdout, json, term), want, "{stderr:?} {stdout:?} {json} {term:?}");
        }
    }

    #[test]
    fn what_is_not_allowed_neither_draws_nor_counts() {
        let progress = begin("nothing", Some(7));
        assert!(progress.0.is_none() && current().is_none());
        assert_eq!(aside(|| 7), 7);
    }

    #[test]
    fn the_templates_can_be_read() {
        for template in [OF_A_TOTAL, WAITING] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
