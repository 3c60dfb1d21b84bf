//! A bare Debian to try packages in: made once by mmdebstrap, and never written to again.

use crate::{
    debian::{self, mirror_of},
    privilege, workspace,
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The suite where this system is not Debian.
const SUITE: &str = "bookworm";
/// Beside what every Debian has (with apt): what a package meets on a server.
const PACKAGES: &str = "systemd,man-db,bash-completion,zsh,fish";

/// An archive of it, which belongs to whoever runs this and not to root, as its files would;
/// made when it is not there.
///
/// # Errors
/// When mmdebstrap is missing or fails.
pub(super) fn bare() -> Result<PathBuf> {
    let suite = debian::codename().unwrap_or_else(|| SUITE.to_owned());
    let root = workspace::target_dir().join(format!("dist/bare-{suite}.tar"));
    if root.is_file() {
        return Ok(root);
    }
    let dir = root.parent().context("it has a directory")?;
    fs::create_dir_all(dir)?;
    let unfinished = root.with_extension("unfinished");
    as_root(privilege::command("rm")?.arg("-f").arg(&unfinished))?;
    let mut mmdebstrap = privilege::command("mmdebstrap")?;
    mmdebstrap.args(["--quiet", "--mode=root", "--variant=minbase", "--format=tar"]);
    mmdebstrap.arg(format!("--include={PACKAGES}"));
    // It is thrown away, and need not survive a power cut; nor speak other languages.
    mmdebstrap.args(["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/locale/*"]);
    mmdebstrap.args(["--aptopt=Acquire::Languages \"none\"", "--aptopt=Acquire::Retries \"3\""]);
    mmdebstrap.arg(&suite).arg(&unfinished).arg(mirror_of(&suite)?);
    as_root(&mut mmdebstrap).context("mmdebstrap makes the bare Debian: `cargo xtask setup` installs it")?;
    as_root(privilege::command("chown")?.arg("--reference").arg(dir).arg(&unfinished))?;
    fs::rename(&unfinished, &root)?;
    Ok(root)
}

fn as_root(command: &mut Command) -> Result<()> {
    crate::command::run(command.stdin(Stdio::null()))
}
