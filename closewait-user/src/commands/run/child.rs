//! The command as a child process: started, signalled, waited for.
//!
//! The terminal sends its signals to the whole process group, this process and the
//! command alike: those are not passed on. What a process sends to this one alone is.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use rustix::process::{Pid, WaitOptions, WaitStatus, kill_process, waitpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::user::User;
use crate::error::Failure;
use crate::files;

/// Passed on to the command when a process sends them to this one.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
];

/// Signals of this process, to be read instead of delivered.
pub(super) struct Signals {
    signals: SignalFd,
    /// What was blocked before.
    before: SigSet,
}

impl Signals {
    /// Takes them over, for this thread and those it starts later.
    pub(super) fn take_over() -> Result<Self, Failure> {
        let cannot = |error: nix::Error| Failure::new(format!("cannot take over signals: {error}"));
        let mut set = SigSet::empty();
        for signal in PASSED_ON.into_iter().chain([Signal::SIGCONT, Signal::SIGCHLD]) {
            set.add(signal);
        }
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(cannot)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { signals: SignalFd::with_flags(&set, flags).map_err(cannot)?, before })
    }
}

/// The command, to be started.
pub(super) struct Command {
    process: process::Command,
    name: OsString,
    user: Option<User>,
}

impl Command {
    /// `words` is the program and its arguments. It runs as `user`, else as the user who
    /// called sudo, else as this process.
    pub(super) fn new(words: &[OsString], user: Option<&str>) -> Result<Self, Failure> {
        let [name, arguments @ ..] = words else { return Err(Failure::new("no command was given")) };
        let mut process = process::Command::new(name);
        process.args(arguments);
        let user = match user {
            Some(word) => Some(User::named(word)?),
            None => User::behind_sudo()?,
        };
        if let Some(user) = &user {
            process.envs(user.environment());
            let become_user = user.switch();
            // SAFETY: between fork and exec it makes three system calls and allocates nothing.
            unsafe { process.pre_exec(become_user) };
        }
        Ok(Self { process, name: name.clone(), user })
    }

    /// Whom it runs as, if not as this process.
    pub(super) const fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Starts it, with the signals blocked that were blocked before they were taken over.
    /// (The library resets SIGPIPE.)
    pub(super) fn start(mut self, signals: Signals) -> Result<Running, Failure> {
        let Signals { signals, before } = signals;
        // SAFETY: between fork and exec it makes one system call and allocates nothing.
        unsafe { self.process.pre_exec(move || before.thread_set_mask().map_err(io::Error::from)) };
        let cannot = |what: &str, error: io::Error| Failure::new(format!("{what}: {error}"));
        let child = self.process.spawn().map_err(|error| {
            // What execve(2) refuses is EACCES.
            let hint = match error.raw_os_error() {
                Some(libc::EPERM) if self.user.is_some() => {
                    "to run it as another user takes CAP_SETUID and CAP_SETGID: start this as root".into()
                }
                number => why_not(&self.name, number),
            };
            cannot(&format!("cannot start {}", self.name.to_string_lossy()), error).hint(hint)
        })?;
        // SAFETY: the descriptor is the SignalFd's own, which lives as long as this AsyncFd
        // and is never replaced.
        let signals = unsafe { AsyncFd::register_with_interest(signals, Interest::READABLE) }
            .map_err(|error| cannot("cannot wait for signals", error.into()))?;
        let has_terminal = File::open("/dev/tty").is_ok();
        Ok(Running { pid: Pid::from_child(&child), signals, has_terminal })
    }
}

/// What is to be done about a command that execve(2) refuses for this reason.
fn why_not(name: &OsStr, errno: Option<i32>) -> String {
    let is_path = name.as_bytes().contains(&b'/');
    let file = files::of_command(name).filter(|file| file.exists());
    match (errno, file) {
        (Some(libc::ENOENT), Some(file)) => match interpreter(&file) {
            Some(interpreter) if Path::new(&interpreter).exists() => {
                format!("{} begins with #!{interpreter}, and what loads that is not there", file.display())
            }
            Some(interpreter) => {
                format!("{} begins with #!{interpreter}, and there is no such file", file.display())
            }
            None => format!("{} is there, and what loads it is not (`ldd` shows that)", file.display()),
        },
        (Some(libc::ENOENT), None) if is_path => "there is no such file".into(),
        (Some(libc::EACCES), Some(file)) if file.is_dir() => format!("{} is a directory", file.display()),
        (Some(libc::EACCES), Some(file)) => {
            format!("{} may not be executed (chmod +x), or what it begins with (#!)", file.display())
        }
        (Some(libc::ENOEXEC), Some(file)) => {
            format!("{} is no program of this machine, nor does it begin with #!", file.display())
        }
        _ => "the command comes after `--`, and is looked for in PATH".into(),
    }
}

