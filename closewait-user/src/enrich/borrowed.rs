//! Sockets of other processes, looked at without waiting for anybody.
//!
//! In: a process and its descriptor that was a socket a moment ago; out: the socket's protocol, or
//! a duplicate of it. Its owner may have put a file there meanwhile. Whoever serves that file (FUSE
//! takes no privilege) is asked for its attributes, and is told of each close (`FUSE_FLUSH`), and
//! need never answer: who waits for that stands still where no signal ends it, SIGKILL included.
//! So nothing is asked of what is not known to be a socket, and duplicates are made by a child,
//! which is left behind with what turns out to be none (see [`crate::apart`]).

use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::holders::socket_inode;
use crate::apart::{Apart, Left, asked, errno, tell};

/// To answer, which takes some microseconds.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Bytes of a question: process, descriptor, inode.
const QUESTION: usize = 4 + 4 + 8;

static LEFT: Left = Left::new("sockets are not looked into by their descriptors");

thread_local! {
    static BORROWER: RefCell<Option<Apart>> = const { RefCell::new(None) };
}

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
            if !LEFT.allows(pid.into()) {
                return Err(Errno::AGAIN);
            }
            let mut there = match borrower.take() {
                Some(there) => there,
                None => Apart::start(&LEFT, answer)?,
            };
            match there.ask(pid.into(), &question, None, &PATIENCE) {
                Err(Errno::PIPE) => {}
                // It ends now, or stands still.
                Err(gone @ (Errno::NOTSOCK | Errno::TIMEDOUT)) => return Err(gone),
                answer => {
                    *borrower = Some(there);
                    // Without one: no descriptor is free for it here.
                    return answer?.ok_or(Errno::MFILE);
                }
            }
        }
        Err(Errno::AGAIN)
    })
}

fn answer(socket: RawFd) -> ! {
    loop {
        let mut question = [0_u8; QUESTION];
        asked(socket, &mut question);
        let number = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&question[at..at + 4]);
            i32::from_ne_bytes(bytes)
        };
        let mut inode = [0; 8];
        inode.copy_from_slice(&question[8..]);
        match duplicate(number(0), number(4), u64::from_ne_bytes(inode)) {
            Ok(found) => {
                tell(socket, 0, found);
                // SAFETY: it is ours, and a socket.
                unsafe { libc::close(found) };
            }
            Err(errno) => {
                tell(socket, errno, -1);
                if errno == libc::ENOTSOCK {
                    // SAFETY: that closes it, which may take for ever.
                    unsafe { libc::_exit(0) };
                }
            }
        }
    }
}

/// The descriptor, in the child; where it is no socket it stays open.
fn duplicate(pid: i32, fd: i32, inode: u64) -> Result<RawFd, i32> {
    // SAFETY: each call gets a place that lives as long and is as large as it is told.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if process < 0 {
            return Err(errno());
        }
        let found = libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0);
        let failed = errno();
        libc::close(RawFd::try_from(process).unwrap_or(-1));
        if found < 0 {
            return Err(failed);
        }
        let found = RawFd::try_from(found).unwrap_or(-1);
        let (mut domain, mut len) = (0_i32, 4);
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
