//! Every way to lose something, made to happen: what was reported of it, and whether and
//! when all was right again. What has to come out is told in a table (`table.rs`, tests/FAULTS.md)
//! and checked here, what came out is printed as one; nothing may be silently wrong.
//!
//! What cannot be made to happen at will is tested where it is decided: records that are
//! malformed in `decode.rs`.

mod row;
mod skipped;
mod table;

use std::fmt::Write;
use std::process::Command;

use closewait_ebpf::counter;
use closewait_trace::clock::Clock;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use serde_json::Value;

use super::bpf::counters_of;
use super::kept;
use super::leaked::{opener_is_missing, stack_is_missing};
use super::netns::{Netns, output};
use super::scenario::{Scenario, programs};
use super::tool::{Ended, Tool, binary, json_of};
use super::waiting::{show, until};
use super::workload::{CLIENT, SERVER, Workload};
use row::Row;
use table::{FAULTS, Fault};

/// Connections that are closed in time, until the kernel side has lost records of them in a ring
/// that nobody reads: on a busy machine those of a second may all have room.
fn storm(net: &Netns, tool: &Tool, lost: u32) {
    let counters = counters_of(tool.pid());
    until("the ring is full", || {
        let storm = Scenario::start(net, "storm", &["--seconds", "1"]);
        storm.expect("ready");
        storm.expect("done");
        let lost: u64 = counters.get(&lost, 0).expect("a counter").iter().sum();
        (lost > 0).then_some(())
    });
}

const SMALL_RING: [&str; 2] = ["--room", "RECORDS=4096"];
const WITH_READER: Workload = Workload { leak: 5, ..SERVER };

/// The edges into CLOSE_WAIT, and with them the openers' stacks.
fn ring_full_when_they_enter(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &SMALL_RING);
    let leaked = tool.stopped(|| {
        storm(&net, &tool, counter::LOST_ENTER);
        WITH_READER.run(&net, &net)
    });
    let began = Clock::mono_now();
    tool.has_reported("stuck", WITH_READER.leak);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    let missing = row.are_right(&leaked, &ended);
    row.notes = format!("{} openers, {} stacks missing", missing.0, missing.1);
    row.says(&ended, "enter ");
}

/// The edges out of it.
fn ring_full_when_they_leave(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &SMALL_RING);
    let mut leaked = WITH_READER.run(&net, &net);
    tool.has_reported("stuck", WITH_READER.leak);
    tool.stopped(|| {
        storm(&net, &tool, counter::LOST_LEAVE);
        leaked.leaker.tell("close");
        leaked.leaker.expect("closed");
    });
    let began = Clock::mono_now();
    tool.has_reported("released", WITH_READER.leak);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    let unknown = ended.of_kind("released").filter(|line| line["how"].is_null()).count();
    row.notes = format!("of {unknown} how is unknown");
    row.must(
        ended.of_kind("released").all(|line| line["how"] == "closed" || line["how_unknown"].is_string()),
        "an end that is neither right nor unknown with a reason",
    );
    row.are_right(&leaked, &ended);
    row.says(&ended, "leave ");
}

/// Whoever reads the reports does not.
fn nobody_reads_the_reports(row: &mut Row) {
    let net = Netns::new();
    // 300 reports of 2 KB and more fill the pipe.
    let workload = Workload { leak: 307, ..SERVER };
    let mut command = Command::new(binary());
    let (mut tool, stdout) = Tool::spawn_unread(command.args(json_of(&net)).args(SMALL_RING));
    tool.attached();
    let leaked = workload.run(&net, &net);
    let task = format!("/proc/{}/task/{}/wchan", tool.pid(), tool.pid());
    until("the pipe is full", || {
        let wchan = std::fs::read_to_string(&task).ok()?;
        (wchan.contains("pipe") || wchan.contains("write")).then_some(())
    });
    storm(&net, &tool, counter::LOST_ENTER);
    let late = SERVER.run(&net, &net);
    let began = Clock::mono_now();
    tool.read(stdout);
    tool.has_reported("stuck", workload.leak + SERVER.leak);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    let is_late = |report: &&Value| late.include(report);
    row.must(ended.of_kind("stuck").filter(is_late).all(|it| late.holder_is_right(it)), "a late holder");
    let early: Vec<_> = ended.of_kind("stuck").filter(|report| leaked.include(report)).collect();
    row.must(early.len() == workload.leak, "not all early ones");
    row.must(early.iter().all(|it| leaked.holder_is_right(it)), "an early holder");
    row.says(&ended, "total ");
}

/// Who opened them.
fn no_room_for_openers(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &["--room", "SOCKETS=2"]);
    let leaked = Workload { leak: 7, ..SERVER }.run(&net, &net);
    let began = Clock::mono_now();
    tool.has_reported("stuck", 7);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    let (openers, _) = row.are_right(&leaked, &ended);
    row.must(openers >= 5, &format!("only {openers} openers are missing"));
    row.notes = format!("{openers} openers unknown");
    row.says(&ended, "opener ");
}

