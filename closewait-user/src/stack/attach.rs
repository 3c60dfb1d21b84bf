//! Asks a running JVM for its perf map, as `jcmd PID Compiler.perfmap` does, without a
//! JDK and from outside of its container. In: a process; out: the map is written, or why not.
//!
//! The protocol is that of HotSpot (`attachListener_posix.cpp`): a file `.attach_pidN` in
//! /tmp and a SIGQUIT make it listen on `/tmp/.java_pidN`; a request is a version, a command
//! and three arguments, each ended by a zero byte; the answer is a number, a newline, text.
//!
//! A SIGQUIT ends any process that does not catch it, and whoever may write to /tmp can put
//! something in the way. So nothing is sent to a process that is not a JVM with a handler for
//! it, and only a socket that belongs to the process's user or to root is spoken to. All
//! waiting ends at a deadline.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::jit;
use super::places::read_maps;
use crate::clock::{Clock, MonoNs};
use crate::enrich::procfs;

/// So long may it all take: a finding waits three seconds for its stacks.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks whether it listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 4096;

const REQUEST: &[u8] = b"1\0jcmd\0Compiler.perfmap\0\0\0";

/// Has JVM `pid` write its perf map. Blocks, at most for [`PATIENCE`]. An error says why there is none.
pub fn write_perf_map(pid: u32) -> Result<(), String> {
    let deadline = Clock::mono_now() + PATIENCE;
    let jvm = Jvm::open(pid)?;
    if let Err(jit::NoMap::Refused(why)) = jit::open(pid) {
        // It would write there.
        return Err(why);
    }
    let socket = jvm.connect(deadline)?;
    ask(socket, deadline)
}

/// A JVM, held by its pidfd: its id cannot come to mean another process.
struct Jvm {
    pidfd: OwnedFd,
    /// Its /tmp.
    tmp: OwnedFd,
    /// The id that its own pid namespace gives it.
    inner: u32,
    uid: u32,
}

impl Jvm {
    fn open(pid: u32) -> Result<Self, String> {
        let gone = || format!("process {pid} has ended");
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).map_err(|_| gone())?;
        let read = |file: &str| procfs::text(format!("/proc/{pid}/{file}")).map_err(|_| gone());
        if !read_maps(pid).is_ok_and(|maps| maps.runs_java()) {
            return Err("it is no JVM".into());
        }
        let status = read("status")?;
        let words = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace()
        };
        let caught = words("SigCgt:").next().and_then(|mask| u64::from_str_radix(mask, 16).ok());
        if caught.unwrap_or(0) & 1 << (Signal::QUIT.as_raw() - 1) == 0 {
            return Err("it takes no requests: SIGQUIT would end it (-Xrs?)".into());
        }
        if read("cmdline")?.split('\0').any(|word| word == "-XX:+DisableAttachMechanism") {
            return Err("it takes no requests (-XX:+DisableAttachMechanism)".into());
        }
        let namespace = |id: &str| std::fs::read_link(format!("/proc/{id}/ns/user")).ok();
        if namespace(&pid.to_string()) != namespace("self") {
            return Err("it is in a user namespace of its own, whose root we are not: \
                        run `jcmd PID Compiler.perfmap` inside"
                .into());
        }
        let (Some(uid), Some(inner)) = (
            words("Uid:").nth(1).and_then(|uid| uid.parse().ok()),
            words("NSpid:").last().and_then(|inner| inner.parse().ok()),
        ) else {
            return Err(format!("/proc/{pid}/status cannot be read"));
        };
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), directory, Mode::empty());
        let in_root = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let tmp = root
            .and_then(|root| rustix::fs::openat2(root, "tmp", directory, Mode::empty(), in_root))
            .map_err(|errno| format!("its /tmp cannot be opened: {errno}"))?;
        Ok(Self { pidfd, tmp, inner, uid })
    }

    /// A connection to it; makes it listen if it does not yet.
    fn connect(&self, deadline: MonoNs) -> Result<UnixStream, String> {
        if let Some(socket) = self.try_connect()? {
            return Ok(socket);
        }
        let trigger = Trigger::make(self)?;
        let sent = rustix::process::pidfd_send_signal(&self.pidfd, Signal::QUIT);
        sent.map_err(|errno| format!("it cannot be sent a SIGQUIT: {errno}"))?;
        while Clock::mono_now() < deadline {
            self.rest()?;
            if let Some(socket) = self.try_connect()? {
                drop(trigger);
                return Ok(socket);
            }
        }
        Err(format!("it did not begin to listen within {PATIENCE:?}"))
    }

    /// Waits a little, or until the process ends.
    fn rest(&self) -> Result<(), String> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => Err("its process has ended".into()),
            Err(errno) => Err(format!("its process cannot be watched: {errno}")),
        }
    }

    /// `None`: it does not listen, or not yet.
    fn try_connect(&self) -> Result<Option<UnixStream>, String> {
        let name = format!(".java_pid{}", self.inner);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = match rustix::fs::openat2(&self.tmp, &name, flags, Mode::empty(), beneath) {
            Ok(path) => path,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(format!("/tmp/{name}: {errno}")),
        };
        let stat = rustix::fs::fstat(&path).map_err(|errno| format!("/tmp/{name}: {errno}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || ![0, self.uid].contains(&stat.st_uid)
        {
            return Err(format!("/tmp/{name} is not a socket of its user"));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let connected = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .and_then(|socket| {
                let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", path.as_raw_fd()))?;
                rustix::net::connect(&socket, &address).map(|()| socket)
            });
        match connected {
            Ok(socket) => Ok(Some(socket.into())),
            // Left behind by an earlier process of that id, or more callers than it takes at once.
            Err(Errno::CONNREFUSED | Errno::AGAIN) => Ok(None),
            Err(errno) => Err(format!("/tmp/{name}: {errno}")),
        }
    }
}

/// The file that tells a JVM that a SIGQUIT is a request to listen; removed when dropped.
struct Trigger<'a> {
    tmp: &'a OwnedFd,
    name: String,
}

impl<'a> Trigger<'a> {
    fn make(jvm: &'a Jvm) -> Result<Self, String> {
        let name = format!(".attach_pid{}", jvm.inner);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Without it the signal makes it print its threads.
        match rustix::fs::openat(&jvm.tmp, &name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(_) => Ok(Self { tmp: &jvm.tmp, name }),
            Err(errno) => Err(format!("/tmp/{name} cannot be made: {errno}")),
        }
    }
}

impl Drop for Trigger<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.tmp, &self.name, AtFlags::empty());
    }
}

