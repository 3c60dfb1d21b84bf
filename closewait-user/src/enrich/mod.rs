//! What the kernel and /proc say about a suspect, now. This is where I/O happens.
//!
//! In: suspects, and which network namespaces to look at. Out: looks, holders and
//! listeners, each known or missing for a reason, and snapshots. Never: a verdict,
//! a report, or anything that changes a socket or a process; `kill` alone asks
//! [`sock_diag`] for that.

mod addresses;
mod borrowed;
pub mod cgroup;
pub mod container;
mod elsewhere;
mod gather;
mod ghosts;
pub mod holders;
mod keepalive;
mod left;
mod listener;
pub mod memory;
pub mod netns;
mod peers;
mod pod_names;
pub mod pods;
mod ports;
pub mod proc_net_tcp;
pub mod procfs;
mod program;
mod sight;
pub mod sock_diag;
mod sockets;
pub mod states;
mod surroundings;
mod sweep;
mod syscalls;
mod threads;

pub use gather::{Enricher, Found, Gathered, Options, SnapshotError};
pub use ghosts::CountsFrom;
pub use sockets::Source;
pub use surroundings::Surrounding;
pub use sweep::Sweep;

/// What [`crate::fuzz`] reads as a file of /proc: one of those about a process or its namespace.
#[cfg(any(test, fuzzing))]
pub(crate) fn proc_files(data: &[u8]) {
    crate::stack::maps::Maps::parse(data).find(0x1000);
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        proc_net_tcp::parse(line);
        elsewhere::call_on(line);
        threads::line(line);
        threads::stat(line);
        pod_names::of_directory(line);
        pod_names::of_link(line);
    }
    pod_names::labels(&text);
    threads::stat(&text);
    threads::switches(&text);
    threads::sockaddr(data);
    procfs::joined(&text);
    procfs::start_ticks(&text);
    procfs::real_uid(&text);
    procfs::soft_nofile(&text);
    procfs::is_cloexec(&text);
    elsewhere::in_flight(&text);
    elsewhere::names_no_sockets(&text);
    elsewhere::registered(&text).for_each(drop);
    container::place(&text);
    let memberships = cgroup::memberships(&text);
    let _ =
        cgroup::CgroupFilter::from_mounts("/sys/fs/cgroup/a/b", &text).map(|filter| filter.has(&memberships));
}
