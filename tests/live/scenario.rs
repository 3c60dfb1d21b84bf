//! Scenario programs (tests/scenarios): started in a namespace, read line by line.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;

use closewait_trace::clock::MonoNs;

use super::lines::Lines;
use super::netns::{Netns, output};
use super::waiting::Deadline;

/// A running scenario program; killed when dropped.
pub(crate) struct Scenario {
    name: String,
    child: Child,
    orders: ChildStdin,
    lines: Lines,
}

/// The fd that a process keeps on a leaked socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    pub(crate) pid: u32,
    pub(crate) fd: u32,
}

/// Leaked sockets by the port of the client's end.
pub(crate) type Leaks = BTreeMap<u16, Kept>;

impl Scenario {
    /// Starts `program` of tests/scenarios inside `net`.
    pub(crate) fn start(net: &Netns, program: &str, args: &[&str]) -> Self {
        let mut command = net.command(programs().join(program));
        Self::spawn(&format!("{program} {}", args.join(" ")), command.args(args))
    }

    /// Starts it by a command of the caller's, and calls it `name`.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let orders = child.stdin.take().expect("piped");
        let lines = Lines::of(child.stdout.take().expect("piped"));
        Self { name: name.to_owned(), child, orders, lines }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it waits for something.
    pub(crate) fn is_asleep(&self) -> bool {
        // proc_pid_stat(5): the state follows the name, which is in brackets.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    }

    /// The next line.
    pub(crate) fn hear(&self) -> Said {
        let line = self.lines.next(Deadline::patient());
        Said::parse(&line.unwrap_or_else(|| panic!("{} ended early", self.name)))
    }

    /// The next line, if there is one by then; it must not have ended.
    pub(crate) fn hear_before(&self, deadline: Deadline) -> Option<Said> {
        match self.lines.next_before(deadline) {
            Ok(Some(line)) => Some(Said::parse(&line)),
            Ok(None) => panic!("{} ended early", self.name),
            Err(_) => None,
        }
    }

    /// The next line, which must begin with `word`.
    pub(crate) fn expect(&self, word: &str) -> Said {
        let said = self.hear();
        assert_eq!(said.word, word, "{} said {said:?}", self.name);
        said
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> String {
        self.expect("ready").number("port").to_string()
    }

    /// Waits until it has done all it was asked for; what it kept.
    pub(crate) fn done(&self) -> Leaks {
        let mut leaks = Leaks::new();
        loop {
            let said = self.hear();
            match said.word.as_str() {
                "leak" => {
                    let port = u16::try_from(said.number("port")).expect("a port");
                    let twice = leaks.insert(port, Kept { pid: said.number("pid"), fd: said.number("fd") });
                    assert_eq!(twice, None, "{} leaked port {port} twice", self.name);
                }
                "done" => {
                    assert_eq!(said.number("leaked") as usize, leaks.len(), "{}", self.name);
                    return leaks;
                }
                "ready" => {}
                _ => panic!("{} said {said:?}", self.name),
            }
        }
    }

    /// Gives it a command.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.orders, "{command}").expect("it reads its commands");
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line of a scenario program: a word, then `key=value` pairs.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) word: String,
    values: HashMap<String, String>,
}

impl Said {
    fn parse(line: &str) -> Self {
        let mut parts = line.split_whitespace();
        let word = parts.next().unwrap_or_default().to_owned();
        let pairs = parts.filter_map(|part| part.split_once('='));
        Self { word, values: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    /// The word after `key=`.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    /// The number after `key=`.
    pub(crate) fn number(&self, key: &str) -> u32 {
        self.parsed(key)
    }

    /// The moment after `key=`.
    pub(crate) fn moment(&self, key: &str) -> MonoNs {
        MonoNs(self.parsed(key))
    }

    fn parsed<T: FromStr>(&self, key: &str) -> T {
        let value = self.values.get(key).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no number {key} in {self:?}"))
    }
}

/// Where the compiled programs are: `CLOSEWAIT_SCENARIOS`, else compiled once.
pub(crate) fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(dir) = std::env::var_os("CLOSEWAIT_SCENARIOS") {
            return dir.into();
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenarios");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/scenarios/build.sh");
        output(Command::new(script).arg(&dir));
        dir
    })
}
