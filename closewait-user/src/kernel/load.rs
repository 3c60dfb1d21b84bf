//! Plan -> attached programs. Tries the candidates of each purpose in order; a
//! refusal is kept with its reason and the next is tried. Dropping [`Loaded`]
//! detaches everything: nothing is pinned.

use std::io;
use std::os::fd::AsFd;

use aya::maps::{HashMap, MapData, RingBuf, StackTraceMap};
use aya::programs::{BtfTracePoint, FEntry, Iter, KProbe, ProgramError, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf};
use aya_log::EbpfLogger;
use closewait_ebpf::{Offsets, Remembered, counter, stacks_by};

use super::counters::{Counters, EOF, EOF_TYPED, Program};
use super::detach::Slow;
use super::family::Family;
use super::loader;
use super::offsets::missing_for_family;
use super::perf_tracepoint;
use super::plan::{CannotTrace, Hook, Plan, Purpose};
use super::pythons::Pythons;
use super::refusal::{broken, chain, refusal};
use super::regs;
pub use super::served::Served;
use super::support::Support;
use super::task_files::TaskFiles;
use super::tracefs::Event;
use crate::cli::{Room, StacksWanted};
use crate::item::Netns;

/// What the loader may be told beyond the plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of the ring buffer; a power of two of at least a page.
    pub ring_bytes: u32,
    /// Sockets whose opener is remembered at a time.
    pub sockets: u32,
    /// How user stacks may be told.
    pub stacks: StacksWanted,
    /// Only this network namespace.
    pub only_netns: Option<Netns>,
    /// Only what the members of a [`Family`] do.
    pub family: bool,
    /// Level of the programs' own log: 0 is off, 4 is debug.
    pub log_level: u8,
    /// For tests: how large maps are to be, whatever else would be right.
    pub room: Vec<Room>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ring_bytes: 4 << 20,
            sockets: 131_072,
            stacks: StacksWanted::Auto,
            only_netns: None,
            family: false,
            log_level: 0,
            room: Vec::new(),
        }
    }
}

/// The least a ring can be where pages are of 4 KiB.
const PAGE: u32 = 4096;

/// The object: the programs, built from `closewait-ebpf`. `build.rs` says which.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CLOSEWAIT_BPF_OBJECT"));

/// Attached programs and the maps through which they speak.
pub struct Loaded {
    /// Holds the programs and their links.
    ebpf: Ebpf,
    /// Holds the attachments that the kernel takes its time to let go of.
    _slow: Slow,
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
    /// Copied stacks.
    pub copies: RingBuf<MapData>,
    /// Stacks by id.
    pub stacks: StackTraceMap<MapData>,
    /// What was lost.
    pub counters: Counters,
}

/// Loads and attaches what the plan says.
///
/// The programs are verified with the way in which they tell user stacks. If they are
/// refused with one, they are loaded again with the next.
pub fn load(support: &Support, plan: &Plan, settings: &Settings) -> Result<Loaded, CannotTrace> {
    let mut stacks = Served::nothing(Purpose::UserStack);
    let choice = plan.choice(Purpose::UserStack).ok_or_else(|| broken("the plan has no user stacks"))?;
    stacks.refused.clone_from(&choice.ruled_out);
    let mut python = Served::nothing(Purpose::Python);
    let choice_python = plan.choice(Purpose::Python).ok_or_else(|| broken("the plan has no Python"))?;
    python.refused.clone_from(&choice_python.ruled_out);
    for &hook in &choice.candidates {
        if let Some(option) = settings.stacks.forbids(hook) {
            stacks.refused.push((hook, format!("switched off by --stacks {option}")));
            continue;
        }
        stacks.by = Some(hook);
        if hook == Hook::UserStack && !choice_python.candidates.is_empty() {
            python.by = Some(Hook::PythonFrames);
            match load_with(support, plan, settings, &stacks, &python) {
                Err(Refused::Programs(why)) => python.refused.push((Hook::PythonFrames, why.what)),
                Err(Refused::Maps(why)) => return Err(why),
                Ok(loaded) => return Ok(loaded),
            }
            python.by = None;
        }
        // Only with copied stacks: what is lost without them is told already.
        python.covered = hook != Hook::UserStack;
        match load_with(support, plan, settings, &stacks, &python) {
            Err(Refused::Programs(why)) => stacks.refused.push((hook, why.what)),
            Err(Refused::Maps(why)) => return Err(why),
            Ok(loaded) => return Ok(loaded),
        }
    }
    (stacks.by, python.covered) = (None, true);
    load_with(support, plan, settings, &stacks, &python).map_err(|refused| match refused {
        Refused::Programs(why) | Refused::Maps(why) => why,
    })
}

