//! Attaches programs of the object, each by its hook.

use std::io;
use std::os::fd::AsFd;

use aya::programs::{self, BtfTracePoint, FEntry, Iter, KProbe, ProgramError, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf};
use aya_log::EbpfLogger;
use closewait_ebpf::Offsets;

use super::counters::{EOF, EOF_TYPED};
use super::detach::Slow;
use super::functions::Functions;
use super::loaded::Loaded;
use super::offsets::missing_for_family;
use super::perf_tracepoint;
use super::plan::{Choice, Hook, Purpose};
use super::refusal::refusal;
use super::served::Served;
use super::support::Support;
use super::task_files::TaskFiles;
use super::tracefs::Event;

/// An object whose programs are being attached.
pub(super) struct Attaching<'a> {
    support: &'a Support,
    ebpf: Ebpf,
    slow: Slow,
    task_files: Option<TaskFiles>,
    btf: Option<Btf>,
    /// Whether events can be had with typed arguments.
    typed: bool,
}

impl<'a> Attaching<'a> {
    pub(super) fn new(support: &'a Support, ebpf: Ebpf) -> Self {
        Self { support, ebpf, slow: Slow::default(), task_files: None, btf: None, typed: false }
    }

    /// Tries the candidates in order, until one is attached.
    pub(super) fn serve(&mut self, choice: &Choice) -> Served {
        let mut served = Served::untried(choice);
        for &hook in &choice.candidates {
            match self.attach(choice.purpose, hook) {
                Ok(()) => {
                    served.by = Some(hook);
                    break;
                }
                Err(why) => served.refused.push((hook, why)),
            }
        }
        served
    }

    /// What has been attached, to be kept.
    pub(super) fn done(
        self,
        served: Vec<Served>,
        logger: Option<EbpfLogger<&'static dyn log::Log>>,
    ) -> Loaded {
        let Self { ebpf, slow, task_files, .. } = self;
        Loaded { ebpf, _slow: slow, task_files, served, logger }
    }

    fn attach(&mut self, purpose: Purpose, hook: Hook) -> Result<(), String> {
        let events = &self.support.events;
        match (purpose, hook) {
            (Purpose::Transitions, Hook::TpBtf) => {
                self.both(["enter_btf", "edge_btf"], Self::typed)?;
                self.typed = true;
                Ok(())
            }
            (Purpose::Transitions, Hook::RawTp) => self.both(["enter_raw", "edge_raw"], Self::raw),
            (Purpose::Transitions, Hook::Tracepoint) => {
                self.classic("enter_tp", &[&events.set_state])?;
                self.classic("edge_tp", &[&events.set_state])
            }
            (Purpose::EndOfLife, Hook::RawTp) => self.raw("destroy_raw", "tcp_destroy_sock"),
            (Purpose::EndOfLife, Hook::Tracepoint) => self.classic("destroy_tp", &[&events.destroy]),
            (Purpose::AcceptOpener, Hook::Fentry) => self.fentry("accept_fentry", "security_sock_graft"),
            (Purpose::AcceptOpener, Hook::Kprobe) => self.kprobe("accept_kprobe", "security_sock_graft"),
            (Purpose::AcceptOpener, Hook::SysExitAccept) => {
                self.classic("accept_syscall", &[&events.exit_accept, &events.exit_accept4])
            }
            (Purpose::UringOpener, Hook::IoUring) => self.classic("accept_uring", &[&events.uring_complete]),
            (Purpose::EofRead, Hook::SockRecvLength) => {
                // Whatever refuses it with types, it may be had without.
                if !self.typed || self.typed(EOF_TYPED, "sock_recv_length").is_err() {
                    self.raw(EOF[0], "sock_recv_length")?;
                }
                // To be attached when it is needed; loaded now, while all maps are here.
                let again: &mut RawTracePoint = program(&mut self.ebpf, EOF[1])?;
                again.load().map_err(|error| refusal(&error))
            }
            (Purpose::EofRead, Hook::Fentry) => self.fentry("eof_fentry", "tcp_cleanup_rbuf"),
            (Purpose::EofRead, Hook::Kprobe) => self.kprobe("eof_kprobe", "tcp_cleanup_rbuf"),
            (Purpose::Error, Hook::SkErrorReport) => self.raw("error_raw", "inet_sk_error_report"),
            (Purpose::Holders, Hook::IterTaskFile) => self.iter_task_file(),
            (purpose, hook) => Err(format!("{hook} does not serve {}", purpose.name())),
        }
    }

