//! Plan -> attached programs. Tries the candidates of each purpose in order; a
//! refusal is kept with its reason and the next is tried.

use aya::Ebpf;
use aya_log::EbpfLogger;
use closewait_ebpf::{Offsets, stacks_by};

use super::attach::Attaching;
use super::loader;
use super::plan::{CannotTrace, Hook, Plan, Purpose};
use super::refusal::{broken, chain};
use super::regs;
use super::support::Support;
use crate::cli::{Room, StacksWanted};
use crate::item::Netns;

pub use super::loaded::{Loaded, Maps};
pub use super::served::Served;

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

/// Loads and attaches what the plan says.
///
/// The programs are verified with the way in which they tell user stacks. If they are
/// refused with one, they are loaded again with the next.
pub fn load(support: &Support, plan: &Plan, settings: &Settings) -> Result<Loaded, CannotTrace> {
    let choice = |purpose: Purpose| {
        plan.choice(purpose).ok_or_else(|| broken(format!("the plan has no {}", purpose.name())))
    };
    let (by_stacks, by_python) = (choice(Purpose::UserStack)?, choice(Purpose::Python)?);
    let (mut stacks, mut python) = (Served::untried(by_stacks), Served::untried(by_python));
    for &hook in &by_stacks.candidates {
        if let Some(option) = settings.stacks.forbids(hook) {
            stacks.refused.push((hook, format!("switched off by --stacks {option}")));
            continue;
        }
        stacks.by = Some(hook);
        if hook == Hook::UserStack && !by_python.candidates.is_empty() {
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
    let mut attaching = Attaching::new(support, ebpf);
    let refused = |what: String| {
        let hint = "run `closewait-trace doctor` to see what this kernel refuses".into();
        Refused::Programs(CannotTrace { what, hint })
    };
    let mut served = Vec::new();
    for choice in &plan.choices {
        let outcome = match choice.purpose {
            Purpose::UserStack => stacks.clone(),
            Purpose::Python => python.clone(),
            Purpose::UringOpener if covers_uring(&served) => {
                Served { covered: true, ..Served::nothing(choice.purpose) }
            }
            _ => attaching.serve(choice),
        };
        if choice.purpose == Purpose::Transitions && outcome.by.is_none() {
            return Err(refused(outcome.degraded().unwrap_or_default()));
        }
        served.push(outcome);
    }
    if settings.family {
        attaching
            .follow(offsets)
            .map_err(|why| refused(format!("the descendants of a command cannot be followed: {why}")))?;
    }
    Ok(attaching.done(served, logger))
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
