//! Sockets of other processes, looked at without waiting for anybody.
//!
//! In: a process and its descriptor that was a socket a moment ago; out: the socket's protocol, or
//! a duplicate of it. Its owner may have put a file there meanwhile. Whoever serves that file (FUSE
//! takes no privilege) is asked for its attributes, and is told of each close (`FUSE_FLUSH`), and
//! need never answer: who waits for that stands still where no signal ends it, SIGKILL included.
//! So nothing is asked of what is not known to be a socket, and duplicates are made by a child,
//! which can be left behind with what turns out to be none: it has one close for each.

use std::cell::RefCell;
use std::ffi::c_void;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, send, socketpair,
};

use super::holders::socket_inode;

/// To answer, which takes some microseconds.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// While so many children are left behind none is started.
const MAX_LEFT: usize = 8;
/// A child that is not asked for so long ends.
const IDLE_MS: libc::c_int = 5000;
/// Bytes of a question: process, descriptor, inode.
const QUESTION: usize = 4 + 4 + 8;

/// Whether a descriptor is a socket now, of a protocol whose name is `wanted`: sockets have it as
/// an extended attribute (`sockfs_xattr_get` in net/socket.c), with a zero at its end.
pub(super) fn is_of_protocol(pid: u32, fd: u32, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let path = format!("/proc/{pid}/fd/{fd}");
    // Asks nobody, and is the same file from here on.
    let Ok(held) = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let (mut link, mut name) = ([MaybeUninit::<u8>::uninit(); 32], [0_u8; 32]);
    rustix::fs::readlinkat_raw(CWD, &path, &mut link).is_ok_and(|(link, _)| socket_inode(link).is_some())
        && rustix::fs::getxattr(path, "system.sockprotoname", &mut name)
            .is_ok_and(|len| name.get(..len).is_some_and(wanted))
}

/// A duplicate of descriptor `fd` of process `pid`, if that is the socket with this inode.
///
/// # Errors
/// `ESTALE` when it is another one by now, `ENOTSOCK` when it is none, `ETIMEDOUT` and `EAGAIN`
/// when nobody is there to make one; else those of `pidfd_open` and `pidfd_getfd`.
pub(super) fn socket(pid: u32, fd: u32, inode: u64) -> Result<OwnedFd, Errno> {
    let mut question = [0; QUESTION];
    question[..4].copy_from_slice(&pid.to_ne_bytes());
    question[4..8].copy_from_slice(&fd.to_ne_bytes());
    question[8..].copy_from_slice(&inode.to_ne_bytes());
    BORROWER.with_borrow_mut(|borrower| {
        // One that was idle has ended.
        for _ in 0..2 {
            let there = match borrower.take() {
                Some(there) => there,
                None => Borrower::start(pid)?,
            };
            match there.ask(&question) {
                Err(Errno::PIPE) => {}
                Err(gone @ (Errno::NOTSOCK | Errno::TIMEDOUT)) => {
                    there.is_left(pid);
                    return Err(gone);
                }
                answer => {
                    *borrower = Some(there);
                    return answer;
                }
            }
        }
        Err(Errno::AGAIN)
    })
}

thread_local! {
    /// It has the rights of the thread that it duplicates for.
    static BORROWER: RefCell<Option<Borrower>> = const { RefCell::new(None) };
}

/// Children that are to be gone, and whose descriptor was the last that they were asked for.
#[derive(Debug)]
struct Left {
    children: Vec<(libc::pid_t, u32)>,
    /// Whether it was told that they are too many.
    told: bool,
}

static LEFT: Mutex<Left> = Mutex::new(Left { children: Vec::new(), told: false });

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Left {
    /// Takes notice of the end of children, which no signal tells.
    fn reap(&mut self) {
        self.children.retain(|&(child, _)| {
            // SAFETY: waitpid without a place for the status writes nothing here; they are our children.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) == 0 }
        });
    }

    /// Whether a child may be started for a descriptor of `pid`.
    fn allows(&mut self, pid: u32) -> bool {
        self.reap();
        let full = self.children.len() >= MAX_LEFT;
        if full && !std::mem::replace(&mut self.told, true) {
            log::warn!(
                "descriptors of process {pid} and others become files that are not let go of when they are closed \
                 (a file system that does not answer?): sockets are not looked into by descriptor meanwhile"
            );
        }
        !full && self.children.iter().all(|&(_, of)| of != pid)
    }
}

/// A child that duplicates.
#[derive(Debug)]
struct Borrower {
    socket: OwnedFd,
    child: libc::pid_t,
    blamed: u32,
}

impl Drop for Borrower {
    fn drop(&mut self) {
        // SAFETY: it is our child, and its end has not been taken notice of: the number is its own.
        unsafe { libc::kill(self.child, libc::SIGKILL) };
        let mut left = left();
        left.children.push((self.child, self.blamed));
        left.reap();
    }
}

impl Borrower {
    fn start(pid: u32) -> Result<Self, Errno> {
        if !left().allows(pid) {
            return Err(Errno::AGAIN);
        }
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let errno = |error: nix::Error| Errno::from_raw_os_error(error as i32);
        // A child that begins with no signal delivered has none of this process's handlers run.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(errno)?;
        // Without a signal at its end: whoever waits for children does not mean this one.
        let (flags, zero): (libc::c_ulong, libc::c_ulong) = (0, 0);
        // SAFETY: a fork without flags: the child has a copy of everything, goes on here alone, and
        // does not come back.
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) };
        if child == 0 {
            answer(theirs.as_raw_fd());
        }
        before.thread_set_mask().map_err(errno)?;
        match libc::pid_t::try_from(child) {
            Ok(child) if child > 0 => Ok(Self { socket, child, blamed: 0 }),
            _ => Err(Errno::AGAIN),
        }
    }

    /// It ends now, or stands still.
    fn is_left(mut self, pid: u32) {
        self.blamed = pid;
    }

    /// What it says; `EPIPE` when it has ended before.
    fn ask(&self, question: &[u8]) -> Result<OwnedFd, Errno> {
        send(&self.socket, question, SendFlags::NOSIGNAL).map_err(|_| Errno::PIPE)?;
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&PATIENCE)) {
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
        let socket = more.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        socket.ok_or(match i32::from_ne_bytes(told) {
            // No descriptor is free for it here.
            0 => Errno::MFILE,
            errno => Errno::from_raw_os_error(errno),
        })
    }
}