    /// Attaches both transitions programs, or none: one of them beside both of another hook
    /// would tell each event twice.
    fn both(
        &mut self,
        [first, second]: [&str; 2],
        attach: fn(&mut Self, &str, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        attach(self, first, "inet_sock_set_state")?;
        let Err(why) = attach(self, second, "inet_sock_set_state") else { return Ok(()) };
        let unloaded = match self.ebpf.program_mut(first) {
            Some(programs::Program::BtfTracePoint(first)) => first.unload(),
            Some(programs::Program::RawTracePoint(first)) => first.unload(),
            _ => Ok(()),
        };
        unloaded.map_err(|error| refusal(&error))?;
        Err(why)
    }

    /// Attaches what makes children of members members.
    pub(super) fn follow(&mut self, offsets: &Offsets) -> Result<(), String> {
        let missing = missing_for_family(offsets);
        if !missing.is_empty() {
            return Err(format!("this kernel has no {}", missing.join(", ")));
        }
        self.raw("fork_raw", "sched_process_fork")?;
        self.raw("free_raw", "sched_process_free")
    }

    fn raw(&mut self, name: &str, tracepoint: &str) -> Result<(), String> {
        let program: &mut RawTracePoint = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| refusal(&error))?;
        program.attach(tracepoint).map(drop).map_err(|error| refusal(&error))
    }

    fn typed(&mut self, name: &str, event: &str) -> Result<(), String> {
        let btf = btf(&mut self.btf, &self.support.functions)?;
        let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
        program.load(event, btf).map_err(|error| refusal(&error))?;
        program.attach().map(drop).map_err(|error| refusal(&error))
    }

    /// Attaches to every one of `events` that exists.
    fn classic(&mut self, name: &str, events: &[&Option<Event>]) -> Result<(), String> {
        let cpu = self.support.first_cpu;
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| refusal(&error))?;
        let fd = program.fd().map_err(|error| refusal(&error))?;
        let attached: io::Result<Vec<_>> = events
            .iter()
            .filter_map(|event| event.as_ref())
            .map(|event| perf_tracepoint::attach(fd.as_fd(), event.id, cpu))
            .collect();
        let attached = attached.map_err(|error| format!("perf_event_open: {error}"))?;
        for event in attached {
            self.slow.hold(event);
        }
        Ok(())
    }

    fn fentry(&mut self, name: &str, function: &str) -> Result<(), String> {
        let btf = btf(&mut self.btf, &self.support.functions)?;
        let program: &mut FEntry = program(&mut self.ebpf, name)?;
        program.load(function, btf).map_err(|error| refusal(&error))?;
        let attached = program.attach().and_then(|id| program.take_link(id));
        self.slow.hold(attached.map_err(|error| refusal(&error))?);
        Ok(())
    }

    fn iter_task_file(&mut self) -> Result<(), String> {
        let btf = btf(&mut self.btf, &self.support.functions)?;
        let program: &mut Iter = program(&mut self.ebpf, "iter_task_file")?;
        program.load("task_file", btf).map_err(|error| refusal(&error))?;
        let fd = program.fd().map_err(|error| refusal(&error))?;
        let task_files = TaskFiles::new(fd.as_fd()).map_err(|error| format!("bpf_link_create: {error}"))?;
        self.task_files = Some(task_files);
        Ok(())
    }

    fn kprobe(&mut self, name: &str, function: &str) -> Result<(), String> {
        let program: &mut KProbe = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| refusal(&error))?;
        let attached = program.attach(function, 0).and_then(|id| program.take_link(id));
        self.slow.hold(attached.map_err(|error| refusal(&error))?);
        Ok(())
    }
}

/// What is attached to by number, as the library wants it; made once.
fn btf<'a>(made: &'a mut Option<Btf>, functions: &Functions) -> Result<&'a Btf, String> {
    let btf = match made.take() {
        Some(btf) => btf,
        None => functions.as_btf()?,
    };
    Ok(made.insert(btf))
}

/// A program of the object, of its type.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(|error: ProgramError| refusal(&error))
}
