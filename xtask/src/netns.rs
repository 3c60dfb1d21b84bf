//! A network namespace of our own, as long as what is done in it takes.

use anyhow::Result;
use std::{
    ffi::OsStr,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{command, privilege};

/// Named under /run/netns, with its loopback up; gone when dropped.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// A new one, with `what` for in its name.
    ///
    /// # Errors
    /// Without root and sudo, or when `ip` fails.
    pub(crate) fn new(what: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The live tests remove what is named like this after a process that ended.
        let netns = Self { name: format!("cwt-{}-{what}-{count}", std::process::id()) };
        command::output(privilege::command("ip")?.args(["netns", "add", &netns.name]))?;
        command::output(privilege::command("ip")?.args(["-n", &netns.name, "link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// The same, with room for as many connections as there are ports: for benchmarks, which leave
    /// many in TIME_WAIT.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn with_all_ports(what: &str) -> Result<Self> {
        let netns = Self::new(what)?;
        let ports = "echo 1024 65000 > /proc/sys/net/ipv4/ip_local_port_range";
        command::output(netns.inside("sh")?.args(["-c", ports]))?;
        Ok(netns)
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// `program`, to be run inside; the caller's /sys stays visible.
    ///
    /// # Errors
    /// Without root and sudo.
    pub(crate) fn inside(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = privilege::command("nsenter")?;
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        Ok(command)
    }

    /// The processes inside.
    ///
    /// # Errors
    /// Without root and sudo, or when `ip` fails.
    pub(crate) fn pids(&self) -> Result<Vec<String>> {
        let pids = command::output(privilege::command("ip")?.args(["netns", "pids", &self.name]))?;
        Ok(pids.lines().map(str::to_owned).collect())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Ok(mut ip) = privilege::command("ip") {
            let _ = ip.args(["netns", "del", &self.name]).output();
        }
    }
}
