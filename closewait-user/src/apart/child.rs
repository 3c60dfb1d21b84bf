//! The child's side: one thread, a copy of one of several that may have had locks taken. Nothing
//! here takes one or allocates.

use std::ops::Range;
use std::os::fd::RawFd;

/// A child that is not asked for so long ends: longer than from one look at threads to the next, since
/// to start one beside much memory takes some milliseconds.
const IDLE_MS: libc::c_int = 30_000;

/// Descriptors that are closed where that cannot be done at once.
const MAX_OPEN: RawFd = 4096;

/// What the work of children takes: CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
pub(crate) const RIGHTS: u32 = 1 << 2 | 1 << 19;

/// Where its socket is.
pub(super) const SOCKET: RawFd = 0;

/// Where this process keeps what it knows: its child would hold all of that for as long as it
/// lives, and this process a copy of each page that it has written to since.
pub(super) struct Unneeded {
    /// Begin and length. Not on the heap, which is among them.
    regions: [(usize, usize); 64],
    count: usize,
}

impl Unneeded {
    /// Regions of a mebibyte or more that are not of a file, but for those with the stack and the
    /// variables of this thread, and all that are shared: the ring, and copies of symbols.
    pub(super) fn now() -> Self {
        let mut all = Self { regions: [(0, 0); 64], count: 0 };
        // SAFETY: it tells where the thread's `errno` is, among its other variables.
        let kept = [(&raw const all) as usize, unsafe { libc::__errno_location() } as usize];
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let regions = maps.lines().filter_map(unneeded);
        let regions = regions.filter(|region| !kept.iter().any(|at| region.contains(at)));
        for (place, region) in all.regions.iter_mut().zip(regions) {
            *place = (region.start, region.len());
            all.count += 1;
        }
        all
    }
}

fn unneeded(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    let rights = words.next()?;
    let is_anonymous = matches!(words.nth(3), None | Some("[heap]"));
    let region = address(start)?..address(end)?;
    let is_large = rights.starts_with("rw-p") && is_anonymous && region.len() >= 1 << 20;
    (is_large || rights.ends_with('s')).then_some(region)
}

/// Has nothing but its socket, and its code: what is not needed is unmapped, and what is open closed,
/// so that no reader of our output, no program and no client of an endpoint waits for a child that
/// was left behind.
pub(super) fn settle(socket: RawFd, unneeded: &Unneeded) {
    // SAFETY: the heap may go, since nothing here uses it; other threads' stacks may, there are none.
    unsafe {
        for (start, len) in unneeded.regions.iter().take(unneeded.count) {
            libc::munmap(std::ptr::without_provenance_mut(*start), *len);
        }
        libc::dup2(socket, SOCKET);
        // systemd's lists of calls have not had it for long.
        if libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) != 0 {
            (1..MAX_OPEN).for_each(|fd| _ = libc::close(fd));
        }
        libc::prctl(libc::PR_SET_NAME, c"apart".as_ptr());
    }
    keep_rights(RIGHTS);
}

/// Of what this process may do, no more than `these` stays: it was perhaps begun before its parent
/// gave up what only its start takes.
fn keep_rights(these: u32) {
    // As capget(2) and capset(2) have it: version 3, this thread; effective, permitted and
    // inheritable capabilities, the low half of each first.
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut rights = [0_u32; 6];
    // SAFETY: the places live as long and are as large as that version says.
    unsafe {
        if libc::syscall(libc::SYS_capget, header.as_ptr(), rights.as_mut_ptr()) == 0 {
            rights.iter_mut().zip([these, these, 0, 0, 0, 0]).for_each(|(has, may)| *has &= may);
            libc::syscall(libc::SYS_capset, header.as_ptr(), rights.as_ptr());
        }
    }
}

/// Space for one descriptor beside a message: larger than `CMSG_SPACE(4)`, and aligned.
type Beside = [u64; 8];

/// Waits for a question that fills `question`, and the descriptor that came with it,
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

/// Answers with an errno, or with none and these bytes and, unless it is -1, a descriptor.
pub(crate) fn tell(socket: RawFd, errno: i32, bytes: &[u8], found: RawFd) {
    // SAFETY: as in `asked`.
    unsafe {
        let mut told = errno.to_ne_bytes();
        let mut parts = [
            libc::iovec { iov_base: told.as_mut_ptr().cast(), iov_len: told.len() },
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() },
        ];
        let mut space: Beside = [0; 8];
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _;
        if found >= 0 {
            let len: libc::c_uint = 4;
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

/// The errno of the call that failed last.
pub(crate) fn errno() -> i32 {
    // SAFETY: the place is that of this thread.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_told_from_the_rest() {
        for (line, want) in [
            ("7f0000000000-7f0000100000 rw-p 00000000 00:00 0 ", Some(0x7f00_0000_0000..0x7f00_0010_0000)),
            (
                "550000000000-550000200000 rw-p 00000000 00:00 0      [heap]",
                Some(0x5500_0000_0000..0x5500_0020_0000),
            ),
            ("7f0000000000-7f00000ff000 rw-p 00000000 00:00 0 ", None),
            ("7f0000000000-7f0000100000 r--p 00000000 00:00 0 ", None),
            (
                "7f0000000000-7f0000001000 r--s 00000000 00:0e 9 anon_inode:bpf-map",
                Some(0x7f00_0000_0000..0x7f00_0000_1000),
            ),
            (
                "7f0000000000-7f0000001000 rw-s 00000000 00:0e 9 anon_inode:bpf-map",
                Some(0x7f00_0000_0000..0x7f00_0000_1000),
            ),
            ("7f0000000000-7f0000100000 rw-p 00000000 fe:01 7 /usr/bin/x", None),
            ("7f0000000000-7f0000100000 rw-p 00000000 00:00 0 [stack]", None),
            ("", None),
        ] {
            assert_eq!(unneeded(line), want, "{line}");
        }
    }
}
