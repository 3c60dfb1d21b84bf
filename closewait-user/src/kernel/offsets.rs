//! From BTF and tracepoint formats to the [`Offsets`] that the programs are given.
//! Pure: bytes and parsed formats in, offsets and the names of what is missing out.

use closewait_ebpf::{ABSENT, Offsets};

use super::btf::Btf;
use super::regs;
use super::tracefs::Event;

/// The tracepoint formats this kernel offers; `None` when it has no such event or
/// tracefs could not be read.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// sock:inet_sock_set_state
    pub set_state: Option<Event>,
    /// tcp:tcp_destroy_sock
    pub destroy: Option<Event>,
    /// syscalls:sys_exit_accept
    pub exit_accept: Option<Event>,
    /// syscalls:sys_exit_accept4
    pub exit_accept4: Option<Event>,
    /// io_uring:io_uring_complete
    pub uring_complete: Option<Event>,
}

/// Structs asked of BTF.
pub const STRUCTS: &[&str] = &[
    "sock_common",
    "sock",
    "inet_sock",
    "tcp_sock",
    "net",
    "task_struct",
    "files_struct",
    "fdtable",
    "file",
    "socket",
    "socket_alloc",
    "inode",
    "io_kiocb",
    "pid",
    "mm_struct",
    "pt_regs",
    "thread_struct",
];

