//! A child and its lines: of the driver and of the tool. Never outlives its value.

use crate::stopwatch::Stopwatch;
use anyhow::{Context, Result};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

pub(super) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    /// What it said on stderr
    talk: Vec<String>,
}

enum Line {
    Out(String),
    Err(String),
}

/// What came of waiting for a line.
pub(super) enum Heard {
    Line(String),
    Nothing,
    End,
}

/// How long a program may take to end when it was asked to.
const TO_END: Duration = Duration::from_secs(10);

impl Program {
    /// Starts `command` as the head of a process group of its own.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let (send, lines) = channel();
        forward(child.stdout.take(), send.clone(), Line::Out);
        forward(child.stderr.take(), send, Line::Err);
        Ok(Self { stdin: child.stdin.take(), child, lines, talk: Vec::new() })
    }

    /// The next line of its stdout, waited for until `limit` has passed since `began`.
    pub(super) fn hear(&mut self, began: Stopwatch, limit: Duration) -> Heard {
        self.next(began, limit, None)
    }

    /// Waits for a line on stderr that begins with `start`.
    pub(super) fn says(&mut self, start: &str, limit: Duration) -> bool {
        matches!(self.next(Stopwatch::start(), limit, Some(start)), Heard::Line(_))
    }

    fn next(&mut self, began: Stopwatch, limit: Duration, wanted: Option<&str>) -> Heard {
        loop {
            match self.lines.recv_timeout(began.left_of(limit)) {
                Ok(Line::Out(line)) if wanted.is_none() => return Heard::Line(line),
                Ok(Line::Out(_)) => {}
                Ok(Line::Err(line)) => {
                    let is_wanted = wanted.is_some_and(|start| line.starts_with(start));
                    self.talk.push(line.clone());
                    if is_wanted {
                        return Heard::Line(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Heard::Nothing,
                Err(RecvTimeoutError::Disconnected) => return Heard::End,
            }
        }
    }

    /// The end of what it said on stderr.
    pub(super) fn talk(&self) -> String {
        self.talk[self.talk.len().saturating_sub(12)..].join("\n")
    }

    /// Ends its stdin.
    pub(super) fn dismiss(&mut self) {
        self.stdin = None;
    }

    /// Asks it to end as Ctrl-C does.
    pub(super) fn interrupt(&self) {
        kill("-INT", &self.child.id().to_string());
    }

    /// Reads to its end, which is awaited for a while; `see` gets the lines of stdout.
    pub(super) fn drain(&mut self, mut see: impl FnMut(String)) -> bool {
        let began = Stopwatch::start();
        loop {
            match self.hear(began, TO_END) {
                Heard::Line(line) => see(line),
                Heard::Nothing => return false,
                Heard::End => return true,
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Not yet waited for, so its id, which is that of its group, is still its own.
        kill("-KILL", &format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, whom: &str) {
    let _ = Command::new("kill").args([signal, "--", whom]).output();
}

fn forward(from: Option<impl Read + Send + 'static>, to: Sender<Line>, kind: fn(String) -> Line) {
    let Some(from) = from else { return };
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if to.send(kind(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    });
}