/// What a script is to be run by: the first word after its `#!`.
fn interpreter(file: &Path) -> Option<String> {
    // As much as the kernel reads of it.
    let mut start = Vec::new();
    File::open(file).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    // A carriage return at its end is a part of the name, and why it is not found.
    let word = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    Some(crate::report::escape::escape(word).into_owned())
}

/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// With this code.
    Code(u8),
    /// Killed by this signal.
    Killed(u8),
}

impl How {
    /// As a shell tells it: 128 and the signal.
    pub(super) const fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Killed(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with {code}"),
            Self::Killed(number) => match Signal::try_from(i32::from(*number)) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
        }
    }
}

/// The running command.
pub(super) struct Running {
    pid: Pid,
    signals: AsyncFd<SignalFd>,
    /// Whether there is a terminal whose shell would want to know that the command stopped.
    has_terminal: bool,
}

impl Running {
    /// Passes signals on until it has ended.
    pub(super) async fn wait(&mut self) -> Result<How, Failure> {
        loop {
            if let Some(how) = self.look()? {
                return Ok(how);
            }
            let lost = |error: io::Error| Failure::new(format!("cannot wait for signals: {error}"));
            let mut ready = self.signals.readable().await.map_err(lost)?;
            while let Some(signal) =
                self.signals.get_ref().read_signal().map_err(|error| lost(error.into()))?
            {
                self.pass_on(&signal);
            }
            ready.clear_ready();
        }
    }

    /// Whether it has ended. When it has stopped, this process stops too, as a command
    /// of a shell does; it goes on when somebody continues it.
    fn look(&self) -> Result<Option<How>, Failure> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        loop {
            let status = match waitpid(Some(self.pid), options) {
                Ok(Some((_, status))) => status,
                Ok(None) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(Failure::new(format!("cannot wait for the command: {error}"))),
            };
            if let Some(how) = ended(status) {
                return Ok(Some(how));
            }
            if status.stopped() && self.has_terminal {
                let _ = kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            }
        }
    }

    fn pass_on(&self, signal: &siginfo) {
        let Ok(number) = i32::try_from(signal.ssi_signo) else { return };
        let Ok(which) = Signal::try_from(number) else { return };
        let wanted = match which {
            Signal::SIGCHLD => false,
            // It was continued together with this process, unless only this one was.
            Signal::SIGCONT => self.is_stopped(),
            // Above 0 the kernel sent it: the terminal, to the command as well. What the
            // command sends to its process group it has sent to itself.
            _ => signal.ssi_code <= 0 && i32::try_from(signal.ssi_pid) != Ok(self.pid.as_raw_nonzero().get()),
        };
        if wanted && let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            // It may have ended, which the next look tells.
            let _ = kill_process(self.pid, signal);
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = crate::enrich::procfs::text(format!("/proc/{}/stat", self.pid.as_raw_nonzero()));
        // The state follows the name, which is in brackets.
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }
}

fn ended(status: WaitStatus) -> Option<How> {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    let code = status.exit_status().map(|code| How::Code(byte(code)));
    code.or_else(|| status.terminating_signal().map(|signal| How::Killed(byte(signal))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_cannot_start_is_told_why() {
        let script = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let (lost, plain) = (script("#! /no/such/perl -w\nprint"), script("print"));
        let windows = script("#!/bin/sh\r\n");
        let name = |file: &tempfile::NamedTempFile| file.path().as_os_str().to_owned();
        for (name, errno, words) in [
            (name(&lost), libc::ENOENT, "begins with #!/no/such/perl, and there is no such file"),
            (name(&windows), libc::ENOENT, "begins with #!/bin/sh\\u{d}, and"),
            (name(&plain), libc::ENOENT, "what loads it is not"),
            (name(&plain), libc::EACCES, "chmod +x"),
            (name(&plain), libc::ENOEXEC, "nor does it begin with #!"),
            ("/".into(), libc::EACCES, "/ is a directory"),
            ("/no/such/file".into(), libc::ENOENT, "there is no such file"),
            ("no-such-command".into(), libc::ENOENT, "looked for in PATH"),
        ] {
            let hint = why_not(&name, Some(errno));
            assert!(hint.contains(words), "{name:?}: {hint}");
        }
    }
}