/// What the kernel refused.
enum Refused {
    /// All programs for the transitions; not so, perhaps, if stacks are told otherwise.
    Programs(CannotTrace),
    /// Anything else.
    Maps(CannotTrace),
}

fn load_with(
    support: &Support,
    plan: &Plan,
    settings: &Settings,
    stacks: &Served,
    python: &Served,
) -> Result<Loaded, Refused> {
    let offsets = support.offsets.known().ok_or_else(|| broken("the plan was made without offsets"));
    let offsets = offsets.map_err(Refused::Maps)?;
    let mut ebpf = open(support, offsets, settings, (stacks.by, python.by)).map_err(|error| Refused::Maps(CannotTrace {
        what: format!("the kernel refused the maps of the BPF object: {}", chain(&error)),
        hint: "run `closewait-trace doctor`; a memory limit (ulimit -l) or a container's seccomp profile can do this".into(),
    }))?;
    // The logger must take its map before any program is loaded.
    let logger = (settings.log_level > 0)
        .then(|| EbpfLogger::init(&mut ebpf))
        .transpose()
        .map_err(|error| Refused::Maps(broken(format!("the BPF log cannot be opened: {error}"))))?;
    let mut loading =
        Loading { support, ebpf, slow: Slow::default(), task_files: None, btf: None, typed: false };
    let mut served = Vec::new();
    for choice in &plan.choices {
        if choice.purpose == Purpose::UserStack {
            served.push(stacks.clone());
            continue;
        }
        if choice.purpose == Purpose::Python {
            served.push(python.clone());
            continue;
        }
        let mut outcome = Served::nothing(choice.purpose);
        outcome.refused.clone_from(&choice.ruled_out);
        if choice.purpose == Purpose::UringOpener && covers_uring(&served) {
            outcome.covered = true;
            outcome.refused.clear();
            served.push(outcome);
            continue;
        }
        for &hook in &choice.candidates {
            match loading.attach(choice.purpose, hook) {
                Ok(()) => {
                    outcome.by = Some(hook);
                    break;
                }
                Err(why) => outcome.refused.push((hook, why)),
            }
        }
        if choice.purpose == Purpose::Transitions && outcome.by.is_none() {
            return Err(Refused::Programs(CannotTrace {
                what: outcome.degraded().unwrap_or_default(),
                hint: "run `closewait-trace doctor` to see what this kernel refuses".into(),
            }));
        }
        served.push(outcome);
    }
    if settings.family {
        let follow = loading.follow(offsets);
        follow.map_err(|why| {
            Refused::Programs(CannotTrace {
                what: format!("the descendants of a command cannot be followed: {why}"),
                hint: "run `closewait-trace doctor` to see what this kernel refuses".into(),
            })
        })?;
    }
    let Loading { ebpf, slow, task_files, .. } = loading;
    Ok(Loaded { ebpf, _slow: slow, task_files, served, logger })
}

/// `security_sock_graft` sees io_uring accepts too.
fn covers_uring(served: &[Served]) -> bool {
    served
        .iter()
        .any(|s| s.purpose == Purpose::AcceptOpener && matches!(s.by, Some(Hook::Fentry | Hook::Kprobe)))
}