/// The offsets of this kernel; a member it lacks is [`ABSENT`].
pub fn offsets(btf: &Btf, events: &Events) -> Offsets {
    let at = |path: &[&'static str]| btf.offset(path).unwrap_or(ABSENT);
    let field = |event: &Option<Event>, name| event.as_ref().and_then(|e| e.offset(name)).unwrap_or(ABSENT);
    // Both accept events have one layout: `ret` follows the syscall number.
    let accept = if events.exit_accept4.is_some() { &events.exit_accept4 } else { &events.exit_accept };
    Offsets {
        skc_daddr: at(&["sock_common", "skc_daddr"]),
        skc_rcv_saddr: at(&["sock_common", "skc_rcv_saddr"]),
        skc_dport: at(&["sock_common", "skc_dport"]),
        inet_sport: at(&["inet_sock", "inet_sport"]),
        skc_num: at(&["sock_common", "skc_num"]),
        skc_family: at(&["sock_common", "skc_family"]),
        skc_net: at(&["sock_common", "skc_net", "net"]),
        skc_v6_daddr: at(&["sock_common", "skc_v6_daddr"]),
        skc_v6_rcv_saddr: at(&["sock_common", "skc_v6_rcv_saddr"]),
        sk_protocol: at(&["sock", "sk_protocol"]),
        sk_socket: at(&["sock", "sk_socket"]),
        sk_err: at(&["sock", "sk_err"]),
        socket_ino: at(&["socket_alloc", "vfs_inode", "i_ino"]),
        skc_state: at(&["sock_common", "skc_state"]),
        tcp_rcv_nxt: at(&["tcp_sock", "rcv_nxt"]),
        tcp_copied_seq: at(&["tcp_sock", "copied_seq"]),
        tcp_write_seq: at(&["tcp_sock", "write_seq"]),
        tcp_snd_una: at(&["tcp_sock", "snd_una"]),
        task_pid: at(&["task_struct", "pid"]),
        task_tgid: at(&["task_struct", "tgid"]),
        task_start_time: at(&["task_struct", "start_time"]),
        task_flags: at(&["task_struct", "flags"]),
        task_comm: at(&["task_struct", "comm"]),
        net_inum: at(&["net", "ns", "inum"]),
        task_files: at(&["task_struct", "files"]),
        files_fdt: at(&["files_struct", "fdt"]),
        fdt_max_fds: at(&["fdtable", "max_fds"]),
        fdt_fd: at(&["fdtable", "fd"]),
        file_private_data: at(&["file", "private_data"]),
        socket_file: at(&["socket", "file"]),
        socket_sk: at(&["socket", "sk"]),
        req_opcode: at(&["io_kiocb", "opcode"]),
        file_f_inode: at(&["file", "f_inode"]),
        inode_i_mode: at(&["inode", "i_mode"]),
        inode_i_ino: at(&["inode", "i_ino"]),
        socket_type: at(&["socket", "type"]),
        sk_shutdown: at(&["sock", "sk_shutdown"]),
        tcp_bytes_acked: at(&["tcp_sock", "bytes_acked"]),
        tcp_bytes_received: at(&["tcp_sock", "bytes_received"]),
        tcp_srtt_us: at(&["tcp_sock", "srtt_us"]),
        tcp_mstamp: at(&["tcp_sock", "tcp_mstamp"]),
        fdt_close_on_exec: at(&["fdtable", "close_on_exec"]),
        task_group_leader: at(&["task_struct", "group_leader"]),
        task_thread_pid: at(&["task_struct", "thread_pid"]),
        pid_level: at(&["pid", "level"]),
        pid_numbers: at(&["pid", "numbers"]),
        task_mm: at(&["task_struct", "mm"]),
        task_stack: at(&["task_struct", "stack"]),
        mm_start_code: start_code(btf),
        mm_exe_file: at(&["mm_struct", "exe_file"]),
        inode_i_size: at(&["inode", "i_size"]),
        task_thread_pointer: regs::THREAD_POINTER
            .map_or(ABSENT, |member| at(&["task_struct", "thread", member])),
        regs_ip: regs::IP.offset(btf),
        regs_sp: regs::SP.offset(btf),
        regs_fp: regs::FP.offset(btf),
        regs_lr: regs::LR.map_or(ABSENT, |lr| lr.offset(btf)),
        regs_buf: regs::BUF.offset(btf),
        regs_buf_len: regs::BUF_LEN.offset(btf),
        stack_regs: regs::on_stack(btf),
        tp_skaddr: field(&events.set_state, "skaddr"),
        tp_oldstate: field(&events.set_state, "oldstate"),
        tp_newstate: field(&events.set_state, "newstate"),
        tp_destroy_skaddr: field(&events.destroy, "skaddr"),
        tp_accept_ret: field(accept, "ret"),
        tp_uring_req: field(&events.uring_complete, "req"),
        tp_uring_res: field(&events.uring_complete, "res"),
    }
}

/// Where the bounds of a program's code are; the programs read both with one call.
fn start_code(btf: &Btf) -> u16 {
    let start = btf.offset(&["mm_struct", "start_code"]);
    let end = btf.offset(&["mm_struct", "end_code"]);
    match (start, end) {
        (Some(start), Some(end)) if end == start + 8 => start,
        _ => ABSENT,
    }
}

/// Members without which no transition can be told, and that this kernel lacks.
pub fn missing_for_transitions(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("sock_common.skc_daddr", offsets.skc_daddr),
        ("sock_common.skc_rcv_saddr", offsets.skc_rcv_saddr),
        ("sock_common.skc_dport", offsets.skc_dport),
        ("inet_sock.inet_sport", offsets.inet_sport),
        ("sock_common.skc_family", offsets.skc_family),
        ("sock.sk_socket", offsets.sk_socket),
    ])
}

/// Members without which a descriptor cannot be followed to its socket.
pub fn missing_for_fd_walk(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("task_struct.files", offsets.task_files),
        ("files_struct.fdt", offsets.files_fdt),
        ("fdtable.max_fds", offsets.fdt_max_fds),
        ("fdtable.fd", offsets.fdt_fd),
        ("file.private_data", offsets.file_private_data),
        ("socket.file", offsets.socket_file),
        ("socket.sk", offsets.socket_sk),
    ])
}

/// Members without which the descendants of a command cannot be followed.
pub fn missing_for_family(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("task_struct.pid", offsets.task_pid),
        ("task_struct.tgid", offsets.task_tgid),
        ("task_struct.group_leader", offsets.task_group_leader),
        ("task_struct.start_time", offsets.task_start_time),
        ("task_struct.flags", offsets.task_flags),
        ("tcp_sock.write_seq", offsets.tcp_write_seq),
        ("tcp_sock.snd_una", offsets.tcp_snd_una),
        ("tcp_sock.rcv_nxt", offsets.tcp_rcv_nxt),
        ("tcp_sock.copied_seq", offsets.tcp_copied_seq),
        ("sock_common.skc_state", offsets.skc_state),
        ("sock.sk_shutdown", offsets.sk_shutdown),
    ])
}

