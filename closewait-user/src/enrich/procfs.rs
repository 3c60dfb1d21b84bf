//! One process, as /proc shows it.
//!
//! In: an open directory /proc/PID, which stays that process' own: once it has
//! ended every read fails, also when its number was given to another. Out: the
//! [`Process`] of its holders. Names are any bytes a process likes; they are
//! made UTF-8 lossily here and must be escaped where they are printed.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::path::Arg;

use super::{cgroup, container, program};
use crate::clock::Clock;
use crate::fact::Fact;
use crate::text::Text;
use crate::verdict::{Nofile, Parent, Process};

/// As much of a file as is worth reading.
pub(super) const READ_MAX: usize = 8192;

/// And of a command line, which can be 2 MiB long: behind the class path of a Java program, of
/// tens of KiB, stands what it is.
const LINE_MAX: usize = 64 << 10;

/// Reads process `pid` from its directory `dir`. `used` is its number of
/// descriptors. An error: it has ended, or not even its name can be read.
pub fn process(dir: BorrowedFd<'_>, pid: u32, used: io::Result<u64>) -> io::Result<Process> {
    let exe = rustix::fs::readlinkat(dir, "exe", Vec::new())
        .map(|link| link.to_string_lossy().into_owned())
        .map_err(io::Error::from);
    let cgroup = read(dir, "cgroup").unwrap_or_default();
    let used = used.map_err(|e| format!("cannot read /proc/{pid}/fd: {e}"));
    let nofile = used.and_then(|used| ask(dir, pid, "limits", soft_nofile).map(|soft| Nofile { used, soft }));
    let place = container::place(&cgroup);
    let comm = comm(dir)?;
    let (program, line) = command_line(dir, pid, &comm, exe.as_deref().ok());
    Ok(Process {
        pid,
        comm: comm.into(),
        program,
        exe: fact(exe.map(Text::from).map_err(|e| format!("cannot read /proc/{pid}/exe: {e}"))),
        cmdline: fact(line),
        uid: fact(ask(dir, pid, "status", real_uid)),
        // A process need not be in any container: without the file nothing is claimed.
        container: place.as_ref().map(|place| place.to_string().into()),
        pod: place.as_ref().and_then(container::Place::pod).map(Arc::new),
        cgroups: cgroup::memberships(&cgroup),
        nofile: fact(nofile),
        began: fact(ask(dir, pid, "stat", start_ticks).map(Clock::since_boot)),
        execed: fact(ask(dir, pid, "stat", has_execed)),
        parent: fact(ask(dir, pid, "stat", |stat| field(stat, 4)).and_then(parent)),
    })
}

/// What a process runs, as far as its name does not tell, and as much of its command line as is
/// worth keeping.
fn command_line(
    dir: BorrowedFd<'_>,
    pid: u32,
    comm: &str,
    exe: Option<&str>,
) -> (Option<Text>, Result<Text, String>) {
    match read_most(dir, "cmdline", LINE_MAX) {
        Ok(line) => (
            program::label(whole_words(&line), comm, exe),
            Ok(joined(&line[..line.floor_char_boundary(READ_MAX)]).into()),
        ),
        Err(e) => (None, Err(format!("cannot read /proc/{pid}/cmdline: {e}"))),
    }
}

/// The process with this number, as the parent of another.
fn parent(pid: u64) -> Result<Parent, String> {
    let pid = u32::try_from(pid).unwrap_or_default();
    let gone = |error: io::Error| format!("cannot read /proc/{pid}/comm: {error}");
    let dir = open_dir(rustix::fs::CWD, format!("/proc/{pid}")).map_err(gone)?;
    let comm = comm(dir.as_fd()).map_err(gone)?;
    let exe = rustix::fs::readlinkat(&dir, "exe", Vec::new()).ok();
    let exe = exe.map(|link| link.to_string_lossy().into_owned());
    let (program, line) = command_line(dir.as_fd(), pid, &comm, exe.as_deref());
    Ok(Parent { pid, comm: comm.into(), program, cmdline: fact(line) })
}

