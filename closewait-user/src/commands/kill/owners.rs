//! Who holds what is to be destroyed, and what becomes of their descriptors.
//!
//! In: findings. Out: [`Fate`]s, before and after. A directory /proc/PID is opened before
//! and used after, so that a process that got the number of an owner is never taken for it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use hashbrown::HashSet;
use rustix::fs::{CWD, readlinkat};

use crate::clock::Clock;
use crate::enrich::holders::socket_inode;
use crate::enrich::procfs;
use crate::fact::Fact;
use crate::report::Finding;
use crate::report::kill::{After, Fate};
use crate::verdict::{Holder, Nofile};

/// An owner that reacts closes within this long; a busy one is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// And is asked so often.
const POLL: Duration = Duration::from_millis(50);

/// Those who hold, or do not accept, some sockets.
pub(super) struct Owners(BTreeMap<u32, One>);

struct One {
    owner: Fate,
    dir: Option<OwnedFd>,
    /// Descriptor and inode number of what it holds.
    held: Vec<(u32, u64)>,
}

impl Owners {
    /// Those of these sockets, with what they have now.
    pub(super) fn of(findings: &[&Finding]) -> Self {
        let mut all = BTreeMap::new();
        for holder in findings.iter().flat_map(|finding| blamed(finding)) {
            all.entry(holder.pid).or_insert_with(|| One::new(holder));
        }
        Self(all)
    }

    /// Only those of these sockets.
    pub(super) fn keep(&mut self, findings: &[&Finding]) {
        for finding in findings {
            let inode = finding.evidence.looks.last().map_or(0, |look| look.socket.inode);
            for holder in blamed(finding) {
                let Some(one) = self.0.get_mut(&holder.pid) else { continue };
                one.owner.sockets += 1;
                one.held.extend((inode != 0).then_some((holder.fd, inode)));
            }
        }
        self.0.retain(|_, one| one.owner.sockets > 0);
    }

    /// As they are in a dry run.
    pub(super) fn before(self) -> Vec<Fate> {
        self.0.into_values().map(|one| one.owner).collect()
    }

    /// Gives them time to react, and looks what they have then.
    pub(super) async fn after(self) -> Vec<Fate> {
        let deadline = Clock::mono_now() + PATIENCE;
        while self.0.values().any(One::holds) && Clock::mono_now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.0.into_values().map(|one| Fate { after: Some(one.now()), ..one.owner }).collect()
    }
}

/// The processes that have a descriptor on it, or do not accept it; each once.
fn blamed(finding: &Finding) -> impl Iterator<Item = &Holder> {
    let evidence = &finding.evidence;
    let listener = evidence.listener.known().and_then(|listener| listener.holder.as_ref());
    evidence.holders.known().into_iter().flatten().chain(listener)
}

impl One {
    fn new(holder: &Holder) -> Self {
        let pid = holder.pid;
        let opened = procfs::open_dir(CWD, format!("/proc/{pid}")).and_then(|dir| {
            let process = procfs::process(dir.as_fd(), pid, procfs::all_descriptors(dir.as_fd()))?;
            Ok((dir, process))
        });
        let (dir, before) = match opened {
            Ok((dir, process)) if process.began == holder.began => (Some(dir), process.nofile),
            Ok(_) => (None, Fact::unknown("it has ended, and another process has its number")),
            Err(error) => (None, Fact::unknown(format!("cannot read /proc/{pid}: {error}"))),
        };
        Self { owner: owner(holder, before), dir, held: Vec::new() }
    }

    /// Whether it still has one of its descriptors on one of the sockets.
    fn holds(&self) -> bool {
        let Some(dir) = &self.dir else { return false };
        self.held.iter().any(|(fd, inode)| {
            readlinkat(dir, format!("fd/{fd}"), Vec::new())
                .is_ok_and(|link| socket_inode(link.to_bytes()) == Some(*inode))
        })
    }

    /// What it has now. It may have several descriptors on one socket, so all are looked at.
    fn now(&self) -> After {
        let Some(dir) = &self.dir else {
            let unknown = || Fact::unknown("its descriptors could not be looked at before");
            return After::Runs { used: unknown(), open: unknown() };
        };
        let inodes: HashSet<u64> = self.held.iter().map(|(_, inode)| *inode).collect();
        let looked = procfs::open_dir(dir, "fd").and_then(|fds| {
            let numbers = procfs::numbers(procfs::open_dir(dir, "fd")?)?;
            let links = numbers.iter().filter_map(|fd| readlinkat(&fds, fd.to_string(), Vec::new()).ok());
            let open: HashSet<u64> = links
                .filter_map(|link| socket_inode(link.to_bytes()))
                .filter(|i| inodes.contains(i))
                .collect();
            Ok((numbers.len() as u64, open.len() as u64))
        });
        match looked {
            Ok((used, open)) => After::Runs { used: Fact::Known(used), open: Fact::Known(open) },
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => After::Ended,
            Err(error) => {
                After::Runs { used: Fact::unknown(error.to_string()), open: Fact::unknown(error.to_string()) }
            }
        }
    }
}

fn owner(holder: &Holder, before: Fact<Nofile>) -> Fate {
    Fate {
        pid: holder.pid,
        comm: holder.comm.clone(),
        program: holder.program.clone(),
        sockets: 0,
        before,
        after: None,
    }
}
