//! Who opened a socket: the task that connected or accepted it, remembered in the
//! `SOCKETS` map. Nothing is sent, except the first time a call path is seen.
//!
//! Connect is an edge of `inet_sock_set_state`. Accept has four hooks; the loader
//! attaches the cheapest this kernel allows: `security_sock_graft`, which an accept
//! calls with the new socket, by trampoline or by kprobe; or the return of the
//! syscall, which gives a descriptor, from which the file and the socket are reached.
//! An accept by io_uring is no syscall; its completion event is one more hook beside
//! the last.
//!
//! Not the return of `inet_csk_accept`: that function sleeps. A task that sleeps in it
//! when any program is attached or detached returns past the trampoline's programs
//! (bpf_tramp_image_put), on 5.10 the trampoline may even be freed under it, and a
//! kretprobe runs out of instances with a few sleepers.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, kprobe, tracepoint},
    programs::{FEntryContext, ProbeContext, TracePointContext},
};
use aya_log_ebpf::debug;
use closewait_ebpf::{Opened, Remembered, Task, counter, via};

use crate::{
    capture::{member, running_task},
    family,
    maps::{self, SOCKETS, desk},
    memory::{plain, read},
    nesting::Run,
    sock::{Ends, Number, Sock, Typed, is_tcp},
    transitions,
    tunables::{ONLY_NETNS, offset},
    user_stack,
};

/// `IORING_OP_ACCEPT` (include/uapi/linux/io_uring.h).
const IORING_OP_ACCEPT: u8 = 13;

/// Where a syscall's return value is in its event, unless a vendor has shifted it.
const USUAL_RET: u16 = 16;

/// `security_sock_graft(sk, parent)`: an accepted socket gets its file.
#[fentry(function = "security_sock_graft")]
fn accept_fentry(ctx: FEntryContext) -> i32 {
    opened_if_ours(&ctx, Typed(ctx.arg(0)), via::ACCEPT_FENTRY, -1)
}

#[kprobe]
fn accept_kprobe(ctx: ProbeContext) -> i32 {
    opened_if_ours(&ctx, Number(ctx.arg(0).unwrap_or(0)), via::ACCEPT_KPROBE, -1)
}

/// On `syscalls:sys_exit_accept` and `sys_exit_accept4`.
#[tracepoint(category = "syscalls", name = "sys_exit_accept4")]
fn accept_syscall(ctx: TracePointContext) -> i32 {
    let record = ctx.as_ptr().cast::<u8>();
    // SAFETY: an integer. A load, where it is in its usual place: an offset of its own the verifier
    // takes in the instruction only, and a call of the helper costs more than the rest of this.
    let ret: i64 = unsafe {
        if offset!(tp_accept_ret) == USUAL_RET {
            record.add(USUAL_RET as usize).cast::<i64>().read_volatile()
        } else {
            read(record as u64 + u64::from(offset!(tp_accept_ret)))
        }
    };
    if ret < 0 {
        return 0;
    }
    installed(&ctx, ret as u32, via::ACCEPT_SYSCALL)
}

#[tracepoint(category = "io_uring", name = "io_uring_complete")]
fn accept_uring(ctx: TracePointContext) -> i32 {
    let record = ctx.as_ptr() as u64;
    // SAFETY: integers; a null request reads as opcode 0.
    let (opcode, fd) = unsafe {
        let req: u64 = read(record + u64::from(offset!(tp_uring_req)));
        (
            read::<u8>(req + u64::from(offset!(req_opcode))),
            read::<i32>(record + u64::from(offset!(tp_uring_res))),
        )
    };
    if opcode != IORING_OP_ACCEPT || fd < 0 {
        return 0;
    }
    installed(&ctx, fd as u32, via::ACCEPT_IO_URING)
}

