//! Facts about this kernel and this process. Facts only: no decision is made here,
//! and what could not be found out is `Unknown` with the reason.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use closewait_ebpf::Offsets;

use super::btf::Btf;
use super::functions::{FUNCTIONS, Functions};
use super::offsets::{Events, STRUCTS, offsets};
use super::tracefs::{Event, Place, Tracefs};
use crate::fact::Fact;

/// Where the kernel publishes its BTF.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Capability numbers of include/uapi/linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What this kernel offers and what this process may do.
#[derive(Clone, Debug)]
pub struct Support {
    /// `uname -r`, to be shown, never to be compared.
    pub release: String,
    /// Effective capabilities.
    pub capabilities: Fact<Capabilities>,
    /// `none`, `integrity` or `confidentiality`.
    pub lockdown: Fact<String>,
    /// Offsets from BTF and tracepoint formats.
    pub offsets: Fact<Offsets>,
    /// What can be attached to by number.
    pub functions: Functions,
    /// Where tracefs is.
    pub tracefs: Fact<Place>,
    /// The tracepoints of interest.
    pub events: Events,
    /// Whether the kernel has a kprobe event source.
    pub kprobes: bool,
    /// Whether programs may ask for a task's user registers (5.15 and later).
    pub task_pt_regs: bool,
    /// Online CPUs, the first of them.
    pub first_cpu: u32,
}

/// The capabilities that matter here, effective now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// From the `CapEff` line of /proc/PID/status.
    pub fn from_status(status: &str) -> Option<Self> {
        let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?.trim();
        u64::from_str_radix(hex, 16).ok().map(Self)
    }

    const fn has(self, capability: u32) -> bool {
        self.0 >> capability & 1 == 1
    }

    /// May load tracing programs: CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN.
    pub const fn may_trace(self) -> bool {
        self.has(CAP_SYS_ADMIN) || (self.has(CAP_BPF) && self.has(CAP_PERFMON))
    }

    /// The names of what is missing for everything the tool does.
    pub fn missing(self) -> Vec<&'static str> {
        let wanted = [
            (CAP_BPF, "CAP_BPF"),
            (CAP_PERFMON, "CAP_PERFMON"),
            (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
            (CAP_SYS_PTRACE, "CAP_SYS_PTRACE"),
            (CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
        ];
        wanted.iter().filter(|(bit, _)| !self.has(*bit)).map(|(_, name)| *name).collect()
    }
}

impl Support {
    /// Asks the running kernel. `btf` is where its BTF is read from ([`BTF_PATH`]).
    pub fn probe(btf: &Path) -> Self {
        let (tracefs, events) = match Tracefs::open() {
            Ok(tracefs) => (Fact::Known(tracefs.place), events(&tracefs)),
            Err(error) => (Fact::unknown(format!("tracefs cannot be opened: {error}")), Events::default()),
        };
        let (offsets, functions) = match types(btf, &events) {
            Ok((offsets, functions)) => (Fact::Known(offsets), functions),
            Err(why) => (Fact::unknown(format!("{}: {why}", btf.display())), Functions::default()),
        };
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            capabilities: capabilities(),
            lockdown: lockdown(),
            offsets,
            functions,
            tracefs,
            events,
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe/type").exists(),
            task_pt_regs: task_pt_regs(),
            first_cpu: first_cpu(),
        }
    }
}

/// What is wanted of the kernel's types, which are read this once.
fn types(path: &Path, events: &Events) -> Result<(Offsets, Functions), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let btf = Btf::parse(&bytes, STRUCTS, FUNCTIONS).map_err(|error| error.to_string())?;
    Ok((offsets(&btf, events), Functions::of(&btf)))
}

fn events(tracefs: &Tracefs) -> Events {
    let event = |category, name| -> Option<Event> { tracefs.event(category, name).ok() };
    Events {
        set_state: event("sock", "inet_sock_set_state"),
        destroy: event("tcp", "tcp_destroy_sock"),
        exit_accept: event("syscalls", "sys_exit_accept"),
        exit_accept4: event("syscalls", "sys_exit_accept4"),
        uring_complete: event("io_uring", "io_uring_complete"),
    }
}

/// Without the privilege to ask, it is no.
fn task_pt_regs() -> bool {
    matches!(is_helper_supported(ProgramType::RawTracePoint, BpfHelper::BPF_FUNC_task_pt_regs), Ok(true))
}

fn capabilities() -> Fact<Capabilities> {
    match fs::read_to_string("/proc/self/status") {
        Ok(status) => Capabilities::from_status(&status)
            .map_or_else(|| Fact::unknown("/proc/self/status has no CapEff line"), Fact::Known),
        Err(error) => Fact::unknown(format!("/proc/self/status: {error}")),
    }
}

fn lockdown() -> Fact<String> {
    const PATH: &str = "/sys/kernel/security/lockdown";
    match fs::read_to_string(PATH) {
        Ok(text) => selected(&text).map_or_else(
            || Fact::unknown(format!("{PATH} names no mode in brackets")),
            |mode| Fact::Known(mode.to_owned()),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Fact::unknown("securityfs is not mounted, or the kernel has no lockdown")
        }
        Err(error) => Fact::unknown(format!("{PATH}: {error}")),
    }
}

/// `none [integrity] confidentiality` -> `integrity`
fn selected(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(mode, _)| mode)
}

/// The first online CPU; a perf event needs one, whichever it is.
fn first_cpu() -> u32 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    online.split(['-', ',', '\n']).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_line() {
        let table = [
            ("Name:\tx\nCapEff:\t000001ffffffffff\n", true, vec![]),
            (
                "CapEff:\t0000000000000000\n",
                false,
                vec!["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"],
            ),
            ("CapEff:\t000000c000081000\n", true, vec!["CAP_SYS_ADMIN"]),
        ];
        for (status, may_trace, missing) in table {
            let capabilities = Capabilities::from_status(status).unwrap();
            assert_eq!(capabilities.may_trace(), may_trace, "{status}");
            assert_eq!(capabilities.missing(), missing, "{status}");
        }
        assert_eq!(Capabilities::from_status("Name: x"), None);
    }

    #[test]
    fn lockdown_is_the_mode_in_brackets() {
        assert_eq!(selected("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(selected("none"), None);
    }
}
