//! Rules about who has the socket: a listener's queue, nobody, or the wrong process.

use super::case::{Case, Finding, Rank, name};
use super::usage::{Use, used};
use super::{Code, Confidence, Doing, Elsewhere, Holder, Nofile, OpenedVia, Parent, Role, Thread};
use crate::fact::Fact;

/// So many characters of a command line are told.
const LINE_MAX: usize = 40;

/// Still in a listener's accept queue.
pub(super) fn not_accepted(case: &Case) -> Option<Finding> {
    let accepted = case.evidence.opener.known().is_some_and(|opener| opener.via == OpenedVia::Accept);
    let client = case.evidence.role.known() == Some(&Role::Client);
    if case.has_file()? || accepted || client {
        return None;
    }
    let listener = case.evidence.listener.known();
    let holder = listener.and_then(|listener| listener.holder.as_ref());
    let port = case.suspect.tuple.local.port;
    let who =
        holder.map_or_else(|| case.say(format_args!("the listener on port {port}")), |who| case.say(who));
    let finding = Finding::new(
        case,
        Code::NotAccepted,
        Some(true),
        format_args!(
            "Find out why {who} does not call accept(): is its thread blocked, or its event loop stopped?"
        ),
    )
    .because("inode 0: no process has accepted it");
    Some(match (listener, &case.evidence.listener) {
        (Some(listener), _) => {
            let (queue, limit) = (listener.queue, listener.limit);
            let mut finding =
                finding.because(format_args!("{queue} of {limit} in the accept queue of {who}"));
            if let Some(holder) = holder.filter(|_| is_busy(case)) {
                finding.next(format_args!(
                    "Find out why {who} does not call accept(): `{}` shows where its threads are.",
                    stacks_of(holder)
                ));
            }
            if let Some(holder) = holder.filter(|_| case.says) {
                add_others(&mut finding, holder, &other_listeners(case));
            }
            if let Some((holder, nofile)) = holder.and_then(used_up) {
                let Nofile { used, soft } = nofile;
                // Of more than the limit some are above it: whether one below it is free is not known.
                if used > soft {
                    finding.say_because(format_args!(
                        "{}[{}] has {used} descriptors and a limit of {soft}: accept() fails with EMFILE, \
                         unless the numbers above the limit leave one below it free",
                        holder.comm, holder.pid
                    ));
                } else {
                    finding.say_because(format_args!(
                        "{}[{}] is out of descriptors, with {used} in use and a limit of {soft}: accept() \
                         fails with EMFILE until it closes some",
                        holder.comm, holder.pid
                    ));
                }
                finding.next(format_args!(
                    "Find what {}[{}] does not close (its other stuck sockets first; `ls -l /proc/{}/fd` shows \
                     all), or give it a higher limit than {soft} (`ulimit -n`, LimitNOFILE=): it is out of \
                     descriptors, and accept() fails.",
                    holder.comm, holder.pid, holder.pid
                ));
                // Whether a thread asks at the very moment of the look does not matter then.
                return Some(finding);
            }
            match case.evidence.threads.known().and_then(|threads| threads.is_accepting()) {
                Some(false) => finding.because("none of its threads is in accept()"),
                Some(true) => finding.because("a thread of it is in accept()"),
                None => finding,
            }
        }
        (None, fact) => finding
            .without(format_args!("the listener: {}", fact.reason().unwrap_or_default()), Confidence::Medium),
    })
}

/// So many processes are told by their number.
const PIDS_MAX: usize = 4;

/// The processes that have the listener beside the one that is named for it.
pub(super) fn other_listeners(case: &Case) -> Vec<u32> {
    let holder = case.evidence.listener.known().and_then(|listener| listener.holder.as_ref());
    let (Some(holder), Fact::Known(all)) = (holder, &case.evidence.listener_holders) else {
        return Vec::new();
    };
    all.iter().copied().filter(|&pid| pid != holder.pid).collect()
}

