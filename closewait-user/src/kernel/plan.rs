//! Facts -> plan. Pure: decides which hooks to try for each purpose, in order, and
//! says why a hook is not among them. DESIGN: the best hook first, and whatever is
//! left without one has a line that says what is lost.

use std::fmt;

use closewait_ebpf::{ABSENT, Offsets};

use super::offsets::{
    missing_for_copy, missing_for_eof, missing_for_fd_walk, missing_for_holders, missing_for_python,
    missing_for_transitions,
};
use super::support::Support;
use crate::fact::Fact;
use crate::privileges::missing_to_trace;

/// Why a hook is not tried that the caller forbids.
pub(super) const FORBIDDEN: &str = "switched off by --without";

/// A place where a program can be attached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Hook {
    /// Raw tracepoints whose arguments have the kernel's types.
    TpBtf,
    /// Raw tracepoints.
    RawTp,
    /// The classic tracepoints sock:inet_sock_set_state and tcp:tcp_destroy_sock.
    Tracepoint,
    /// Trampolines on security_sock_graft and tcp_cleanup_rbuf.
    Fentry,
    /// Probes on the same functions.
    Kprobe,
    /// syscalls:sys_exit_accept and sys_exit_accept4.
    SysExitAccept,
    /// io_uring:io_uring_complete.
    IoUring,
    /// tcp:tcp_destroy_sock, by either kind of tracepoint.
    TcpDestroySock,
    /// sock:sock_recv_length.
    SockRecvLength,
    /// sock:inet_sk_error_report.
    SkErrorReport,
    /// User stacks copied, to be unwound by their tables.
    UserStack,
    /// User stacks by the kernel's walk of frame pointers.
    Stack,
    /// The frames of Python functions, taken with the user stacks that are copied.
    PythonFrames,
    /// The iterator over the descriptors of all tasks.
    IterTaskFile,
}

impl Hook {
    /// The name, as `--without` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::SysExitAccept => "sys_exit_accept",
            Self::IoUring => "io_uring",
            Self::TcpDestroySock => "tcp_destroy_sock",
            Self::SockRecvLength => "sock_recv_length",
            Self::SkErrorReport => "sk_error_report",
            Self::UserStack => "user_stack",
            Self::Stack => "stack",
            Self::PythonFrames => "python_frames",
            Self::IterTaskFile => "iter_task_file",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a hook is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Edges into and out of CLOSE_WAIT, and the openers of connected sockets.
    Transitions,
    /// The opener of an accepted socket.
    AcceptOpener,
    /// The opener of a socket accepted by io_uring.
    UringOpener,
    /// The end of a socket's life.
    EndOfLife,
    /// Who was told EOF.
    EofRead,
    /// Why a connection ended by itself.
    Error,
    /// The user stack of an opener or a reader.
    UserStack,
    /// The Python functions in a user stack.
    Python,
    /// Who has a descriptor on a socket.
    Holders,
}

impl Purpose {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions, connect openers",
            Self::AcceptOpener => "accept openers",
            Self::UringOpener => "io_uring accept openers",
            Self::EndOfLife => "end of life",
            Self::EofRead => "EOF reads",
            Self::Error => "errors",
            Self::UserStack => "user stacks",
            Self::Python => "Python functions",
            Self::Holders => "holders",
        }
    }

    /// What the reader loses when no hook serves the purpose.
    pub const fn lost(self) -> &'static str {
        match self {
            Self::Transitions => "no tracing: only repeated snapshots, no exact times, no openers",
            Self::AcceptOpener => "who accepted a socket and from where; holders still come from fd tables",
            Self::UringOpener => "who accepted a socket through io_uring",
            Self::EndOfLife => "a fd left open on a closed socket is seen only by snapshot",
            Self::EofRead => "whether the application was told EOF, and which code ignored it",
            Self::Error => "whether a connection was reset, timed out or destroyed",
            Self::UserStack => "which code opened a socket or read its EOF",
            Self::Python => "which Python functions did: stacks show the interpreter's own",
            Self::Holders => {
                "holders in processes that refuse a look at /proc/PID/fd (holders come from /proc)"
            }
        }
    }
}

/// The hooks for one purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// What for.
    pub purpose: Purpose,
    /// To be tried in this order.
    pub candidates: Vec<Hook>,
    /// Not to be tried, and why.
    pub ruled_out: Vec<(Hook, String)>,
}

