//! Processes in JSON: what they have stuck, their descriptors, and how fast that grows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::ledger::{Cause, Process};

use super::limits::{Growth, Nofile};

/// So many processes are listed.
const LISTED: usize = 20;

/// A process to blame for stuck sockets.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessLine {
    pub pid: u32,
    /// Sockets stuck now.
    pub sockets: u64,
    /// Its descriptors when last looked at; null when not known.
    pub nofile: Option<Nofile>,
    /// All its stuck sockets, whatever their cause; null when not counted for a minute yet.
    pub growth: Option<Growth>,
}

impl From<(u32, Process)> for ProcessLine {
    fn from((pid, process): (u32, Process)) -> Self {
        Self {
            pid,
            sockets: process.sockets,
            nofile: process.nofile.map(Nofile::from),
            growth: process.growth.map(|growth| Growth::new(&growth, process.nofile)),
        }
    }
}

/// Those with most sockets, of one cause or of all.
pub(super) fn processes<'a>(causes: impl IntoIterator<Item = &'a Cause<'a>>) -> Vec<ProcessLine> {
    let mut all = BTreeMap::<u32, Process>::new();
    for (pid, process) in causes.into_iter().flat_map(|cause| &cause.processes) {
        let known = all.entry(*pid).or_default();
        known.sockets += process.sockets;
        known.take_newer(process);
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(pid, process)| (std::cmp::Reverse(process.sockets), *pid));
    all.truncate(LISTED);
    all.into_iter().map(ProcessLine::from).collect()
}
