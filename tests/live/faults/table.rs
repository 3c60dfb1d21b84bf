//! The table of faults: what is done, what has to be reported of it, and what has to be right
//! again. tests/FAULTS.md is made of it.

use std::fmt::Write;

use super::row::{Row, WITHIN};
use super::skipped;

/// One fault.
pub(super) struct Fault {
    /// What, and how it is made.
    pub(super) what: &'static str,
    /// What is said of it at that time, and in the summary.
    reported: &'static str,
    /// What is right again when it is over; none, if what was lost is lost for good.
    pub(super) heals: Option<&'static str>,
    /// What stays as it is, but for what heals.
    stays: &'static str,
    /// Makes it, and looks.
    pub(super) made: &'static (dyn Fn(&mut Row) + Sync),
}

const ALL_STUCK: Option<&str> = Some("every stuck socket is reported, with its holder");
const ALL_ENDS: Option<&str> = Some("every end is told");
const OLDER: &str = "openers are unknown, with a reason: the sockets are older than the trace";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        what: "ring of records full (a page; nobody reads it): sockets enter CLOSE_WAIT",
        reported: "`lost.enter`",
        heals: ALL_STUCK,
        stays: "openers and their stacks may be unknown, with a reason",
        made: &super::ring_full_when_they_enter,
    },
    Fault {
        what: "ring of records full (a page; nobody reads it): sockets leave CLOSE_WAIT",
        reported: "`lost.leave`",
        heals: ALL_ENDS,
        stays: "how they ended may be unknown, with a reason",
        made: &super::ring_full_when_they_leave,
    },
    Fault {
        what: "ring of records full (nobody reads the reports: the pipe is full)",
        reported: "`lost.total`",
        heals: ALL_STUCK,
        stays: "openers and their stacks may be unknown (not checked)",
        made: &super::nobody_reads_the_reports,
    },
    Fault {
        what: "map of openers full (2 places for 7 sockets)",
        reported: "`lost.opener`",
        heals: ALL_STUCK,
        stays: "at least 5 openers are unknown, with a reason",
        made: &super::no_room_for_openers,
    },
    Fault {
        what: "ring of copied stacks full (a page, less than one copy)",
        reported: "`cost.stacks.lost`",
        heals: None,
        stays: "stacks are unknown, with a reason",
        made: &super::no_room_for_copies,
    },
    Fault {
        what: "map of stacks by frame pointers full (1 place for 2 stacks)",
        reported: "`stack_unknown` of each such socket",
        heals: None,
        stays: "stacks are unknown, with a reason",
        made: &super::no_room_for_stacks,
    },
    Fault {
        what: "programs skipped by the kernel (somebody else reads a BPF map), classic tracepoints",
        reported: "`lost.recursion`, `lost.missed`, as much as the kernel counts",
        heals: ALL_STUCK,
        stays: "openers of those that no record told of are unknown, with a reason",
        made: &skipped::by_a_neighbour,
    },
    Fault {
        what: "programs skipped by the kernel (packets come on top of them)",
        reported: "`lost.recursion`: those that no other program made up for",
        heals: ALL_STUCK,
        stays: "openers of those that no record told of are unknown, with a reason",
        made: &skipped::by_their_own_runs,
    },
    Fault {
        what: "netlink: the first dump is cut off (ENOBUFS)",
        reported: "the error, in `degraded`",
        heals: ALL_STUCK,
        stays: OLDER,
        made: &|row| super::netlink(row, "105", "2", "1", "overrun"),
    },
    Fault {
        what: "netlink: 6 answers fail (EIO)",
        reported: "the error, in `degraded`",
        heals: ALL_STUCK,
        stays: OLDER,
        made: &|row| super::netlink(row, "5", "0", "6", "Input/output error"),
    },
    Fault {
        what: "netlink: no answer ever (EIO)",
        reported: "the error, in `degraded`; `look_unknown` of each socket",
        heals: None,
        stays: "what the trace saw is reported, with openers; queues and holders are unknown",
        made: &super::no_netlink_at_all,
    },
    Fault {
        what: "no descriptors for looks (RLIMIT_NOFILE)",
        reported: "`look_unknown` or `holders_unknown` of each socket",
        heals: Some("every socket is looked at anew: a whole report, with its holder"),
        stays: "nothing (openers are not checked)",
        made: &super::no_descriptors,
    },
    Fault {
        what: "the opener has ended before it could be read; its children hold the sockets",
        reported: "`opener_unknown`, `stack_unknown` or `stack_note` of each such socket",
        heals: ALL_STUCK,
        stays: "openers and their stacks may be unknown, with a reason",
        made: &super::the_opener_has_ended,
    },
    Fault {
        what: "holders killed while the tool stands still, ring of records full (a page)",
        reported: "`lost.total`",
        heals: ALL_ENDS,
        stays: "how they ended may be unknown, with a reason",
        made: &super::the_holders_are_killed,
    },
    Fault {
        what: "the disk of the recording is full",
        reported: "the error, in `degraded`",
        heals: None,
        stays: "the trace goes on, and is whole; the recording ends there",
        made: &super::the_disk_is_full,
    },
    Fault {
        what: "`run`: map of the command's processes full (2 places for 8)",
        reported: "`lost.opener`, and the gate says that a leak may be missing",
        heals: None,
        stays: "those processes are not followed",
        made: &super::no_room_for_the_family,
    },
];

/// tests/FAULTS.md.
fn document() -> String {
    let within = WITHIN.as_secs();
    let mut text = format!(
        "# Faults\n\n\
         Every way to lose something is made to happen by `tests/live/faults.rs`, which looks at what comes out.\n\
         (This table is made of `tests/live/faults/table.rs`: `UPDATE=1 cargo test --test live table_of_faults`\n\
         writes it.) Of its columns only one is compared: whether a row heals. The others are words; what is\n\
         checked is what the code of the row checks. That is, where nothing else is said, that the holder of each\n\
         socket is right, and that its opener and its stack are right or, in any row, missing with a reason.\n\n\
         What is reported is in the summary, and in a line when it happens: `loss`, a warning, or the report of\n\
         the socket. All that heals has done so within {within} s of the end of the fault, or the test fails. That it\n\
         takes seconds (50 where a snapshot failed: until it is tried again) shows `cargo test --test live\n\
         nothing_is_lost -- --nocapture`.\n\n\
         | fault, and how it is made | reported | healed | what stays |\n|---|---|---|---|\n"
    );
    for Fault { what, reported, heals, stays, .. } in FAULTS {
        let _ = writeln!(text, "| {what} | {reported} | {} | {stays} |", heals.unwrap_or("never"));
    }
    text
}

#[test]
fn the_table_of_faults_is_the_one_of_the_tests() {
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/FAULTS.md");
        std::fs::write(path, document()).expect("our own file");
        return;
    }
    assert_eq!(
        include_str!("../../FAULTS.md"),
        document(),
        "UPDATE=1 cargo test --test live table_of_faults"
    );
}
