//! `top` in a real terminal: tmux draws it, types, changes its size, and shows what is left
//! of it. Without tmux these tests are left out, and say so.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::netns::{Netns, output};
use super::scenario::Scenario;
use super::tool::binary;
use super::waiting::{let_pass, show, until};

/// A terminal of its own server, which ends with it.
struct Terminal {
    server: String,
}

impl Terminal {
    /// 80 columns and 24 lines, in which `sh` waits in the namespace; `None` without tmux.
    fn open(net: &Netns) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            show("LEFT OUT: tmux is not there, so `top` was not looked at in a terminal");
            return None;
        }
        let terminal = Self { server: format!("closewait-{}", net.name()) };
        let shell = ["env", "PS1=ready$ ", "LC_ALL=C.UTF-8", "TERM=screen", "sh"];
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"];
        terminal.tmux(&[&new[..], &shell[..]].concat());
        // The pane stays when its command has ended.
        terminal.shows("ready$");
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        output(Command::new("tmux").args(["-L", &self.server]).args(args))
    }

    /// Types a command.
    fn run(&self, command: &str) {
        self.tmux(&["send-keys", "-l", command]);
        self.press("Enter");
    }

    /// Presses a key, by tmux's name of it.
    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until all of these words are on the screen.
    fn shows_all(&self, words: &[&str]) -> String {
        let mut last = String::new();
        until(&format!("{words:?} on the screen"), || {
            last = self.screen();
            words.iter().all(|word| last.contains(word)).then_some(())
        });
        last
    }

    fn shows(&self, word: &str) -> String {
        self.shows_all(&[word])
    }

    fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Whether the terminal is as a shell has it: what is typed is shown, and lines are edited.
    fn is_restored(&self) {
        assert_eq!(self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
        self.resize(80, 24);
        self.run("clear; stty -a");
        let modes = self.shows_all(&["icanon", "echo"]);
        for off in ["-icanon", "-echo ", "-isig", "-opost"] {
            assert!(!modes.contains(off), "{off} in\n{modes}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.server, "kill-server"]).output();
    }
}

/// Three sockets that a server has leaked.
fn leak(net: &Netns) -> (Scenario, Scenario) {
    let server = Scenario::start(net, "leaky_server", &["--leak", "3"]);
    let port = server.port();
    let client =
        Scenario::start(net, "leaky_client", &["--port", &port, "--first", "--close", "3", "--send", "7"]);
    server.done();
    client.done();
    (server, client)
}

fn top(net: &Netns, more: &str) -> String {
    format!("{} top -t 1s --netns {} {more}", binary().display(), net.path())
}

#[test]
fn a_leak_is_seen_opened_filtered_and_left_in_a_terminal() {
    let net = Netns::new();
    let Some(terminal) = Terminal::open(&net) else { return };
    terminal.run(&top(&net, ""));
    terminal.shows("nothing is stuck");
    let (server, _client) = leak(&net);
    let owner = format!("leaky_server[{}]", server.pid());
    let screen =
        terminal.shows_all(&["3 stuck >=1s: 3 leaked", "EOF_IGNORED", &owner, "next:", "FIN_WAIT2 3"]);
    assert!(screen.contains("CLOSE_WAIT 3"), "{screen}");
    assert!(screen.contains("accept_and_forget"), "the stack that opened them:\n{screen}");

    terminal.press("Enter");
    let sockets = terminal.shows("Enter stacks");
    assert_eq!(sockets.matches(&format!(" {} ", server.pid())).count(), 3, "{sockets}");
    terminal.press("Enter");
    terminal.shows_all(&["opened by leaky_server", "EOF read by leaky_server", "read_to_eof"]);
    terminal.press("Escape");
    terminal.shows("Enter stacks");
    terminal.press("Escape");
    terminal.shows("Enter sockets");

    terminal.press("?");
    terminal.shows("pause the screen");
    terminal.press("?");
    terminal.press("/");
    terminal.run("nginx");
    terminal.shows("None of 1 causes fits the filter \"nginx\"");
    terminal.press("Escape");
    terminal.shows(&owner);
    terminal.press("p");
    terminal.shows("PAUSED");
    terminal.press("p");

    terminal.resize(20, 5);
    terminal.shows_all(&["3 stuck", "3 leaky_server", "EOF_IGNORED"]);
    terminal.resize(200, 50);
    terminal.shows_all(&["WHERE", "accepted on 127.0.0.1:"]);
    terminal.press("q");
    // What was found stays, on the user's own screen.
    terminal.shows_all(&["summary", "EOF_IGNORED (high)"]);
    terminal.is_restored();
}

#[test]
fn where_tracing_cannot_run_snapshots_are_shown_and_that_is_said() {
    let net = Netns::new();
    let Some(terminal) = Terminal::open(&net) else { return };
    let (server, _client) = leak(&net);
    terminal.run(&top(&net, "--btf /no/such/btf"));
    terminal.shows_all(&["3 stuck >=1s", "snapshots only", "tracing cannot run here"]);
    terminal.shows(&format!("leaky_server[{}]", server.pid()));
    terminal.press("C-c");
    terminal.shows("summary");
    terminal.is_restored();
}

#[test]
fn a_signal_and_the_end_of_the_time_give_the_terminal_back() {
    let net = Netns::new();
    let Some(terminal) = Terminal::open(&net) else { return };
    terminal.run(&format!("{} ; echo left $?", top(&net, "")));
    terminal.shows("nothing is stuck");
    let shell = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim()));
    let pid = children.expect("the shell runs").trim().parse().ok().and_then(Pid::from_raw);
    kill_process(pid.expect("one child"), Signal::TERM).expect("it runs");
    terminal.shows_all(&["summary", "left 0"]);
    terminal.is_restored();
    terminal.run(&format!("clear; {} ; echo over $?", top(&net, "--duration 2s")));
    terminal.shows_all(&["summary", "over 0"]);
    terminal.is_restored();
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    let net = Netns::new();
    let Some(terminal) = Terminal::open(&net) else { return };
    let this = std::env::current_exe().expect("the test's own executable");
    let test = "live::top::panics_on_the_screen";
    let run = format!("RUST_BACKTRACE=0 {} --ignored --exact --nocapture {test}", this.display());
    terminal.run(&format!("clear; {run} ; echo over $?"));
    terminal.shows_all(&["panicked at", "the screen breaks", "over 101"]);
    terminal.is_restored();
}

