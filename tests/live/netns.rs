//! Network namespaces: one or more for each test, gone when the test ends.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// A named network namespace with its loopback up.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// A new, empty one.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        assert!(
            rustix::process::geteuid().is_root(),
            "live tests need root; to leave them out: cargo test -- --skip live::"
        );
        SWEPT.call_once(remove_those_of_the_dead);
        let name = format!("cwt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let made = Self { name };
        ip(&["-n", &made.name, "link", "set", "lo", "up"]);
        made
    }

    /// Gives its loopback one more address.
    pub(crate) fn add_address(&self, address: &str) {
        ip(&["-n", &self.name, "addr", "add", address, "dev", "lo"]);
    }

    /// As `ip netns` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// The number the kernel knows it by.
    pub(crate) fn inode(&self) -> u64 {
        std::fs::metadata(self.path()).expect("a namespace has a file").ino()
    }

    /// `program`, to be run inside. The child has the pid of the program itself.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// How many sockets `ss` shows in CLOSE_WAIT here, as (local port, remote port).
    pub(crate) fn close_wait(&self) -> Vec<(u16, u16)> {
        let mut ss = self.command("ss");
        output(ss.args(["-H", "-t", "-n", "state", "close-wait"]))
            .lines()
            .map(|row| {
                let mut ends = row.split_whitespace().skip(2).map(|end| {
                    let port = end.rsplit(':').next().and_then(|port| port.parse().ok());
                    port.unwrap_or_else(|| panic!("no port in {row:?}"))
                });
                (ends.next().expect("a local end"), ends.next().expect("a remote end"))
            })
            .collect()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A failing test may still have processes inside; the kernel keeps it for them.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs `ip`, which must succeed.
pub(crate) fn ip(args: &[&str]) {
    output(Command::new("ip").args(args));
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// A test process that was killed could not remove its namespaces.
fn remove_those_of_the_dead() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("cwt-").and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}
