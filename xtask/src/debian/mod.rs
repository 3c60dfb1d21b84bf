//! Packages of Debian, fetched and unpacked without installing them: kernels for the
//! emulated machines, a standard library for another architecture.

mod mirror;
mod suite;

pub(crate) use mirror::{codename, mirror_of};
pub(crate) use suite::{Package, Suite};

use crate::command;
use anyhow::Result;
use std::{fs, path::Path, process::Command};

/// Unpacks packages into the directory `to`, all or nothing; `settle` has the last word on
/// what is in it. Does nothing when it is there.
///
/// # Errors
/// When a package cannot be had or unpacked.
pub(crate) fn unpack(
    suite: &Suite,
    packages: &[Package],
    to: &Path,
    settle: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if to.is_dir() {
        return Ok(());
    }
    let unfinished = to.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    for package in packages {
        let file = suite.download(package)?;
        command::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&unfinished))?;
        fs::remove_file(file)?;
    }
    settle(&unfinished)?;
    fs::rename(&unfinished, to)?;
    Ok(())
}
