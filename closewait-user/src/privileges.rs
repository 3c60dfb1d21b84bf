//! Capabilities: which there are use for, what is lost without each, and which a thread keeps
//! once it has started. One table, for `doctor`, the man page and what is said at start.
//!
//! Deciding is pure ([`kept`]); [`settle`] is the effect, on the calling thread: capabilities
//! are a thread's, and a thread inherits those of the one that starts it. So each thread that
//! reads what others have written gives up by itself what its work does not take, and the
//! first thread does when all is attached and open. Nothing is executed after that.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// A capability that there is use for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// Which.
    pub capability: CapabilitySet,
    /// As capabilities(7) writes it.
    pub name: &'static str,
    /// A wider one that does as well.
    pub or: CapabilitySet,
    /// What for.
    pub used_for: &'static str,
    /// What is lost without it.
    pub lost: &'static str,
    /// Whether its loss is told at every start, and not only by `doctor`.
    pub told: bool,
}

impl Need {
    /// Whether who has `effective` lacks it.
    pub const fn is_missing(&self, effective: CapabilitySet) -> bool {
        !effective.contains(self.capability) && !effective.intersects(self.or)
    }
}

const NONE: CapabilitySet = CapabilitySet::empty();
const ADMIN: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// All of them, the most important first. That CAP_SYS_ADMIN does for CAP_BPF, CAP_PERFMON
/// and CAP_CHECKPOINT_RESTORE says include/linux/capability.h (5.8, 5.8, 5.9).
pub const NEEDS: [Need; 14] = [
    Need {
        capability: CapabilitySet::BPF,
        name: "CAP_BPF",
        or: ADMIN,
        used_for: "loading programs, reading their maps",
        lost: "tracing: snapshots are repeated instead",
        told: true,
    },
    Need {
        capability: CapabilitySet::PERFMON,
        name: "CAP_PERFMON",
        or: ADMIN,
        used_for: "programs that read the kernel's memory",
        lost: "tracing: snapshots are repeated instead",
        told: true,
    },
    Need {
        capability: ADMIN,
        name: "CAP_SYS_ADMIN",
        or: NONE,
        used_for: "entering other network namespaces; a tracefs where none is mounted",
        lost: "looks at sockets of other network namespaces, who holds them",
        told: true,
    },
    Need {
        capability: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        or: NONE,
        used_for: "processes of other users: maps, threads, executables, namespaces",
        lost: "of processes of other users: names in stacks, what threads do",
        told: true,
    },
    Need {
        capability: CapabilitySet::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        or: CapabilitySet::DAC_OVERRIDE,
        used_for: "files of other users: descriptor tables, executables; tracefs",
        lost: "counts of other users' descriptors; not as root: also tracefs",
        told: true,
    },
    Need {
        capability: CapabilitySet::CHECKPOINT_RESTORE,
        name: "CAP_CHECKPOINT_RESTORE",
        or: ADMIN,
        used_for: "executables that were replaced or deleted (map_files)",
        lost: "names in stacks through such files",
        told: false,
    },
    Need {
        capability: CapabilitySet::NET_ADMIN,
        name: "CAP_NET_ADMIN",
        or: NONE,
        used_for: "kill; ghosts where descriptors are listed by /proc (SIOCGSKNS)",
        lost: "kill; such ghosts that no record told of",
        told: false,
    },
    Need {
        capability: CapabilitySet::SYS_RESOURCE,
        name: "CAP_SYS_RESOURCE",
        or: NONE,
        used_for: "kernels before 5.11: raising the limit of locked memory, for maps",
        lost: "tracing on these kernels where `ulimit -l` is small",
        told: false,
    },
    Need {
        capability: CapabilitySet::SYS_CHROOT,
        name: "CAP_SYS_CHROOT",
        or: NONE,
        used_for: "keeping a library from reading the kernel's types again",
        lost: "60 ms of CPU time at start",
        told: false,
    },
    Need {
        capability: CapabilitySet::KILL,
        name: "CAP_KILL",
        or: NONE,
        used_for: "run, --jit-maps: signals to processes of other users",
        lost: "these, of other users",
        told: false,
    },
    Need {
        capability: CapabilitySet::DAC_OVERRIDE,
        name: "CAP_DAC_OVERRIDE",
        or: NONE,
        used_for: "--record-max, --update-baseline, --jit-maps: others' directories",
        lost: "these, in directories of other users",
        told: false,
    },
    Need {
        capability: CapabilitySet::SETUID,
        name: "CAP_SETUID",
        or: NONE,
        used_for: "run: the command runs as the user who called sudo",
        lost: "run under sudo",
        told: false,
    },
    Need {
        capability: CapabilitySet::SETGID,
        name: "CAP_SETGID",
        or: NONE,
        used_for: "run: with the groups of that user",
        lost: "run under sudo",
        told: false,
    },
    Need {
        capability: CapabilitySet::CHOWN,
        name: "CAP_CHOWN",
        or: NONE,
        used_for: "run: new reports belong to that user",
        lost: "run under sudo",
        told: false,
    },
];