/// What to attach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// One per purpose.
    pub choices: Vec<Choice>,
}

/// Why nothing can be traced, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct CannotTrace {
    /// What is missing.
    pub what: String,
    /// The command or the setting that helps.
    pub hint: String,
}

/// What every plan builds on, or why nothing can be traced.
fn basis(support: &Support) -> Result<&Offsets, CannotTrace> {
    let missing =
        support.capabilities.known().map(|&effective| missing_to_trace(effective)).unwrap_or_default();
    if !missing.is_empty() {
        return Err(CannotTrace {
            what: format!("no privilege to load BPF programs: {} missing", missing.join(", ")),
            hint: "run it as root: sudo closewait-trace".into(),
        });
    }
    if !support.first_pid_namespace {
        // Programs tell processes by their ids there, which are other processes' in this
        // namespace's /proc: the opener of a leak looked like one that has gone.
        return Err(CannotTrace {
            what: "this is not the first pid namespace: process ids mean other processes to the kernel"
                .into(),
            hint: "start it outside of the container, or give the container the host's (--pid=host, hostPID)"
                .into(),
        });
    }
    let offsets = match &support.offsets {
        Fact::Known(offsets) => offsets,
        Fact::Unknown(why) => {
            return Err(CannotTrace {
                what: format!("no kernel type information (BTF): {why}"),
                hint: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (distributions since 2021 are)".into(),
            });
        }
    };
    let missing = missing_for_transitions(offsets);
    if !missing.is_empty() {
        return Err(CannotTrace {
            what: format!("the kernel's BTF has no {}", missing.join(", ")),
            hint: "run `closewait-trace doctor` and report its output with the kernel's name".into(),
        });
    }
    if support.lockdown.known().is_some_and(|mode| mode == "confidentiality") {
        return Err(CannotTrace {
            what: "the kernel is locked down (confidentiality): BPF may not read kernel memory".into(),
            hint: "boot with lockdown=integrity or without lockdown".into(),
        });
    }
    Ok(offsets)
}

/// Decides. `without` are hooks that the caller forbids (tests force every fallback so).
pub fn plan(support: &Support, without: &[Hook]) -> Result<Plan, CannotTrace> {
    let offsets = basis(support)?;
    let rule = |hook: Hook, facts: Option<String>| -> (Hook, Option<String>) {
        let forbidden = without.contains(&hook).then(|| FORBIDDEN.to_owned());
        (hook, forbidden.or(facts))
    };
    let needs = |event: bool, name: &str| {
        (!event).then(|| match &support.tracefs {
            Fact::Known(_) => format!("this kernel has no tracepoint {name}"),
            Fact::Unknown(why) => why.clone().into(),
        })
    };
    let walk = missing_for_fd_walk(offsets);
    let no_walk = (!walk.is_empty()).then(|| format!("the kernel's BTF has no {}", walk.join(", ")));
    let eof = missing_for_eof(offsets);
    let no_eof = (!eof.is_empty()).then(|| format!("the kernel's BTF has no {}", eof.join(", ")));
    let holders = missing_for_holders(offsets);
    let no_holders = (!holders.is_empty()).then(|| format!("the kernel's BTF has no {}", holders.join(", ")));
    let no_sk_err = (offsets.sk_err == ABSENT).then(|| "the kernel's BTF has no sock.sk_err".to_owned());
    let no_kprobes = (!support.kprobes).then(|| "this kernel has no kprobes".to_owned());
    let no_uring =
        (offsets.tp_uring_req == ABSENT || offsets.tp_uring_res == ABSENT || offsets.req_opcode == ABSENT)
            .then(|| "the event does not carry the request on this kernel".to_owned());
    let events = &support.events;
    let has_exit_accept = events.exit_accept.is_some() || events.exit_accept4.is_some();

    // A raw tracepoint as well, only typed.
    let no_raw_tp = without.contains(&Hook::RawTp).then(|| "switched off by --without".to_owned());
    let set_state = [
        rule(Hook::TpBtf, no_raw_tp),
        rule(Hook::RawTp, None),
        rule(Hook::Tracepoint, needs(events.set_state.is_some(), "sock:inet_sock_set_state")),
    ];
    let destroy = without.contains(&Hook::TcpDestroySock).then(|| FORBIDDEN.to_owned());
    let end_of_life = [
        rule(Hook::RawTp, destroy.clone()),
        rule(Hook::Tracepoint, destroy.or_else(|| needs(events.destroy.is_some(), "tcp:tcp_destroy_sock"))),
    ];
    // A program on the return of a syscall costs every syscall of the host some nanoseconds.
    let accept = [
        rule(Hook::Fentry, None),
        rule(Hook::Kprobe, no_kprobes.clone()),
        rule(
            Hook::SysExitAccept,
            needs(has_exit_accept, "syscalls:sys_exit_accept4").or_else(|| no_walk.clone()),
        ),
    ];
    let uring = [rule(
        Hook::IoUring,
        needs(events.uring_complete.is_some(), "io_uring:io_uring_complete").or(no_uring).or(no_walk),
    )];
    let eof_read = [
        rule(Hook::SockRecvLength, no_eof.clone()),
        rule(Hook::Fentry, no_eof.clone()),
        rule(Hook::Kprobe, no_eof.or(no_kprobes)),
    ];
    let error = [rule(Hook::SkErrorReport, no_sk_err)];
    let user_stack = [rule(Hook::UserStack, no_copy(support, offsets)), rule(Hook::Stack, None)];
    let python = missing_for_python(offsets);
    let no_python = (!python.is_empty()).then(|| format!("the kernel's BTF has no {}", python.join(", ")));
    Ok(Plan {
        choices: vec![
            choice(Purpose::Transitions, &set_state),
            choice(Purpose::EndOfLife, &end_of_life),
            choice(Purpose::AcceptOpener, &accept),
            choice(Purpose::UringOpener, &uring),
            choice(Purpose::EofRead, &eof_read),
            choice(Purpose::Error, &error),
            choice(Purpose::UserStack, &user_stack),
            choice(Purpose::Python, &[rule(Hook::PythonFrames, no_python)]),
            choice(Purpose::Holders, &[rule(Hook::IterTaskFile, no_holders)]),
        ],
    })
}

