//! Plan -> attached programs. Tries the candidates of each purpose in order; a
//! refusal is kept with its reason and the next is tried. Dropping [`Loaded`]
//! detaches everything: nothing is pinned.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf, StackTraceMap};
use aya::programs::{FEntry, Iter, KProbe, ProgramError, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use closewait_ebpf::{Offsets, Remembered, counter};

use super::counters::Counters;
use super::perf_tracepoint;
use super::plan::{CannotTrace, Hook, Plan, Purpose};
use super::support::Support;
use super::task_files::TaskFiles;
use super::tracefs::Event;
use crate::item::Netns;

/// What the loader may be told beyond the plan.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of the ring buffer; a power of two of at least a page.
    pub ring_bytes: u32,
    /// Sockets whose opener is remembered at a time.
    pub sockets: u32,
    /// Whether user stacks are taken.
    pub stacks: bool,
    /// Only this network namespace.
    pub only_netns: Option<Netns>,
    /// Level of the programs' own log: 0 is off, 4 is debug.
    pub log_level: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ring_bytes: 4 << 20, sockets: 131_072, stacks: true, only_netns: None, log_level: 0 }
    }
}

/// The object: the programs, built from `closewait-ebpf`. `build.rs` says which.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CLOSEWAIT_BPF_OBJECT"));

/// How one purpose is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// What for.
    pub purpose: Purpose,
    /// By which hook; `None` when by none.
    pub by: Option<Hook>,
    /// Hooks that were not tried or were refused, and why.
    pub refused: Vec<(Hook, String)>,
    /// No hook is needed: another one covers it.
    pub covered: bool,
}

impl Served {
    /// What is lost and why; `None` when the purpose is served.
    pub fn degraded(&self) -> Option<String> {
        if self.by.is_some() || self.covered {
            return None;
        }
        let why: Vec<_> = self.refused.iter().map(|(hook, why)| format!("{hook}: {why}")).collect();
        Some(format!("{} off ({}); lost: {}", self.purpose.name(), why.join("; "), self.purpose.lost()))
    }
}