/// What the test above runs in a terminal.
#[test]
#[ignore = "needs a terminal: a_panic_gives_the_terminal_back_before_it_speaks runs it"]
fn panics_on_the_screen() {
    use closewait_trace::commands::top::{terminal::Screen, view::Looks};
    let _screen = Screen::enter(Looks { color: true, unicode: true }).expect("a terminal");
    panic!("the screen breaks");
}

/// script(1) gives it a terminal, and takes no more of what is drawn than this test reads.
#[test]
fn a_terminal_that_takes_no_output_stops_nothing_else() {
    let net = Netns::new();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let mut command = Command::new("script");
    let line = format!("stty cols 200 rows 60; {}", top(&net, &format!("--metrics-listen {port}")));
    command.args(["--quiet", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut script) = command.spawn() else {
        return show("LEFT OUT: script(1) is not there, so no terminal could be made to take no output");
    };
    let mut out = script.stdout.take().expect("piped");
    let mut keys = script.stdin.take().expect("piped");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("nothing is stuck") {
        let mut bytes = [0; 4096];
        let read = out.read(&mut bytes).expect("our pipe");
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend(&bytes[..read]);
    }
    // Each time the whole screen is drawn, until neither the pipe nor the terminal takes more.
    let mut before = u64::MAX;
    until("the terminal is full", || {
        keys.write_all(&[12; 5]).expect("it reads keys");
        let_pass(Duration::from_millis(100));
        let now = rustix::io::ioctl_fionread(&out).expect("a pipe");
        let is_full = now == before && now > 40_000;
        before = now;
        is_full.then_some(())
    });
    let mut asked = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    asked.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    asked.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    asked.read_to_string(&mut answer).expect("it answers while it cannot draw");
    assert!(answer.contains("closewait_reported_sockets"), "{answer}");
    // It follows keys, and leaves when the terminal takes output again.
    keys.write_all(b"q").expect("it reads keys");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("our pipe");
    assert!(rest.contains("summary"), "{rest}");
    assert!(script.wait().expect("ours").success());
}

#[test]
fn a_recording_is_shown_and_its_time_stepped_through() {
    let net = Netns::new();
    let Some(terminal) = Terminal::open(&net) else { return };
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/recordings/linux-6.18.recording");
    terminal.run(&format!("{} top {recording}", binary().display()));
    terminal.shows_all(&["recording", "[ ] time", "VERDICT"]);
    let end = terminal.screen();
    terminal.press("[");
    let before = until("an earlier time", || {
        let screen = terminal.screen();
        (screen.lines().next() != end.lines().next()).then_some(screen)
    });
    assert!(before.contains(" of "), "{before}");
    terminal.press("]");
    until("the end again", || (terminal.screen().lines().next() == end.lines().next()).then_some(()));
    terminal.press("q");
    terminal.shows("summary");
    terminal.is_restored();
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let out = Command::new(binary()).arg("top").output().expect("it starts");
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("top needs a terminal") && said.contains("closewait-trace snapshot"), "{said}");
    assert!(out.stdout.is_empty());
}