/// Why user stacks cannot be copied.
fn no_copy(support: &Support, offsets: &Offsets) -> Option<String> {
    let missing = missing_for_copy(offsets);
    if !missing.is_empty() {
        return Some(format!("the kernel's BTF has no {}", missing.join(", ")));
    }
    (!support.task_pt_regs && offsets.stack_regs == ABSENT).then(|| {
        "this kernel has no helper bpf_task_pt_regs, and where else the registers are is not known".to_owned()
    })
}

fn choice(purpose: Purpose, rules: &[(Hook, Option<String>)]) -> Choice {
    Choice {
        purpose,
        candidates: rules.iter().filter(|(_, why)| why.is_none()).map(|&(hook, _)| hook).collect(),
        ruled_out: rules.iter().filter_map(|(hook, why)| Some((*hook, why.clone()?))).collect(),
    }
}

impl Plan {
    /// The choice made for a purpose.
    pub fn choice(&self, purpose: Purpose) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.purpose == purpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::functions::Functions;
    use crate::kernel::offsets::Events;
    use crate::kernel::tracefs::{Event, Place};
    use rustix::thread::CapabilitySet;

    fn event() -> Option<Event> {
        Event::parse("ID: 1\n\tfield:int ret;\toffset:16;\tsize:8;\n")
    }

    fn able() -> Support {
        let mut wire = &[8_u8; Offsets::SIZE][..];
        let offsets = Offsets::read(&mut wire).unwrap();
        Support {
            release: "test".into(),
            capabilities: Fact::Known(CapabilitySet::all()),
            lockdown: Fact::Known("none".into()),
            functions: Functions::default(),
            offsets: Fact::Known(offsets),
            tracefs: Fact::Known(Place::Mounted("/sys/kernel/tracing")),
            events: Events {
                set_state: event(),
                destroy: event(),
                exit_accept: event(),
                exit_accept4: event(),
                uring_complete: event(),
            },
            kprobes: true,
            task_pt_regs: true,
            first_pid_namespace: true,
            first_cpu: 0,
        }
    }

    fn candidates(support: &Support, without: &[Hook], purpose: Purpose) -> Vec<Hook> {
        plan(support, without).unwrap().choice(purpose).unwrap().candidates.clone()
    }