fn open(
    support: &Support,
    offsets: &Offsets,
    settings: &Settings,
    (stacks, python): (Option<Hook>, Option<Hook>),
) -> Result<Ebpf, aya::EbpfError> {
    let mut wire = [0_u8; Offsets::SIZE];
    offsets.write(&mut &mut wire[..]);
    let forced = settings.room.iter().find(|room| room.map == "RECORDS").map(|room| room.size);
    let wake_at = u64::from(forced.unwrap_or(settings.ring_bytes) / 2);
    let stacks_by = match stacks {
        Some(Hook::UserStack) => stacks_by::COPY,
        Some(_) => stacks_by::FRAME_POINTERS,
        None => stacks_by::NOTHING,
    };
    let python = u8::from(python.is_some());
    let has_task_pt_regs = u8::from(support.task_pt_regs);
    let only_netns = settings.only_netns.map_or(0, |netns| netns.0);
    let family = u8::from(settings.family);
    let mut loader = loader::without_types();
    loader
        .override_global("OFFSETS", &wire, true)
        .override_global("WAKE_AT", &wake_at, true)
        .override_global("STACKS_BY", &stacks_by, true)
        .override_global("PYTHON", &python, true)
        .override_global("HAS_TASK_PT_REGS", &has_task_pt_regs, true)
        .override_global("CALLS", &regs::CALLS, true)
        .override_global("ONLY_NETNS", &only_netns, true)
        .override_global("FAMILY_ONLY", &family, true)
        .override_global("AYA_LOG_LEVEL", &settings.log_level, true)
        .map_max_entries("RECORDS", settings.ring_bytes)
        .map_max_entries("SOCKETS", settings.sockets)
        .map_max_entries("FAMILY", if settings.family { 32_768 } else { 1 });
    if settings.log_level == 0 {
        // The programs refer to the log's ring even when it is dead code; a page is the least it can be.
        loader.map_max_entries("AYA_LOGS", PAGE);
    }
    // Nor do unused maps take memory: 8 MiB for the stacks by id, 4 MiB for the copies.
    if stacks_by != stacks_by::FRAME_POINTERS {
        loader.map_max_entries("STACKS", 1);
    }
    if stacks_by != stacks_by::COPY {
        loader.map_max_entries("COPIES", PAGE);
    }
    for room in &settings.room {
        loader.map_max_entries(&room.map, room.size);
    }
    loader.load(OBJECT)
}

struct Loading<'a> {
    support: &'a Support,
    ebpf: Ebpf,
    slow: Slow,
    task_files: Option<TaskFiles>,
    btf: Option<Btf>,
    /// Whether events can be had with typed arguments.
    typed: bool,
}

impl Loading<'_> {
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
            Some(aya::programs::Program::BtfTracePoint(first)) => first.unload(),
            Some(aya::programs::Program::RawTracePoint(first)) => first.unload(),
            _ => Ok(()),
        };
        unloaded.map_err(|error| refusal(&error))?;
        Err(why)
    }

    /// Attaches what makes children of members members.
    fn follow(&mut self, offsets: &Offsets) -> Result<(), String> {
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
        let btf = self.take_btf()?;
        let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
        let attached = program.load(event, &btf).and_then(|()| program.attach());
        self.btf = Some(btf);
        attached.map(drop).map_err(|error| refusal(&error))
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
        let btf = self.take_btf()?;
        let program: &mut FEntry = program(&mut self.ebpf, name)?;
        let attached = program.load(function, &btf).and_then(|()| program.attach());
        let attached = attached.and_then(|id| program.take_link(id));
        self.btf = Some(btf);
        self.slow.hold(attached.map_err(|error| refusal(&error))?);
        Ok(())
    }

    fn iter_task_file(&mut self) -> Result<(), String> {
        let btf = self.take_btf()?;
        let program: &mut Iter = program(&mut self.ebpf, "iter_task_file")?;
        let loaded = program.load("task_file", &btf);
        let task_files = loaded.and_then(|()| Ok(TaskFiles::new(program.fd()?.as_fd())));
        self.btf = Some(btf);
        let task_files = task_files.map_err(|error| refusal(&error))?;
        self.task_files = Some(task_files.map_err(|error| format!("bpf_link_create: {error}"))?);
        Ok(())
    }

    /// What is attached to by number, as the library wants it; to be put back.
    fn take_btf(&mut self) -> Result<Btf, String> {
        match self.btf.take() {
            Some(btf) => Ok(btf),
            None => self.support.functions.as_btf(),
        }
    }

    fn kprobe(&mut self, name: &str, function: &str) -> Result<(), String> {
        let program: &mut KProbe = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| refusal(&error))?;
        let attached = program.attach(function, 0).and_then(|id| program.take_link(id));
        self.slow.hold(attached.map_err(|error| refusal(&error))?);
        Ok(())
    }
}