/// Says who else may accept it: of workers that share their master's listener the master, which is
/// the one that was looked at, as a rule never does.
fn add_others(finding: &mut Finding, holder: &Holder, others: &[u32]) {
    let Some(first) = others.first() else { return };
    let who = match others.len() {
        1 => "another process".to_owned(),
        n => format!("{n} more processes"),
    };
    let pids = others.iter().take(PIDS_MAX).map(u32::to_string).collect::<Vec<_>>().join(", ");
    let more = if others.len() > PIDS_MAX { ", ..." } else { "" };
    finding.say_because(format_args!("{who} of the same listener may accept it, too: {pids}{more}"));
    finding.missing(format_args!("what they do: only {}[{}] was looked at", holder.comm, holder.pid));
    finding.next(format_args!(
        "Find out why none of those that have the listener calls accept(), {holder} and process {first} among them: \
         are all workers busy?"
    ));
}

/// A holder that has no descriptor left, and how many it may have.
fn used_up(holder: &Holder) -> Option<(&Holder, Nofile)> {
    let nofile = holder.nofile.known().copied().filter(|nofile| nofile.is_used_up())?;
    Some((holder, nofile))
}

/// Whether threads of the listener's process are in system calls, none of them in accept().
fn is_busy(case: &Case) -> bool {
    let threads = case.evidence.threads.known();
    threads.is_some_and(|threads| {
        let called = |thread: &Thread| matches!(thread.doing, Doing::Call { .. });
        threads.is_accepting() != Some(true) && threads.seen.iter().any(called)
    })
}

/// The command that shows the stacks of a process: of a known runtime those of its program.
fn stacks_of(Holder { process, .. }: &Holder) -> String {
    let (exe, pid) = (process.exe.known().unwrap_or(&process.comm), process.pid);
    let program = exe.rsplit('/').next().unwrap_or_default();
    match program {
        "java" => format!("jstack {pid}"),
        _ if program.starts_with("python") => format!("py-spy dump --pid {pid}"),
        _ if program.starts_with("ruby") => format!("rbspy dump --pid {pid}"),
        _ => format!("gdb -p {pid} -batch -ex 'thread apply all bt'"),
    }
}

/// No process has a file descriptor on it.
pub(super) fn unheld(case: &Case) -> Option<Finding> {
    let inode = case.socket().map(|socket| socket.inode).filter(|inode| *inode != 0)?;
    if !case.evidence.holders.known()?.is_empty() {
        return None;
    }
    let scans = case.evidence.holder_scans.max(1);
    let plural = if scans == 1 { "" } else { "s" };
    let mut finding = Finding::new(
        case,
        Code::Unheld,
        None,
        "Look for who got the socket over a unix socket, registered it with io_uring, \
         or sits in a system call on it after its descriptor was closed.",
    )
    .because(format_args!("inode {inode}, and no descriptor on it in {scans} scan{plural} of all fd tables"));
    if scans < 2 {
        finding = finding.without("a second scan of the fd tables", Confidence::Medium);
    }
    match &case.evidence.elsewhere {
        Fact::Known(found) => {
            for reference in found {
                let (sentence, next) = elsewhere(reference);
                finding = finding.because(sentence);
                finding.next(next);
            }
            if found.is_empty() {
                finding = finding
                    .because("not in flight over a unix socket, in no io_uring, no thread blocked on it")
                    .at_most(Confidence::Medium);
            }
        }
        Fact::Unknown(reason) => {
            finding = finding
                .without(format_args!("references that are no descriptors: {reason}"), Confidence::Medium);
        }
    }
    Some(finding)
}

fn elsewhere(reference: &Elsewhere) -> (String, String) {
    match reference {
        Elsewhere::InFlight { receiver, fd } => {
            let receiver = name(receiver);
            (
                format!(
                    "descriptors are in flight to {receiver} over its unix socket fd {fd}, maybe this one"
                ),
                format!("Find out why {receiver} does not receive what was sent to its fd {fd}."),
            )
        }
        Elsewhere::IoUring { owner, fd } => {
            let owner = name(owner);
            (
                format!("registered with the io_uring of {owner}, fd {fd}"),
                format!("Have {owner} unregister or close the file in its io_uring (fd {fd})."),
            )
        }
        Elsewhere::Blocked { task, syscall } => {
            let task = name(task);
            (
                format!("{task} is in {syscall}() on a descriptor that is closed, maybe this one"),
                format!("Call shutdown() before close(), so that {syscall}() in {task} returns."),
            )
        }
    }
}

