//! Cgroups: those a process is in, and the one a user names.
//!
//! In: the text of /proc/PID/cgroup and /proc/self/mountinfo, and a path as people
//! write it: a directory below /sys/fs/cgroup, or what /proc/PID/cgroup shows. Out:
//! whether the process is in it, or below. Pure, but for [`CgroupFilter::resolve`].

use std::path::Path;

use super::procfs;

/// The cgroups of a process, but for the roots: `controllers:path` for each
/// hierarchy, without controllers for the unified one (cgroup v2).
pub fn memberships(cgroup: &str) -> Vec<String> {
    // hierarchy:controllers:path
    let lines = cgroup.lines().filter_map(|line| line.split_once(':').map(|(_, rest)| rest));
    lines.filter(|line| !line.ends_with(":/")).map(str::to_owned).collect()
}

/// One cgroup and all below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CgroupFilter {
    /// Controllers of its hierarchy, of which one must fit; none: any hierarchy.
    controllers: Vec<String>,
    /// Its path in the hierarchy, without a slash at its end; empty: the root.
    path: String,
    /// Its directories, where it was looked for.
    directories: Vec<String>,
}

/// A mounted hierarchy.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mount {
    point: String,
    /// The cgroup that is mounted there.
    root: String,
    /// None for the unified hierarchy.
    controllers: Vec<String>,
}

impl CgroupFilter {
    /// Understands a path by what is mounted here.
    pub fn resolve(path: &str) -> Result<Self, String> {
        let mounts = procfs::text("/proc/self/mountinfo")
            .map_err(|error| format!("cannot read /proc/self/mountinfo: {error}"))?;
        Self::from_mounts(path, &mounts)
    }

    pub(super) fn from_mounts(path: &str, mountinfo: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("{path:?} is not an absolute path"));
        }
        let path = path.trim_end_matches('/');
        let mounts: Vec<_> = mountinfo.lines().filter_map(mount).collect();
        // The longest mount point: the unified hierarchy may be mounted below or above others.
        let at = mounts.iter().filter(|mount| is_at_or_below(path, &mount.point));
        if let Some(mount) = at.max_by_key(|mount| mount.point.len()) {
            let below = path.strip_prefix(mount.point.as_str()).unwrap_or_default();
            let path = format!("{}{below}", mount.root.trim_end_matches('/'));
            let directories = vec![format!("{}{below}", mount.point)];
            return Ok(Self { controllers: mount.controllers.clone(), path, directories });
        }
        let directories = mounts.iter().map(|mount| format!("{}{path}", mount.point)).collect();
        Ok(Self { controllers: Vec::new(), path: path.to_owned(), directories })
    }

    /// Whether it exists on this machine.
    pub fn exists(&self) -> bool {
        self.directories.iter().any(|directory| Path::new(directory).is_dir())
    }

    /// Whether a process with these [`memberships`] is in it, or below it.
    pub fn has(&self, memberships: &[String]) -> bool {
        // The roots are no memberships: every process is below them.
        self.path.is_empty()
            || memberships.iter().filter_map(|line| line.split_once(':')).any(|(controllers, path)| {
                let fits = |of: &String| controllers.split(',').any(|controller| controller == of);
                (self.controllers.is_empty() || self.controllers.iter().any(fits))
                    && is_at_or_below(path, &self.path)
            })
    }
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A line of mountinfo (proc_pid_mountinfo(5)) that is about a hierarchy.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = after.nth(1)?;
    let controllers = match kind {
        "cgroup2" => Vec::new(),
        "cgroup" => {
            let flags = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
            let named = options.split(',').filter(|option| !flags.contains(option));
            named.filter(|option| !option.starts_with("release_agent=")).map(str::to_owned).collect()
        }
        _ => return None,
    };
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    Some(Mount { point: point.to_owned(), root: root.to_owned(), controllers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 1 0:22 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:1 - cgroup2 cgroup2 rw,nsdelegate
26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 24 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
28 24 0:26 /outer /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
29 1 8:1 / / rw - ext4 /dev/sda1 rw
";
    const PROCESS: &str = "9:name=systemd:/outer/a.slice/x.service\n4:memory:/pods/1\n3:cpu,cpuacct:/c:d\n\
                           2:pids:/\n0::/a.slice/x.service\n";

    #[test]
    fn a_process_is_in_its_cgroups_and_in_those_above_them() {
        let memberships = memberships(PROCESS);
        let table = [
            ("/sys/fs/cgroup/unified/a.slice", true),
            ("/sys/fs/cgroup/unified/a.slice/x.service/", true),
            ("/sys/fs/cgroup/unified/a.slice/x.service/inner", false),
            ("/sys/fs/cgroup/unified/a.sl", false),
            ("/sys/fs/cgroup/unified", true),
            ("/sys/fs/cgroup/memory/pods", true),
            ("/sys/fs/cgroup/memory/a.slice", false),
            ("/sys/fs/cgroup/cpu,cpuacct/c:d", true),
            ("/sys/fs/cgroup/systemd/a.slice", true),
            ("/sys/fs/cgroup/systemd/outer", false),
            ("/a.slice/x.service", true),
            ("/pods", true),
            ("/pods/2", false),
            ("/", true),
        ];
        for (path, want) in table {
            let filter = CgroupFilter::from_mounts(path, MOUNTS).unwrap();
            assert_eq!(filter.has(&memberships), want, "{path}: {filter:?}");
        }
        assert!(CgroupFilter::from_mounts("a.slice", MOUNTS).is_err());
    }

    #[test]
    fn the_roots_of_hierarchies_tell_nothing_of_a_process() {
        assert_eq!(memberships("2:pids:/\n0::/\n"), Vec::<String>::new());
        assert_eq!(memberships("0::/a\nnonsense\n"), [":/a"]);
        let root = CgroupFilter::from_mounts("/sys/fs/cgroup/memory", MOUNTS).unwrap();
        assert!(root.has(&[]));
    }

    #[test]
    fn a_cgroup_is_looked_for_in_every_hierarchy_unless_it_is_given_with_one() {
        let filter = |path| CgroupFilter::from_mounts(path, MOUNTS).unwrap();
        assert_eq!(filter("/sys/fs/cgroup/memory/x").directories, ["/sys/fs/cgroup/memory/x"]);
        assert_eq!(filter("/x").directories.len(), 4);
        assert!(!filter("/no such cgroup, surely").exists());
    }
}