/// Name of a process (of its main thread).
pub fn comm(dir: BorrowedFd<'_>) -> io::Result<String> {
    Ok(read(dir, "comm")?.trim_end_matches('\n').to_owned())
}

/// Whether descriptor `fd` of a thread of process `pid` is closed on exec.
pub fn cloexec(dir: BorrowedFd<'_>, (pid, tid): (u32, u32), fd: u32) -> Fact<bool> {
    fact(ask(dir, pid, &format!("task/{tid}/fdinfo/{fd}"), is_cloexec))
}

/// So many descriptors of a process are counted by listing them, 0.35 us each: under 3 ms.
const LISTED_MAX: u64 = 8192;

/// How many descriptors the process with directory `dir` has, as `ls` and lsof count them.
/// Beyond [`LISTED_MAX`] it may be more by one for each of its threads that waits in accept().
pub fn descriptors(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let fds = open_dir(dir, "fd")?;
    // Since 6.2 the size of the directory is how many numbers are taken (proc_fd_getattr in
    // fs/proc/fd.c), 3 us: accept() takes one before there is a file (__sys_accept4_file).
    match u64::try_from(rustix::fs::fstat(&fds)?.st_size) {
        Ok(taken) if taken > LISTED_MAX => Ok(taken),
        _ => listed(fds),
    }
}

/// The same of a process with any number of them, by listing: for looks at few processes
/// between which numbers are compared.
pub fn all_descriptors(dir: BorrowedFd<'_>) -> io::Result<u64> {
    listed(open_dir(dir, "fd")?)
}

fn listed(fds: OwnedFd) -> io::Result<u64> {
    let mut count = 0;
    each_number(fds, |_| count += 1)?;
    Ok(count)
}

/// The names in a directory that are numbers.
pub fn numbers(dir: OwnedFd) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    each_number(dir, |number| all.push(number))?;
    Ok(all)
}

fn each_number(dir: OwnedFd, mut each: impl FnMut(u32)) -> io::Result<()> {
    let mut buf = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buf.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        if let Some(number) = number(entry?.file_name()) {
            each(number);
        }
    }
    Ok(())
}

/// The number that a name is.
pub fn number(name: &CStr) -> Option<u32> {
    std::str::from_utf8(name.to_bytes()).ok()?.parse().ok()
}