/// Sends the request; returns when it says that it is done.
fn ask(mut socket: UnixStream, deadline: MonoNs) -> Result<(), String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => format!("it did not answer within {PATIENCE:?}"),
        _ => format!("it did not answer: {error}"),
    };
    socket.set_nonblocking(false).map_err(failed)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.write_all(REQUEST).map_err(failed)?;
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER {
        let left = deadline.since(Clock::mono_now());
        if left.is_zero() {
            return Err(format!("it did not answer within {PATIENCE:?}"));
        }
        socket.set_read_timeout(Some(left)).map_err(failed)?;
        let mut part = [0; 512];
        match socket.read(&mut part).map_err(failed)? {
            0 => break,
            n => answer.extend_from_slice(&part[..n]),
        }
    }
    understood(&answer)
}

/// What an answer says.
fn understood(answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    let (result, said) = text.split_once('\n').unwrap_or((&text, ""));
    let said = said.lines().next().unwrap_or_default().trim();
    match result.trim() {
        "0" => Ok(()),
        "" => Err("it closed the connection without an answer".into()),
        // JDK 16 and older.
        _ if said.contains("Unknown diagnostic command") => Err("it is older than JDK 17".into()),
        _ => Err(format!("it refused: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let error = |text: &str| understood(text.as_bytes()).unwrap_err();
        assert_eq!(understood(b"0\n"), Ok(()));
        assert_eq!(understood(b"0\nCommand executed successfully\n"), Ok(()));
        let old = "1\njava.lang.IllegalArgumentException: Unknown diagnostic command\n\tat ...";
        assert_eq!(error(old), "it is older than JDK 17");
        assert_eq!(error("100\nOut of memory\n"), "it refused: Out of memory");
        assert_eq!(error("nonsense"), "it refused: ");
        assert_eq!(error(""), "it closed the connection without an answer");
    }

    #[test]
    fn nothing_is_sent_to_what_is_no_jvm() {
        // A SIGQUIT would end this process.
        assert_eq!(write_perf_map(std::process::id()), Err("it is no JVM".to_owned()));
        assert!(write_perf_map(u32::MAX).unwrap_err().ends_with("has ended"));
    }
}
