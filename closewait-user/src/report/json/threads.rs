//! What the threads of a process do.

use schemars::JsonSchema;
use serde::Serialize;

use crate::verdict::{self, Doing};

use super::values::millis;

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Threads {
    pid: u32,
    /// All threads of the process.
    total: u32,
    /// Those that were looked at.
    seen: u32,
    /// The same in words.
    summary: String,
    /// Threads that do the same, the most first; at most 8 groups.
    groups: Vec<ThreadGroup>,
}

impl From<&verdict::Threads> for Threads {
    fn from(t: &verdict::Threads) -> Self {
        let group = |g: &verdict::Group<'_>| {
            let (state, syscall, on) = match &g.example.doing {
                Doing::Running => (ThreadState::Running, None, None),
                Doing::Stopped | Doing::Frozen => (ThreadState::Stopped, None, None),
                Doing::Ended => (ThreadState::Ended, None, None),
                Doing::Faulting => (ThreadState::Faulting, None, None),
                Doing::Unknown(_) => (ThreadState::Unknown, None, None),
                Doing::Call { name, on } => (ThreadState::Waiting, Some(name.clone()), on.as_ref()),
            };
            ThreadGroup {
                threads: g.threads,
                tid: g.example.tid,
                comm: g.example.comm.clone(),
                state,
                syscall,
                on: on.map(ToString::to_string),
                wchan: g.example.wchan.clone(),
                still_ms: g.still.map(millis),
                cpu_ms: g.ran.map(|(cpu, _)| millis(cpu)),
            }
        };
        Self {
            pid: t.pid,
            total: t.total,
            seen: u32::try_from(t.seen.len()).unwrap_or(u32::MAX),
            summary: t.to_string(),
            groups: t.groups().iter().take(8).map(group).collect(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThreadGroup {
    /// How many they are.
    threads: u32,
    /// One of them.
    tid: u32,
    /// Its name.
    comm: String,
    state: ThreadState,
    /// The system call they are in.
    syscall: Option<String>,
    /// What that works on.
    on: Option<String>,
    /// The kernel function that `tid` sleeps in.
    wchan: Option<String>,
    /// None of them has run for at least this long; null: not known, or one has.
    still_ms: Option<u64>,
    /// CPU time they used between two looks, in steps of the kernel's tick.
    cpu_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ThreadState {
    /// Runs or waits for a CPU.
    Running,
    /// Sleeps in the system call.
    Waiting,
    /// Sleeps in a page fault.
    Faulting,
    /// Stopped by a signal or a debugger, or frozen with its cgroup.
    Stopped,
    /// Ended and not reaped.
    Ended,
    Unknown,
}
