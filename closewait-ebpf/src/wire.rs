//! Records, map values and counters. Units: times are CLOCK_MONOTONIC
//! nanoseconds, ports are host order, addresses are network-order bytes.

/// The kernel's TASK_COMM_LEN.
pub const COMM_LEN: usize = 16;

/// Declares a record: a `repr(C)` struct without padding and, off BPF, a reader.
macro_rules! wire {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)+ }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)+ }

        // Padding would send uninitialised kernel stack to userspace, and the
        // verifier refuses it besides.
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$ty>())+);

        impl $name {
            /// Bytes of this record on the wire.
            pub const SIZE: usize = size_of::<Self>();

            /// Reads the record from `buf`; an error says how many bytes were missing.
            #[cfg(not(target_arch = "bpf"))]
            pub fn read(buf: &mut impl bytes::Buf) -> Result<Self, bytes::TryGetError> {
                Ok(Self { $($field: <$ty as Field>::read(buf)?,)+ })
            }

            /// Appends the record to `buf` as the kernel would lay it out.
            #[cfg(not(target_arch = "bpf"))]
            pub fn write(&self, buf: &mut impl bytes::BufMut) {
                $(Field::write(&self.$field, buf);)+
            }
        }

        #[cfg(not(target_arch = "bpf"))]
        impl Field for $name {
            fn read(buf: &mut impl bytes::Buf) -> Result<Self, bytes::TryGetError> { Self::read(buf) }
            fn write(&self, buf: &mut impl bytes::BufMut) { self.write(buf); }
        }
    };
}

/// Record kinds: the first four bytes of every ring buffer record.
pub mod kind {
    /// [`super::Edge`]: a socket entered CLOSE_WAIT (no task in it: see [`super::Edge`]).
    pub const ENTER: u32 = 1;
    /// [`super::TaskEdge`]: a socket left CLOSE_WAIT, or closed with a file on it.
    pub const LEAVE: u32 = 2;
    /// [`super::Destroy`]: the end of a socket that had been reported by `LEAVE`.
    pub const DESTROY: u32 = 3;
    /// [`super::Path`]: a process opened a socket by a call path not seen before.
    pub const PATH: u32 = 4;
    /// [`super::Copied`]: the same, with a copy of its user stack.
    pub const COPIED: u32 = 5;
    /// [`super::Ended`]: a socket ends because its process does; `LEAVE` or `DESTROY` follows.
    pub const ENDED: u32 = 8;
}

wire! {
    /// One edge of `inet_sock_set_state`.
    ///
    /// There is no task in it: at the edge into CLOSE_WAIT `current` is whatever
    /// ran when the FIN arrived, which on loopback is the peer.
    pub struct Edge {
        /// One of [`kind`].
        pub kind: u32,
        /// State before.
        pub oldstate: u8,
        /// State after.
        pub newstate: u8,
        /// `AF_INET` or `AF_INET6`.
        pub family: u16,
        /// When, by `bpf_ktime_get_ns` (CLOCK_MONOTONIC).
        pub at_ns: u64,
        /// Address of the `struct sock`; reused by the kernel, so never an identity by itself.
        pub skaddr: u64,
        /// Inode number of the network namespace, 0 when the kernel has none.
        pub netns: u32,
        /// Local port, host order.
        pub sport: u16,
        /// Remote port, host order.
        pub dport: u16,
        /// Local address; IPv4 in the first four bytes.
        pub saddr: [u8; 16],
        /// Remote address; IPv4 in the first four bytes.
        pub daddr: [u8; 16],
        /// `IPPROTO_TCP` or `IPPROTO_MPTCP`.
        pub protocol: u16,
        /// [`edge_flags`].
        pub flags: u16,
        /// Inode number of the socket's file, where the edge is to CLOSE and there may
        /// be one; else 0. (A socket's number is 32 bits: `get_next_ino`.)
        pub inode: u32,
    }
}

/// Bits of [`Edge::flags`].
pub mod edge_flags {
    /// `sk->sk_socket` was set: a file may still refer to the socket. Set on an edge into
    /// CLOSE_WAIT only when it is told at the socket's accept, and may have been told before.
    pub const HAS_SOCKET: u16 = 1;
}