/// A program of the object, of its type.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(|error: ProgramError| refusal(&error))
}

impl Loaded {
    /// Takes the maps out; once.
    pub fn maps(&mut self) -> Result<Maps, CannotTrace> {
        let counters = self.counters()?;
        Ok(Maps {
            records: self.map("RECORDS")?,
            sockets: self.map("SOCKETS")?,
            copies: self.map("COPIES")?,
            stacks: self.map("STACKS")?,
            counters,
        })
    }

    /// The processes that are followed, with [`Settings::family`]; once.
    pub fn family(&mut self) -> Result<Family, CannotTrace> {
        Ok(Family::new(self.map("FAMILY")?))
    }

    /// Where interpreters of Python are made known, if that is served; once.
    pub fn pythons(&mut self) -> Option<Pythons> {
        let served = self.served.iter().any(|served| served.by == Some(Hook::PythonFrames));
        served.then(|| Some(Pythons::new(self.map("PYTHONS").ok()?, self.map("PYTHONS_KNOWN").ok()?)))?
    }

    fn counters(&mut self) -> Result<Counters, CannotTrace> {
        let array = self.map("COUNTERS")?;
        let edges = self.map("EDGES")?;
        let attached = self.ebpf.programs().filter(|(name, _)| *name != EOF[1]);
        let programs = attached.filter_map(|(name, program)| {
            let fd = program.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
            Some(Program { name: name.to_owned(), fd })
        });
        let programs = programs.collect();
        Ok(Counters::new(array, edges, programs))
    }

    /// Attaches the second program for EOF reads, which steps in where the first is skipped,
    /// and has `counters` count it. Not from the start: every receive of the host pays for it.
    pub fn attach_eof_again(&mut self, counters: &mut Counters) -> Result<(), String> {
        let attached = self.eof_again();
        match attached {
            Ok(program) => {
                counters.add_eof_again(program);
                Ok(())
            }
            Err(why) => {
                counters.refuse_eof_again();
                Err(why)
            }
        }
    }

    /// Detaches the first program for EOF reads: tests see what the second does without it.
    #[doc(hidden)]
    pub fn detach_first_eof(&mut self) -> Result<(), String> {
        let typed: &mut BtfTracePoint = program(&mut self.ebpf, EOF_TYPED)?;
        if typed.unload().is_ok() {
            return Ok(());
        }
        let program: &mut RawTracePoint = program(&mut self.ebpf, EOF[0])?;
        program.unload().map_err(|error| refusal(&error))
    }

    fn eof_again(&mut self) -> Result<Program, String> {
        let name = EOF[1];
        let program =
            self.ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
        let program: &mut RawTracePoint = program.try_into().map_err(|error| refusal(&error))?;
        program.attach("sock_recv_length").map_err(|error| refusal(&error))?;
        let fd = program.fd().map_err(|error| refusal(&error))?.as_fd().try_clone_to_owned();
        Ok(Program { name: EOF[1].to_owned(), fd: fd.map_err(|error| error.to_string())? })
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

// The counter slots are an array in the object; a slot more here would read past it.
const _: () = assert!(counter::COUNT > counter::LOST_ACCEPTED);
