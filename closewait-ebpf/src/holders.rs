//! `iter/task_file`: every descriptor of every task, of which userspace gets those on
//! TCP sockets. It runs only while userspace reads from the iterator, in its context.
//!
//! The kernel shows the tasks of the reader's pid namespace and of those below it, and
//! a thread that shares its leader's table only once, with the leader
//! (task_seq_get_next in kernel/bpf/task_iter.c). It holds the file while the program
//! runs, so the socket is alive; when the buffer is full it shows the file again.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{bpf_get_current_task, bpf_seq_write},
};
use closewait_ebpf::{
    ABSENT, Held, held_flags,
    tcp_state::{ESTABLISHED, IPPROTO_TCP, SYN_RECV, SYN_SENT},
};

use crate::{
    memory::read,
    sock::{Head, Number, Sock, is_tcp, sport},
    tunables::{ONLY_NETNS, offset},
};

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
/// include/linux/net.h
const SOCK_STREAM: u16 = 1;
/// `sizeof(struct upid)`: a number and a pointer (include/linux/pid.h).
const UPID_SIZE: u64 = 16;

/// What the kernel gives the program: `struct bpf_iter__task_file`, unchanged since 5.8.
#[repr(C)]
struct TaskFile {
    /// `struct bpf_iter_meta`, whose first member is the `seq_file` to write to.
    meta: *const *mut seq_file,
    /// Null at the end.
    task: *const c_void,
    fd: u32,
    file: *const c_void,
}

// aya-ebpf has no macro for iterators; this is what its other macros expand to.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn iter_task_file(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel passes this structure; each member is one load at a fixed
    // offset, which the verifier checks.
    let (meta, task, fd, file) = unsafe {
        let ctx = &*ctx;
        (
            (&raw const ctx.meta).read_volatile(),
            (&raw const ctx.task).read_volatile(),
            (&raw const ctx.fd).read_volatile(),
            (&raw const ctx.file).read_volatile(),
        )
    };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let (task, file) = (task as u64, file as u64);
    // SAFETY: integers; what cannot be read reads as zero.
    let (mode, inode, socket) = unsafe {
        let inode: u64 = read(file + u64::from(offset!(file_f_inode)));
        (
            read::<u16>(inode + u64::from(offset!(inode_i_mode))),
            read::<u64>(inode + u64::from(offset!(inode_i_ino))),
            read::<u64>(file + u64::from(offset!(file_private_data))),
        )
    };
    if mode & S_IFMT != S_IFSOCK {
        return 0;
    }
    // SAFETY: as above. A socket opened by its path (O_PATH) has no private data.
    let (back, kind, sk) = unsafe {
        (
            read::<u64>(socket + u64::from(offset!(socket_file))),
            read::<u16>(socket + u64::from(offset!(socket_type))),
            read::<u64>(socket + u64::from(offset!(socket_sk))),
        )
    };
    if back != file || kind != SOCK_STREAM {
        return 0;
    }
    let head = Number(sk).head();
    let state = head.state();
    if !head.is_inet()
        // Most sockets of a busy host, and of no interest here.
        || (state == ESTABLISHED || state == SYN_SENT || state == SYN_RECV)
    {
        return 0;
    }
    let (protocol, netns) = (Number(sk).protocol(), head.netns());
    let only = ONLY_NETNS.load();
    if !is_tcp(protocol) || (only != 0 && only != netns) {
        return 0;
    }
    let (tgid, tid) = ids(task);
    // SAFETY: as above.
    let (error, shutdown) = unsafe {
        (read::<u32>(sk + u64::from(offset!(sk_err))), read::<u8>(sk + u64::from(offset!(sk_shutdown))))
    };
    let mut held = Held {
        skaddr: sk,
        inode,
        active_us: active(sk, protocol),
        tgid,
        tid,
        fd,
        netns,
        error,
        sport: sport(sk),
        dport: head.dport(),
        family: head.family(),
        protocol,
        state,
        // Two bits; those above them are not ours where it is a bit field.
        shutdown: shutdown & 3,
        flags: cloexec(task, fd) | connected(sk, protocol),
        reserved: 0,
        saddr: [0; 16],
        daddr: [0; 16],
    };
    // SAFETY: as long as they are, and at multiples of four in the record.
    unsafe { head.addresses(held.saddr.as_mut_ptr(), held.daddr.as_mut_ptr()) };
    // SAFETY: the record is whole and outlives the call; `meta` is the kernel's. What does
    // not fit is written again when there is room, so the result needs no look.
    unsafe { bpf_seq_write(*meta, (&raw const held).cast(), Held::SIZE as u32) };
    0
}

/// Process and thread id as the reader's pid namespace numbers them.
#[inline(always)]
fn ids(task: u64) -> (u32, u32) {
    // SAFETY: integers. A task that has just been released has no pid: 0.
    unsafe {
        let own: u64 = read(bpf_get_current_task() + u64::from(offset!(task_thread_pid)));
        let level: u32 = read(own + u64::from(offset!(pid_level)));
        let number = u64::from(offset!(pid_numbers)) + u64::from(level) * UPID_SIZE;
        let leader: u64 = read(task + u64::from(offset!(task_group_leader)));
        let of_leader: u64 = read(leader + u64::from(offset!(task_thread_pid)));
        let of_task: u64 = read(task + u64::from(offset!(task_thread_pid)));
        (read(of_leader + number), read(of_task + number))
    }
}

/// Whether the descriptor is closed on exec, from the bitmap of its table.
#[inline(always)]
fn cloexec(task: u64, fd: u32) -> u8 {
    if offset!(fdt_close_on_exec) == ABSENT {
        return 0;
    }
    // SAFETY: integers. The table may be replaced by a larger one meanwhile; the old one
    // stays as it was for a grace period.
    unsafe {
        let files: u64 = read(task + u64::from(offset!(task_files)));
        let fdt: u64 = read(files + u64::from(offset!(files_fdt)));
        let bits: u64 = read(fdt + u64::from(offset!(fdt_close_on_exec)));
        if bits == 0 {
            return 0;
        }
        let byte: u8 = read(bits + u64::from(fd / 8));
        held_flags::CLOEXEC_KNOWN | (byte >> (fd % 8) & 1) * held_flags::CLOEXEC
    }
}

/// When TCP last had to do with the socket: it stamps every segment it gets or sends,
/// and a timer that gives up (tcp_mstamp_refresh).
#[inline(always)]
fn active(sk: u64, protocol: u16) -> u64 {
    if protocol != IPPROTO_TCP || offset!(tcp_mstamp) == ABSENT {
        return 0;
    }
    // SAFETY: an integer.
    unsafe { read(sk + u64::from(offset!(tcp_mstamp))) }
}

/// Whether the socket was ever connected: bytes went over it, or a round trip was
/// measured, as the handshake does. `tcp_disconnect` forgets all three, so a socket that
/// its application has taken back counts as new; a refused connect() has none of them.
#[inline(always)]
fn connected(sk: u64, protocol: u16) -> u8 {
    if protocol != IPPROTO_TCP || offset!(tcp_bytes_acked) == ABSENT {
        return 0;
    }
    // SAFETY: integers.
    let (acked, received, srtt) = unsafe {
        (
            read::<u64>(sk + u64::from(offset!(tcp_bytes_acked))),
            read::<u64>(sk + u64::from(offset!(tcp_bytes_received))),
            read::<u32>(sk + u64::from(offset!(tcp_srtt_us))),
        )
    };
    if acked | received | u64::from(srtt) == 0 { 0 } else { held_flags::WAS_CONNECTED }
}