/// Opens a directory below `dir`.
pub fn open_dir(dir: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// The beginning of a file below `dir`, as UTF-8, lossily.
pub(super) fn read(dir: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    read_most(dir, name, READ_MAX)
}

fn read_most(dir: BorrowedFd<'_>, name: &str, most: usize) -> io::Result<String> {
    let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    File::from(file).take(most as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// A file of /proc that has names in it, as text: names are any bytes, and one that is no UTF-8
/// must not hide what stands beside it.
pub fn text(path: impl AsRef<std::path::Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// What a file of process `pid` says, or why it does not.
fn ask<T>(dir: BorrowedFd<'_>, pid: u32, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let text = read(dir, name).map_err(|e| format!("cannot read /proc/{pid}/{name}: {e}"))?;
    parse(&text).ok_or_else(|| format!("/proc/{pid}/{name} does not say"))
}

fn fact<T>(result: Result<T, String>) -> Fact<T> {
    match result {
        Ok(value) => Fact::Known(value),
        Err(reason) => Fact::unknown(reason),
    }
}

/// Arguments end in NUL; a process may also have overwritten them with anything.
/// Empty for a kernel thread and after the process ended.
pub(super) fn joined(cmdline: &str) -> String {
    cmdline.trim_end_matches('\0').replace('\0', " ")
}

/// Without a word that was cut where reading ended: it could be taken for another.
fn whole_words(line: &str) -> &str {
    match line.rfind('\0') {
        Some(last) if line.len() >= LINE_MAX => &line[..last],
        _ => line,
    }
}

/// The 22nd field of /proc/PID/stat is when the process began, since boot: counted in 1/100 s
/// on every architecture that this tool runs on (`USER_HZ`), rounded down.
pub(crate) fn start_ticks(stat: &str) -> Option<Duration> {
    Some(Duration::from_millis(field(stat, 22)?.checked_mul(10)?))
}

/// The 9th are the flags of the main thread; one says that it was forked and has not
/// executed anything since.
fn has_execed(stat: &str) -> Option<bool> {
    Some(field(stat, 9)? & PF_FORKNOEXEC == 0)
}

/// include/linux/sched.h: the same on all kernels.
const PF_FORKNOEXEC: u64 = 0x40;

/// A numbered field of /proc/PID/stat behind the name, which is in brackets and may hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// `Uid:` of /proc/PID/status is real, effective, saved, filesystem.
pub(super) fn real_uid(status: &str) -> Option<u32> {
    after(status, "Uid:")
}

/// `Max open files` of /proc/PID/limits is soft, hard, unit.
pub(super) fn soft_nofile(limits: &str) -> Option<u64> {
    after(limits, "Max open files")
}

/// The number after `key` at the start of a line.
fn after<T: FromStr>(text: &str, key: &str) -> Option<T> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()?.parse().ok()
}

/// `flags:` of fdinfo is octal; it holds O_CLOEXEC for the descriptor (seq_show in fs/proc/fd.c).
pub(super) fn is_cloexec(fdinfo: &str) -> Option<bool> {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
    Some(u32::from_str_radix(flags, 8).ok()? & O_CLOEXEC != 0)
}

const O_CLOEXEC: u32 = 0o2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_proc() {
        assert_eq!(real_uid("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(1000));
        assert_eq!(
            soft_nofile(
                "Limit  Soft Limit\nMax open files            1024                 524288               files\n"
            ),
            Some(1024)
        );
        assert_eq!(soft_nofile("Max open files            unlimited\n"), None);
        assert_eq!(is_cloexec("pos:\t0\nflags:\t02000002\nmnt_id:\t9\n"), Some(true));
        assert_eq!(is_cloexec("pos:\t0\nflags:\t02\n"), Some(false));
        assert_eq!(is_cloexec("pos:\t0\n"), None);
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 106 0 0 0 0 0 0 0 20 0 1 0 4711 2916352 234";
        assert_eq!(start_ticks(stat), Some(Duration::from_millis(47_110)));
        assert_eq!(start_ticks("7 (a) S 1"), None);
        assert_eq!(has_execed(stat), Some(true));
        assert_eq!(has_execed(&stat.replace("4194560", "4194624")), Some(false));
        assert_eq!(joined("nginx: worker\0\0\0"), "nginx: worker");
        assert_eq!(joined("a\0-b\0c d\0"), "a -b c d");
    }

    #[test]
    fn this_process_is_read_whole_and_one_that_ended_not_at_all() {
        let pid = std::process::id();
        let dir = open_dir(rustix::fs::CWD, "/proc/self").unwrap();
        let me = process(dir.as_fd(), pid, Ok(7)).unwrap();
        assert_eq!(me.pid, pid);
        assert_eq!(me.parent.known().map(|parent| parent.pid), Some(std::os::unix::process::parent_id()));
        assert_eq!(
            me.exe,
            Fact::Known(std::env::current_exe().unwrap().to_string_lossy().into_owned().into())
        );
        assert_eq!(me.nofile.known().unwrap().used, 7);
        assert!(descriptors(dir.as_fd()).unwrap() >= 3);
        assert_eq!(me.uid, Fact::Known(rustix::process::getuid().as_raw()));

        let now = Clock::mono_now();
        let began = *me.began.known().unwrap();
        assert!(began < now && now.since(began) < Duration::from_hours(1), "{began:?} {now:?}");

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dir = open_dir(rustix::fs::CWD, format!("/proc/{}", child.id())).unwrap();
        child.wait().unwrap();
        assert!(super::super::netns::is_gone(&process(dir.as_fd(), child.id(), Ok(0)).unwrap_err()));
    }
}