fn no_room_for_copies(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &["--room", "COPIES=4096"]);
    let leaked = WITH_READER.run(&net, &net);
    tool.has_reported("stuck", WITH_READER.leak);
    let ended = tool.signal(Signal::INT);
    let (_, stacks) = row.are_right(&leaked, &ended);
    row.must(stacks == WITH_READER.leak, &format!("{stacks} stacks are missing"));
    row.notes = reason(&ended, "stack_unknown");
    row.says(&ended, "copies of stacks lost ");
}

fn no_room_for_stacks(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &["--stacks", "fp", "--room", "STACKS=1"]);
    // The accepting side takes the place, the connecting side finds none, or the other way round.
    let (accepted, connected) = (SERVER.run(&net, &net), CLIENT.run(&net, &net));
    tool.has_reported("stuck", SERVER.leak + CLIENT.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let mut unknown = 0;
    for leaked in [&accepted, &connected] {
        for report in ended.of_kind("stuck").filter(|report| leaked.include(report)) {
            row.must(leaked.holder_is_right(report), "a holder");
            unknown += usize::from(opener_is_missing(report) || stack_is_missing(report));
            row.must(opener_is_missing(report) || leaked.opener_is_right(report), "an opener");
        }
    }
    row.must(unknown > 0, "no stack is missing");
    row.reported = format!("{unknown} with stack_unknown: {}", reason(&ended, "stack_unknown"));
}

/// The first reason of this name in a report.
fn reason(ended: &Ended, name: &str) -> String {
    let of = |line: &Value| line["opener"][name].as_str().map(str::to_owned);
    ended.of_kind("stuck").find_map(of).unwrap_or_default()
}

/// A tool of which netlink answers fail; the leaks are older than it, so that only a
/// snapshot can tell of them.
fn netlink(row: &mut Row, errno: &str, from: &str, count: &str, words: &str) {
    let net = Netns::new();
    let leaked = WITH_READER.run(&net, &net);
    leaked.agree_with_ss();
    let mut command = Command::new(programs().join("refuse"));
    command.args(["recvfrom", errno, from, count]).arg(binary());
    let began = Clock::mono_now();
    let mut tool = Tool::spawn(command.args(json_of(&net)));
    tool.has_reported("stuck", WITH_READER.leak);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    row.are_right(&leaked, &ended);
    row.says(&ended, words);
}

