//! Memory of other processes, read by a process apart.
//!
//! In: a thread and an address; out: bytes, or that there are none. A page that its
//! owner has mapped from a file is fetched when it is read, and whoever serves that file (FUSE
//! takes no privilege) need never answer: the reader then stands still where no signal ends it,
//! SIGKILL included, and a process ends when all its threads have. So no thread of this process
//! reads: a child does, which can be left behind. (The kernel itself guards `cmdline` and
//! `environ` so, FOLL_ANON in fs/proc/base.c, but not `mem`.)

mod child;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use crate::clock::{Clock, MonoNs};
use child::{Unneeded, answer};

/// To answer: a page that was swapped out takes a few milliseconds.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// So many times as long, where the child has had no CPU meanwhile.
const TIMES: usize = 20;
/// Whose memory did not come is not asked for so long, and nobody is while so many did not.
const PENANCE: Duration = Duration::from_mins(1);
const MAX_LATE: usize = 8;
/// Nobody is asked while so many children are left behind.
const MAX_LEFT: usize = 8;
/// Processes of which it is told that their memory does not come.
const MAX_TOLD: usize = 64;
/// Bytes that are asked for at a time.
const PART: usize = 8 << 10;
/// Bytes of a question: `/proc/4294967295/mem` with a zero at its end; address, length.
const PATH: usize = 24;
const QUESTION: usize = PATH + 8 + 8;

/// Fills `buf` from the memory of process `pid` at `addr`, through its thread `tid`. `false` when
/// that is not all there, is refused, or does not come within 50 ms; for a minute then no memory of
/// that process is read, and while that is so of eight of them none at all.
pub fn read((pid, tid): (u32, u32), addr: u64, buf: &mut [u8]) -> bool {
    let mut at = addr;
    !past().refuses(pid, Clock::mono_now())
        && buf.chunks_mut(PART).all(|part| {
            let from = at;
            at = at.wrapping_add(part.len() as u64);
            read_part((pid, tid), from, part)
        })
}

/// What has been learned of whom to ask, by all threads.
#[derive(Debug)]
struct Past {
    /// Whose memory did not come in time, and when.
    late: Vec<(u32, MonoNs)>,
    told: Vec<u32>,
    /// Children that are to be gone.
    ended: Vec<libc::pid_t>,
}

static PAST: Mutex<Past> = Mutex::new(Past { late: Vec::new(), told: Vec::new(), ended: Vec::new() });

fn past() -> MutexGuard<'static, Past> {
    PAST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    fn refuses(&mut self, pid: u32, now: MonoNs) -> bool {
        self.late.retain(|(_, at)| now.since(*at) < PENANCE);
        if self.late.is_empty() && self.ended.is_empty() {
            return false;
        }
        self.reap();
        self.late.len() >= MAX_LATE
            || self.ended.len() >= MAX_LEFT
            || self.late.iter().any(|(late, _)| *late == pid)
    }

    fn is_late(&mut self, pid: u32, now: MonoNs) {
        self.late.push((pid, now));
        if self.told.len() < MAX_TOLD && !self.told.contains(&pid) {
            self.told.push(pid);
            log::warn!(
                "the memory of process {pid} does not come when it is read (a file system that does not \
                 answer?): it is not read for a minute, then tried again"
            );
        }
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
                    past().is_late(pid, Clock::mono_now());
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
        let unneeded = Unneeded::now();
        let pid = without_signals(|| {
            // Without a signal at its end: whoever waits for children does not mean this one.
            let (flags, zero): (libc::c_ulong, libc::c_ulong) = (0, 0);
            // SAFETY: a fork without flags: the child has a copy of everything, goes on here alone,
            // and does not come back.
            let pid = unsafe { libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) };
            if pid == 0 {
                answer(theirs_raw, &unneeded);
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
        let mut left = TIMES;
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) if left > 0 && self.waits_for_cpu() => left -= 1,
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

impl Reader {
    /// Whether it could go on if it had a CPU: nobody keeps it waiting but the load of this host.
    fn waits_for_cpu(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('R'))
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

    /// What it knew when the child began is not kept by that.
    #[test]
    fn the_child_keeps_nothing_of_the_heap() {
        let heap = vec![1_u8; 64 << 20];
        let me = std::process::id();
        assert!(read((me, me), heap.as_ptr() as u64, &mut [0; 8]));
        let child = READER.with_borrow(|reader| reader.as_ref().unwrap().pid);
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next());
        assert!(kib.unwrap().parse::<u32>().unwrap() < 16 << 10, "{status}");
    }

    #[test]
    fn who_is_late_is_asked_again_a_minute_later() {
        let mut past = Past { late: Vec::new(), told: Vec::new(), ended: Vec::new() };
        let at = |s| MonoNs(0) + Duration::from_secs(s);
        past.is_late(7, at(100));
        assert!(past.refuses(7, at(159)) && !past.refuses(8, at(159)) && !past.refuses(7, at(160)));
        (0..8).for_each(|pid| past.is_late(pid, at(200 + u64::from(pid))));
        assert!(past.refuses(99, at(259)) && !past.refuses(99, at(260)));
        (0..200).for_each(|pid| past.is_late(pid, at(300)));
        assert_eq!(past.told.len(), MAX_TOLD);
    }
}