wire! {
    /// The task that ran, where the edge is known to happen in process context.
    pub struct Task {
        /// Process id (the kernel's tgid).
        pub tgid: u32,
        /// Thread id (the kernel's pid).
        pub tid: u32,
        /// Thread name, NUL padded, any bytes.
        pub comm: [u8; COMM_LEN],
    }
}

wire! {
    /// An edge with the task and the user stack that made it.
    pub struct TaskEdge {
        /// The edge.
        pub edge: Edge,
        /// Who ran: the closer when the edge is to LAST_ACK; at CLOSE_WAIT -> CLOSE
        /// it may be anybody (a RST is handled in softirq).
        pub task: Task,
        /// Id of the stack ([`stacks_by`] says which kind), a negative errno, or [`NO_STACK`].
        pub stack_id: i32,
        /// `sk_err` at the edge, an errno; 0 for none, or where [`about::ERROR_READ`] is not set.
        pub error: u16,
        /// [`about`].
        pub about: u16,
    }
}

/// What is known of the circumstances of a record.
pub mod about {
    /// The running task was ending (`PF_EXITING`).
    pub const EXITING: u16 = 1;
    /// `EXITING` could be read.
    pub const EXITING_READ: u16 = 2;
    /// `sk_err` could be read.
    pub const ERROR_READ: u16 = 4;
}

wire! {
    /// `tcp_destroy_sock` of a socket that had closed while a file was on it.
    pub struct Destroy {
        /// [`kind::DESTROY`].
        pub kind: u32,
        /// [`about`], of the task that closed the file.
        pub about: u32,
        /// When.
        pub at_ns: u64,
        /// Address of the `struct sock`.
        pub skaddr: u64,
    }
}

wire! {
    /// The first time a process opened a socket by this call path: userspace
    /// reads its maps now, because the process may be gone when they are needed.
    pub struct Path {
        /// [`kind::PATH`].
        pub kind: u32,
        /// Id in the stack map.
        pub stack_id: i32,
        /// When.
        pub at_ns: u64,
        /// Who opened.
        pub task: Task,
    }
}

wire! {
    /// One of the first times a process took this call path: user registers at kernel
    /// entry, and after this record `len` bytes of user stack from `sp` upward.
    pub struct Copied {
        /// [`kind::COPIED`].
        pub kind: u32,
        /// Id of the call path: a hash, see `capture.rs`.
        pub stack_id: i32,
        /// When.
        pub at_ns: u64,
        /// Whose stack it is.
        pub task: Task,
        /// User instruction pointer.
        pub ip: u64,
        /// User stack pointer.
        pub sp: u64,
        /// User frame pointer.
        pub fp: u64,
        /// User link register; 0 on a machine without one.
        pub lr: u64,
        /// Bytes of stack that follow.
        pub len: u32,
        /// How many [`PythonFrame`]s follow, [`STACK_ROOM`] after this record.
        pub python: u32,
        /// The interpreter's `_PyRuntime`, where `python` is not 0.
        pub python_runtime: u64,
        /// [`Python::layout`].
        pub python_layout: u32,
        /// Whether the thread has more frames than there was room for (0 or 1).
        pub python_more: u32,
    }
}

/// Bytes of user stack that are copied at least, where there are as many: 18 frames of 1 KiB.
pub const STACK_LONG: usize = 16 << 10;

/// The room for a copy: so many bytes from anywhere in a page, and up to the next.
pub const STACK_ROOM: usize = STACK_LONG + 4096;

wire! {
    /// Value of the `PYTHONS` map: where the interpreter of a program keeps a thread's
    /// frames. Offsets are in bytes.
    pub struct Python {
        /// Added to `mm->start_code`: where `_PyRuntime` is, or a word from which it is found.
        pub anchor: u64,
        /// All ones: the word at the anchor counts; zero: the anchor's address itself.
        pub from_word: u64,
        /// Added to that, it is `_PyRuntime`.
        pub delta: u64,
        /// Given back with the frames: which layout this is.
        pub layout: u32,
        /// In `_PyRuntime`: the key under which a thread keeps its state.
        pub key: u32,
        /// From the thread pointer to the value of the first such key.
        pub specific: u32,
        /// In a thread state: the thread pointer of its thread.
        pub thread_id: u32,
        /// In a thread state: what points to its frame, or to its `_PyCFrame`.
        pub frame: u32,
        /// The size of a pointer where it is a `_PyCFrame`, else 0.
        pub cframe: u32,
        /// In that: what points to the frame.
        pub current_frame: u32,
        /// In a frame: its code object.
        pub code: u32,
        /// In a frame: its caller.
        pub previous: u32,
        /// In a frame: where it is in its code.
        pub instr: u32,
        /// In a frame: the word in which its owner is told.
        pub about: u32,
        /// Zero.
        pub reserved: u32,
    }
}

