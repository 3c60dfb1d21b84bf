//! The tools that a user would pick instead: those of this system, else Debian's packages,
//! unpacked under target/ and not installed.

use crate::{
    command,
    debian::{self, Suite, codename},
    workspace,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// One that can be started, or why not.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    found: Result<(PathBuf, Option<PathBuf>), String>,
}

impl Peer {
    pub(crate) fn find(name: &'static str) -> Self {
        let found = match command::find_system(name) {
            Some(program) => Ok((program, None)),
            None => unpacked(name)
                .map(|(program, libraries)| (program, Some(libraries)))
                .map_err(|error| format!("{name} is not installed; {error:#}")),
        };
        Self { name, found }
    }

    /// Why it cannot be run.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.found.as_ref().err().map(String::as_str)
    }

    /// It, in a mount namespace of its own where tracefs is where it is expected.
    ///
    /// # Errors
    /// When it is missing.
    pub(crate) fn with_tracefs(&self) -> Result<Command> {
        let (program, libraries) = self.found.as_ref().map_err(|why| anyhow::anyhow!("{why}"))?;
        let mount =
            "test -d /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", mount, "sh"]).arg(program);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Ok(command)
    }
}

/// The package that has `name`, and what Debian 12 has of what it needs beside what every
/// system has.
fn packages(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "tcpstates" | "tcplife" => Some(&["libbpf-tools"]),
        "bpftrace" => Some(&["bpftrace", "libbpfcc", "libbpf1", "libllvm14", "libclang1-14"]),
        _ => None,
    }
}

/// The program, and the directory of its libraries.
fn unpacked(name: &str) -> Result<(PathBuf, PathBuf)> {
    let wanted = packages(name).context("and no package of it is known")?;
    let dir = workspace::target_dir().join("peers").join(wanted[0]);
    if !dir.is_dir() {
        let suite = codename().context("this is not Debian")?;
        let suite = Suite::open(&suite, "amd64", &workspace::target_dir().join("peers"))?;
        let packages = wanted.iter().map(|it| suite.package(it)).collect::<Result<Vec<_>>>()?;
        debian::unpack(&suite, &packages, &dir, |_| Ok(()))?;
    }
    let program = ["usr/sbin", "usr/bin"].iter().map(|bin| dir.join(bin).join(name)).find(|it| it.is_file());
    let program = program.with_context(|| format!("{} has no {name}", wanted[0]))?;
    Ok((program, libraries(&dir)))
}

fn libraries(dir: &Path) -> PathBuf {
    dir.join("usr/lib/x86_64-linux-gnu")
}
