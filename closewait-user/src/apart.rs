//! Work that may stand still for ever, done by a process apart.
//!
//! A file system is served by whoever mounted it (FUSE takes no privilege), and who asks a server
//! that does not answer stands still where no signal ends it, SIGKILL included; a process ends when
//! all its threads have. So what may ask one is done by a child: it is given up after a time and
//! left behind. In: a question, and a descriptor or none; out: an errno, or a descriptor or none.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// While so many children are left behind none is started.
const MAX_LEFT: usize = 8;
/// Descriptors that are closed where that cannot be done at once.
const MAX_OPEN: RawFd = 4096;
/// A child that is not asked for so long ends.
const IDLE_MS: libc::c_int = 5000;

/// Children that are to be gone, each with what it was asked about last.
#[derive(Debug)]
pub(crate) struct Left {
    children: Mutex<Vec<(libc::pid_t, u64)>>,
    /// What is not done while they are too many.
    lost: &'static str,
}

impl Left {
    pub(crate) const fn new(lost: &'static str) -> Self {
        Self { children: Mutex::new(Vec::new()), lost }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(libc::pid_t, u64)>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, child: libc::pid_t, about: u64) {
        let mut children = self.lock();
        children.push((child, about));
        reap(&mut children);
        if children.len() == MAX_LEFT {
            log::warn!(
                "{MAX_LEFT} processes wait for file systems that do not answer: {} meanwhile",
                self.lost
            );
        }
    }

    /// Whether something may be asked about this: not while a child stands still for it.
    pub(crate) fn allows(&self, about: u64) -> bool {
        let mut children = self.lock();
        reap(&mut children);
        children.len() < MAX_LEFT && children.iter().all(|&(_, of)| of != about)
    }
}

/// Takes notice of the end of children, which no signal tells.
fn reap(children: &mut Vec<(libc::pid_t, u64)>) {
    children.retain(|&(child, _)| {
        // SAFETY: waitpid without a place for the status writes nothing here; they are our children.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) == 0 }
    });
}

/// A child, with the rights of the thread that started it.
#[derive(Debug)]
pub(crate) struct Apart {
    socket: OwnedFd,
    child: libc::pid_t,
    about: u64,
    left: &'static Left,
}

impl Drop for Apart {
    fn drop(&mut self) {
        // SAFETY: it is our child, and its end has not been taken notice of: the number is its own.
        unsafe { libc::kill(self.child, libc::SIGKILL) };
        self.left.add(self.child, self.about);
    }
}

impl Apart {
    /// Starts one that is to `answer`, which is given its socket: in a copy of this process with
    /// one thread, which may have left locks taken, so that it may neither take any nor allocate.
    pub(crate) fn start(left: &'static Left, answer: fn(RawFd) -> !) -> Result<Self, Errno> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let errno = |error: nix::Error| Errno::from_raw_os_error(error as i32);
        // A child that begins with no signal delivered has none of this process's handlers run.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(errno)?;
        // Without a signal at its end: whoever waits for children does not mean this one.
        let (flags, zero): (libc::c_ulong, libc::c_ulong) = (0, 0);
        // SAFETY: a fork without flags: the child has a copy of everything, goes on here alone, and
        // does not come back. What is not its socket is closed, so that no reader of our output, no
        // program and no client of an endpoint waits for one that was left behind.
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                libc::dup2(theirs.as_raw_fd(), 0);
                // systemd's lists of calls have not had it for long.
                if libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) != 0 {
                    (1..MAX_OPEN).for_each(|fd| _ = libc::close(fd));
                }
                libc::prctl(libc::PR_SET_NAME, c"apart".as_ptr());
            }
            answer(0);
        }
        before.thread_set_mask().map_err(errno)?;
        match libc::pid_t::try_from(child) {
            Ok(child) if child > 0 => Ok(Self { socket, child, about: u64::MAX, left }),
            _ => Err(Errno::AGAIN),
        }
    }

    /// What it says; `EPIPE` when it had ended before, `ETIMEDOUT` when it does not say anything.
    pub(crate) fn ask(
        &mut self,
        about: u64,
        question: &[u8],
        with: Option<BorrowedFd<'_>>,
        patience: &Timespec,
    ) -> Result<Option<OwnedFd>, Errno> {
        self.about = about;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut more = SendAncillaryBuffer::new(&mut space);
        let with: &[BorrowedFd<'_>] = with.as_slice();
        if !with.is_empty() {
            more.push(SendAncillaryMessage::ScmRights(with));
        }
        sendmsg(&self.socket, &[IoSlice::new(question)], &mut more, SendFlags::NOSIGNAL)
            .map_err(|_| Errno::PIPE)?;
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(patience)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Errno::PIPE),
            }
        }
        let (mut told, mut space) = ([0_u8; 4], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut more = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut told)], &mut more, flags);
        if received.map_err(|_| Errno::PIPE)?.bytes != told.len() {
            return Err(Errno::PIPE);
        }
        let found = more.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match i32::from_ne_bytes(told) {
            0 => Ok(found),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

/// Space for one descriptor beside a message: larger than `CMSG_SPACE(4)`, and aligned.
type Beside = [u64; 8];

/// In the child: waits for a question that fills `question`, and the descriptor that came with it,
/// or -1. Ends when nobody is there to ask, or has not for a while.
pub(crate) fn asked(socket: RawFd, question: &mut [u8]) -> RawFd {
    // SAFETY: each call gets a place that lives as long and is as large as it is told.
    unsafe {
        let mut ready = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
        let mut part = libc::iovec { iov_base: question.as_mut_ptr().cast(), iov_len: question.len() };
        let mut space: Beside = [0; 8];
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Beside>() as _;
        if libc::poll(&raw mut ready, 1, IDLE_MS) <= 0
            || libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) != question.len().cast_signed()
        {
            libc::_exit(0);
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() { -1 } else { libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned() }
    }
}

/// In the child: answers with an errno, or with none and, unless it is -1, a descriptor.
pub(crate) fn tell(socket: RawFd, errno: i32, found: RawFd) {
    // SAFETY: as in `asked`.
    unsafe {
        let mut told = errno.to_ne_bytes();
        let mut part = libc::iovec { iov_base: told.as_mut_ptr().cast(), iov_len: told.len() };
        let mut space: Beside = [0; 8];
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if found >= 0 {
            // Bytes of a descriptor.
            let len = 4;
            message.msg_control = space.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(len) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(len) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(found);
        }
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL);
    }
}

/// In the child: the errno of the call that failed last.
pub(crate) fn errno() -> i32 {
    // SAFETY: the place is that of this thread.
    unsafe { *libc::__errno_location() }
}