/// Members without which a read of EOF cannot be told from another, and that this kernel lacks.
pub fn missing_for_eof(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("sock_common.skc_state", offsets.skc_state),
        ("tcp_sock.rcv_nxt", offsets.tcp_rcv_nxt),
        ("tcp_sock.copied_seq", offsets.tcp_copied_seq),
    ])
}

/// Members without which descriptors cannot be listed by iterator, and that this kernel lacks.
pub fn missing_for_holders(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("file.f_inode", offsets.file_f_inode),
        ("file.private_data", offsets.file_private_data),
        ("inode.i_mode", offsets.inode_i_mode),
        ("inode.i_ino", offsets.inode_i_ino),
        ("socket.file", offsets.socket_file),
        ("socket.type", offsets.socket_type),
        ("socket.sk", offsets.socket_sk),
        ("sock_common.skc_state", offsets.skc_state),
        ("sock.sk_err", offsets.sk_err),
        ("sock.sk_shutdown", offsets.sk_shutdown),
        ("task_struct.group_leader", offsets.task_group_leader),
        ("task_struct.thread_pid", offsets.task_thread_pid),
        ("pid.level", offsets.pid_level),
        ("pid.numbers", offsets.pid_numbers),
    ])
}

/// Members without which a user stack cannot be copied, and that this kernel lacks.
pub fn missing_for_copy(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("task_struct.mm", offsets.task_mm),
        ("mm_struct.start_code and end_code", offsets.mm_start_code),
        ("pt_regs' instruction pointer", offsets.regs_ip),
        ("pt_regs' stack pointer", offsets.regs_sp),
        ("pt_regs' frame pointer", offsets.regs_fp),
        ("pt_regs' second argument", offsets.regs_buf),
        ("pt_regs' third argument", offsets.regs_buf_len),
    ])
}

/// Members without which the frames of Python functions cannot be found, and that this kernel lacks.
pub fn missing_for_python(offsets: &Offsets) -> Vec<&'static str> {
    absent(&[
        ("mm_struct.exe_file", offsets.mm_exe_file),
        ("file.f_inode", offsets.file_f_inode),
        ("inode.i_ino", offsets.inode_i_ino),
        ("inode.i_size", offsets.inode_i_size),
        ("thread pointer that is known here", offsets.task_thread_pointer),
    ])
}

fn absent(members: &[(&'static str, u16)]) -> Vec<&'static str> {
    members.iter().filter(|(_, offset)| *offset == ABSENT).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layout facts that hold for every kernel this tool supports.
    #[test]
    fn this_kernels_btf_gives_every_offset_that_tracing_needs() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            panic!("/sys/kernel/btf/vmlinux: this test needs a kernel with BTF");
        };
        let offsets = offsets(&Btf::parse(&btf, STRUCTS, &[]).unwrap(), &Events::default());
        assert_eq!(missing_for_transitions(&offsets), Vec::<&str>::new());
        assert_eq!(missing_for_fd_walk(&offsets), Vec::<&str>::new());
        assert_eq!(missing_for_eof(&offsets), Vec::<&str>::new());
        assert_eq!(missing_for_holders(&offsets), Vec::<&str>::new());
        assert_eq!(missing_for_copy(&offsets), Vec::<&str>::new());
        let python = missing_for_python(&offsets);
        assert_eq!(python.is_empty(), cfg!(target_arch = "x86_64"), "{python:?}");
        // sock_common begins with the address pair (include/net/sock.h).
        assert_eq!((offsets.skc_daddr, offsets.skc_rcv_saddr), (0, 4));
        assert_eq!(offsets.tp_skaddr, ABSENT, "no format was given");
    }
}
