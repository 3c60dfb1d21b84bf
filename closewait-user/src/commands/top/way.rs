//! The way to the terminal: bytes go out through a descriptor of its own that never blocks, so
//! that a terminal which takes no output (a link that hangs, a stopped multiplexer) cannot keep
//! anybody from leaving. Who shares the terminal, a shell first of all, keeps its own
//! descriptors as they are: they must not be made non-blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush, tcgetsid};

use crate::clock::Clock;

/// At the end a terminal has so long to take something, each time anew.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The same of one that has not taken anything in that time.
const LITTLE_PATIENCE: Duration = Duration::from_millis(50);
/// A picture that is not taken looks so often whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Way {
    fd: OwnedFd,
    /// So much may be written at a time when there is room at all.
    chunk: usize,
    /// Whose turn it is.
    turn: Mutex<()>,
    /// How many bytes the terminal has taken.
    taken: AtomicU64,
    /// No picture is wanted any more.
    over: AtomicBool,
    /// It has taken nothing for as long as anybody waited.
    stuck: AtomicBool,
}

impl Way {
    /// The way to the terminal that is stdout.
    pub(super) fn stdout() -> io::Result<&'static Self> {
        static STDOUT: OnceLock<Way> = OnceLock::new();
        if let Some(way) = STDOUT.get() {
            return Ok(way);
        }
        let way = Self::to(io::stdout())?;
        Ok(STDOUT.get_or_init(|| way))
    }

    /// A way to the terminal behind `stream`.
    fn to(stream: impl AsFd) -> io::Result<Self> {
        let opened = opened(&stream);
        // Without a descriptor of its own one byte is all that surely does not block.
        let chunk = if opened.is_ok() { usize::MAX } else { 1 };
        let fd = opened.or_else(|_| stream.as_fd().try_clone_to_owned())?;
        Ok(Self {
            fd,
            chunk,
            turn: Mutex::default(),
            taken: AtomicU64::default(),
            over: AtomicBool::default(),
            stuck: AtomicBool::default(),
        })
    }

    /// Pictures are wanted from now on.
    pub(super) fn begin(&self) {
        self.over.store(false, Ordering::SeqCst);
    }

    /// Writes a picture, however long that takes; an error also when none is wanted any more.
    pub(super) fn paint(&self, picture: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock();
        let is_over = || self.over.load(Ordering::SeqCst);
        if is_over() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.write(picture, || (!is_over()).then_some(LOOK_EVERY))
    }

    /// How many bytes the terminal has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Wants no picture any more. `discard`: nor what the terminal has not shown yet; that makes
    /// room for the last words.
    pub(super) fn end(&self, discard: bool) {
        self.over.store(true, Ordering::SeqCst);
        if discard {
            // Whoever writes ends first.
            let _turn = self.wait_for_turn();
            self.stuck.store(true, Ordering::SeqCst);
            let _ = tcflush(&self.fd, QueueSelector::OFlush);
        }
    }

    /// Writes, unless the terminal takes nothing for [`PATIENCE`]: then it is as one that is gone.
    pub(super) fn tell(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(_turn) = self.wait_for_turn() else { return Err(gone()) };
        let mut last = (self.taken(), Clock::mono_now());
        self.write(bytes, || {
            let (taken, now) = (self.taken(), Clock::mono_now());
            if taken != last.0 {
                last = (taken, now);
            }
            let is_stuck = self.stuck.load(Ordering::SeqCst);
            let patience = if is_stuck { LITTLE_PATIENCE } else { PATIENCE };
            let left = patience.saturating_sub(now.since(last.1));
            if left.is_zero() {
                self.stuck.store(true, Ordering::SeqCst);
                return None;
            }
            Some(left)
        })
    }

    /// Whether the terminal took what it was given last.
    pub(super) fn takes(&self) -> bool {
        !self.stuck.load(Ordering::SeqCst)
    }

    /// `None`: whoever writes does not end.
    fn wait_for_turn(&self) -> Option<MutexGuard<'_, ()>> {
        let until = Clock::mono_now() + 3 * LOOK_EVERY;
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Some(turn),
                Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
                Err(TryLockError::WouldBlock) if Clock::mono_now() >= until => return None,
                Err(TryLockError::WouldBlock) => wait(&mut [], LOOK_EVERY / 10)?,
            }
        }
    }

    /// Writes all; while there is no room it waits as long as `patience` says each time.
    fn write(&self, mut bytes: &[u8], mut patience: impl FnMut() -> Option<Duration>) -> io::Result<()> {
        let mut had_room = false;
        while !bytes.is_empty() {
            let may_write = self.chunk == usize::MAX || had_room;
            let chunk = &bytes[..bytes.len().min(self.chunk)];
            match if may_write { rustix::io::write(&self.fd, chunk) } else { Err(Errno::AGAIN) } {
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.taken.fetch_add(written as u64, Ordering::SeqCst);
                    self.stuck.store(false, Ordering::SeqCst);
                    had_room = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let patience = patience().ok_or_else(gone)?;
                    // Room for one byte is none for a line end, which takes two: then only
                    // time can be waited for.
                    let mut room = [PollFd::new(&self.fd, PollFlags::OUT)];
                    let had_none = had_room && self.chunk == usize::MAX;
                    let waits_for = if had_none { &mut room[..0] } else { &mut room[..] };
                    wait(waits_for, patience.min(LOOK_EVERY));
                    had_room = room[0].revents().intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// As if it were gone: whoever does not read wants no report.
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the terminal takes no output")
}

/// Waits for one of these, or for the time.
fn wait(fds: &mut [PollFd<'_>], time: Duration) -> Option<()> {
    let time = Timespec { tv_sec: time.as_secs().try_into().ok()?, tv_nsec: time.subsec_nanos().into() };
    // What comes of it the next write tells.
    let _ = poll(fds, Some(&time));
    Some(())
}

/// Opens the terminal behind `stream` once more: what is not shared can be non-blocking.
fn opened(stream: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = |path: &str| -> io::Result<File> {
        OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)
    };
    let number = std::os::fd::AsRawFd::as_raw_fd(&stream.as_fd());
    let opened = open(&format!("/proc/self/fd/{number}")).or_else(|error| {
        // After su(1) or without capabilities it belongs to somebody else; the controlling
        // terminal may be opened by anybody whose it is.
        let session = rustix::process::getsid(None)?;
        if tcgetsid(&stream).is_ok_and(|of| of == session) { open("/dev/tty") } else { Err(error) }
    });
    opened.map(OwnedFd::from)
}

/// What is written to the terminal after the screen is gone; see [`Way::tell`].
pub(super) struct Last(&'static Way);

impl Write for Last {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.tell(buf).map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stdout, for the report at the end.
pub(super) fn out() -> Box<dyn Write> {
    match Way::stdout() {
        Ok(way) => Box::new(io::BufWriter::new(Last(way))),
        Err(_) => Box::new(io::stdout()),
    }
}

/// Stderr, for the notes beside it: the same way where it is the same terminal.
pub(super) fn notes() -> Box<dyn Write> {
    let device = |stream: rustix::fd::BorrowedFd<'_>| rustix::fs::fstat(stream).map(|stat| stat.st_rdev).ok();
    let is_same = io::stderr().is_terminal() && device(io::stderr().as_fd()) == device(io::stdout().as_fd());
    match Way::stdout() {
        Ok(way) if is_same => Box::new(io::LineWriter::new(Last(way))),
        _ => Box::new(io::stderr()),
    }
}
