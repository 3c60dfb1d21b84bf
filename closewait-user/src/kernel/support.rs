//! Facts about this kernel and this process. Facts only: no decision is made here,
//! and what could not be found out is `Unknown` with the reason.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use closewait_ebpf::Offsets;
use rustix::thread::CapabilitySet;

use super::btf::Btf;
use super::functions::{FUNCTIONS, Functions};
use super::offsets::{Events, STRUCTS, offsets};
use super::tracefs::{Event, Place, Tracefs};
use crate::fact::Fact;
use crate::privileges;

/// Where the kernel publishes its BTF.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// What this kernel offers and what this process may do.
#[derive(Clone, Debug)]
pub struct Support {
    /// `uname -r`, to be shown, never to be compared.
    pub release: String,
    /// Whether process ids mean here what they mean to the kernel.
    pub first_pid_namespace: bool,
    /// Effective capabilities.
    pub capabilities: Fact<CapabilitySet>,
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

/// Whether this process is in the first pid namespace (`PROC_PID_INIT_INO` of the kernel).
pub fn in_first_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
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
            first_pid_namespace: in_first_pid_namespace(),
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

fn capabilities() -> Fact<CapabilitySet> {
    privileges::effective().map_or_else(|error| Fact::unknown(format!("capget: {error}")), Fact::Known)
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
    fn lockdown_is_the_mode_in_brackets() {
        assert_eq!(selected("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(selected("none"), None);
    }
}
