//! What the kernel and /proc say about a suspect, now. This is where I/O happens.
//!
//! In: suspects, and which network namespaces to look at. Out: looks, holders and
//! listeners, each known or missing for a reason, and snapshots. Never: a verdict,
//! a report, or anything that changes a socket or a process.

pub mod container;
pub mod holders;
pub mod netns;
pub mod proc_net_tcp;
pub mod procfs;
pub mod sock_diag;
