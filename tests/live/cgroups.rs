//! Of two servers that leak, `--cgroup` leaves the one that is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::netns::Netns;
use super::tool::{Tool, binary};
use super::waiting::show;
use super::workload::{SERVER, Workload};

/// A cgroup of this test; gone when dropped, if nothing is in it any more.
struct Cgroup(PathBuf);

impl Cgroup {
    /// In the first hierarchy that allows it, with this process in it.
    fn with(pid: u32) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc");
        let points = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        points.map(|point| Path::new(point).join(format!("cwt-{}", std::process::id()))).find_map(|path| {
            fs::create_dir(&path).ok()?;
            let made = Self(path);
            fs::write(made.0.join("cgroup.procs"), pid.to_string()).ok().map(|()| made)
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_one_in_the_cgroup_is_left() {
    let net = Netns::new();
    let wanted = SERVER.run(&net, &net);
    let other = Workload { program: "go_leaky_server", ..SERVER }.run(&net, &net);
    let Some(cgroup) = Cgroup::with(wanted.leaker.pid()) else {
        show("--cgroup: NOT RUN, no cgroup can be made here");
        return;
    };
    let directory = cgroup.0.to_str().expect("text").to_owned();
    let name = format!("/{}", cgroup.0.file_name().and_then(|name| name.to_str()).expect("text"));
    for path in [directory, name] {
        let mut tool = Tool::trace(&net, &["--cgroup", &path]);
        tool.has_reported("stuck", SERVER.leak);
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        assert_eq!(ended.of_kind("stuck").count(), SERVER.leak, "{path}: {}", ended.everything());
        assert!(ended.of_kind("stuck").all(|report| wanted.include(report)), "{}", ended.everything());
    }
    drop((wanted, other));
}

#[test]
fn one_that_is_not_there_is_an_error_with_a_hint() {
    for path in ["/no/such/cgroup", "relative"] {
        let ended = Tool::spawn(Command::new(binary()).args(["snapshot", "--cgroup", path])).end();
        ended.exits(2);
        ended.said("--cgroup");
        ended.said("/proc/PID/cgroup");
    }
}