/// The child: answers what is asked until nobody is there to ask, or has not for a while.
fn answer(socket: RawFd) -> ! {
    // SAFETY: this process has one thread, a copy of one that may have left locks taken: nothing
    // here takes one or allocates. Each call gets a place that lives as long and is as large as it
    // is told. What is not the socket is closed, so that no reader of our output, no program and no
    // client of an endpoint waits for one that was left behind.
    unsafe {
        libc::dup2(socket, 0);
        libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32);
        libc::prctl(libc::PR_SET_NAME, c"sockets".as_ptr());
        let mut question = [0_u8; QUESTION];
        loop {
            let mut ready = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
            if libc::poll(&raw mut ready, 1, IDLE_MS) <= 0
                || libc::read(0, question.as_mut_ptr().cast(), QUESTION) != QUESTION.cast_signed()
            {
                libc::_exit(0);
            }
            let number = |at: usize| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&question[at..at + 4]);
                i32::from_ne_bytes(bytes)
            };
            let mut inode = [0; 8];
            inode.copy_from_slice(&question[8..]);
            match duplicate(number(0), number(4), u64::from_ne_bytes(inode)) {
                Ok(found) => {
                    tell(0, Some(found));
                    libc::close(found);
                }
                Err(libc::ENOTSOCK) => {
                    tell(libc::ENOTSOCK, None);
                    // That closes it, which may take for ever.
                    libc::_exit(0);
                }
                Err(errno) => tell(errno, None),
            }
        }
    }
}

/// The descriptor, in the child; where it is no socket it stays open.
unsafe fn duplicate(pid: i32, fd: i32, inode: u64) -> Result<RawFd, i32> {
    // SAFETY: as in `answer`.
    unsafe {
        let errno = || *libc::__errno_location();
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if process < 0 {
            return Err(errno());
        }
        let found = libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0);
        let failed = errno();
        libc::close(process as RawFd);
        if found < 0 {
            return Err(failed);
        }
        let found = found as RawFd;
        let (mut domain, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
        let value = (&raw mut domain).cast::<c_void>();
        // What is no socket is not asked (sockfd_lookup_light in net/socket.c).
        if libc::getsockopt(found, libc::SOL_SOCKET, libc::SO_DOMAIN, value, &raw mut len) != 0 {
            return Err(libc::ENOTSOCK);
        }
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(found, &raw mut stat) != 0 || stat.st_ino != inode {
            libc::close(found);
            return Err(libc::ESTALE);
        }
        Ok(found)
    }
}

/// Answers, in the child: an error, or none and a descriptor.
unsafe fn tell(errno: i32, found: Option<RawFd>) {
    // SAFETY: as in `answer`; the space for one descriptor is as large and as aligned as the
    // macros of cmsg(3) ask for.
    unsafe {
        let mut told = errno.to_ne_bytes();
        let mut part = libc::iovec { iov_base: told.as_mut_ptr().cast(), iov_len: told.len() };
        let mut space = [0_u64; 8];
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(found) = found {
            let len = size_of::<RawFd>() as libc::c_uint;
            message.msg_control = space.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(len) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(len) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(found);
        }
        libc::sendmsg(0, &raw const message, libc::MSG_NOSIGNAL);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn only_the_socket_that_was_meant_is_duplicated() {
        let me = std::process::id();
        let (udp, (unix, _other)) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UnixStream::pair().unwrap());
        let file = File::open("/proc/self/stat").unwrap();
        let fd = |of: RawFd| of.cast_unsigned();
        let inode = rustix::fs::fstat(&udp).unwrap().st_ino;
        for _ in 0..1000 {
            let duplicate = socket(me, fd(udp.as_raw_fd()), inode).unwrap();
            assert_eq!(rustix::fs::fstat(&duplicate).unwrap().st_ino, inode);
        }
        let of = |fd| socket(me, fd, inode).unwrap_err();
        assert_eq!(of(fd(unix.as_raw_fd())), Errno::STALE);
        assert_eq!(of(u32::MAX), Errno::BADF);
        assert_eq!(of(fd(file.as_raw_fd())), Errno::NOTSOCK);
        // Another child takes the place of the one that has ended with that, once it has.
        let deadline = Clock::mono_now() + Duration::from_secs(10);
        while socket(me, fd(udp.as_raw_fd()), inode).is_err() {
            assert!(Clock::mono_now() < deadline, "no child was started");
        }
        assert_eq!(socket(u32::MAX, 0, inode).unwrap_err(), Errno::INVAL);

        let is = |fd, wanted: &[u8]| is_of_protocol(me, fd, |name| name == wanted);
        assert!(is(fd(udp.as_raw_fd()), b"UDP\0") && !is(fd(udp.as_raw_fd()), b"TCP\0"));
        assert!(is_of_protocol(me, fd(unix.as_raw_fd()), |name| name.starts_with(b"UNIX")));
        assert!(!is_of_protocol(me, fd(file.as_raw_fd()), |_| true));
    }
}
