//! `top` on a terminal that nobody reads any more, as behind a link that hangs: it leaves all the
//! same, and gives back what can be given back.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::netns::Netns;
use super::tool::binary;
use super::waiting::until;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/recordings/linux-6.18.recording");
const HIDE: &str = "\x1b[?1049h";
const BACK: &str = "\x1b[?1049l";

/// A command on a terminal, which takes what this test reads.
struct Shown {
    /// Where the terminal's program would be.
    far: File,
    /// The terminal.
    near: OwnedFd,
    child: Child,
    seen: String,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether something can be read or written at once.
fn is_ready(fd: impl AsFd, what: PollFlags) -> bool {
    let mut fds = [PollFd::new(&fd, what)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("a descriptor");
    fds[0].revents().contains(what)
}

impl Shown {
    /// Starts `top`; `controls`: the terminal is the one that controls it, as in a shell.
    fn start(args: &[&str], controls: bool) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let mut open = OpenOptions::new();
        let near = open.read(true).write(true).open(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let near: OwnedFd = near.expect("ours").into();
        let size = Winsize { ws_row: 60, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&near, size).expect("a terminal");
        let mut command = Command::new("setsid");
        command.args(controls.then_some("--ctty")).arg(binary()).arg("top").args(args);
        let end = || near.try_clone().expect("a descriptor");
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        let child = command.spawn().expect("setsid(1) is a part of every system");
        Self { far: master.into(), near, child, seen: String::new() }
    }

    /// Reads all that there is.
    fn read(&mut self) {
        while is_ready(&self.far, PollFlags::IN) {
            let mut bytes = [0; 4096];
            let read = self.far.read(&mut bytes).expect("our pty");
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    fn shows(&mut self, words: &str) {
        until(&format!("{words:?} on the terminal"), || {
            self.read();
            self.seen.contains(words).then_some(())
        });
    }

    /// Has the whole screen drawn again until the terminal takes no more.
    fn fill(&mut self) {
        until("the terminal is full", || {
            self.far.write_all(&[12]).expect("our pty");
            (!is_ready(&self.near, PollFlags::OUT)).then_some(())
        });
    }

    fn has_left(&mut self) {
        let status = until("it leaves although nobody reads", || self.child.try_wait().expect("our child"));
        assert!(status.success(), "{status}");
    }

    /// What comes when somebody reads again: the screen was left, and what was found is told.
    fn is_given_back(&mut self) {
        let modes = tcgetattr(&self.near).expect("a terminal").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
        assert!(self.seen.contains(HIDE) && !self.seen.contains(BACK), "{}", self.seen);
        self.shows("summary");
        let (_, left) = self.seen.split_once(BACK).expect("it leaves the alternate screen");
        assert!(left.contains("summary") && !left.contains(HIDE), "{left}");
    }

    fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it runs");
    }
}

#[test]
fn a_signal_and_a_key_end_it_and_give_back_what_can_be_given_back() {
    let net = Netns::new();
    for (controls, is_killed) in [(true, true), (true, false), (false, true)] {
        let mut shown = Shown::start(&["-t", "1s", "--netns", &net.path()], controls);
        shown.shows("nothing is stuck");
        shown.fill();
        if is_killed {
            shown.terminate();
        } else {
            shown.far.write_all(b"q").expect("our pty");
        }
        shown.has_left();
        shown.is_given_back();
    }
}

#[test]
fn so_it_does_when_it_shows_a_recording() {
    let mut shown = Shown::start(&[RECORDING], true);
    shown.shows("VERDICT");
    shown.fill();
    shown.terminate();
    shown.has_left();
    shown.is_given_back();
}

/// Stopped as by Ctrl-S in a shell: not even room can be made.
#[test]
fn a_stopped_terminal_ends_it_too() {
    let mut shown = Shown::start(&[RECORDING], true);
    shown.shows("VERDICT");
    rustix::termios::tcflow(&shown.near, rustix::termios::Action::OOff).expect("a terminal");
    shown.fill();
    shown.terminate();
    shown.has_left();
    let modes = tcgetattr(&shown.near).expect("a terminal").local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    rustix::termios::tcflow(&shown.near, rustix::termios::Action::OOn).expect("a terminal");
}
