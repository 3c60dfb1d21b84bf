//! Whether a file's server answers.
//!
//! In: a reference (`O_PATH`) on a file; out: whether its attributes and its beginning come. Only
//! who waits for a server learns that, so a child does (see [`crate::apart`]). Files of a block
//! device need none. A server that answers once and not again (FUSE with `allow_other`) is not
//! told from an honest one; mounts without that option refuse root by themselves.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::file::START;
use crate::apart::child::{asked, errno, tell};
use crate::apart::{Apart, Left, Question};

/// To answer: a file over a network may take so long.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// Files of a file system that gave no answer are not read for so long.
const PENANCE: Duration = Duration::from_secs(10);

static LEFT: Left = Left::new(PENANCE);

thread_local! {
    static ASKING: RefCell<Apart> = const { RefCell::new(Apart::new(&LEFT, answer)) };
}

/// # Errors
/// `ETIMEDOUT` when nothing comes, now or from the last file of its file system that was asked for;
/// else what the opening or reading of the file says.
pub(super) fn comes(path: &OwnedFd) -> Result<(), Errno> {
    // By what is known of it here: nobody is asked.
    let quietly = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let device = match statx(path, c"", quietly, StatxFlags::TYPE) {
        Ok(known) if known.stx_dev_major != 0 => return Ok(()),
        Ok(known) => known.stx_dev_minor.into(),
        // Refused by FUSE, because it is another user's; or statx() is not allowed here.
        Err(Errno::ACCESS) => return Err(Errno::ACCESS),
        Err(_) => u64::MAX,
    };
    let question = Question { about: device, bytes: &[0], with: Some(path.as_fd()), patience: &PATIENCE };
    match ASKING.with_borrow_mut(|asking| asking.ask(&question, &mut [])) {
        Ok(_) => Ok(()),
        Err(Errno::BUSY) => Err(Errno::TIMEDOUT),
        Err(errno) => Err(errno),
    }
}

fn answer(socket: RawFd) -> ! {
    loop {
        let path = asked(socket, &mut [0]);
        tell(socket, opened(path), &[], -1);
        // SAFETY: it is ours; closing a reference tells nobody.
        unsafe { libc::close(path) };
    }
}

/// In the child: opens the file and reads its beginning; an errno, or 0.
fn opened(path: RawFd) -> i32 {
    // SAFETY: each call gets a place that lives as long and is as large as it is told.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(path, &raw mut stat) != 0 {
            return errno();
        }
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return libc::EOPNOTSUPP;
        }
        let mut name = [0_u8; 32];
        libc::snprintf(name.as_mut_ptr().cast(), name.len(), c"/proc/self/fd/%d".as_ptr(), path);
        let file = libc::open(name.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY);
        if file < 0 {
            return errno();
        }
        let mut first = [0_u8; START];
        let read = libc::pread64(file, first.as_mut_ptr().cast(), first.len(), 0);
        let failed = if read < 0 { errno() } else { 0 };
        libc::close(file);
        failed
    }
}