/// What the work of a thread takes after its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// The first thread while it watches: maps, namespaces, processes.
    Watch,
    /// Looks at sockets and processes, and no more.
    Look,
    /// The first thread of `kill`.
    Kill,
    /// The first thread of `run`, when the command was started; `writes` its file at the end.
    Gate {
        /// With `--update-baseline`.
        writes: bool,
    },
    /// Reads the maps and opens the files of processes; fills a map for Python.
    Places,
    /// Reads symbols out of files, most of which were opened for it.
    Symbols,
    /// Asks JVMs.
    Jvms,
    /// Reads recordings.
    Replay {
        /// Opens them, or opens them again.
        opens: bool,
    },
    /// Draws progress: nothing.
    Draw,
    /// Writes a recording.
    Record {
        /// With `--record-max`.
        rotates: bool,
    },
}

impl Work {
    fn takes(self) -> CapabilitySet {
        use CapabilitySet as C;
        let looks = C::SYS_PTRACE | C::DAC_READ_SEARCH;
        let if_so = |so, also| if so { also } else { NONE };
        match self {
            Self::Watch => Self::Look.takes() | C::BPF | C::PERFMON,
            Self::Look | Self::Kill => looks | ADMIN | C::NET_ADMIN,
            Self::Gate { writes } => Self::Watch.takes() | C::KILL | if_so(writes, C::DAC_OVERRIDE),
            Self::Places => looks | C::BPF | C::CHECKPOINT_RESTORE,
            Self::Symbols => C::DAC_READ_SEARCH,
            Self::Replay { opens } => if_so(opens, C::DAC_READ_SEARCH),
            Self::Jvms => looks | C::CHECKPOINT_RESTORE | C::KILL | C::DAC_OVERRIDE,
            Self::Record { rotates } => if_so(rotates, C::DAC_OVERRIDE),
            Self::Draw => NONE,
        }
    }
}

/// What all threads take that watch as a service does, without `--jit-maps` and
/// `--record-max`: the least that a unit or a manifest has to give on kernels since 5.11.
pub fn of_a_service() -> CapabilitySet {
    [Work::Watch, Work::Places, Work::Symbols].into_iter().fold(NONE, |all, work| all | work.takes())
}

/// What a thread that has `permitted` keeps for this work: what it takes, or the wider
/// capability that does as well where the narrow one is not there.
pub fn kept(work: Work, permitted: CapabilitySet) -> CapabilitySet {
    let takes = work.takes();
    let wider =
        NEEDS.iter().filter(|need| takes.contains(need.capability) && !permitted.contains(need.capability));
    wider.fold(takes, |all, need| all | need.or) & permitted
}

/// The names of what is missing to trace at all.
pub fn missing_to_trace(effective: CapabilitySet) -> Vec<&'static str> {
    let to_trace = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let missing = |need: &&Need| to_trace.contains(need.capability) && need.is_missing(effective);
    NEEDS.iter().filter(missing).map(|need| need.name).collect()
}

/// The capabilities of this thread that count now.
pub fn effective() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Gives up for good, on this thread and those that it starts from now on, what `work` does
/// not take. An error: no capability that counts is given up.
pub fn settle(work: Work) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    let kept = kept(work, permitted);
    // What a program gets that this thread should not execute. Best effort: it takes
    // CAP_SETPCAP, and what is kept matters more.
    for capability in permitted.difference(kept) {
        let _ = remove_capability_from_bounding_set(capability);
    }
    let _ = clear_ambient_capability_set();
    set_no_new_privs(true)?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: NONE })
}

/// The same, of a thread that goes on also where it cannot.
pub fn settle_thread(work: Work) {
    if let Err(error) = settle(work) {
        log::warn!("a thread keeps capabilities that it does not need: {error}");
    }
}

/// Runs `act`, which opens a file that the caller named, with no more rights to files than the
/// caller has: what the program's own file lends (setcap) is for looking at processes, not for
/// showing anybody anybody's files. On the calling thread.
pub fn as_caller<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: it reads a value that the kernel gave at the start.
    let is_lent = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    let Some(all) = capabilities(None).ok().filter(|_| is_lent) else { return act() };
    let files = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    let own = CapabilitySets { effective: all.effective.difference(files), ..all };
    // To have less is never refused.
    let _ = set_capabilities(None, own);
    let done = act();
    if let Err(error) = set_capabilities(None, all) {
        log::warn!("what the program's file lends is lost: {error}");
    }
    done
}

