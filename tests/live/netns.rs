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

    /// Every packet to this end of a wire, or through the loopback, is handled on CPU 0.
    pub(crate) fn steer_to_cpu_0(&self, device: &str) {
        // Only a /sys mounted inside shows this namespace's devices; `ip netns exec` mounts one.
        let steer = format!("echo 1 > /sys/class/net/{device}/queues/rx-0/rps_cpus");
        ip(&["netns", "exec", &self.name, "sh", "-c", &steer]);
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

/// A process that was killed could not remove its namespaces: of these tests, those of
/// `cargo test --test enrich`, or a chore.
fn remove_those_of_the_dead() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// The process that made a namespace of this name: `cwt-PID` and what it likes, or `cwt-WHAT-PID`
/// as it was once. Those of anybody else have none.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix("cwt-")?.split('-').find_map(|part| part.parse().ok())
}

#[test]
fn namespaces_of_others_are_left_alone() {
    let made = ["cwt-17-0", "cwt-17-bench-3", "cwt-17-enrich-3", "cwt-17-fleet", "cwt-fleet-17"];
    assert_eq!(made.map(maker), [Some(17); 5]);
    assert_eq!(["cwt-fleet", "cwt-", "cni-17-0", "17", "acwt-17"].map(maker), [None; 5]);
}

#[test]
fn namespaces_of_the_dead_are_removed_and_those_of_the_living_are_not() {
    let net = Netns::new();
    // Ended and waited for, its process id is nobody's.
    let mut child = Command::new("true").spawn().expect("it starts");
    child.wait().expect("our own child");
    let (dead, living) = (format!("cwt-fleet-{}", child.id()), format!("cwt-fleet-{}", std::process::id()));
    for name in [&dead, &living] {
        ip(&["netns", "add", name]);
    }
    remove_those_of_the_dead();
    let is_there = |name: &str| Path::new("/run/netns").join(name).exists();
    let (dead_is_there, living_is_there) = (is_there(&dead), is_there(&living));
    ip(&["netns", "del", &living]);
    assert!(is_there(net.name()) && living_is_there, "one of a living process was removed");
    assert!(!dead_is_there, "one of a dead process is left");
}
