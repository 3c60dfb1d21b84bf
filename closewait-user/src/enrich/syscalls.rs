//! Names of the system calls that threads wait in, and what their arguments are.

/// The name of a call that may wait, by its number on this machine; `None` for one
/// that is not listed here.
pub(super) fn name(number: i64) -> Option<&'static str> {
    let (_, name) = [COMMON, OLD].into_iter().flatten().find(|(of, _)| *of == number)?;
    name.strip_prefix("SYS_")
}

/// What the first argument of a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    /// A file descriptor.
    Fd,
    /// A file descriptor, and the second argument an address to connect it to.
    Connect,
    /// An array of `struct pollfd`, and the second argument its length.
    PollFds,
    /// Nothing that can be named.
    Other,
}

/// What the first argument of the call is.
pub(super) fn first(name: &str) -> First {
    match name {
        "connect" => First::Connect,
        "poll" | "ppoll" => First::PollFds,
        "accept" | "accept4" | "close" | "epoll_pwait" | "epoll_pwait2" | "epoll_wait" | "fallocate"
        | "fcntl" | "fdatasync" | "flock" | "fsync" | "ftruncate" | "io_uring_enter" | "ioctl"
        | "pread64" | "pwrite64" | "read" | "readv" | "recvfrom" | "recvmmsg" | "recvmsg" | "sendfile"
        | "sendmmsg" | "sendmsg" | "sendto" | "splice" | "write" | "writev" => First::Fd,
        _ => First::Other,
    }
}

macro_rules! calls {
    ($($call:ident)*) => { &[$((libc::$call, stringify!($call))),*] };
}

const COMMON: &[(libc::c_long, &str)] = calls! {
    SYS_accept SYS_accept4 SYS_clock_nanosleep SYS_close SYS_connect SYS_epoll_pwait SYS_epoll_pwait2
    SYS_exit_group SYS_fallocate SYS_fcntl SYS_fdatasync SYS_flock SYS_fsync SYS_ftruncate SYS_futex
    SYS_io_getevents SYS_io_uring_enter SYS_ioctl SYS_madvise SYS_mmap SYS_mq_timedreceive
    SYS_mq_timedsend SYS_msgrcv SYS_msgsnd SYS_munmap SYS_nanosleep SYS_openat SYS_ppoll SYS_pread64
    SYS_pselect6 SYS_pwrite64 SYS_read SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg
    SYS_restart_syscall SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_sched_yield SYS_semop SYS_semtimedop
    SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_splice SYS_statx SYS_unlinkat SYS_wait4
    SYS_waitid SYS_write SYS_writev
};

/// Calls that newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLD: &[(libc::c_long, &str)] =
    calls! { SYS_epoll_wait SYS_open SYS_pause SYS_poll SYS_select SYS_vfork };
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(libc::c_long, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_names_people_know() {
        assert_eq!(name(libc::SYS_accept4), Some("accept4"));
        assert_eq!(name(libc::SYS_getpid), None);
        assert_eq!(name(-1), None);
        assert_eq!(
            ["connect", "ppoll", "read", "futex"].map(first),
            [First::Connect, First::PollFds, First::Fd, First::Other]
        );
    }
}
