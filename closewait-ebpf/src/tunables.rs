//! Read-only globals, set by the loader before load. The verifier sees them as
//! constants and drops what they switch off.

use aya_ebpf::Global;
use closewait_ebpf::{ABSENT, Offsets};

/// Offsets of this kernel. Read one member at a time through [`offset!`]: a load
/// of a constant that the verifier folds.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets {
    skc_daddr: ABSENT,
    skc_rcv_saddr: ABSENT,
    skc_dport: ABSENT,
    inet_sport: ABSENT,
    skc_num: ABSENT,
    skc_family: ABSENT,
    skc_net: ABSENT,
    skc_v6_daddr: ABSENT,
    skc_v6_rcv_saddr: ABSENT,
    sk_protocol: ABSENT,
    sk_socket: ABSENT,
    sk_err: ABSENT,
    socket_ino: ABSENT,
    skc_state: ABSENT,
    tcp_rcv_nxt: ABSENT,
    tcp_copied_seq: ABSENT,
    tcp_write_seq: ABSENT,
    tcp_snd_una: ABSENT,
    net_inum: ABSENT,
    task_flags: ABSENT,
    task_files: ABSENT,
    task_pid: ABSENT,
    task_tgid: ABSENT,
    task_start_time: ABSENT,
    task_comm: ABSENT,
    files_fdt: ABSENT,
    fdt_max_fds: ABSENT,
    fdt_fd: ABSENT,
    file_private_data: ABSENT,
    socket_file: ABSENT,
    socket_sk: ABSENT,
    req_opcode: ABSENT,
    file_f_inode: ABSENT,
    inode_i_mode: ABSENT,
    inode_i_ino: ABSENT,
    socket_type: ABSENT,
    sk_shutdown: ABSENT,
    tcp_bytes_acked: ABSENT,
    tcp_bytes_received: ABSENT,
    tcp_srtt_us: ABSENT,
    tcp_mstamp: ABSENT,
    fdt_close_on_exec: ABSENT,
    task_group_leader: ABSENT,
    task_thread_pid: ABSENT,
    pid_level: ABSENT,
    pid_numbers: ABSENT,
    task_mm: ABSENT,
    task_stack: ABSENT,
    mm_start_code: ABSENT,
    mm_exe_file: ABSENT,
    inode_i_size: ABSENT,
    task_thread_pointer: ABSENT,
    regs_ip: ABSENT,
    regs_sp: ABSENT,
    regs_fp: ABSENT,
    regs_lr: ABSENT,
    regs_buf: ABSENT,
    regs_buf_len: ABSENT,
    stack_regs: ABSENT,
    tp_skaddr: ABSENT,
    tp_oldstate: ABSENT,
    tp_newstate: ABSENT,
    tp_destroy_skaddr: ABSENT,
    tp_accept_ret: ABSENT,
    tp_uring_req: ABSENT,
    tp_uring_res: ABSENT,
};

/// How user stacks are told: one of [`closewait_ebpf::stacks_by`].
#[unsafe(no_mangle)]
pub(crate) static STACKS_BY: Global<u8> = Global::new(0);

/// Whether Python frames are taken with a copied stack (0 or 1).
#[unsafe(no_mangle)]
pub(crate) static PYTHON: Global<u8> = Global::new(0);

/// Whether this kernel has the helper `bpf_task_pt_regs` (0 or 1).
#[unsafe(no_mangle)]
pub(crate) static HAS_TASK_PT_REGS: Global<u8> = Global::new(0);

/// What calls look like: [`closewait_ebpf::calls::X86_64`] or another of them.
#[unsafe(no_mangle)]
pub(crate) static CALLS: Global<u8> = Global::new(0);

/// Unread bytes in the ring at which the reader is woken; below that it comes by itself, by timer.
#[unsafe(no_mangle)]
pub(crate) static WAKE_AT: Global<u64> = Global::new(1 << 20);

/// Only what the members of `FAMILY` do (0 or 1).
#[unsafe(no_mangle)]
pub(crate) static FAMILY_ONLY: Global<u8> = Global::new(0);

/// Only this network namespace (inode number); 0 for all.
#[unsafe(no_mangle)]
pub(crate) static ONLY_NETNS: Global<u32> = Global::new(0);

/// One member of [`OFFSETS`], volatile so that the compiler does not fold its initial value.
macro_rules! offset {
    ($member:ident) => {{
        #[allow(unused_unsafe, reason = "some callers are inside an unsafe block already")]
        // SAFETY: a reference to a live static is valid for reads.
        let offset = unsafe { core::ptr::read_volatile(&raw const $crate::tunables::OFFSETS.$member) };
        offset
    }};
}
pub(crate) use offset;
