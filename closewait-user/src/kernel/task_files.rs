//! The BPF iterator over descriptors (`iter_task_file`): a link to the loaded program,
//! and a pass over all descriptors each time it is read. In: the program. Out:
//! [`Held`] records. It keeps no state between passes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use closewait_ebpf::Held;

/// Commands and an attach type of include/uapi/linux/bpf.h.
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// The kernel fills at most 8 pages at a time (bpf_seq_read), and gives whole records.
const BUFFER: usize = 64 << 10;

/// The iterator, attached to nothing but itself: it runs when it is read.
#[derive(Debug)]
pub struct TaskFiles {
    link: OwnedFd,
}

impl TaskFiles {
    /// Of a loaded program of type `iter/task_file`.
    pub(super) fn new(program: BorrowedFd<'_>) -> io::Result<Self> {
        // prog_fd, target_fd, attach_type, flags, iter_info, iter_info_len
        let program = program.as_raw_fd().cast_unsigned();
        let link = bpf(BPF_LINK_CREATE, &[program, 0, BPF_TRACE_ITER, 0, 0, 0, 0, 0])?;
        Ok(Self { link })
    }

    /// Gives `each` every descriptor on a TCP socket that is not ESTABLISHED or being
    /// connected, of every process that this one's pid namespace has. A pass is not a
    /// moment: a descriptor that is handed on meanwhile may be missed, or seen twice.
    pub fn pass(&self, mut each: impl FnMut(&Held)) -> io::Result<()> {
        let mut file = File::from(bpf(BPF_ITER_CREATE, &[self.link.as_raw_fd().cast_unsigned(), 0])?);
        let mut buf = vec![0; BUFFER];
        loop {
            let len = match file.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(len) => len,
                // After a million descriptors without a record the kernel pauses.
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(e) => return Err(e),
            };
            let mut records = buf.get(..len).unwrap_or_default();
            while !records.is_empty() {
                each(&Held::read(&mut records).map_err(io::Error::other)?);
            }
        }
    }
}

/// The system call, for commands that return a descriptor.
fn bpf(command: libc::c_long, attr: &[u32]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `attr` only, as many bytes as are stated, and takes those
    // beyond as zero.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given us this descriptor.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
