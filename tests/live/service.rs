//! As a service: what systemd is told, filters read again, the configuration checked, and the
//! unit's capabilities, with which it has to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use rustix::thread::CapabilitySet;
use serde_json::Value;
use tempfile::TempDir;

use super::kept;
use super::netns::Netns;
use super::privileges::{known, says_lost, with_only};
use super::tool::{Ended, Tool, binary, executable, json_of};
use super::waiting::until;
use super::workload::{SERVER, Workload};

pub(crate) const UNIT: &str = include_str!("../../closewait-user/systemd/closewait-trace.service");

/// systemd's end of NOTIFY_SOCKET.
struct Systemd {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Systemd {
    fn new() -> Self {
        let dir = kept::dir();
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        // Whoever is told as a service may not be root.
        fs::set_permissions(dir.path().join("notify"), PermissionsExt::from_mode(0o777)).expect("ours");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Self { socket, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("notify")
    }

    /// Waits until it is told this, whatever else it is told before.
    fn is_told(&self, word: &str) -> String {
        until(&format!("systemd is told {word}"), || {
            let mut buf = [0; 4096];
            let len = self.socket.recv(&mut buf).ok()?;
            let text = String::from_utf8_lossy(&buf[..len]).into_owned();
            text.lines().any(|line| line == word).then_some(text)
        })
    }
}

fn write(path: &Path, net: &Netns, more: &str) {
    let text = format!("netns = {:?}\noutput = \"json\"\nthreshold = \"1s\"\n{more}", net.path());
    fs::write(path, text).expect("our directory");
}

fn hang_up(tool: &Tool) {
    let pid = Pid::from_raw(i32::try_from(tool.pid()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::HUP).expect("the tool runs");
}

#[test]
fn systemd_is_told_and_filters_are_read_again() {
    let net = Netns::new();
    let systemd = Systemd::new();
    let file = systemd.dir.path().join("config.toml");
    let wanted = SERVER.run(&net, &net);
    let other = Workload { leak: 2, ..SERVER }.run(&net, &net);
    write(&file, &net, &format!("local-port = {}\n", other.port));
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", systemd.path()).env("WATCHDOG_USEC", "4000000").arg("--config").arg(&file);
    // As `-o json` on the command line, which the test's reader goes by.
    let page = systemd.dir.path().join("page.html");
    let mut tool = Tool::spawn(command.args(["--output", "json", "--html"]).arg(&page));
    systemd.is_told("READY=1");
    systemd.is_told("WATCHDOG=1");
    tool.has_reported("stuck", 2);

    // A broken file changes nothing.
    fs::write(&file, "local-prot = 1\n").expect("our directory");
    hang_up(&tool);
    let reloading = systemd.is_told("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    systemd.is_told("READY=1");
    assert!(tool.says("closewait-trace: not reloaded").contains("line 1: local-prot is no option"));
    systemd.is_told("WATCHDOG=1");

    // Another filter lets pass what was there before, and what cannot be changed is named.
    write(&file, &net, &format!("local-port = {}\nlimit = 7\n", wanted.port));
    hang_up(&tool);
    systemd.is_told("READY=1");
    assert!(tool.says("closewait-trace: reloaded").contains("a restart is needed for: limit"));
    tool.has_reported("stuck", 2 + SERVER.leak);
    let ended = tool.signal(Signal::TERM);
    systemd.is_told("STOPPING=1");
    ended.exits(0);
    let of = |port: &str| {
        let port: u16 = port.parse().expect("a port");
        ended.of_kind("stuck").filter(|line| line["socket"]["local"]["port"] == port).count()
    };
    assert_eq!((of(&wanted.port), of(&other.port)), (SERVER.leak, 2), "{}", ended.everything());
    // What the filter leaves out now is neither counted nor said to have ended.
    let summary = ended.of_kind("summary").next().expect("a summary");
    let stuck: u64 = summary["leak"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!((stuck, ended.of_kind("released").count()), (SERVER.leak as u64, 0), "{}", ended.everything());
    // The page says why its numbers fell.
    let page = fs::read_to_string(page).expect("it was written");
    assert!(page.contains("Filters were read again, and left out some from 20"), "{page}");
}

/// The journal keeps what was said: nothing is said again, nor in colours.
#[test]
fn in_the_journal_nothing_is_coloured_or_repeated() {
    let net = Netns::new();
    let leaked = SERVER.run(&net, &net);
    let printed = |to_journal: bool| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let stat = rustix::fs::fstat(&file).expect("our file");
        let stream = format!("{}:{}", stat.st_dev, if to_journal { stat.st_ino } else { 0 });
        let mut command = Command::new(binary());
        command.args(["--netns", &net.path(), "--threshold", "500ms", "--duration", "4s"]);
        command.args(["--color", "always", "--interval", "500ms"]).env("JOURNAL_STREAM", stream);
        let status = command.stdout(file.reopen().expect("our file")).status().expect("it runs");
        assert!(status.success());
        fs::read_to_string(file.path()).expect("text")
    };
    let screens = |text: &str| text.matches(" in CLOSE_WAIT for ").count();
    let (journal, elsewhere) = (printed(true), printed(false));
    assert!(journal.contains("leaky_server") && !journal.contains('\x1b'), "{journal}");
    assert!(elsewhere.contains('\x1b') && screens(&elsewhere) > screens(&journal), "{elsewhere}\n{journal}");
    leaked.agree_with_ss();
}

/// Without a file to read again, SIGHUP ends it: its terminal has gone.
#[test]
fn without_a_file_hanging_up_ends_it() {
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    assert_eq!(tool.signal(Signal::HUP).code(), None);
}

#[test]
fn a_configuration_is_checked() {
    let net = Netns::new();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    let check = |more: &[&str]| -> Ended {
        let mut command = Command::new(binary());
        Tool::spawn(command.arg("--config").arg(&file).arg("--check-config").args(more)).end()
    };
    write(&file, &net, "local-port = [80, 443]\n");
    let passed = check(&["--threshold", "2s"]);
    passed.exits(0);
    let line = |start: &str, end: &str| {
        assert!(
            passed.printed.iter().any(|line| line.starts_with(start) && line.ends_with(end)),
            "{start} {end}: {}",
            passed.everything()
        );
    };
    line("threshold = \"2s\"", "# command line");
    line("local-port = [80, 443]", "config.toml:4");
    line("stacks = \"auto\"", "# default");
    write(&file, &net, "thresold = \"1s\"\n");
    check(&[]).exits(2).said("line 4: thresold");
    fs::write(&file, "netns = \"/run/netns/no-such-namespace\"\n").expect("our directory");
    check(&[]).exits(2).said("/run/netns/no-such-namespace");
    fs::write(&file, "comm = \"x\"\n").expect("our directory");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("our file");
    check(&[]).exits(2).said("everybody may write to it").said("chmod o-w");
}

/// The unit's CapabilityBoundingSet is enough for all that the tool does as a service.
#[test]
fn the_unit_gives_what_is_needed() {
    let line =
        UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("in the unit");
    let given = line.split(' ').fold(CapabilitySet::empty(), |all, name| {
        let name = name.strip_prefix("CAP_").expect("a capability");
        all | CapabilitySet::from_name(name).unwrap_or_else(|| panic!("{name}"))
    });
    // LimitMEMLOCK=infinity. Where we may not, it does not matter: since 5.11.
    assert!(UNIT.contains("LimitMEMLOCK=infinity"));
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    let net = Netns::new();
    let (leaked, ended) = with_only(&net, given, &[]);
    assert_eq!(known(&leaked, &ended), [true; 4], "{}", ended.everything());
    assert!(says_lost(&ended).is_empty(), "{}", ended.everything());
}

/// Beyond LimitFSIZE a recording ends, and the trace does not.
#[test]
fn a_limit_of_the_size_of_files_does_not_end_it() {
    let (net, dir) = (Netns::new(), kept::dir());
    let mut command = Command::new(executable());
    command.args(json_of(&net)).arg("--record").arg(dir.path().join("recording"));
    let limit = || Ok(setrlimit(Resource::Fsize, Rlimit { current: Some(512), maximum: Some(512) })?);
    // SAFETY: a system call, and nothing is allocated.
    unsafe { command.pre_exec(limit) };
    let mut tool = Tool::spawn(&mut command);
    tool.attached();
    let leaked = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    tool.signal(Signal::INT).exits(0);
    leaked.agree_with_ss();
}