/// What this work loses for want of a capability: a line for each that is told at start.
pub fn lost(work: Work, effective: CapabilitySet) -> Vec<String> {
    let takes = work.takes();
    let told = NEEDS.iter().filter(|need| need.told && takes.contains(need.capability));
    let missing = told.filter(|need| need.is_missing(effective));
    missing.map(|need| format!("without {}: lost: {}", need.name, need.lost)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use CapabilitySet as C;

    #[test]
    fn a_thread_keeps_what_its_work_takes_of_what_it_has() {
        let all = C::all();
        let looks = C::SYS_PTRACE | C::DAC_READ_SEARCH;
        let service = looks | C::BPF | C::PERFMON | C::SYS_ADMIN | C::NET_ADMIN;
        for (work, permitted, want) in [
            (Work::Watch, all, service),
            (Work::Watch, NONE, NONE),
            (Work::Watch, looks | C::BPF | C::PERFMON, looks | C::BPF | C::PERFMON),
            (Work::Watch, looks | C::SYS_ADMIN, looks | C::SYS_ADMIN),
            (Work::Kill, all, looks | C::SYS_ADMIN | C::NET_ADMIN),
            (Work::Gate { writes: false }, all, service | C::KILL),
            (Work::Gate { writes: true }, all, service | C::KILL | C::DAC_OVERRIDE),
            (Work::Places, all, looks | C::BPF | C::CHECKPOINT_RESTORE),
            // Only the wider one is there.
            (Work::Places, service, looks | C::BPF | C::SYS_ADMIN),
            (Work::Places, looks | C::SYS_ADMIN, looks | C::SYS_ADMIN),
            (Work::Places, looks, looks),
            (Work::Symbols, all, C::DAC_READ_SEARCH),
            (Work::Symbols, C::DAC_OVERRIDE, C::DAC_OVERRIDE),
            (Work::Record { rotates: false }, all, NONE),
            (Work::Record { rotates: true }, all, C::DAC_OVERRIDE),
        ] {
            assert_eq!(kept(work, permitted), want, "{work:?} of {permitted:?}");
        }
    }

    #[test]
    fn what_is_taken_is_in_the_table() {
        let documented = NEEDS.iter().fold(NONE, |all, need| all | need.capability);
        for work in [Work::Watch, Work::Kill, Work::Gate { writes: true }, Work::Places, Work::Jvms] {
            assert!(documented.contains(work.takes()), "{work:?}");
        }
    }

    #[test]
    fn the_table_fits_a_terminal() {
        for need in &NEEDS {
            assert!(
                need.name.len() <= 22 && need.used_for.len() <= 69 && need.lost.len() <= 63,
                "{}",
                need.name
            );
        }
    }

    #[test]
    fn a_wider_capability_does_as_well() {
        let lost_to_watch = |effective| lost(Work::Watch, effective);
        assert_eq!(lost_to_watch(C::all()), Vec::<String>::new());
        assert_eq!(lost_to_watch(C::SYS_ADMIN | C::SYS_PTRACE | C::DAC_OVERRIDE), Vec::<String>::new());
        let [one] = &lost_to_watch(C::BPF | C::PERFMON | C::SYS_PTRACE | C::DAC_READ_SEARCH)[..] else {
            panic!()
        };
        assert!(one.starts_with("without CAP_SYS_ADMIN: lost: "), "{one}");
        assert_eq!(lost_to_watch(NONE).len(), 5);
        assert_eq!(lost(Work::Look, NONE).len(), 3, "nobody misses what it does not use");
    }

    #[test]
    fn to_trace_takes_two_or_the_one_that_does_for_both() {
        for (effective, missing) in [
            (C::all(), vec![]),
            (NONE, vec!["CAP_BPF", "CAP_PERFMON"]),
            (C::BPF, vec!["CAP_PERFMON"]),
            (C::BPF | C::PERFMON, vec![]),
            (C::SYS_ADMIN, vec![]),
        ] {
            assert_eq!(missing_to_trace(effective), missing, "{effective:?}");
        }
    }

    /// On a thread of its own, which is all that it acts on.
    #[test]
    fn a_settled_thread_has_given_up_for_good() {
        let before = capabilities(None).unwrap().permitted;
        std::thread::spawn(move || {
            settle(Work::Symbols).unwrap();
            let now = capabilities(None).unwrap();
            assert_eq!((now.permitted, now.effective), (kept(Work::Symbols, before), now.permitted));
            assert!(now.inheritable.is_empty() && rustix::thread::no_new_privs().unwrap());
            let back = CapabilitySets { permitted: before, effective: before, inheritable: NONE };
            assert_eq!(set_capabilities(None, back).is_err(), before != now.permitted);
        })
        .join()
        .unwrap();
        assert_eq!(capabilities(None).unwrap().permitted, before);
    }
}
