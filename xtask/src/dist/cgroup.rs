//! A cgroup of our own for a while: what makes others below its own, as systemd does, leaves them
//! behind when it is killed, and then they go with this one.

use crate::stopwatch::Stopwatch;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A killed process is in its cgroup until it is reaped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removed, with all below it, when dropped.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// One below that of this process; `None` where cgroups cannot be made.
    pub(super) fn below_own(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let point = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let path = Path::new(point).join(own).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).ok().map(|()| Self(path))
    }

    /// Where a process is put into it.
    pub(super) fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let clock = Stopwatch::start();
        while let Err(error) = remove(&self.0) {
            if clock.left_of(PATIENCE).is_zero() {
                eprintln!("cgroups are left behind: {}: {error}", self.0.display());
                return;
            }
            Stopwatch::pause(Duration::from_millis(50));
        }
    }
}

/// Those below come first; the files in a cgroup are not files to be removed.
fn remove(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_is_removed_first() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("system.slice/dbus.service")).unwrap();
        fs::create_dir_all(top.join("init.scope")).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists());
    }
}
