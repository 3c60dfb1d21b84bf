//! A child that blocks in a system call, and its stack as the kernel side would copy
//! it: registers and up to 16 KiB from the stack pointer upward, taken by ptrace.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use closewait_trace::item::Task;
use closewait_trace::stack::capture::{Capture, Regs};

use crate::waiting;

/// What the kernel side copies.
pub(crate) const COPIED: usize = 16 << 10;

/// A child whose one thread waits for its input.
pub(crate) struct Blocked {
    child: Child,
    /// The thread that waits.
    pub(crate) task: Task,
}

impl Blocked {
    /// Starts the program and waits until a thread of it is in `read(0, ...)`.
    pub(crate) fn start<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[A]) -> Self {
        let mut command = Command::new(program);
        command.args(args);
        Self::spawn(command)
    }

    /// The same of a command; its standard input is made here.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"));
        let pid = child.id();
        let mut blocked = Self { child, task: Task { pid, tid: pid, comm: "".into() } };
        waiting::until(&format!("{command:?} to read its input"), || {
            assert_eq!(blocked.child.try_wait().unwrap(), None, "{command:?} has ended");
            blocked.find().then_some(())
        });
        blocked
    }

    /// Looks for the thread, in the child and, where that only starts another, in its child.
    fn find(&mut self) -> bool {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let pids = children.split_whitespace().filter_map(|child| child.parse().ok());
        for pid in [pid].into_iter().chain(pids) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let call = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
                if call.starts_with(&format!("{} 0x0 ", libc::SYS_read)) {
                    let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                    let tid = task.file_name().to_string_lossy().parse().unwrap();
                    self.task = Task { pid, tid, comm: comm.trim_end().to_owned().into() };
                    return true;
                }
            }
        }
        false
    }

    /// Its stack, at most `limit` bytes of it.
    pub(crate) fn copy(&self, limit: usize) -> Capture {
        let stopped = Stopped::attach(self.task.tid);
        let regs = stopped.registers();
        let stack = read_memory(self.task.pid, regs.sp, limit);
        Capture { regs, truncated: stack.len() == limit, stack: stack.into() }
    }

    /// What the kernel side would copy.
    pub(crate) fn capture(&self) -> Capture {
        self.copy(COPIED)
    }

    /// Gives it one byte to read.
    pub(crate) fn feed(&self) {
        self.child.stdin.as_ref().unwrap().write_all(b"x").unwrap();
    }

    /// Ends the process and waits until it is gone.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        // The child of a child that only started it ends when its parent does (`unshare --kill-child`).
        let gone = || (!Path::new(&format!("/proc/{}", self.task.pid)).exists()).then_some(());
        waiting::until("the process to be gone", gone);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.end();
    }
}

/// A thread stopped by ptrace; it goes on when this is dropped.
pub(crate) struct Stopped(libc::pid_t);

impl Stopped {
    pub(crate) fn attach(tid: u32) -> Self {
        let tid = libc::pid_t::try_from(tid).unwrap();
        // SAFETY: no memory is passed to this request.
        let attached = unsafe { libc::ptrace(libc::PTRACE_ATTACH, tid, 0_usize, 0_usize) };
        assert_eq!(attached, 0, "attach to {tid}: {}", std::io::Error::last_os_error());
        let stopped = Self(tid);
        stopped.wait();
        stopped
    }

    fn wait(&self) {
        let mut status = 0;
        // SAFETY: `status` is written to while it lives.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) };
        assert!(waited == self.0 && libc::WIFSTOPPED(status), "{waited} {status:#x}");
    }

    fn raw(&self) -> libc::user_regs_struct {
        // SAFETY: the structure is plain numbers, for which zero is a value.
        let mut raw: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let mut part = libc::iovec { iov_base: (&raw mut raw).cast(), iov_len: size_of_val(&raw) };
        // SAFETY: the kernel writes at most `iov_len` bytes to `raw`, which lives.
        let got = unsafe {
            libc::ptrace(libc::PTRACE_GETREGSET, self.0, libc::NT_PRSTATUS as usize, &raw mut part)
        };
        assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
        raw
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn registers(&self) -> Regs {
        let raw = self.raw();
        Regs { ip: raw.rip, sp: raw.rsp, fp: raw.rbp, lr: None }
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn registers(&self) -> Regs {
        let raw = self.raw();
        Regs { ip: raw.pc, sp: raw.sp, fp: raw.regs[29], lr: Some(raw.regs[30]) }
    }

    /// Lets it run one instruction.
    pub(crate) fn step(&self) {
        // SAFETY: no memory is passed to this request.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0_usize, 0_usize) };
        assert_eq!(stepped, 0, "{}", std::io::Error::last_os_error());
        self.wait();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: no memory is passed to this request.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0_usize, 0_usize) };
    }
}

/// Memory of a process from `addr` on: up to `limit` bytes, or to where it ends.
pub(crate) fn read_memory(pid: u32, addr: u64, limit: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut bytes = vec![0; limit];
    let mut len = 0;
    while len < limit {
        match memory.read_at(&mut bytes[len..], addr + len as u64) {
            Ok(more) if more > 0 => len += more,
            _ => break,
        }
    }
    bytes.truncate(len);
    bytes
}