/// Attached programs and the maps through which they speak.
pub struct Loaded {
    /// Holds the programs and their links.
    ebpf: Ebpf,
    /// Holds the classic tracepoints' attachments.
    _events: Vec<OwnedFd>,
    /// Lists descriptors, when that is served.
    pub task_files: Option<TaskFiles>,
    /// How each purpose is served.
    pub served: Vec<Served>,
    /// Prints the programs' log, when it is on.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// The maps, taken out of [`Loaded`].
pub struct Maps {
    /// Records.
    pub records: RingBuf<MapData>,
    /// Openers by socket address; the value is a [`Remembered`] in wire form.
    pub sockets: HashMap<MapData, u64, [u8; Remembered::SIZE]>,
    /// Stacks by id.
    pub stacks: StackTraceMap<MapData>,
    /// What was lost.
    pub counters: Counters,
}

/// Loads and attaches what the plan says.
pub fn load(support: &Support, plan: &Plan, settings: &Settings) -> Result<Loaded, CannotTrace> {
    let offsets = support.offsets.known().ok_or_else(|| broken("the plan was made without offsets"))?;
    let mut ebpf = open(offsets, settings).map_err(|error| CannotTrace {
        what: format!("the kernel refused the maps of the BPF object: {}", chain(&error)),
        hint: "run `closewait-trace doctor`; a memory limit (ulimit -l) or a container's seccomp profile can do this".into(),
    })?;
    // The logger must take its map before any program is loaded.
    let logger = (settings.log_level > 0)
        .then(|| EbpfLogger::init(&mut ebpf))
        .transpose()
        .map_err(|error| broken(format!("the BPF log cannot be opened: {error}")))?;
    let mut loading = Loading { support, ebpf, events: Vec::new(), task_files: None, btf: None };
    let mut served = Vec::new();
    for choice in &plan.choices {
        let mut outcome =
            Served { purpose: choice.purpose, by: None, refused: choice.ruled_out.clone(), covered: false };
        if choice.purpose == Purpose::UringOpener && covers_uring(&served) {
            outcome.covered = true;
            outcome.refused.clear();
            served.push(outcome);
            continue;
        }
        for &hook in &choice.candidates {
            match loading.attach(choice.purpose, hook, settings) {
                Ok(()) => {
                    outcome.by = Some(hook);
                    break;
                }
                Err(why) => outcome.refused.push((hook, why)),
            }
        }
        if choice.purpose == Purpose::Transitions && outcome.by.is_none() {
            return Err(CannotTrace {
                what: outcome.degraded().unwrap_or_default(),
                hint: "run `closewait-trace doctor` to see what this kernel refuses".into(),
            });
        }
        served.push(outcome);
    }
    let Loading { ebpf, events, task_files, .. } = loading;
    Ok(Loaded { ebpf, _events: events, task_files, served, logger })
}

/// `security_sock_graft` sees io_uring accepts too.
fn covers_uring(served: &[Served]) -> bool {
    served
        .iter()
        .any(|s| s.purpose == Purpose::AcceptOpener && matches!(s.by, Some(Hook::Fentry | Hook::Kprobe)))
}

fn open(offsets: &Offsets, settings: &Settings) -> Result<Ebpf, aya::EbpfError> {
    let mut wire = [0_u8; Offsets::SIZE];
    offsets.write(&mut &mut wire[..]);
    let wake_at = u64::from(settings.ring_bytes / 2);
    let stacks = u8::from(settings.stacks);
    let only_netns = settings.only_netns.map_or(0, |netns| netns.0);
    let mut loader = EbpfLoader::new();
    loader
        // The object has no relocations against the kernel's types: parsing them would
        // cost more than everything else at start.
        .btf(None)
        .override_global("OFFSETS", &wire, true)
        .override_global("WAKE_AT", &wake_at, true)
        .override_global("STACKS_ON", &stacks, true)
        .override_global("ONLY_NETNS", &only_netns, true)
        .override_global("AYA_LOG_LEVEL", &settings.log_level, true)
        .map_max_entries("RECORDS", settings.ring_bytes)
        .map_max_entries("SOCKETS", settings.sockets);
    if settings.log_level == 0 {
        // The programs refer to the log's ring even when it is dead code; a page is the least it can be.
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    loader.load(OBJECT)
}

struct Loading<'a> {
    support: &'a Support,
    ebpf: Ebpf,
    events: Vec<OwnedFd>,
    task_files: Option<TaskFiles>,
    btf: Option<Btf>,
}

impl Loading<'_> {
    fn attach(&mut self, purpose: Purpose, hook: Hook, settings: &Settings) -> Result<(), String> {
        let events = &self.support.events;
        match (purpose, hook) {
            (Purpose::Transitions, Hook::RawTp) => {
                self.raw("enter_raw", "inet_sock_set_state")?;
                self.raw("edge_raw", "inet_sock_set_state")
            }
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
            (Purpose::EofRead, Hook::SockRecvLength) => self.raw("eof_raw", "sock_recv_length"),
            (Purpose::EofRead, Hook::Fentry) => self.fentry("eof_fentry", "tcp_cleanup_rbuf"),
            (Purpose::EofRead, Hook::Kprobe) => self.kprobe("eof_kprobe", "tcp_cleanup_rbuf"),
            (Purpose::Error, Hook::SkErrorReport) => self.raw("error_raw", "inet_sk_error_report"),
            (Purpose::UserStack, Hook::Stack) if settings.stacks => Ok(()),
            (Purpose::UserStack, Hook::Stack) => Err("switched off by --stacks off".into()),
            (Purpose::Holders, Hook::IterTaskFile) => self.iter_task_file(),
            (purpose, hook) => Err(format!("{hook} does not serve {}", purpose.name())),
        }
    }