wire! {
    /// A frame of a Python function, as the interpreter has it.
    pub struct PythonFrame {
        /// Address of its code object; 0 when the frame could not be read.
        pub code: u64,
        /// Address of an instruction in it.
        pub instr: u64,
        /// The word at [`Python::about`].
        pub about: u64,
    }
}

/// Python frames that are told at most: requests to an HTTP server go through some 16
/// of libraries before one of the program's own.
pub const PYTHON_FRAMES: usize = 32;

/// Bytes at the start of an interpreter's frame that are read at most, and of a thread state.
pub const PYTHON_FRAME_READ: usize = 80;
/// See [`PYTHON_FRAME_READ`].
pub const PYTHON_STATE_READ: usize = 160;

/// Slots of the `PYTHONS_KNOWN` array.
pub mod pythons_known {
    /// Not 0: some interpreter is known by its executable.
    pub const EXECUTABLES: u32 = 0;
    /// Number of slots.
    pub const COUNT: u32 = 1;
}

/// The key of the `PYTHONS` map: which executable. By number and size of its inode, which
/// `stat` tells as the kernel has them; device numbers differ on some file systems. That
/// two files have one key is harmless: what is read is tested to be a thread's state.
pub const fn python_key(ino: u64, size: u64) -> u64 {
    ino ^ size.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How user stacks are told.
pub mod stacks_by {
    /// Not at all.
    pub const NOTHING: u8 = 0;
    /// By the kernel's walk of frame pointers, as an id of the stack map.
    pub const FRAME_POINTERS: u8 = 1;
    /// As a copy, the first few times a call path is taken.
    pub const COPY: u8 = 2;
}

wire! {
    /// Who opened a socket. The ports are repeated so that a stale entry (a missed
    /// destroy, then a missed open) cannot lend its owner to a later socket at the
    /// same address.
    pub struct Opened {
        /// When; 0 when the open was not seen.
        pub at_ns: u64,
        /// Who.
        pub task: Task,
        /// File descriptor, or -1 where the hook cannot know it.
        pub fd: i32,
        /// Id of the stack ([`stacks_by`] says which kind), a negative errno, or [`NO_STACK`].
        pub stack_id: i32,
        /// Local port, host order; 0 when it was not bound yet (connect).
        pub sport: u16,
        /// Remote port, host order.
        pub dport: u16,
        /// One of [`via`].
        pub via: u32,
    }
}

wire! {
    /// The first read that told the application of the end of the stream.
    pub struct EofRead {
        /// When; 0 when none was seen.
        pub at_ns: u64,
        /// Who read.
        pub task: Task,
        /// Id of the stack ([`stacks_by`] says which kind), a negative errno, or [`NO_STACK`].
        pub stack_id: i32,
        /// How many such reads there were.
        pub reads: u32,
    }
}

wire! {
    /// Value of the `SOCKETS` map: what is remembered of the socket at an address.
    /// Written at accept, connect, EOF and error, deleted at `tcp_destroy_sock`.
    pub struct Remembered {
        /// Who opened it.
        pub opened: Opened,
        /// Who was told EOF.
        pub eof: EofRead,
        /// [`flags`].
        pub flags: u32,
        /// `sk_err` when the kernel last reported an error; 0 when it did not.
        pub error: u32,
        /// With `run`: `write_seq` when it entered CLOSE_WAIT, or was accepted after that.
        pub entered_seq: u32,
        /// With `run`: when it entered CLOSE_WAIT, in units of 2^20 ns (about a
        /// millisecond), which wrap; 0 when that was not seen.
        pub entered: u32,
    }
}

wire! {
    /// With `run`: a socket of the command ends, of which nothing can be asked any more:
    /// with its process, or by a close that came late.
    pub struct Ended {
        /// [`kind::ENDED`].
        pub kind: u32,
        /// Sequence numbers received and not read, the FIN being one.
        pub unread: u32,
        /// When; the same as in the record that follows.
        pub at_ns: u64,
        /// Address of the `struct sock`.
        pub skaddr: u64,
        /// Sequence numbers written and not acknowledged.
        pub unsent: u32,
        /// Bytes written since it entered CLOSE_WAIT; means nothing where that was not seen.
        pub written: u32,
        /// Inode number of its file; 0 when it never had one, or has none any more.
        pub inode: u32,
        /// [`about::EXITING`] when its process ends with it.
        pub about: u32,
        /// The task that ends, or closes it.
        pub task: Task,
        /// What is remembered of the socket.
        pub remembered: Remembered,
    }
}

impl Remembered {
    /// Nothing known yet.
    pub const EMPTY: Self = Self {
        opened: Opened {
            at_ns: 0,
            task: Task::NOBODY,
            fd: -1,
            stack_id: NO_STACK,
            sport: 0,
            dport: 0,
            via: via::NONE,
        },
        eof: EofRead { at_ns: 0, task: Task::NOBODY, stack_id: NO_STACK, reads: 0 },
        flags: 0,
        error: 0,
        entered_seq: 0,
        entered: 0,
    };
}

impl Task {
    /// No task.
    pub const NOBODY: Self = Self { tgid: 0, tid: 0, comm: [0; COMM_LEN] };
}

/// How a socket was opened, and by which hook we know.
pub mod via {
    /// Not seen.
    pub const NONE: u32 = 0;
    /// CLOSE -> SYN_SENT in process context.
    pub const CONNECT: u32 = 1;
    /// `security_sock_graft`, by trampoline.
    pub const ACCEPT_FENTRY: u32 = 2;
    /// `security_sock_graft`, by kprobe.
    pub const ACCEPT_KPROBE: u32 = 3;
    /// Return of accept/accept4 and a walk to the new file.
    pub const ACCEPT_SYSCALL: u32 = 4;
    /// Completion of an io_uring accept request and a walk to the new file.
    pub const ACCEPT_IO_URING: u32 = 5;
}

wire! {
    /// A descriptor on a TCP socket that is not ESTABLISHED nor being connected, as
    /// `iter/task_file` shows it.
    pub struct Held {
        /// Address of the `struct sock`.
        pub skaddr: u64,
        /// Number of the socket's inode.
        pub inode: u64,
        /// `tcp_mstamp`: when TCP last sent or received for it, CLOCK_MONOTONIC in
        /// microseconds; 0 when not known.
        pub active_us: u64,
        /// Process, as the reader's pid namespace numbers it.
        pub tgid: u32,
        /// Thread, likewise: the main one, or one with a table of its own.
        pub tid: u32,
        /// The descriptor.
        pub fd: u32,
        /// Inode number of the network namespace, 0 when the kernel has none.
        pub netns: u32,
        /// `sk_err`: an error nobody has fetched yet.
        pub error: u32,
        /// Local port, host order.
        pub sport: u16,
        /// Remote port, host order.
        pub dport: u16,
        /// `AF_INET` or `AF_INET6`.
        pub family: u16,
        /// `IPPROTO_TCP` or `IPPROTO_MPTCP`.
        pub protocol: u16,
        /// Its state.
        pub state: u8,
        /// `sk_shutdown`: bit 0 receiving, bit 1 sending.
        pub shutdown: u8,
        /// [`held_flags`].
        pub flags: u8,
        /// Zero.
        pub reserved: u8,
        /// Local address; IPv4 in the first four bytes.
        pub saddr: [u8; 16],
        /// Remote address; IPv4 in the first four bytes.
        pub daddr: [u8; 16],
    }
}

/// Bits of [`Held::flags`].
pub mod held_flags {
    /// It is known whether the descriptor is closed on exec.
    pub const CLOEXEC_KNOWN: u8 = 1;
    /// It is.
    pub const CLOEXEC: u8 = 2;
    /// The connection was once established. Never set for MPTCP.
    pub const WAS_CONNECTED: u8 = 4;
}

/// No stack was asked for.
pub const NO_STACK: i32 = i32::MIN;

/// Bits of [`Remembered::flags`].
pub mod flags {
    /// Userspace has seen it stuck: who ends it, and from where, is worth a stack.
    pub const STUCK: u32 = 2;
    /// The socket closed while a file was on it: its destroy is worth a record.
    pub const CLOSED_WITH_FILE: u32 = 1;
}

/// Slots of the per-CPU `COUNTERS` array. All count since load.
pub mod counter {
    /// `ENTER` records that found the ring full.
    pub const LOST_ENTER: u32 = 0;
    /// `LEAVE` records that found the ring full.
    pub const LOST_LEAVE: u32 = 1;
    /// `DESTROY` records that found the ring full.
    pub const LOST_DESTROY: u32 = 2;
    /// `PATH` records that found the ring full.
    pub const LOST_PATH: u32 = 3;
    /// Openers that found the `SOCKETS` map full.
    pub const LOST_OPENER: u32 = 4;
    /// User stacks the kernel could not give (collision, fault, no memory).
    pub const LOST_STACK: u32 = 5;
    /// `ENTER` records sent.
    pub const SENT_ENTER: u32 = 6;
    /// `LEAVE` records sent.
    pub const SENT_LEAVE: u32 = 7;
    /// Openers remembered.
    pub const OPENERS: u32 = 8;
    /// Reads of EOF seen.
    pub const EOF_READS: u32 = 10;
    /// Accepted files whose socket could not be reached (closed at once by another thread, or not TCP).
    pub const ACCEPT_MISSED: u32 = 9;
    /// Stacks copied.
    pub const COPIED: u32 = 11;
    /// `COPIED` records that found their ring full; the path is copied when it is next taken.
    pub const LOST_COPY: u32 = 12;
    /// Stacks not copied because there were too many at once; likewise.
    pub const COPY_PUT_OFF: u32 = 13;
    /// Entries into CLOSE_WAIT of sockets whose protocol or namespace could not be read.
    pub const UNREADABLE_ENTER: u32 = 14;
    /// The same of other edges.
    pub const UNREADABLE_EDGE: u32 = 15;
    /// `ENDED` records that found the ring full.
    pub const LOST_ENDED: u32 = 16;
    /// Processes that found the `FAMILY` map full.
    pub const LOST_MEMBER: u32 = 17;
    /// Edges of interest that found the ring full when the first program sent them instead of the second.
    pub const LOST_NESTED: u32 = 18;
    /// Edges of interest that the first program has sent instead.
    pub const SENT_NESTED: u32 = 19;
    /// `ENTER` records of sockets that were in CLOSE_WAIT when they were accepted, that found
    /// the ring full.
    pub const LOST_ACCEPTED: u32 = 20;
    /// Number of slots.
    pub const COUNT: u32 = 21;
}

/// Members of the one value of the per-CPU `EDGES` array: what the two transitions
/// programs tell each other, and userspace. All but the first two count since load.
pub mod edges {
    /// Whether the first program runs (0 or 1).
    pub const FIRST: usize = 0;
    /// Whether the second does.
    pub const SECOND: usize = 1;
    /// Edges of the second program that the first has seen.
    pub const DUE: usize = 2;
    /// Those that the first has taken over, on top of the second.
    pub const ON_TOP: usize = 3;
    /// Those that the second has seen, not on top of the first.
    pub const DONE: usize = 4;
    /// Entries into CLOSE_WAIT that the second program has seen, not on top of the first.
    pub const ENTRIES_DUE: usize = 5;
    /// Those that the first has seen, not on top of the second.
    pub const ENTRIES_DONE: usize = 6;
    /// Number of members.
    pub const COUNT: usize = 7;
}

wire! {
    /// Offsets into kernel structures in bytes, from the running kernel's BTF;
    /// [`ABSENT`] where this kernel has no such member.
    ///
    /// Set once before load as a read-only global, so that the verifier sees
    /// constants and drops the branches this kernel does not need.
    pub struct Offsets {
        /// `sock_common.skc_daddr`
        pub skc_daddr: u16,
        /// `sock_common.skc_rcv_saddr`
        pub skc_rcv_saddr: u16,
        /// `sock_common.skc_dport`
        pub skc_dport: u16,
        /// `inet_sock.inet_sport`: the local port in network order. Not `skc_num`, which
        /// `tcp_set_state` has already cleared when it reports an edge to CLOSE.
        pub inet_sport: u16,
        /// `sock_common.skc_num`: the local port in host order
        pub skc_num: u16,
        /// `sock_common.skc_family`
        pub skc_family: u16,
        /// `sock_common.skc_net.net`; absent without CONFIG_NET_NS
        pub skc_net: u16,
        /// `sock_common.skc_v6_daddr`; absent without IPv6
        pub skc_v6_daddr: u16,
        /// `sock_common.skc_v6_rcv_saddr`; absent without IPv6
        pub skc_v6_rcv_saddr: u16,
        /// `sock.sk_protocol`; absent where it is a bit field (before 5.6)
        pub sk_protocol: u16,
        /// `sock.sk_socket`
        pub sk_socket: u16,
        /// `sock.sk_err`
        pub sk_err: u16,
        /// From a `struct socket` to the number of its inode:
        /// `socket_alloc.vfs_inode.i_ino`, the socket being the first member
        pub socket_ino: u16,
        /// `sock_common.skc_state`
        pub skc_state: u16,
        /// `tcp_sock.rcv_nxt`: next sequence number expected
        pub tcp_rcv_nxt: u16,
        /// `tcp_sock.copied_seq`: first sequence number not yet read
        pub tcp_copied_seq: u16,
        /// `tcp_sock.write_seq`: the next sequence number to be written
        pub tcp_write_seq: u16,
        /// `tcp_sock.snd_una`: the first sequence number not acknowledged
        pub tcp_snd_una: u16,
        /// `net.ns.inum`
        pub net_inum: u16,
        /// `task_struct.flags`
        pub task_flags: u16,
        /// `task_struct.files`
        pub task_files: u16,
        /// `task_struct.pid`
        pub task_pid: u16,
        /// `task_struct.tgid`
        pub task_tgid: u16,
        /// `task_struct.start_time`
        pub task_start_time: u16,
        /// `task_struct.comm`
        pub task_comm: u16,
        /// `files_struct.fdt`
        pub files_fdt: u16,
        /// `fdtable.max_fds`
        pub fdt_max_fds: u16,
        /// `fdtable.fd`
        pub fdt_fd: u16,
        /// `file.private_data`
        pub file_private_data: u16,
        /// `socket.file`
        pub socket_file: u16,
        /// `socket.sk`
        pub socket_sk: u16,
        /// `io_kiocb.opcode`
        pub req_opcode: u16,
        /// `file.f_inode`
        pub file_f_inode: u16,
        /// `inode.i_mode`
        pub inode_i_mode: u16,
        /// `inode.i_ino`
        pub inode_i_ino: u16,
        /// `socket.type`
        pub socket_type: u16,
        /// `sock.sk_shutdown`
        pub sk_shutdown: u16,
        /// `tcp_sock.bytes_acked`
        pub tcp_bytes_acked: u16,
        /// `tcp_sock.bytes_received`
        pub tcp_bytes_received: u16,
        /// `tcp_sock.srtt_us`
        pub tcp_srtt_us: u16,
        /// `tcp_sock.tcp_mstamp`
        pub tcp_mstamp: u16,
        /// `fdtable.close_on_exec`
        pub fdt_close_on_exec: u16,
        /// `task_struct.group_leader`
        pub task_group_leader: u16,
        /// `task_struct.thread_pid`
        pub task_thread_pid: u16,
        /// `pid.level`
        pub pid_level: u16,
        /// `pid.numbers`
        pub pid_numbers: u16,
        /// `task_struct.mm`
        pub task_mm: u16,
        /// `task_struct.stack`
        pub task_stack: u16,
        /// `mm_struct.start_code`, which `end_code` follows at once
        pub mm_start_code: u16,
        /// `mm_struct.exe_file`
        pub mm_exe_file: u16,
        /// `inode.i_size`
        pub inode_i_size: u16,
        /// The thread pointer of user code: on x86-64 `task_struct.thread.fsbase`
        pub task_thread_pointer: u16,
        /// `pt_regs`: the instruction pointer
        pub regs_ip: u16,
        /// `pt_regs`: the stack pointer
        pub regs_sp: u16,
        /// `pt_regs`: the frame pointer
        pub regs_fp: u16,
        /// `pt_regs`: the link register; absent on a machine without one
        pub regs_lr: u16,
        /// `pt_regs`: the second argument of a system call, of a read the buffer
        pub regs_buf: u16,
        /// `pt_regs`: the third argument of a system call, of a read the buffer's size
        pub regs_buf_len: u16,
        /// From the start of a kernel stack to the user registers on it; needed, and
        /// known, only where the kernel has no `bpf_task_pt_regs`
        pub stack_regs: u16,
        /// Field offsets of the classic tracepoint records, from their `format` files.
        pub tp_skaddr: u16,
        /// `oldstate` of sock:inet_sock_set_state
        pub tp_oldstate: u16,
        /// `newstate` of sock:inet_sock_set_state
        pub tp_newstate: u16,
        /// `skaddr` of tcp:tcp_destroy_sock
        pub tp_destroy_skaddr: u16,
        /// `ret` of syscalls:sys_exit_accept4
        pub tp_accept_ret: u16,
        /// `req` of io_uring:io_uring_complete; absent before it carried one
        pub tp_uring_req: u16,
        /// `res` of io_uring:io_uring_complete
        pub tp_uring_res: u16,
    }
}

/// "This kernel has no such member", in [`Offsets`].
pub const ABSENT: u16 = u16::MAX;

/// What a record field must do: be read and written in the machine's own byte order.
#[cfg(not(target_arch = "bpf"))]
trait Field: Sized {
    fn read(buf: &mut impl bytes::Buf) -> Result<Self, bytes::TryGetError>;
    fn write(&self, buf: &mut impl bytes::BufMut);
}

#[cfg(not(target_arch = "bpf"))]
mod host {
    use super::Field;
    use bytes::{Buf, BufMut, TryGetError};

    macro_rules! field {
        ($($ty:ty: $get:ident $put:ident,)+) => {$(
            impl Field for $ty {
                fn read(buf: &mut impl Buf) -> Result<Self, TryGetError> { buf.$get() }
                fn write(&self, buf: &mut impl BufMut) { buf.$put(*self); }
            }
        )+};
    }
    field! {
        u8: try_get_u8 put_u8,
        u16: try_get_u16_ne put_u16_ne,
        u32: try_get_u32_ne put_u32_ne,
        u64: try_get_u64_ne put_u64_ne,
        i32: try_get_i32_ne put_i32_ne,
    }

    impl Field for [u8; 16] {
        fn read(buf: &mut impl Buf) -> Result<Self, TryGetError> {
            let mut bytes = [0; 16];
            buf.try_copy_to_slice(&mut bytes)?;
            Ok(bytes)
        }
        fn write(&self, buf: &mut impl BufMut) {
            buf.put_slice(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_wire_and_a_short_one_is_refused_at_every_length() {
        let record = TaskEdge {
            edge: Edge {
                kind: kind::LEAVE,
                oldstate: 8,
                newstate: 9,
                family: 2,
                at_ns: u64::MAX - 1,
                skaddr: 0xffff_8881_0000_4711,
                netns: 4_026_531_840,
                sport: 8080,
                dport: 51_334,
                saddr: *b"0123456789abcdef",
                daddr: *b"fedcba9876543210",
                protocol: 262,
                flags: edge_flags::HAS_SOCKET,
                inode: 4711,
            },
            task: Task { tgid: 7, tid: 8, comm: *b"server\0\0\0\0\0\0\0\0\0\0" },
            stack_id: -17,
            error: 104,
            about: about::ERROR_READ,
        };
        let mut wire = [0_u8; TaskEdge::SIZE];
        record.write(&mut &mut wire[..]);
        assert_eq!(TaskEdge::read(&mut &wire[..]), Ok(record));
        for len in 0..TaskEdge::SIZE {
            assert!(TaskEdge::read(&mut &wire[..len]).is_err(), "length {len}");
        }
    }
}