/// Not one look at sockets succeeds: what the trace saw is reported all the same.
fn no_netlink_at_all(row: &mut Row) {
    let net = Netns::new();
    let mut command = Command::new(programs().join("refuse"));
    command.args(["recvfrom", "5", "0", "1000000000"]).arg(binary());
    let mut tool = Tool::spawn(command.args(json_of(&net)));
    tool.attached();
    let leaked = WITH_READER.run(&net, &net);
    tool.has_reported("stuck", WITH_READER.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let about: Vec<_> = ended.of_kind("stuck").filter(|report| leaked.include(report)).collect();
    row.must(about.len() == WITH_READER.leak, "not all reported");
    row.must(about.iter().all(|it| it["look_unknown"].is_string()), "a look that nobody took");
    row.must(about.iter().all(|it| it["verdict"]["leak"].is_null()), "a verdict without a look");
    let right = about.iter().all(|it| leaked.opener_is_right(it));
    row.must(right, "an opener");
    row.says(&ended, "Input/output error");
}

/// No descriptor is left for a look.
fn no_descriptors(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    // (Only its own user may set a limit without CAP_SYS_RESOURCE.)
    let pid = tool.pid().to_string();
    let limit = |soft: Option<u64>| {
        let soft = soft.map_or_else(|| "unlimited".into(), |soft| soft.to_string());
        output(kept::by_its_user("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]));
    };
    // It has looked at one before, so that nothing is missing but the descriptors of looks.
    let first = Workload { leak: 1, ..SERVER }.run(&net, &net);
    tool.has_reported("stuck", 1);
    limit(Some(3));
    let leaked = WITH_READER.run(&net, &net);
    tool.has_reported("stuck", 1 + WITH_READER.leak);
    limit(getrlimit(Resource::Nofile).current);
    let began = Clock::mono_now();
    let is_whole = |line: &Value| line["look_unknown"].is_null() && line["holders"][0]["pid"].is_number();
    tool.comes_to_print("whole reports", |ended| {
        let about = ended.reports.iter().filter(|line| line["kind"] == "stuck" && leaked.include(line));
        let whole = about.filter(|line| is_whole(line));
        whole.count() >= WITH_READER.leak
    });
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let last = |port: &u16| {
        let of = |line: &&Value| line["kind"] == "stuck" && line["socket"]["remote"]["port"] == *port;
        ended.reports.iter().rfind(of).is_some_and(|line| leaked.holder_is_right(line))
    };
    row.must(leaked.leaks.keys().all(last), "a holder is wrong in the end");
    let unknown: Vec<_> = ended.of_kind("stuck").filter(|it| !is_whole(it) && !first.include(it)).collect();
    let said = unknown.iter().all(|it| {
        it["look_unknown"].is_string() || it["holders_unknown"].is_string() || it["holders"][0].is_object()
    });
    row.must(said, "a look that failed, without a reason");
    row.reported = format!("{} first without a look or holders, with the reason", unknown.len());
}

/// Whoever opened them has ended before anything of it could be read.
fn the_opener_has_ended(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let leaked = Workload { server: &["--fork", "--leave"], ..WITH_READER }.run(&net, &net);
    let began = Clock::mono_now();
    tool.has_reported("stuck", WITH_READER.leak);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    let (openers, stacks) = row.are_right(&leaked, &ended);
    row.reported = format!(
        "{openers} openers and {stacks} stacks unknown, with a reason: {}",
        reason(&ended, "stack_unknown")
    );
}

/// The holders are killed while the tool does not look.
fn the_holders_are_killed(row: &mut Row) {
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &SMALL_RING);
    let leaked = Workload { server: &["--fork"], ..WITH_READER }.run(&net, &net);
    tool.has_reported("stuck", WITH_READER.leak);
    tool.stopped(|| {
        storm(&net, &tool, counter::LOST_ENTER);
        for kept in leaked.leaks.values() {
            let pid = Pid::from_raw(i32::try_from(kept.pid).expect("a pid")).expect("a pid");
            kill_process(pid, Signal::KILL).expect("a child of the server");
        }
        until("the sockets are gone", || net.close_wait().is_empty().then_some(()));
    });
    let began = Clock::mono_now();
    tool.has_reported("released", WITH_READER.leak);
    row.heals(began);
    let ended = tool.signal(Signal::INT);
    let right = |line: &Value| line["how"] == "exited" || line["how_unknown"].is_string();
    row.must(ended.of_kind("released").all(right), "an end that is wrong");
    row.are_right(&leaked, &ended);
    row.says(&ended, "total ");
}

/// The recording's disk is full.
fn the_disk_is_full(row: &mut Row) {
    let net = Netns::new();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("a path");
    // A mount of the tool's own, which ends with it.
    let script = format!("mount -t tmpfs -o size=16k,mode=1777 recording {path} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(binary());
    command.args(json_of(&net)).args(["--record", &format!("{path}/recording")]);
    let mut tool = Tool::spawn(&mut command);
    tool.attached();
    let leaked = Workload { leak: 3, close: 5003, ..SERVER }.run(&net, &net);
    tool.has_reported("stuck", 3);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    row.are_right(&leaked, &ended);
    row.says(&ended, "No space left");
}

/// The map of a command's processes.
fn no_room_for_the_family(row: &mut Row) {
    let net = Netns::new();
    let dir = kept::dir();
    let report = dir.path().join("report");
    let mut gate = net.command(binary());
    gate.args(["run", "--room", "FAMILY=2", "-o", "json", "--report"]).arg(&report);
    gate.args(["--", "sh", "-c", "for i in 1 2 3 4 5 6 7; do sleep 1 & done; wait"]);
    let said = gate.output().expect("it runs");
    let said = String::from_utf8_lossy(&said.stderr);
    let lines = std::fs::read_to_string(&report).expect("a report");
    let lines: Vec<Value> = lines.lines().map(super::schema::parse).collect();
    let losses = lines.iter().filter(|line| line["kind"] == "loss");
    let lost: u64 = losses.filter_map(|line| line["lost"]["opener"].as_u64()).sum();
    row.must(lost >= 5, &format!("{lost} processes said to be lost"));
    row.must(said.contains("a leak that only these told of"), &format!("the gate said only {said}"));
    row.reported = format!("opener {lost}, in a loss line and on stderr");
}

#[test]
fn nothing_is_lost_silently() {
    let rows: Vec<_> = std::thread::scope(|scope| {
        let run = |make: &'static (dyn Fn(&mut Row) + Sync)| {
            let mut row = Row::default();
            make(&mut row);
            row
        };
        let running: Vec<_> = FAULTS.iter().map(|fault| scope.spawn(move || run(fault.made))).collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut table = format!("{:<80} {:>8}  reported\n", "fault", "healed");
    let mut wrong = Vec::new();
    for (Fault { what, heals, .. }, row) in FAULTS.iter().zip(rows) {
        let Ok(mut row) = row else {
            wrong.push(format!("{what}: it could not be made, see above"));
            continue;
        };
        row.must(row.healed.is_some() == heals.is_some(), "it heals otherwise than the table says");
        let healed = row.healed.map_or_else(|| "-".into(), |took| format!("{:.1} s", took.as_secs_f64()));
        let mark = if row.wrong.is_empty() { "" } else { " WRONG" };
        let _ = writeln!(table, "{what:<80} {healed:>8}  {}; {}{mark}", row.reported, row.notes);
        wrong.extend(row.wrong.into_iter().map(|it| format!("{what}: {it}")));
    }
    show(&table);
    assert!(wrong.is_empty(), "{table}\n{wrong:#?}");
}
