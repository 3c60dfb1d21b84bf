//! What the tool keeps of its capabilities, and that without each of them it loses what is
//! documented and nothing else. The sockets are those of another user's process.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use closewait_trace::privileges::{NEEDS, Work, kept};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use rustix::thread::{
    CapabilitySet as C, LinkNameSpaceType, capabilities, move_into_link_name_space,
    remove_capability_from_bounding_set,
};
use serde_json::Value;

use super::kept;
use super::leaked::Leaked;
use super::netns::Netns;
use super::refusals::Nobody;
use super::tool::{Ended, Tool, binary, executable, json_of};
use super::waiting::{show, until};
use super::workload::{SERVER, Workload};

/// All that starting and watching takes, and not more (CAP_SYS_RESOURCE before 5.11 only).
const ENOUGH: C = C::BPF
    .union(C::PERFMON)
    .union(C::SYS_ADMIN)
    .union(C::SYS_PTRACE)
    .union(C::DAC_READ_SEARCH)
    .union(C::SYS_RESOURCE);

pub(crate) const OF_ANOTHER_USER: Workload = Workload { server: &["--uid", "65534"], ..SERVER };

/// The command, with only these capabilities in reach.
pub(crate) fn limited(mut command: Command, to: C) -> Command {
    let limit = move || {
        for capability in C::all().difference(to) {
            match remove_capability_from_bounding_set(capability) {
                // This kernel does not know it.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    // SAFETY: prctl is async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(limit) };
    command
}

/// Traces sockets of another user's process with only these capabilities.
pub(crate) fn with_only<'n>(net: &'n Netns, to: C, more: &[&str]) -> (Leaked<'n>, Ended) {
    let mut command = limited(Command::new(executable()), to);
    let mut tool = Tool::spawn(command.args(json_of(net)).args(more));
    tool.attached();
    let leaked = OF_ANOTHER_USER.run(net, net);
    tool.has_reported("stuck", SERVER.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    leaked.are_all_in(&ended);
    (leaked, ended)
}

/// What is known of the sockets: holder, opener, its stack, the descriptors of the holder.
pub(crate) fn known(leaked: &Leaked<'_>, ended: &Ended) -> [bool; 4] {
    let reports: Vec<_> = ended.of_kind("stuck").collect();
    let all = |is: &dyn Fn(&Value) -> bool| reports.iter().all(|report| is(report));
    [
        all(&|report| leaked.holder_is_right(report)),
        all(&|report| leaked.opener_is_right(report)),
        all(&|report| leaked.stack_is_right(report)),
        all(&|report| report["limits"]["nofile"]["used"].is_u64()),
    ]
}

pub(crate) fn says_lost(ended: &Ended) -> Vec<&str> {
    let lines = ended.talk.iter().filter_map(|line| line.strip_prefix("closewait-trace: without "));
    lines.filter_map(|line| line.split_once(": lost").map(|(name, _)| name)).collect()
}

#[test]
fn what_is_documented_is_enough() {
    let net = Netns::new();
    let (leaked, ended) = with_only(&net, ENOUGH, &[]);
    assert_eq!(known(&leaked, &ended), [true; 4], "{}", ended.everything());
    assert!(says_lost(&ended).is_empty(), "{}", ended.everything());
    assert!(ended.of_kind("notice").all(|notice| notice["level"] != "warning"), "{}", ended.everything());
}

#[test]
fn without_ptrace_names_of_other_users_are_lost() {
    let net = Netns::new();
    let (leaked, ended) = with_only(&net, ENOUGH - C::SYS_PTRACE, &[]);
    let [holder, opener, stack, _] = known(&leaked, &ended);
    assert!(holder && opener && !stack, "{}", ended.everything());
    assert_eq!(says_lost(&ended), ["CAP_SYS_PTRACE"]);
}

#[test]
fn without_reading_what_is_not_ours_their_descriptors_are_not_counted() {
    let net = Netns::new();
    let (leaked, ended) = with_only(&net, ENOUGH - C::DAC_READ_SEARCH, &[]);
    assert_eq!(known(&leaked, &ended), [true, true, true, false], "{}", ended.everything());
    assert_eq!(says_lost(&ended), ["CAP_DAC_READ_SEARCH"]);
}

#[test]
fn without_entering_namespaces_only_the_own_is_looked_at() {
    let net = Netns::new();
    let (leaked, ended) = with_only(&net, ENOUGH - C::SYS_ADMIN, &[]);
    let [holder, opener, stack, _] = known(&leaked, &ended);
    assert!(!holder && opener && stack, "{}", ended.everything());
    assert_eq!(says_lost(&ended), ["CAP_SYS_ADMIN"]);
    for report in ended.of_kind("stuck") {
        let why = report["look_unknown"].as_str().unwrap_or_default();
        assert!(why.contains("cannot enter the network namespace"), "{report}");
    }
}

/// All capabilities but one: what is lost is what is documented, and is said, and nothing else is.
/// Where another one does for it nothing is lost. The results are printed as a table.
#[test]
fn each_is_removed_in_turn() {
    let runs = std::thread::scope(|scope| {
        let running: Vec<_> = NEEDS
            .iter()
            .map(|need| {
                scope.spawn(move || {
                    let net = Netns::new();
                    let (leaked, ended) = with_only(&net, C::all() - need.capability, &[]);
                    let lost = says_lost(&ended).into_iter().map(str::to_owned).collect::<Vec<_>>();
                    (need.name, known(&leaked, &ended), lost)
                })
            })
            .collect();
        let runs = running.into_iter().map(|run| run.join().expect("it traced, see above"));
        runs.collect::<Vec<_>>()
    });
    let mut table = format!("{:<24} holder opener stack  fds    said to be lost\n", "without");
    let mut wrong = Vec::new();
    for (name, known, said) in runs {
        let [holder, opener, stack, fds] = known;
        let _ = writeln!(table, "{name:<24} {holder:<6} {opener:<6} {stack:<6} {fds:<6} {}", said.join(" "));
        let due = match name {
            "CAP_SYS_ADMIN" => [false, true, true, false],
            "CAP_SYS_PTRACE" => [true, true, false, true],
            _ => [true; 4],
        };
        let is_said = said.iter().all(|lost| lost == name) && (known == [true; 4] || said == [name]);
        if known != due || !is_said {
            wrong.push(name);
        }
    }
    show(&table);
    assert!(wrong.is_empty(), "{wrong:?}\n{table}");
}

/// Tracing takes two capabilities, or the one that does for both.
#[test]
fn without_loading_programs_snapshots_are_repeated() {
    for missing in [C::BPF, C::PERFMON] {
        let net = Netns::new();
        let leaked = OF_ANOTHER_USER.run(&net, &net);
        // Started inside, so that no namespace has to be entered.
        let netns = File::open(net.path()).expect("a namespace has a file");
        let enter = move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).map_err(Into::into)
        };
        let mut command = Command::new(executable());
        // SAFETY: setns is async-signal-safe, and nothing is allocated.
        unsafe { command.pre_exec(enter) };
        let mut command = limited(command, ENOUGH - missing - C::SYS_ADMIN);
        let mut tool = Tool::spawn(command.args(["--netns", "self", "-o", "json", "--threshold", "1s"]));
        tool.has_reported("stuck", SERVER.leak);
        let ended = tool.signal(Signal::INT);
        let name = if missing == C::BPF { "CAP_BPF" } else { "CAP_PERFMON" };
        ended.exits(0).said("tracing cannot run here").said(name);
        assert_eq!(says_lost(&ended), [name, "CAP_SYS_ADMIN"], "{}", ended.everything());
        let [holder, opener, _, used] = known(&leaked, &ended);
        assert!(holder && used && !opener, "{}", ended.everything());
    }
}

/// Each thread has what its work takes, and nothing can bring the rest back.
#[test]
fn what_is_not_needed_is_given_up() {
    let net = Netns::new();
    let tool = Tool::trace(&net, &["--jit-maps"]);
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", tool.pid())).expect("it runs").flatten();
    until("all threads have settled", || {
        let has = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            status.contains("NoNewPrivs:\t1")
        };
        tasks().all(has).then_some(())
    });
    let had = kept::in_reach();
    let mut seen = BTreeSet::new();
    for task in tasks() {
        let task = task.path();
        let read = |file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let (comm, status) = (read("comm"), read("status"));
        if status.is_empty() {
            // One that only entered a namespace has ended.
            continue;
        }
        let work = match comm.trim_end() {
            "stack-places" => Work::Places,
            "stack-symbols" => Work::Symbols,
            "jit-maps" => Work::Jvms,
            _ => Work::Watch,
        };
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{status}"));
            line.trim().to_owned()
        };
        let expected = format!("{:016x}", kept(work, had).bits());
        assert_eq!((field("CapEff:"), field("CapPrm:")), (expected.clone(), expected), "{work:?}");
        assert_eq!((field("CapInh:"), field("NoNewPrivs:")), ("0".repeat(16), "1".into()), "{work:?}");
        seen.insert(comm);
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

/// The gate gives up what it does not need; the command has what the gate was started with.
#[test]
fn a_command_of_the_gate_has_what_the_caller_had() {
    let script = "grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs' /proc/self/status";
    let report = |mut command: Command| {
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let mut gate = Command::new(binary());
    gate.args(["run", "--", "sh", "-c", script]);
    let mut bare = kept::by_its_user("sh");
    bare.args(["-c", script]);
    assert_eq!(report(gate), report(bare));
}

/// `setcap` on the file, and a user who is nobody.
#[test]
fn a_user_with_file_capabilities_traces() {
    let nobody = Nobody::new();
    // One that even root does not have here would forbid to execute it.
    if let Err(error) = kept::give(nobody.tool(), ENOUGH & capabilities(None).expect("our own").permitted) {
        show(&format!("file capabilities: NOT RUN, setxattr: {error}"));
        return;
    }
    let net = Netns::new();
    let mut command = Command::new(nobody.tool());
    let mut tool = Tool::spawn(command.args(json_of(&net)).uid(65534).gid(65534));
    tool.attached();
    let leaked = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    leaked.are_all_in(&ended);
    assert_eq!(known(&leaked, &ended), [true; 4], "{}", ended.everything());
    assert!(says_lost(&ended).is_empty(), "{}", ended.everything());
    // What this kernel does not have is no matter of rights.
    let summary = ended.of_kind("summary").next().expect("it ends with one");
    for line in summary["degraded"].as_array().expect("a list") {
        let line = line.as_str().expect("text");
        assert!(!line.contains("ermission") && !line.contains("not permitted"), "{line}");
    }
}

/// Whoever reads a recording, which somebody else may have written, has nothing left to lose.
#[test]
fn a_recording_is_read_without_capabilities() {
    let recording: &[u8] = include_bytes!("../recordings/linux-6.18.recording");
    let had = kept::in_reach();
    let commands = [
        ("replay", recording, Work::Replay { opens: false }),
        ("diff", b"{}\n".as_slice(), Work::Replay { opens: true }),
    ];
    for (command, written, work) in commands {
        let dir = tempfile::tempdir().expect("a directory");
        let fifo = dir.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
        // The second file of `diff` is read when the first has ended: it does not.
        let more = (command == "diff").then_some(fifo.as_path());
        let mut reader = Command::new(binary());
        reader.arg(command).arg(&fifo).args(more).stdout(Stdio::null());
        let mut reader = reader.spawn().expect("it starts");
        let mut writer = File::options().write(true).open(&fifo).expect("it is read");
        // Without an end, until nobody reads it.
        let writing = std::thread::spawn(move || while writer.write_all(written).is_ok() {});
        let expected = format!("CapPrm:\t{:016x}", kept(work, had).bits());
        until("it has settled", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", reader.id())).expect("it runs");
            (status.contains(&expected) && status.contains("NoNewPrivs:\t1")).then_some(())
        });
        reader.kill().expect("it runs");
        reader.wait().expect("it was ended");
        writing.join().expect("it ends with its reader");
    }
}