/// The running task got descriptor `fd` from an accept: walk to its socket.
#[inline(always)]
fn installed(ctx: &impl EbpfContext, fd: u32, via: u32) -> i32 {
    // SAFETY: integers; a pointer that cannot be read reads as zero, and zero reads as zero.
    let (file, sock) = unsafe {
        let files: u64 = member(running_task(), offset!(task_files));
        let fdt: u64 = member(files, offset!(files_fdt));
        if fd >= member::<u32>(fdt, offset!(fdt_max_fds)) {
            maps::count(counter::ACCEPT_MISSED);
            return 0;
        }
        let array: u64 = member(fdt, offset!(fdt_fd));
        let file: u64 = read(array + u64::from(fd) * 8);
        (file, read::<u64>(file + u64::from(offset!(file_private_data))))
    };
    let (back, sk) = file_and_sk(sock);
    if file == 0 || back != file {
        // Another thread has closed or replaced the descriptor already.
        maps::count(counter::ACCEPT_MISSED);
        return 0;
    }
    opened_if_ours(ctx, Number(sk), via, fd as i32)
}

/// The file and the `struct sock` of a `struct socket`: mostly neighbours, and a call of the helper
/// costs more than what it reads.
#[inline(always)]
fn file_and_sk(sock: u64) -> (u64, u64) {
    let (file, sk) = (u64::from(offset!(socket_file)), u64::from(offset!(socket_sk)));
    // SAFETY: integers; what cannot be read reads as zero.
    unsafe {
        if sk == file + 8 {
            let both: [u64; 2] = read(sock + file);
            (both[0], both[1])
        } else {
            (read(sock + file), read(sock + sk))
        }
    }
}

#[inline(always)]
fn opened_if_ours(ctx: &impl EbpfContext, sk: impl Sock, via: u32, fd: i32) -> i32 {
    let Some(ends) = sk.ends() else {
        return 0;
    };
    let only = ONLY_NETNS.load();
    if !is_tcp(sk.protocol()) || (only != 0 && only != ends.netns) {
        return 0;
    }
    opened(ctx, sk.address(), ends, via, fd, Run::Usual)
}

/// Where the program that saw an opening works.
#[inline(always)]
const fn desk_of(via: u32) -> u32 {
    match via {
        via::CONNECT => desk::EDGE,
        via::ACCEPT_IO_URING => desk::URING,
        _ => desk::ACCEPT,
    }
}

/// Remembers the running task as the opener of `sk`.
#[inline(always)]
pub(crate) fn opened(ctx: &impl EbpfContext, sk: u64, ends: Ends, via: u32, fd: i32, run: Run) -> i32 {
    if family::is_outsider() {
        return 0;
    }
    let task = user_stack::task();
    let stack_id = run.stack(ctx, &task, desk_of(via));
    if !remember(sk, &task, ends, stack_id, u64::from(via) << 32 | u64::from(fd as u32)) {
        maps::count(counter::LOST_OPENER);
        return 0;
    }
    maps::count(counter::OPENERS);
    if via != via::CONNECT && family::is_on() {
        transitions::entered_before(sk);
    }
    debug!(ctx, "sk {:x} opened by pid {} via {}", plain(sk), task.tgid, via);
    0
}

/// Makes the entry; false when there is no room. `via_fd`: by which hook, and below it as which
/// descriptor, in one number: there are five arguments and no more.
///
/// A function of its own: the entry is on the stack, of which a program that takes a user stack
/// has none to spare (512 bytes with what it calls, on 5.10 and 6.1). Not global, so that it may
/// be given an address whose type the verifier knows.
#[inline(never)]
fn remember(sk: u64, task: &Task, ends: Ends, stack_id: i32, via_fd: u64) -> bool {
    let opened = Opened {
        // SAFETY: no precondition.
        at_ns: unsafe { bpf_ktime_get_ns() },
        task: *task,
        fd: via_fd as i32,
        stack_id,
        sport: ends.sport,
        dport: ends.dport,
        via: (via_fd >> 32) as u32,
    };
    // What was remembered at this address belonged to an earlier socket. (A server that
    // was told EOF before its accept returned does not exist: the reader has the file.)
    let remembered = Remembered { opened, entered_seq: family::written(sk), ..Remembered::EMPTY };
    SOCKETS.insert(sk, remembered, 0).is_ok()
}
