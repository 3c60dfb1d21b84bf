//! Memory of other processes, read by a process apart.
//!
//! In: a thread and an address; out: bytes, or that there are none. A page that its
//! owner has mapped from a file is fetched when it is read, and whoever serves that file (FUSE
//! takes no privilege) need never answer: the reader then stands still where no signal ends it,
//! SIGKILL included, and a process ends when all its threads have. So no thread of this process
//! reads: a child does, which can be left behind. (The kernel itself guards `cmdline` and
//! `environ` so, FOLL_ANON in fs/proc/base.c, but not `mem`.)

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// To answer: a page that was swapped out takes a few milliseconds.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// After so many that did not, nothing is asked any more: each may stay behind.
const MAX_LATE: usize = 8;
/// A child that is not asked for so long ends.
const IDLE_MS: libc::c_int = 5000;
/// Bytes that are asked for at a time.
const PART: usize = 8 << 10;
/// Bytes of a question: `/proc/4294967295/mem` with a zero at its end; address, length.
const PATH: usize = 24;
const QUESTION: usize = PATH + 8 + 8;

/// Fills `buf` from the memory of process `pid` at `addr`, through its thread `tid`. `false` when
/// that is not all there, is refused, or does not come within 50 ms; of a process whose memory did
/// not come once none is read any more, and none at all after eight of them.
pub fn read((pid, tid): (u32, u32), addr: u64, buf: &mut [u8]) -> bool {
    let mut at = addr;
    !past().refuses(pid)
        && buf.chunks_mut(PART).all(|part| {
            let from = at;
            at = at.wrapping_add(part.len() as u64);
            read_part((pid, tid), from, part)
        })
}

/// What has been learned of whom to ask, by all threads.
#[derive(Debug)]
struct Past {
    /// Whose memory did not come in time.
    late: Vec<u32>,
    /// Children that are to be gone.
    ended: Vec<libc::pid_t>,
}

static PAST: Mutex<Past> = Mutex::new(Past { late: Vec::new(), ended: Vec::new() });

fn past() -> MutexGuard<'static, Past> {
    PAST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    fn refuses(&self, pid: u32) -> bool {
        self.late.len() >= MAX_LATE || self.late.contains(&pid)
    }

    fn is_late(&mut self, pid: u32) {
        log::warn!(
            "the memory of process {pid} does not come when it is read (a file system that does not answer?): \
             it is not read any more{}",
            if self.late.len() + 1 == MAX_LATE { ", nor that of any other process" } else { "" }
        );
        self.late.push(pid);
    }

    /// Takes notice of the end of children, which no signal tells.
    fn reap(&mut self) {
        // SAFETY: waitpid without a place for the status writes nothing here; they are our children.
        self.ended.retain(
            |pid| unsafe { libc::waitpid(*pid, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) } == 0,
        );
    }
}

thread_local! {
    /// It has the rights of the thread that it reads for.
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

/// Why there is no answer.
enum Unanswered {
    /// The child has ended.
    Ended,
    Late,
}

fn read_part((pid, tid): (u32, u32), addr: u64, buf: &mut [u8]) -> bool {
    let mut question = [0; QUESTION];
    let path = format!("/proc/{tid}/mem");
    question[..path.len()].copy_from_slice(path.as_bytes());
    question[PATH..PATH + 8].copy_from_slice(&addr.to_ne_bytes());
    question[PATH + 8..].copy_from_slice(&(buf.len() as u64).to_ne_bytes());
    READER.with_borrow_mut(|reader| {
        // One that was idle has ended.
        for _ in 0..2 {
            let Some(there) = reader.take().or_else(|| Reader::start().ok()) else { return false };
            match there.ask(&question, buf) {
                Ok(is_read) => {
                    *reader = Some(there);
                    return is_read;
                }
                Err(Unanswered::Ended) => {}
                Err(Unanswered::Late) => {
                    past().is_late(pid);
                    return false;
                }
            }
        }
        false
    })
}

/// A child that reads.
#[derive(Debug)]
struct Reader {
    socket: OwnedFd,
    pid: libc::pid_t,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: it is our child, and its end has not been taken notice of: the number is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let mut past = past();
        past.ended.push(self.pid);
        past.reap();
    }
}

