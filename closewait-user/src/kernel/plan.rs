//! Facts -> plan. Pure: decides which hooks to try for each purpose, in order, and
//! says why a hook is not among them: the best first.

use closewait_ebpf::{ABSENT, Offsets};

use super::offsets::{
    missing_for_copy, missing_for_eof, missing_for_fd_walk, missing_for_holders, missing_for_python,
    missing_for_transitions,
};
use super::support::Support;
use crate::fact::Fact;
use crate::privileges::missing_to_trace;

pub use super::hook::{Hook, Purpose};

/// Why a hook is not tried that the caller forbids.
pub(super) const FORBIDDEN: &str = "switched off by --without";

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

impl Plan {
    /// The choice made for a purpose.
    pub fn choice(&self, purpose: Purpose) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.purpose == purpose)
    }
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
    if let Some(what) = not_in_btf(&missing_for_transitions(offsets)) {
        return Err(CannotTrace {
            what,
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
    let forbidden = |hook| without.contains(&hook).then(|| FORBIDDEN.to_owned());
    let rule = |hook, facts: Option<String>| (hook, forbidden(hook).or(facts));
    let needs = |event: bool, name: &str| {
        (!event).then(|| match &support.tracefs {
            Fact::Known(_) => format!("this kernel has no tracepoint {name}"),
            Fact::Unknown(why) => why.clone().into(),
        })
    };
    let no_walk = not_in_btf(&missing_for_fd_walk(offsets));
    let no_eof = not_in_btf(&missing_for_eof(offsets));
    let no_holders = not_in_btf(&missing_for_holders(offsets));
    let no_python = not_in_btf(&missing_for_python(offsets));
    let no_sk_err = (offsets.sk_err == ABSENT).then(|| "the kernel's BTF has no sock.sk_err".to_owned());
    let no_kprobes = (!support.kprobes).then(|| "this kernel has no kprobes".to_owned());
    let no_uring =
        (offsets.tp_uring_req == ABSENT || offsets.tp_uring_res == ABSENT || offsets.req_opcode == ABSENT)
            .then(|| "the event does not carry the request on this kernel".to_owned());
    let events = &support.events;
    let has_exit_accept = events.exit_accept.is_some() || events.exit_accept4.is_some();

    // A raw tracepoint as well, only typed.
    let no_raw_tp = forbidden(Hook::RawTp);
    let set_state = [
        rule(Hook::TpBtf, no_raw_tp),
        rule(Hook::RawTp, None),
        rule(Hook::Tracepoint, needs(events.set_state.is_some(), "sock:inet_sock_set_state")),
    ];
    let destroy = forbidden(Hook::TcpDestroySock);
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
    not_in_btf(&missing_for_copy(offsets)).or_else(|| {
        (!support.task_pt_regs && offsets.stack_regs == ABSENT).then(|| {
            "this kernel has no helper bpf_task_pt_regs, and where else the registers are is not known"
                .to_owned()
        })
    })
}

/// What is not there of what is needed.
fn not_in_btf(missing: &[&str]) -> Option<String> {
    (!missing.is_empty()).then(|| format!("the kernel's BTF has no {}", missing.join(", ")))
}

fn choice(purpose: Purpose, rules: &[(Hook, Option<String>)]) -> Choice {
    Choice {
        purpose,
        candidates: rules.iter().filter(|(_, why)| why.is_none()).map(|&(hook, _)| hook).collect(),
        ruled_out: rules.iter().filter_map(|(hook, why)| Some((*hook, why.clone()?))).collect(),
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