    fn program<'b, P>(&'b mut self, name: &str) -> Result<&'b mut P, String>
    where
        &'b mut P: TryFrom<&'b mut aya::programs::Program, Error = ProgramError>,
    {
        let program =
            self.ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
        program.try_into().map_err(|error: ProgramError| refusal(&error))
    }

    fn raw(&mut self, name: &str, tracepoint: &str) -> Result<(), String> {
        let program: &mut RawTracePoint = self.program(name)?;
        program.load().map_err(|error| refusal(&error))?;
        program.attach(tracepoint).map(drop).map_err(|error| refusal(&error))
    }

    /// Attaches to every one of `events` that exists.
    fn classic(&mut self, name: &str, events: &[&Option<Event>]) -> Result<(), String> {
        let cpu = self.support.first_cpu;
        let program: &mut TracePoint = self.program(name)?;
        program.load().map_err(|error| refusal(&error))?;
        let fd = program.fd().map_err(|error| refusal(&error))?;
        let attached: io::Result<Vec<_>> = events
            .iter()
            .filter_map(|event| event.as_ref())
            .map(|event| perf_tracepoint::attach(fd.as_fd(), event.id, cpu))
            .collect();
        self.events.extend(attached.map_err(|error| format!("perf_event_open: {error}"))?);
        Ok(())
    }

    fn fentry(&mut self, name: &str, function: &str) -> Result<(), String> {
        let btf = self.take_btf()?;
        let program: &mut FEntry = self.program(name)?;
        let loaded = program.load(function, &btf).and_then(|()| program.attach().map(drop));
        self.btf = Some(btf);
        loaded.map_err(|error| refusal(&error))
    }

    fn iter_task_file(&mut self) -> Result<(), String> {
        let btf = self.take_btf()?;
        let program: &mut Iter = self.program("iter_task_file")?;
        let loaded = program.load("task_file", &btf);
        let task_files = loaded.and_then(|()| Ok(TaskFiles::new(program.fd()?.as_fd())));
        self.btf = Some(btf);
        let task_files = task_files.map_err(|error| refusal(&error))?;
        self.task_files = Some(task_files.map_err(|error| format!("bpf_link_create: {error}"))?);
        Ok(())
    }

    /// The kernel's types as the library wants them; to be put back.
    fn take_btf(&mut self) -> Result<Btf, String> {
        match self.btf.take() {
            Some(btf) => Ok(btf),
            None => Btf::from_sys_fs().map_err(|error| format!("BTF: {error}")),
        }
    }

    fn kprobe(&mut self, name: &str, function: &str) -> Result<(), String> {
        let program: &mut KProbe = self.program(name)?;
        program.load().map_err(|error| refusal(&error))?;
        program.attach(function, 0).map(drop).map_err(|error| refusal(&error))
    }
}

impl Loaded {
    /// Takes the maps out; once.
    pub fn maps(&mut self) -> Result<Maps, CannotTrace> {
        let counters = self.counters()?;
        Ok(Maps {
            records: self.map("RECORDS")?,
            sockets: self.map("SOCKETS")?,
            stacks: self.map("STACKS")?,
            counters,
        })
    }

    fn counters(&mut self) -> Result<Counters, CannotTrace> {
        let array: PerCpuArray<MapData, u64> = self.map("COUNTERS")?;
        let programs = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        let descriptors = programs.filter_map(|fd| fd.as_fd().try_clone_to_owned().ok()).collect();
        Ok(Counters::new(array, descriptors))
    }

    fn map<T>(&mut self, name: &str) -> Result<T, CannotTrace>
    where
        T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or_else(|| broken(format!("the object has no map {name}")))?;
        T::try_from(map).map_err(|error| broken(format!("map {name}: {error}")))
    }

    /// Verified instructions of each loaded program, where the kernel tells (5.16+).
    pub fn instructions(&self) -> Vec<(String, Option<u32>)> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                Some((name.to_owned(), program.info().ok()?.verified_instruction_count()))
            })
            .collect()
    }
}

fn broken(what: impl Into<String>) -> CannotTrace {
    CannotTrace {
        what: what.into(),
        hint: "this build is broken: rebuild it, or report it with `closewait-trace --version`".into(),
    }
}

/// A refusal in one line: the kernel's answer first, the verifier's last words if it spoke.
fn refusal(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            log::debug!("verifier: {log}");
            // After its reason the verifier prints statistics.
            let statistics = ["processed ", "stack depth ", "verification time "];
            let last = log
                .lines()
                .rev()
                .find(|line| !line.is_empty() && !statistics.iter().any(|word| line.starts_with(word)));
            match last {
                Some(last) => format!("refused at load: {io_error}; verifier: {last}"),
                None => format!("refused at load: {io_error}"),
            }
        }
        other => chain(other),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

// The counter slots are an array in the object; a slot more here would read past it.
const _: () = assert!(counter::COUNT > counter::ACCEPT_MISSED);
