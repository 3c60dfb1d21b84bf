//! The same by the kernel's own iterator: one pass shows every descriptor of every
//! process, also of those that refuse a look into /proc/PID/fd.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use closewait_ebpf::{Held, held_flags};
use hashbrown::{HashMap, HashSet};

use super::{Hit, Scan, Unread, open_process};
use crate::enrich::netns::is_gone;
use crate::enrich::procfs;
use crate::fact::Fact;
use crate::item::SkAddr;
use crate::kernel::task_files::TaskFiles;

/// Looks for `wanted` socket inodes in the fd tables of all processes.
pub fn scan(files: &TaskFiles, wanted: &HashSet<u64>) -> io::Result<Scan> {
    let mut scan = Scan::default();
    if wanted.is_empty() {
        return Ok(scan);
    }
    let mut pids = HashMap::<u32, usize>::new();
    files.pass(|held| {
        scan.descriptors += 1;
        // A task that was released during the pass has no number.
        if held.tgid == 0 || !wanted.contains(&held.inode) {
            return;
        }
        let next = pids.len();
        let process = *pids.entry(held.tgid).or_insert(next);
        scan.hits.push(Hit {
            inode: held.inode,
            process,
            fd: held.fd,
            cloexec: cloexec(held),
            sk: Some(SkAddr(held.skaddr)),
        });
    })?;
    scan.name(pids);
    scan.order();
    Ok(scan)
}

fn cloexec(held: &Held) -> Option<Fact<bool>> {
    let known = held.flags & held_flags::CLOEXEC_KNOWN != 0;
    known.then_some(Fact::Known(held.flags & held_flags::CLOEXEC != 0))
}

impl Scan {
    /// Reads the processes of the hits, whose `process` is so far the place in `pids`,
    /// and drops the hits of those that ended.
    fn name(&mut self, pids: HashMap<u32, usize>) {
        let mut places = vec![None; pids.len()];
        for (pid, place) in pids {
            let process = open_process(pid)
                .and_then(|dir| procfs::process(dir.as_fd(), pid, procfs::descriptors(dir.as_fd())));
            match process {
                Ok(process) => {
                    places[place] = Some(self.holding.len());
                    self.holding.push(Arc::new(process));
                    self.processes += 1;
                }
                Err(e) if is_gone(&e) => {}
                Err(e) => self.unread.push(Unread { pid, comm: String::new(), reason: e.to_string() }),
            }
        }
        self.hits.retain_mut(|hit| {
            let place = places.get(hit.process).copied().flatten();
            hit.process = place.unwrap_or(hit.process);
            place.is_some()
        });
    }
}