    #[test]
    fn with_everything_there_the_best_hook_comes_first() {
        let support = able();
        let table = [
            (Purpose::Transitions, vec![Hook::TpBtf, Hook::RawTp, Hook::Tracepoint]),
            (Purpose::EndOfLife, vec![Hook::RawTp, Hook::Tracepoint]),
            (Purpose::AcceptOpener, vec![Hook::Fentry, Hook::Kprobe, Hook::SysExitAccept]),
            (Purpose::UringOpener, vec![Hook::IoUring]),
            (Purpose::EofRead, vec![Hook::SockRecvLength, Hook::Fentry, Hook::Kprobe]),
            (Purpose::Error, vec![Hook::SkErrorReport]),
            (Purpose::UserStack, vec![Hook::UserStack, Hook::Stack]),
            (Purpose::Python, vec![Hook::PythonFrames]),
            (Purpose::Holders, vec![Hook::IterTaskFile]),
        ];
        for (purpose, want) in table {
            assert_eq!(candidates(&support, &[], purpose), want, "{purpose:?}");
        }
    }

    #[test]
    fn a_forbidden_hook_is_ruled_out_with_the_reason_and_the_next_takes_its_place() {
        let support = able();
        assert_eq!(candidates(&support, &[Hook::RawTp], Purpose::Transitions), [Hook::Tracepoint]);
        assert_eq!(
            candidates(&support, &[Hook::TpBtf], Purpose::Transitions),
            [Hook::RawTp, Hook::Tracepoint]
        );
        assert_eq!(candidates(&support, &[Hook::TcpDestroySock], Purpose::EndOfLife), []);
        assert_eq!(
            candidates(&support, &[Hook::Fentry, Hook::Kprobe], Purpose::AcceptOpener),
            [Hook::SysExitAccept]
        );
        let plan = plan(&support, &[Hook::Fentry]).unwrap();
        let ruled_out = &plan.choice(Purpose::AcceptOpener).unwrap().ruled_out;
        assert_eq!(ruled_out[0], (Hook::Fentry, FORBIDDEN.to_owned()));
    }

    #[test]
    fn registers_come_from_the_helper_or_from_where_they_are_known_to_be() {
        let absent_is = |missing: &[fn(&mut Offsets) -> &mut u16], task_pt_regs| {
            let mut support = able();
            let Fact::Known(offsets) = &mut support.offsets else { panic!("known above") };
            for member in missing {
                *member(offsets) = ABSENT;
            }
            support.task_pt_regs = task_pt_regs;
            candidates(&support, &[], Purpose::UserStack)
        };
        assert_eq!(absent_is(&[], false), [Hook::UserStack, Hook::Stack]);
        assert_eq!(absent_is(&[|o| &mut o.stack_regs], true), [Hook::UserStack, Hook::Stack]);
        assert_eq!(absent_is(&[|o| &mut o.stack_regs], false), [Hook::Stack]);
        assert_eq!(absent_is(&[|o| &mut o.mm_start_code], true), [Hook::Stack]);
    }

    #[test]
    fn without_tracefs_raw_tracepoints_still_trace() {
        let mut support = able();
        support.tracefs = Fact::unknown("tracefs cannot be opened: denied");
        support.events = Events::default();
        assert_eq!(candidates(&support, &[], Purpose::Transitions), [Hook::TpBtf, Hook::RawTp]);
        assert_eq!(candidates(&support, &[], Purpose::AcceptOpener), [Hook::Fentry, Hook::Kprobe]);
        let plan = plan(&support, &[]).unwrap();
        assert_eq!(
            plan.choice(Purpose::UringOpener).unwrap().ruled_out[0].1,
            "tracefs cannot be opened: denied"
        );
    }

    #[test]
    fn what_makes_tracing_impossible_is_named_with_what_helps() {
        type Spoil = fn(&mut Support);
        let cases: [(Spoil, &str, &str); 4] = [
            (|s| s.capabilities = Fact::Known(CapabilitySet::empty()), "CAP_BPF", "sudo"),
            (|s| s.first_pid_namespace = false, "pid namespace", "hostPID"),
            (|s| s.offsets = Fact::unknown("/nowhere: No such file"), "/nowhere", "CONFIG_DEBUG_INFO_BTF"),
            (|s| s.lockdown = Fact::Known("confidentiality".into()), "confidentiality", "lockdown=integrity"),
        ];
        for (spoil, what, hint) in cases {
            let mut support = able();
            spoil(&mut support);
            let error = plan(&support, &[]).unwrap_err();
            assert!(error.what.contains(what), "{}", error.what);
            assert!(error.hint.contains(hint), "{}", error.hint);
        }
    }
}
