//! Attaching a program to a classic tracepoint by its id, without tracefs in sight.
//! (The library's own way looks the id up in a mounted tracefs.)

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `PERF_TYPE_TRACEPOINT` (include/uapi/linux/perf_event.h).
const PERF_TYPE_TRACEPOINT: u32 = 2;
/// `PERF_ATTR_SIZE_VER0`: the first, and smallest, `struct perf_event_attr`.
const ATTR_SIZE: usize = 64;
/// `_IOW('$', 8, __u32)`
const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
/// `_IO('$', 0)`
const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;
/// Close on exec.
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// Attaches `program` to the tracepoint `id`; it stays attached until the returned
/// descriptor is closed, by whatever ends this process. The program runs on all
/// CPUs; `cpu` only has to be an online one.
pub(super) fn attach(program: BorrowedFd<'_>, id: u32, cpu: u32) -> io::Result<OwnedFd> {
    let mut attr = [0_u8; ATTR_SIZE];
    attr[0..4].copy_from_slice(&PERF_TYPE_TRACEPOINT.to_ne_bytes());
    attr[4..8].copy_from_slice(&u32::try_from(ATTR_SIZE).unwrap_or(0).to_ne_bytes());
    attr[8..16].copy_from_slice(&u64::from(id).to_ne_bytes());
    // SAFETY: `attr` is a perf_event_attr of the size it states and outlives the call;
    // pid -1 with a cpu and no group is a valid combination.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), -1, cpu, -1, PERF_FLAG_FD_CLOEXEC) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    let event = unsafe { OwnedFd::from_raw_fd(fd) };
    for (request, argument) in [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)] {
        // SAFETY: both requests take an integer.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}