/// Held by a process other than the opener.
pub(super) fn inherited(case: &Case) -> Option<Finding> {
    let holders = case.holders();
    let heir = holders.iter().find(|holder| !may_hold(case, holder))?;
    let opener_holds = holders.iter().any(|holder| may_hold(case, holder));
    let mut finding = Finding::new(
        case,
        Code::Inherited,
        Some(true),
        format_args!(
            "Open the socket with SOCK_CLOEXEC (accept4), or close it in {heir} after fork(): \
             while that descriptor is open, nobody else's close() ends the connection."
        ),
    );
    if let Fact::Known(opener) = &case.evidence.opener {
        let left = if opener_holds { "still has" } else { "no longer has" };
        finding =
            finding.because(format_args!("opened by {}, which {left} a descriptor", name(&opener.task)));
    } else {
        finding = finding
            .because(format_args!("{heir} is not among the holders of the listener on its local port"))
            .without(
                format_args!("the opener: {}", case.evidence.opener.reason().unwrap_or_default()),
                Confidence::Medium,
            );
    }
    let cloexec = match heir.cloexec {
        Fact::Known(true) => ", close-on-exec (so by fork, not by exec)",
        Fact::Known(false) => ", not close-on-exec",
        Fact::Unknown(_) => "",
    };
    finding = finding.because(format_args!("held by {}{cloexec}", case.who()));
    if let Some((parent, part)) = spawned_by(case, heir) {
        let runs = parent.told_program().map(ToString::to_string);
        let runs = runs.or_else(|| parent.cmdline.known().map(|line| start(line)));
        let runs = runs.filter(|runs| !runs.is_empty());
        let runs = runs.map_or_else(String::new, |runs| case.say(format_args!(" (`{runs}`)")));
        finding = finding.because(format_args!(
            "{}[{}] was started by {}[{}]{runs}, which {part}",
            heir.comm, heir.pid, parent.comm, parent.pid
        ));
    }

    match used(case) {
        Use::Unused(why) => finding = finding.because(why),
        Use::Unaware(why) => {
            finding = finding.because(why).without(
                "proof that no holder reads or writes it: the kernel does not tell who did last",
                Confidence::Medium,
            );
        }
        Use::Used(by) => {
            finding.rank = Rank::Also;
            finding = finding.because(format_args!("{by} reads or writes it"));
        }
        // A server that forks for each connection, or hands it to a worker, is no leak.
        Use::Unknown(reason) => {
            finding.rank = Rank::Also;
            finding = finding
                .without(format_args!("whether a holder reads or writes it: {reason}"), Confidence::Medium);
        }
    }
    // Standard input and output are given on purpose (inetd, socket activation).
    if opener_holds || heir.fd <= 2 {
        finding.rank = Rank::Also;
    }
    Some(finding.if_still(case))
}

/// The parent of a holder, where the socket came by it: it opened the socket, or it has the
/// listener; and which.
fn spawned_by<'a>(case: &Case<'a>, holder: &'a Holder) -> Option<(&'a Parent, &'static str)> {
    let parent = holder.parent.known()?;
    let opened = case.evidence.opener.known().is_some_and(|opener| opener.task.pid == parent.pid);
    let listens =
        case.evidence.listener_holders.known().is_some_and(|listening| listening.contains(&parent.pid));
    match (opened, listens) {
        (true, _) => Some((parent, "opened it")),
        (false, true) => Some((parent, "has the listener")),
        (false, false) => None,
    }
}

/// As much of a command line as tells which it is.
fn start(line: &str) -> String {
    let mut start: String = line.chars().take(LINE_MAX).collect();
    if start.len() < line.len() {
        start.push_str("...");
    }
    start
}

/// Whether this holder is the opener, or, for a socket whose opening was not
/// seen, might be: it has the listener. True when nothing is known.
fn may_hold(case: &Case, holder: &Holder) -> bool {
    if let Fact::Known(opener) = &case.evidence.opener {
        return opener.task.pid == holder.pid;
    }
    if case.evidence.role.known() == Some(&Role::Client) {
        return true;
    }
    match &case.evidence.listener_holders {
        Fact::Known(listening) if !listening.is_empty() => listening.contains(&holder.pid),
        _ => true,
    }
}
