//! The child that reads memory: what it leaves behind of its parent, and how it answers. It has
//! one thread, a copy of one of several: nothing it does takes a lock or allocates.

use std::ops::Range;
use std::os::fd::RawFd;

use super::{PART, PATH, QUESTION};

/// A child that is not asked for so long ends.
const IDLE_MS: libc::c_int = 5000;

/// Where this process keeps what it knows: its child would hold all of that for as long as it
/// lives, and this process a copy of each page that it has written to since.
pub(super) struct Unneeded {
    /// Begin and length. Not on the heap, which is among them.
    regions: [(usize, usize); 64],
    count: usize,
}

impl Unneeded {
    /// Regions of a mebibyte or more that are not of a file, but for those with the stack and the
    /// variables of this thread.
    pub(super) fn now() -> Self {
        let mut unneeded = Self { regions: [(0, 0); 64], count: 0 };
        // SAFETY: it tells where the thread's `errno` is, among its other variables.
        let kept = [(&raw const unneeded) as usize, unsafe { libc::__errno_location() } as usize];
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let regions = maps.lines().filter_map(large_and_anonymous);
        let regions = regions.filter(|region| !kept.iter().any(|at| region.contains(at)));
        for (place, region) in unneeded.regions.iter_mut().zip(regions) {
            *place = (region.start, region.len());
            unneeded.count += 1;
        }
        unneeded
    }
}

fn large_and_anonymous(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    let is_private = words.next()?.starts_with("rw-p");
    let is_anonymous = matches!(words.nth(3), None | Some("[heap]"));
    let region = address(start)?..address(end)?;
    (is_private && is_anonymous && region.len() >= 1 << 20).then_some(region)
}

/// The child: answers what is asked until nobody is there to ask, or has not for a while.
pub(super) fn answer(socket: RawFd, unneeded: &Unneeded) -> ! {
    // SAFETY: this process has one thread, a copy of one of several that may have had locks taken:
    // nothing here takes one or allocates, so the heap may go. Each call gets a place that lives as
    // long and is as large as it is told. What is not the socket is closed, so that no reader of our
    // output, no program and no client of an endpoint waits for one that was left behind.
    unsafe {
        for (start, len) in unneeded.regions.iter().take(unneeded.count) {
            libc::munmap(std::ptr::without_provenance_mut(*start), *len);
        }
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
    fn regions_of_no_file_are_told_from_others() {
        for (line, want) in [
            ("7f0000000000-7f0000100000 rw-p 00000000 00:00 0 ", Some(0x7f00_0000_0000..0x7f00_0010_0000)),
            (
                "550000000000-550000200000 rw-p 00000000 00:00 0      [heap]",
                Some(0x5500_0000_0000..0x5500_0020_0000),
            ),
            ("7f0000000000-7f00000ff000 rw-p 00000000 00:00 0 ", None),
            ("7f0000000000-7f0000100000 r--p 00000000 00:00 0 ", None),
            ("7f0000000000-7f0000100000 rw-s 00000000 00:00 0 ", None),
            ("7f0000000000-7f0000100000 rw-p 00000000 fe:01 7 /usr/bin/x", None),
            ("7f0000000000-7f0000100000 rw-p 00000000 00:00 0 [stack]", None),
            ("", None),
        ] {
            assert_eq!(large_and_anonymous(line), want, "{line}");
        }
    }
}