impl Reader {
    fn start() -> io::Result<Self> {
        past().reap();
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let theirs_raw = theirs.as_raw_fd();
        let pid = without_signals(|| {
            // Without a signal at its end: whoever waits for children does not mean this one.
            let (flags, zero): (libc::c_ulong, libc::c_ulong) = (0, 0);
            // SAFETY: a fork without flags: the child has a copy of everything, goes on here alone,
            // and does not come back.
            let pid = unsafe { libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) };
            if pid == 0 {
                answer(theirs_raw);
            }
            pid
        })?;
        match libc::pid_t::try_from(pid) {
            Ok(pid) if pid > 0 => Ok(Self { socket, pid }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether all of it was read.
    fn ask(&self, question: &[u8], buf: &mut [u8]) -> Result<bool, Unanswered> {
        send(&self.socket, question, SendFlags::NOSIGNAL).map_err(|_| Unanswered::Ended)?;
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) => return Err(Unanswered::Late),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(Unanswered::Ended),
            }
        }
        let mut answer = [0; 1 + PART];
        match recv(&self.socket, &mut answer[..], RecvFlags::DONTWAIT) {
            Ok((1, _)) => Ok(false),
            Ok((len, _)) if len == 1 + buf.len() => {
                buf.copy_from_slice(&answer[1..len]);
                Ok(true)
            }
            _ => Err(Unanswered::Ended),
        }
    }
}

/// Runs `act` while no signal is delivered to this thread: a child that begins in it has none
/// of this process's handlers run.
fn without_signals<T>(act: impl FnOnce() -> T) -> io::Result<T> {
    let mask = nix::sys::signal::SigSet::all();
    let before = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)?;
    let done = act();
    before.thread_set_mask()?;
    Ok(done)
}

/// The child: answers what is asked until nobody is there to ask, or has not for a while.
fn answer(socket: RawFd) -> ! {
    // SAFETY: this process has one thread, a copy of one that may have left locks taken: nothing
    // here takes one or allocates. Each call gets a place that lives as long and is as large as
    // it is told. What is not the socket is closed, so that no reader of our output, no program
    // and no client of an endpoint waits for one that was left behind.
    unsafe {
        libc::dup2(socket, 0);
        libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32);
        libc::prctl(libc::PR_SET_NAME, c"memory".as_ptr());
        let mut question = [0_u8; QUESTION];
        let mut answer = [0_u8; 1 + PART];
        loop {
            let mut ready = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
            if libc::poll(&raw mut ready, 1, IDLE_MS) <= 0
                || libc::read(0, question.as_mut_ptr().cast(), QUESTION) != QUESTION.cast_signed()
            {
                libc::_exit(0);
            }
            let word = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&question[at..at + 8]);
                u64::from_ne_bytes(bytes)
            };
            let (addr, len) = (word(PATH), usize::try_from(word(PATH + 8)).unwrap_or(PART).min(PART));
            let memory = libc::open(question.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
            // An address beyond what a file's position can be is that of the kernel.
            let read = libc::pread64(memory, answer[1..].as_mut_ptr().cast(), len, addr.cast_signed());
            libc::close(memory);
            let told = if usize::try_from(read) == Ok(len) { 1 + len } else { 1 };
            libc::send(0, answer.as_ptr().cast(), told, libc::MSG_NOSIGNAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        READER.with_borrow(|reader| {
            let reader = reader.as_ref().unwrap();
            // SAFETY: it is our child, of which no end was taken notice.
            unsafe { libc::kill(reader.pid, libc::SIGKILL) };
        });
        assert!(read((me, me), at, &mut [0; 8]));
    }
}
