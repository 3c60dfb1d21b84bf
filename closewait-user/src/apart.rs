//! Work that may stand still for ever, done by a process apart.
//!
//! A file system is served by whoever mounted it (FUSE takes no privilege), and who asks a server
//! that does not answer stands still where no signal ends it, SIGKILL included; a process ends when
//! all its threads have. So what may ask one is done by a child: it is given up after a time and
//! left behind. In: a question, and a descriptor or none; out: an errno, or bytes, and a descriptor
//! or none.

pub(crate) mod child;
mod left;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::clock::Clock;
use child::Unneeded;
pub(crate) use left::Left;

/// So many times as long is waited, where the child has had no CPU meanwhile.
const TIMES: usize = 20;

/// A question for a child.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// Who may keep the child waiting, by a number.
    pub(crate) about: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) with: Option<BorrowedFd<'a>>,
    pub(crate) patience: &'a Timespec,
}

/// A place for a child, with the rights of the thread that it belongs to.
#[derive(Debug)]
pub(crate) struct Apart {
    left: &'static Left,
    answer: fn(RawFd) -> !,
    child: Option<Child>,
}

impl Apart {
    /// Of children that are to `answer`, each given its socket: in a copy of this process with one
    /// thread, which may have left locks taken, so that it may neither take any nor allocate.
    pub(crate) const fn new(left: &'static Left, answer: fn(RawFd) -> !) -> Self {
        Self { left, answer, child: None }
    }

    /// Asks a child, which is started if there is none. How many bytes of `into` it has filled, and
    /// a descriptor if it gave one.
    ///
    /// # Errors
    /// What it says went wrong; `ETIMEDOUT` when it does not say anything in time; `EBUSY` when
    /// nothing is asked about this for a while; `EAGAIN` when no child can be started.
    pub(crate) fn ask(
        &mut self,
        question: &Question<'_>,
        into: &mut [u8],
    ) -> Result<(usize, Option<OwnedFd>), Errno> {
        // One that was idle has ended: another one is asked.
        for _ in 0..2 {
            if !self.left.allows(question.about, Clock::mono_now()) {
                return Err(Errno::BUSY);
            }
            let child = match self.child.take() {
                Some(child) => child,
                None => Child::start(self.left, self.answer).map_err(|_| Errno::AGAIN)?,
            };
            match child.ask(question, into) {
                Err(Errno::PIPE) => {}
                Err(Errno::TIMEDOUT) => {
                    self.left.is_late(question.about, Clock::mono_now());
                    return Err(Errno::TIMEDOUT);
                }
                answer => {
                    self.child = Some(child);
                    return answer;
                }
            }
        }
        Err(Errno::AGAIN)
    }

    /// The child is not to be asked again.
    pub(crate) fn leave(&mut self) {
        self.child = None;
    }

    /// The child, if there is one.
    #[cfg(test)]
    pub(crate) fn child(&self) -> Option<libc::pid_t> {
        self.child.as_ref().map(|child| child.pid)
    }
}

#[derive(Debug)]
struct Child {
    socket: OwnedFd,
    pid: libc::pid_t,
    left: &'static Left,
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: it is our child, and its end has not been taken notice of: the number is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        self.left.add(self.pid);
    }
}

impl Child {
    fn start(left: &'static Left, answer: fn(RawFd) -> !) -> Result<Self, Errno> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let unneeded = Unneeded::now();
        let errno = |error: nix::Error| Errno::from_raw_os_error(error as i32);
        // A child that begins with no signal delivered has none of this process's handlers run.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(errno)?;
        // Without a signal at its end: whoever waits for children does not mean this one.
        let (flags, zero): (libc::c_ulong, libc::c_ulong) = (0, 0);
        // SAFETY: a fork without flags: the child has a copy of everything, goes on here alone, and
        // does not come back.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) };
        if pid == 0 {
            child::settle(theirs.as_raw_fd(), &unneeded);
            answer(child::SOCKET);
        }
        before.thread_set_mask().map_err(errno)?;
        match libc::pid_t::try_from(pid) {
            Ok(pid) if pid > 0 => Ok(Self { socket, pid, left }),
            _ => Err(Errno::AGAIN),
        }
    }

    /// `EPIPE` when it had ended before, `ETIMEDOUT` when it does not say anything.
    fn ask(&self, question: &Question<'_>, into: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut more = SendAncillaryBuffer::new(&mut space);
        let with = question.with.as_slice();
        if !with.is_empty() {
            more.push(SendAncillaryMessage::ScmRights(with));
        }
        sendmsg(&self.socket, &[IoSlice::new(question.bytes)], &mut more, SendFlags::NOSIGNAL)
            .map_err(|_| Errno::PIPE)?;
        let mut left = TIMES;
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(question.patience)) {
                Ok(0) if left > 0 && self.waits_for_cpu() => left -= 1,
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Errno::PIPE),
            }
        }
        let (mut told, mut space) = ([0_u8; 4], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut more = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let parts = &mut [IoSliceMut::new(&mut told), IoSliceMut::new(into)];
        let received = recvmsg(&self.socket, parts, &mut more, flags).map_err(|_| Errno::PIPE)?;
        let filled = received.bytes.checked_sub(told.len()).ok_or(Errno::PIPE)?;
        let found = more.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match i32::from_ne_bytes(told) {
            0 => Ok((filled, found)),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }

    /// Whether it could go on if it had a CPU: nothing keeps it waiting but the load of this host.
    fn waits_for_cpu(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('R'))
    }
}
