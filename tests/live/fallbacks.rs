//! Every hook taken away in turn: the leak is still found with the right holder,
//! and what is lost is said. The results are printed as a table.

use std::fmt::Write;
use std::process::Command;

use rustix::process::Signal;

use super::leaked::{Leaked, opener_is_missing, stack_is_missing};
use super::netns::Netns;
use super::tool::{Ended, Tool, binary, json_of};
use super::waiting::show;
use super::workload::{CLIENT, SERVER, Side};

/// Whether the process that accepted a socket can still be learned.
#[derive(Clone, Copy, PartialEq)]
enum Accepts {
    Known,
    Unknown,
    /// It depends on whether this kernel allows a better hook.
    OfThisKernel,
}

const CASES: &[(&[&str], Accepts)] = &[
    (&[], Accepts::Known),
    (&["tp_btf"], Accepts::Known),
    (&["raw_tp"], Accepts::Known),
    (&["tracepoint"], Accepts::Known),
    (&["fentry"], Accepts::Known),
    (&["fentry", "kprobe"], Accepts::Known),
    (&["sys_exit_accept"], Accepts::OfThisKernel),
    (&["fentry", "sys_exit_accept"], Accepts::OfThisKernel),
    (&["fentry", "kprobe", "sys_exit_accept"], Accepts::Unknown),
    (&["io_uring"], Accepts::Known),
    (&["tcp_destroy_sock"], Accepts::Known),
    (&["user_stack"], Accepts::Known),
    (&["user_stack", "stack"], Accepts::Known),
    (&["iter_task_file"], Accepts::Known),
    (&["raw_tp", "fentry", "kprobe", "io_uring", "tcp_destroy_sock"], Accepts::Known),
    (
        &[
            "raw_tp",
            "fentry",
            "kprobe",
            "sys_exit_accept",
            "io_uring",
            "tcp_destroy_sock",
            "user_stack",
            "stack",
            "iter_task_file",
        ],
        Accepts::Unknown,
    ),
];

/// How many reports were right in what.
#[derive(Default, PartialEq)]
struct Row {
    stuck: usize,
    holders: usize,
    accepts: usize,
    connects: usize,
    stacks: usize,
}

impl Row {
    /// What must come out when accepted sockets have an opener, or not, and stacks are taken, or not.
    fn expected(accepts: bool, stacks: bool) -> Self {
        let all = SERVER.leak + CLIENT.leak;
        let accepts = if accepts { SERVER.leak } else { 0 };
        let stacks = if stacks { accepts + CLIENT.leak } else { 0 };
        Self { stuck: all, holders: all, accepts, connects: CLIENT.leak, stacks }
    }

    fn count(&mut self, leaked: &Leaked, ended: &Ended) {
        for report in ended.of_kind("stuck").filter(|report| leaked.include(report)) {
            self.stuck += 1;
            self.holders += usize::from(leaked.holder_is_right(report));
            if opener_is_missing(report) {
                continue;
            }
            assert!(leaked.opener_is_right(report), "neither the opener nor a reason: {report}");
            match leaked.side {
                Side::Server => self.accepts += 1,
                Side::Client => self.connects += 1,
            }
            if !stack_is_missing(report) {
                assert!(leaked.stack_is_right(report), "neither the stack nor a reason: {report}");
                self.stacks += 1;
            }
        }
    }
}

/// Leaks on both sides under the tool, with some hooks taken away.
fn without(hooks: &[&str]) -> Row {
    let net = Netns::new();
    let options: Vec<_> = hooks.iter().flat_map(|hook| ["--without", hook]).collect();
    let mut tool = Tool::trace(&net, &options);
    let (accepted, connected) = (SERVER.run(&net, &net), CLIENT.run(&net, &net));
    tool.has_reported("stuck", SERVER.leak + CLIENT.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let mut row = Row::default();
    row.count(&accepted, &ended);
    row.count(&connected, &ended);
    row
}

#[test]
fn each_hook_can_be_missing() {
    let mut table = String::from("stuck  holders  accepts  connects  stacks   without\n");
    let mut wrong = Vec::new();
    for (hooks, accepts) in CASES {
        let row = without(hooks);
        let Row { stuck, holders, accepts: accepted, connects, stacks } = row;
        let name = hooks.join(" ");
        let _ =
            writeln!(table, "{stuck:>5}  {holders:>7}  {accepted:>7}  {connects:>8}  {stacks:>6}   {name}");
        let takes_stacks = !hooks.contains(&"stack");
        let is_right = (*accepts != Accepts::Unknown && row == Row::expected(true, takes_stacks))
            || (*accepts != Accepts::Known && row == Row::expected(false, takes_stacks));
        if !is_right {
            wrong.push(name);
        }
    }
    show(&table);
    assert!(wrong.is_empty(), "wrong without {wrong:?}:\n{table}");
}

/// Nothing to trace with: the tool goes on with snapshots.
#[test]
fn snapshots_take_over() {
    for options in [["--btf", "/no/such/btf"].as_slice(), &["--without", "raw_tp", "--without", "tracepoint"]]
    {
        let net = Netns::new();
        let mut tool = Tool::spawn(Command::new(binary()).args(json_of(&net)).args(options));
        let leaked = SERVER.run(&net, &net);
        leaked.agree_with_ss();
        tool.has_reported("stuck", SERVER.leak);
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        assert_eq!(ended.of_kind("stuck").count(), SERVER.leak, "{}", ended.everything());
        for report in ended.of_kind("stuck") {
            assert!(leaked.include(report), "{report}");
            assert!(leaked.holder_is_right(report), "{report}");
            assert!(opener_is_missing(report), "{report}");
        }
    }
}
