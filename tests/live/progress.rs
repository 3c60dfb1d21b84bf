//! What takes longer than a second shows that it goes on: on a terminal, of which nothing is
//! left in the report, and nowhere else. A recording that comes through a pipe in two halves
//! takes as long as the test wants.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use closewait_trace::clock::Clock;

use super::netns::{Netns, output};
use super::scenario::{Scenario, programs};
use super::tool::binary;
use super::waiting::show;

const RECORDING: &[u8] = include_bytes!("../recordings/linux-6.18.recording");
const LABEL: &str = "reading the recording";
/// It shows after a second, and within this in any case.
const PATIENCE: Duration = Duration::from_mins(2);
/// Had it shown, it would have by then.
const LONG_ENOUGH: Duration = Duration::from_millis(1_600);

/// A replay whose recording is not yet whole.
struct Replay {
    child: Child,
    rest: File,
    printed: Receiver<Vec<u8>>,
    text: String,
    _dir: tempfile::TempDir,
}

impl Replay {
    /// Starts the command that `make` makes of the command line, and gives it half of it.
    fn start(options: &str, make: impl FnOnce(&str) -> Command) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        output(Command::new("mkfifo").arg(&pipe));
        let line = format!("{} {options} {}", binary().display(), pipe.display());
        let mut command = make(&line);
        command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut out = child.stdout.take().expect("piped");
        let (send, printed) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let _ = send.send(bytes[..read].to_vec());
            }
        });
        let mut rest = OpenOptions::new().write(true).open(&pipe).expect("our pipe");
        rest.write_all(&RECORDING[..RECORDING.len() / 2]).expect("it reads");
        Self { child, rest, printed, text: String::new(), _dir: dir }
    }

    /// Whether it prints `word` within this time.
    fn prints(&mut self, word: &str, within: Duration) -> bool {
        let until = Clock::mono_now() + within;
        while !self.text.contains(word) {
            let Ok(bytes) = self.printed.recv_timeout(until.since(Clock::mono_now())) else { return false };
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        true
    }

    /// Gives it the other half; all that it has printed.
    fn whole(mut self) -> String {
        self.rest.write_all(&RECORDING[RECORDING.len() / 2..]).expect("it reads");
        drop(self.rest);
        while let Ok(bytes) = self.printed.recv_timeout(PATIENCE) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(self.child.wait().expect("ours").success(), "{}", self.text);
        self.text
    }
}

/// script(1) gives it a terminal, and prints what a terminal would get.
fn in_a_terminal(line: &str) -> Command {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", line, "/dev/null"]);
    command
}

/// Both streams are one pipe.
fn in_a_pipe(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {line} 2>&1")]);
    command
}

/// What a terminal keeps of the stream: of a line that was cleared what came after that.
fn kept(text: &str) -> String {
    let line = |line: &str| line.rsplit("\x1b[2K").next().unwrap_or_default().to_owned();
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn on_a_terminal_it_shows_and_makes_way_for_the_report() {
    if Command::new("script").arg("--version").output().is_err() {
        return show("LEFT OUT: script(1) is not there, so progress was not looked at in a terminal");
    }
    let mut replay = Replay::start("replay", in_a_terminal);
    assert!(replay.prints(LABEL, PATIENCE), "{}", replay.text);
    let text = replay.whole();
    let kept = kept(&text);
    assert!(!kept.contains(LABEL) && kept.contains("summary"), "{kept}\nof\n{text:?}");

    // Lines for a program are not mixed with anything.
    let mut replay = Replay::start("replay -o json", in_a_terminal);
    assert!(!replay.prints(LABEL, LONG_ENOUGH), "{}", replay.text);
    assert!(replay.whole().contains("\"summary\""));
}

#[test]
fn in_a_pipe_nothing_shows() {
    let mut replay = Replay::start("replay", in_a_pipe);
    assert!(!replay.prints(LABEL, LONG_ENOUGH), "{}", replay.text);
    let text = replay.whole();
    assert!(text.contains("summary") && !text.contains(['\x1b', '\r']), "{text}");
}

/// The screen comes when all is read, and what showed that makes way for it.
#[test]
fn top_shows_how_far_it_has_read_a_recording() {
    if Command::new("script").arg("--version").output().is_err() {
        return show("LEFT OUT: script(1) is not there, so progress was not looked at in a terminal");
    }
    let sized = |line: &str| in_a_terminal(&format!("stty cols 80 rows 24; {line}"));
    let mut top = Replay::start("top", sized);
    assert!(top.prints(LABEL, PATIENCE), "{}", top.text);
    top.rest.write_all(&RECORDING[RECORDING.len() / 2..]).expect("it reads");
    top.rest = File::open("/dev/null").expect("it is always there");
    assert!(top.prints("VERDICT", PATIENCE), "{}", top.text);
    let (_, screen) = top.text.split_once("\x1b[?1049h").expect("a screen of its own");
    assert!(!screen.contains(LABEL), "{screen:?}");
    top.child.stdin.take().expect("piped").write_all(b"q").expect("it reads keys");
    assert!(top.prints("summary", PATIENCE), "{}", top.text);
    assert!(top.child.wait().expect("ours").success());
}

/// All that it prints. What is under way shows at once: it does not take a second here.
fn printed(mut command: Command) -> String {
    command.env("CLOSEWAIT_TEST_PROGRESS_AFTER_MS", "0").env("TERM", "xterm").stdin(Stdio::null());
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

/// On a terminal `label` is shown and taken away again before `report` comes; in a pipe it is not.
fn shows_on_a_terminal_only(line: &str, label: &str, report: &str) {
    let text = printed(in_a_pipe(line));
    assert!(text.contains(report) && !text.contains(label) && !text.contains('\x1b'), "{text}");
    if Command::new("script").arg("--version").output().is_err() {
        return show("LEFT OUT: script(1) is not there, so progress was not looked at in a terminal");
    }
    let text = printed(in_a_terminal(line));
    assert!(text.contains(label), "{text}");
    let kept = kept(&text);
    assert!(!kept.contains(label) && kept.contains(report), "{kept}\nof\n{text:?}");
}

#[test]
fn kill_shows_that_it_looks() {
    let net = Netns::new();
    let leak = Scenario::start(&net, "receiving", &["eof"]);
    leak.done();
    let line = format!("{} kill --threshold 100ms --netns {}", binary().display(), net.path());
    shows_on_a_terminal_only(&line, "looking at sockets and who holds them", "EOF_");
}

#[test]
fn run_shows_that_it_judges_what_its_command_has_left() {
    let net = Netns::new();
    let inside = format!("nsenter --net={} {}", net.path(), binary().display());
    let leaky = programs().join("receiving");
    let line = format!("{inside} run -- sh -c \"sleep 1 | {} eof\"", leaky.display());
    shows_on_a_terminal_only(&line, "taking the last looks", "1 socket leaked");
}
