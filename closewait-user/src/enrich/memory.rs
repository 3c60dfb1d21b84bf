//! Memory of other processes, read by a process apart.
//!
//! In: a thread and an address; out: bytes, or that there are none. A page that its owner has mapped
//! from a file is fetched when it is read, and whoever serves that file need never answer (see
//! [`crate::apart`]). (The kernel itself guards `cmdline` and `environ` so, FOLL_ANON in
//! fs/proc/base.c, but not `mem`.)

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::Errno;

use crate::apart::child::{asked, errno, tell};
use crate::apart::{Apart, Left, Question};

/// To answer: a page that was swapped out takes a few milliseconds.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Whose memory did not come is left alone for so long.
const PENANCE: Duration = Duration::from_mins(1);
/// Bytes that are asked for at a time.
const PART: usize = 8 << 10;
/// Bytes of a question: `/proc/4294967295/mem` with a zero at its end; address, length.
const PATH: usize = 24;
const QUESTION: usize = PATH + 8 + 8;

static LEFT: Left = Left::new(PENANCE);

thread_local! {
    static READER: RefCell<Apart> = const { RefCell::new(Apart::new(&LEFT, answer)) };
}

/// Fills `buf` from the memory of process `pid` at `addr`, through its thread `tid`. `false` when
/// that is not all there, is refused, or does not come within 50 ms; for a minute then no memory of
/// that process is read, and while that is so of eight of them none at all.
pub fn read((pid, tid): (u32, u32), addr: u64, buf: &mut [u8]) -> bool {
    let mut at = addr;
    buf.chunks_mut(PART).all(|part| {
        let from = at;
        at = at.wrapping_add(part.len() as u64);
        read_part((pid, tid), from, part)
    })
}

fn read_part((pid, tid): (u32, u32), addr: u64, buf: &mut [u8]) -> bool {
    let mut bytes = [0; QUESTION];
    let path = format!("/proc/{tid}/mem");
    bytes[..path.len()].copy_from_slice(path.as_bytes());
    bytes[PATH..PATH + 8].copy_from_slice(&addr.to_ne_bytes());
    bytes[PATH + 8..].copy_from_slice(&(buf.len() as u64).to_ne_bytes());
    let question = Question { about: pid.into(), bytes: &bytes, with: None, patience: &PATIENCE };
    match READER.with_borrow_mut(|reader| reader.ask(&question, buf)) {
        Ok((filled, _)) => filled == buf.len(),
        Err(Errno::TIMEDOUT) => {
            if LEFT.is_news(pid.into()) {
                log::warn!(
                    "the memory of process {pid} does not come when it is read (a file system that does \
                     not answer?): it is not read for a minute, then tried again"
                );
            }
            false
        }
        Err(_) => false,
    }
}

/// The child: opens the file of a thread's memory, and reads.
fn answer(socket: RawFd) -> ! {
    let (mut question, mut bytes) = ([0_u8; QUESTION], [0_u8; PART]);
    loop {
        asked(socket, &mut question);
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&question[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        let (addr, len) = (word(PATH), usize::try_from(word(PATH + 8)).unwrap_or(PART).min(PART));
        // SAFETY: each call gets a place that lives as long and is as large as it is told. An address
        // beyond what a file's position can be is that of the kernel.
        let (read, failed) = unsafe {
            let memory = libc::open(question.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
            let read = libc::pread64(memory, bytes.as_mut_ptr().cast(), len, addr.cast_signed());
            let failed = errno();
            libc::close(memory);
            (read, failed)
        };
        match usize::try_from(read) {
            Ok(read) => tell(socket, 0, &bytes[..read.min(PART)], -1),
            Err(_) => tell(socket, failed, &[], -1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apart::child::RIGHTS;

    #[test]
    fn memory_is_read_whole_or_not_at_all() {
        let words: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let me = std::process::id();
        let at = words.as_ptr() as u64;
        for len in [0, 1, 2, PART - 1, PART, PART + 1, words.len()] {
            let mut buf = vec![0; len];
            assert!(read((me, me), at, &mut buf), "{len}");
            assert_eq!(buf, words[..len]);
        }
        assert!(!read((me, me), 0, &mut [0; 8]) && !read((me, me), u64::MAX - 3, &mut [0; 8]));
        assert!(!read((u32::MAX, u32::MAX), at, &mut [0; 8]));
        // The child ends when it is not asked; another takes its place.
        let child = READER.with_borrow(|reader| reader.child().unwrap());
        // SAFETY: it is our child, of which no end was taken notice.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert!(read((me, me), at, &mut [0; 8]));
    }

    /// What this process knew when the child began is not kept by that, nor what it may do beyond
    /// what the child's work takes.
    #[test]
    fn the_child_keeps_no_more_than_it_needs() {
        let heap = vec![1_u8; 64 << 20];
        let me = std::process::id();
        assert!(read((me, me), heap.as_ptr() as u64, &mut [0; 8]));
        let child = READER.with_borrow(|reader| reader.child().unwrap());
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        assert!(field("RssAnon:").unwrap().parse::<u32>().unwrap() < 16 << 10, "{status}");
        for rights in ["CapEff:", "CapPrm:", "CapInh:"] {
            assert_eq!(
                u64::from_str_radix(field(rights).unwrap(), 16).unwrap() & !u64::from(RIGHTS),
                0,
                "{status}"
            );
        }
    }
}
