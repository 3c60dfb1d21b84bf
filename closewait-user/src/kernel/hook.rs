//! The hooks there are, what each purpose is, and what the reader loses without it.

use std::fmt;

/// A place where a program can be attached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Hook {
    /// Raw tracepoints whose arguments have the kernel's types.
    TpBtf,
    /// Raw tracepoints.
    RawTp,
    /// The classic tracepoints sock:inet_sock_set_state and tcp:tcp_destroy_sock.
    Tracepoint,
    /// Trampolines on security_sock_graft and tcp_cleanup_rbuf.
    Fentry,
    /// Probes on the same functions.
    Kprobe,
    /// syscalls:sys_exit_accept and sys_exit_accept4.
    SysExitAccept,
    /// io_uring:io_uring_complete.
    IoUring,
    /// tcp:tcp_destroy_sock, by either kind of tracepoint.
    TcpDestroySock,
    /// sock:sock_recv_length.
    SockRecvLength,
    /// sock:inet_sk_error_report.
    SkErrorReport,
    /// User stacks copied, to be unwound by their tables.
    UserStack,
    /// User stacks by the kernel's walk of frame pointers.
    Stack,
    /// The frames of Python functions, taken with the user stacks that are copied.
    PythonFrames,
    /// The iterator over the descriptors of all tasks.
    IterTaskFile,
}

impl Hook {
    /// The name, as `--without` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::SysExitAccept => "sys_exit_accept",
            Self::IoUring => "io_uring",
            Self::TcpDestroySock => "tcp_destroy_sock",
            Self::SockRecvLength => "sock_recv_length",
            Self::SkErrorReport => "sk_error_report",
            Self::UserStack => "user_stack",
            Self::Stack => "stack",
            Self::PythonFrames => "python_frames",
            Self::IterTaskFile => "iter_task_file",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a hook is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Edges into and out of CLOSE_WAIT, and the openers of connected sockets.
    Transitions,
    /// The opener of an accepted socket.
    AcceptOpener,
    /// The opener of a socket accepted by io_uring.
    UringOpener,
    /// The end of a socket's life.
    EndOfLife,
    /// Who was told EOF.
    EofRead,
    /// Why a connection ended by itself.
    Error,
    /// The user stack of an opener or a reader.
    UserStack,
    /// The Python functions in a user stack.
    Python,
    /// Who has a descriptor on a socket.
    Holders,
}

impl Purpose {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions, connect openers",
            Self::AcceptOpener => "accept openers",
            Self::UringOpener => "io_uring accept openers",
            Self::EndOfLife => "end of life",
            Self::EofRead => "EOF reads",
            Self::Error => "errors",
            Self::UserStack => "user stacks",
            Self::Python => "Python functions",
            Self::Holders => "holders",
        }
    }

    /// What the reader loses when no hook serves the purpose.
    pub const fn lost(self) -> &'static str {
        match self {
            Self::Transitions => "no tracing: only repeated snapshots, no exact times, no openers",
            Self::AcceptOpener => "who accepted a socket and from where; holders still come from fd tables",
            Self::UringOpener => "who accepted a socket through io_uring",
            Self::EndOfLife => "a fd left open on a closed socket is seen only by snapshot",
            Self::EofRead => "whether the application was told EOF, and which code ignored it",
            Self::Error => "whether a connection was reset, timed out or destroyed",
            Self::UserStack => "which code opened a socket or read its EOF",
            Self::Python => "which Python functions did: stacks show the interpreter's own",
            Self::Holders => {
                "holders in processes that refuse a look at /proc/PID/fd (holders come from /proc)"
            }
        }
    }
}
