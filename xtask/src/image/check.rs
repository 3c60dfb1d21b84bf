//! Whether another program takes the image for one: umoci, a tool of the Open Container
//! Initiative that Debian has, unpacks it, which compares every checksum.

use super::{VERSION, emptied};
use crate::{
    command,
    debian::{self, Suite},
    privilege,
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where it is unpacked to, below the directory of the chore: `rootfs` in there.
pub(super) const UNPACKED: &str = "unpacked";

/// Has it unpacked, and compares the files with those that it was made of.
///
/// # Errors
/// When umoci cannot be had or refuses, or a file differs.
pub(super) fn unpacks(oci: &Path, root: &Path, dir: &Path) -> Result<()> {
    let bundle = dir.join(UNPACKED);
    emptied(&bundle)?;
    fs::remove_dir(&bundle)?;
    let mut umoci = Command::new(umoci(dir)?);
    umoci
        .arg("unpack")
        .args((!privilege::is_root()).then_some("--rootless"))
        .arg("--image")
        .arg(format!("{}:{VERSION}", oci.display()))
        .arg(&bundle);
    command::run(&mut umoci)?;
    command::output(Command::new("diff").arg("--recursive").arg(root).arg(bundle.join("rootfs")))
        .context("what umoci unpacked differs from what was packed")?;
    Ok(())
}

/// The one that is installed, else Debian's, unpacked below `dir`.
fn umoci(dir: &Path) -> Result<PathBuf> {
    if let Some(installed) = command::find("umoci") {
        return Ok(installed);
    }
    let to = dir.join("umoci");
    if !to.is_dir() {
        let codename = debian::codename().context("this is not Debian: install umoci")?;
        let suite = Suite::open(&codename, native()?, dir)?;
        let package = suite.package("umoci")?;
        debian::unpack(&suite, &[package], &to, |_| Ok(()))?;
    }
    Ok(to.join("usr/bin/umoci"))
}

fn native() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => anyhow::bail!("no umoci for {other}"),
    }
}
