//! The unit's filter of system calls: all that the tool does passes it, the processes apart too.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use super::hung::{is_left, program_that_does_not_come};
use super::kept;
use super::netns::Netns;
use super::service::UNIT;
use super::tool::{Tool, executable, json_of};
use super::waiting::show;

/// The calls of a set, `@system-service`, as systemd here has them.
fn of_set(name: &str) -> Option<BTreeSet<String>> {
    if !name.starts_with('@') {
        return Some([name.to_owned()].into());
    }
    let listed = Command::new("systemd-analyze").args(["syscall-filter", name]).output().ok()?;
    let text = String::from_utf8(listed.stdout).ok().filter(|text| !text.is_empty())?;
    let names = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut sets = names.map(of_set);
    sets.try_fold(BTreeSet::new(), |all, more| Some(&all | &more?))
}

/// The numbers of the calls that the unit allows.
fn allowed() -> Option<Vec<u32>> {
    let always = of_set("@default")?;
    let mut names = always.clone();
    for line in UNIT.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let mut sets = line.trim_start_matches('~').split(' ').map(of_set);
        let these = sets.try_fold(BTreeSet::new(), |all, more| Some(&all | &more?))?;
        names = if line.starts_with('~') { &names - &(&these - &always) } else { &names | &these };
    }
    let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").ok()?;
    let numbers = header.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
    Some(
        numbers
            .filter(|(name, _)| names.contains(*name))
            .filter_map(|(_, at)| at.trim().parse().ok())
            .collect(),
    )
}

/// The command, to which other calls answer EPERM.
fn filtered(mut command: Command, allowed: &[u32]) -> Command {
    let statement = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    // The number of the call; for each that is allowed, unless it is another: allow.
    let mut program = vec![statement(0x20, 0, 0)];
    for &number in allowed {
        program.extend([statement(0x15, 1, number), statement(0x06, 0, libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(statement(0x06, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()));
    let install = move || {
        let len = u16::try_from(program.len()).unwrap_or(0);
        let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
        // SAFETY: both are system calls; the program is as long as is said, and is only read.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) != 0
        };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: nothing is allocated, and no lock taken.
    unsafe { command.pre_exec(install) };
    command
}

#[test]
fn the_unit_allows_the_calls_that_are_made() {
    let Some(allowed) = allowed() else {
        return show(
            "the unit's filter of calls: not tried, systemd-analyze or the numbers of calls are not here",
        );
    };
    let (net, dir) = (Netns::new(), kept::dir());
    let Some((server, port)) = program_that_does_not_come(&net, &dir) else {
        return show("the unit's filter of calls: not tried, there is no FUSE here");
    };
    let mut command = filtered(Command::new(executable()), &allowed);
    let mut tool = Tool::spawn(command.args(json_of(&net)));
    tool.attached();
    is_left(&net, &server, &port);
    tool.has_reported("stuck", 1);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    // It would be another reason if there could be no process apart.
    assert!(ended.everything().contains("its file system does not answer"), "{}", ended.everything());
}
