//! What cannot work is refused with a message that names it, and the right exit code.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::netns::Netns;
use super::tool::{Ended, Tool, binary, executable};

fn run(args: &[&str]) -> Ended {
    Tool::spawn(Command::new(binary()).args(args)).end()
}

#[test]
fn usage_errors_name_the_problem() {
    let cases: &[(&[&str], &str)] = &[
        (&["--no-such-option"], "--no-such-option"),
        (&["--threshold", "0"], "--threshold"),
        (&["--threshold", "0s"], "--threshold"),
        (&["--threshold=-5s"], "--threshold"),
        (&["--threshold", "-5s"], "-5"),
        (&["--threshold", "10x"], "10x"),
        (&["--threshold", "99999999999999999999d"], "--threshold"),
        (&["--threshold", ""], "--threshold"),
        (&["--output", "yaml"], "yaml"),
        (&["--duration", "soon"], "soon"),
        (&["--local-port", "65536"], "65536"),
        (&["--pid", "zero"], "zero"),
        (&["--without", "gravity"], "gravity"),
        (&["no-such-command"], "no-such-command"),
    ];
    for (args, named) in cases {
        let ended = run(args);
        ended.exits(2).said(named);
        assert_eq!(ended.printed, Vec::<String>::new(), "{args:?} printed on stdout");
    }
}

#[test]
fn a_missing_namespace_is_named() {
    let ended = run(&["--netns", "/run/netns/no-such-namespace", "--duration", "1s"]);
    ended.exits(2).said("/run/netns/no-such-namespace");
}

/// The tool where an unprivileged user may run it, and a command that does.
pub(crate) struct Nobody {
    _dir: tempfile::TempDir,
    tool: PathBuf,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "giving up privileges needs them");
        let dir = tempfile::tempdir().expect("a directory");
        let tool = dir.path().join("closewait-trace");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("our directory");
        std::fs::copy(executable(), &tool).expect("a copy");
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).expect("our file");
        Self { _dir: dir, tool }
    }

    /// The tool.
    pub(crate) fn tool(&self) -> &Path {
        &self.tool
    }

    fn run(&self, args: &[&str]) -> Ended {
        Tool::spawn(Command::new(&self.tool).args(args).uid(65534).gid(65534)).end()
    }
}

/// Whether something on stderr tells a user what is missing.
fn says_privilege(ended: &Ended) -> bool {
    let words = ["sudo", "root", "CAP_BPF", "privilege"];
    ended.talk.iter().any(|line| words.iter().any(|word| line.contains(word)))
}

#[test]
fn without_privileges() {
    let nobody = Nobody::new();
    let required = nobody.run(&["--require-trace", "--duration", "1s"]);
    required.exits(77);
    assert!(says_privilege(&required), "{}", required.everything());

    let doctor = nobody.run(&["doctor"]);
    doctor.exits(77);
    let told = doctor
        .printed
        .iter()
        .chain(&doctor.talk)
        .any(|line| line.contains("CAP_BPF") || line.contains("root"));
    assert!(told, "{}", doctor.everything());
    // It says how to get what is missing, and of the self-test that it was not run.
    let tested = nobody.run(&["doctor", "--self-test"]);
    tested.exits(77);
    for words in ["sudo setcap cap_bpf,cap_perfmon,cap_sys_admin,", "not run: tracing cannot run here"] {
        assert!(tested.printed.iter().any(|line| line.contains(words)), "{words}: {}", tested.everything());
    }

    // Without --require-trace it goes on with snapshots, which anybody may take.
    let degraded = nobody.run(&["--duration", "1s"]);
    degraded.exits(0);
    assert!(says_privilege(&degraded), "{}", degraded.everything());
}

/// Tracing is required and cannot be had; `fallbacks::snapshots_take_over` is the other half.
#[test]
fn without_anything_to_trace_with() {
    let net = Netns::new();
    let required = |options: &[&str]| {
        run(&[&["--netns", &net.path(), "--require-trace", "--duration", "1s"], options].concat())
    };
    required(&["--btf", "/no/such/btf"]).exits(77).said("/no/such/btf");
    required(&["--without", "raw_tp", "--without", "tracepoint"]).exits(77).said("--without");
}

/// The program's file lends a capability to read all files (setcap): whoever may run it is not
/// shown by it what they may not read.
#[test]
fn what_the_program_may_read_is_not_shown_to_who_may_not() {
    let nobody = Nobody::new();
    // linux/capability.h, `vfs_cap_data`: revision 2, effective; permitted, inheritable.
    let lent: Vec<u8> = [0x0200_0001_u32, 1 << 2, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    rustix::fs::setxattr(nobody.tool(), "security.capability", &lent, rustix::fs::XattrFlags::empty())
        .expect("capabilities of a file");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("our directory");
    let file = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("our directory");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our file");
        path.to_str().expect("text").to_owned()
    };
    let words = file("words", b"hunter2 = 1\n");
    let recording = file("recording", include_bytes!("../recordings/linux-6.18.recording"));
    for args in [
        &["--check-config", "--config", &words][..],
        &["run", "--suppressions", &words, "--", "true"],
        &["replay", &recording],
        &["diff", &recording, &recording],
    ] {
        let ended = nobody.run(args);
        ended.exits(2).said("ermission denied");
        let all = ended.everything();
        assert!(!all.contains("hunter2") && ended.printed.is_empty(), "{args:?}: {all}");
    }
}
