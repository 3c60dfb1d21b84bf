//! A network namespace for what is measured, gone when the benchmark ends.

use crate::command;
use anyhow::Result;
use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

pub(crate) struct Net {
    name: String,
}

impl Net {
    pub(crate) fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("cwt-{}-bench-{count}", std::process::id()) };
        command::output(Command::new("ip").args(["netns", "add", &net.name]))?;
        command::output(Command::new("ip").args(["-n", &net.name, "link", "set", "lo", "up"]))?;
        let ports = "echo 1024 65000 > /proc/sys/net/ipv4/ip_local_port_range";
        command::output(net.inside("sh".as_ref()).args(["-c", ports]))?;
        Ok(net)
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// `program`, to be run inside.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
