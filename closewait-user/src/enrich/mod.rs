//! What the kernel and /proc say about a suspect, now. This is where I/O happens.
//!
//! In: suspects, and which network namespaces to look at. Out: looks, holders and
//! listeners, each known or missing for a reason, and snapshots. Never: a verdict,
//! a report, or anything that changes a socket or a process.

mod addresses;
pub mod cgroup;
pub mod container;
mod elsewhere;
mod gather;
mod ghosts;
pub mod holders;
mod keepalive;
mod listener;
pub mod netns;
mod peers;
mod ports;
pub mod proc_net_tcp;
pub mod procfs;
mod sight;
pub mod sock_diag;
mod sockets;
mod surroundings;
mod syscalls;
mod threads;

pub use gather::{Enricher, Found, Gathered, Options, SnapshotError};
pub use ghosts::CountsFrom;
pub use sockets::Source;
pub use surroundings::Surrounding;
