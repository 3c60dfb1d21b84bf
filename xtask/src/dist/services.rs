//! systemd as the first process of a file system, in namespaces that end with it. Its services
//! are real; its processes have numbers of their own, as in a container, and those are not the
//! kernel's: who opened a socket is no question to ask here.

use super::cgroup::Cgroup;
use crate::{command, stopwatch::Stopwatch};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const BOOT: &str = include_str!("boot.sh");
/// To boot, and for a service to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A system that runs; gone when dropped, or when this process is.
pub(super) struct System {
    /// unshare, at whose end its child is killed, and with that all the others.
    outer: Child,
    /// systemd, as it is numbered here.
    first: String,
    /// Where it makes those of its units. (Dropped after the processes have ended.)
    cgroup: Option<Cgroup>,
}

impl System {
    /// Boots the system in `root`, in the network namespace of this process; needs root.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn boot(root: &Path) -> Result<Self> {
        let cgroup = Cgroup::below_own("closewait-dist");
        let join = cgroup.as_ref().map_or_else(|| "/dev/null".into(), Cgroup::processes);
        let mut outer = Command::new("sh");
        outer.args(["-c", "echo $$ > \"$1\"; shift; exec \"$@\"", "sh"]).arg(join);
        outer.args(["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--fork", "--kill-child"]);
        outer.args(["--pid", "--mount", "--uts", "--ipc", "--cgroup", "--propagation", "private"]);
        outer.args(["--", "sh", "-c", BOOT, "boot.sh"]).arg(root);
        let outer = outer.stdin(Stdio::null()).spawn().context("cannot start sh")?;
        let mut system = Self { outer, first: String::new(), cgroup };
        let clock = Stopwatch::start();
        let children = format!("/proc/{0}/task/{0}/children", system.outer.id());
        loop {
            if let Some(status) = system.outer.try_wait()? {
                bail!("the system did not boot: {status}");
            }
            fs::read_to_string(&children).unwrap_or_default().trim().clone_into(&mut system.first);
            let state = system.try_state();
            if ["running", "degraded"].contains(&state.as_str()) {
                return Ok(system);
            }
            if clock.left_of(PATIENCE).is_zero() {
                bail!("the system did not boot within {} s: {state}", PATIENCE.as_secs());
            }
            Stopwatch::pause(Duration::from_millis(100));
        }
    }

    /// A program in it.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--all", "--", "env", "-i"]);
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin").arg("DEBIAN_FRONTEND=noninteractive");
        command.arg(program.as_ref());
        command
    }

    /// What a program in it prints.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        command::output(self.command(program).args(args))
    }

    /// One property of a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub(super) fn property(&self, unit: &str, name: &str) -> Result<String> {
        self.output("systemctl", &["show", "--value", "--property", name, unit])
    }

    /// `systemctl is-system-running`, which fails unless all is well.
    fn try_state(&self) -> String {
        if self.first.is_empty() {
            return "no first process".to_owned();
        }
        let state = self.command("systemctl").arg("is-system-running").stderr(Stdio::null()).output();
        state.map_or_else(
            |error| error.to_string(),
            |it| String::from_utf8_lossy(&it.stdout).trim().to_owned(),
        )
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
        drop(self.cgroup.take());
    }
}
