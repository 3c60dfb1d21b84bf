//! The same source in another directory, with another build directory: the same bytes?

use super::fresh;
use crate::{command, workspace};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds all of it again, elsewhere, and compares with what is in `dir`.
///
/// # Errors
/// When a file has other bytes.
pub(super) fn compare(dir: &Path, object: Option<&Path>, time: u64) -> Result<()> {
    let elsewhere = fresh(&dir.join("elsewhere"))?;
    for file in command::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace::root()),
    )?
    .lines()
    {
        let (from, to) = (workspace::root().join(file), elsewhere.join(file));
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a file has a directory")?)?;
            fs::copy(from, to)?;
        }
    }
    let mut cargo = command::cargo();
    cargo.current_dir(&elsewhere).args(["run", "--quiet", "--locked", "--package", "xtask", "--", "dist"]);
    if let Some(object) = object {
        cargo.arg("--object").arg(object);
    }
    cargo.env("CARGO_TARGET_DIR", "built").env("SOURCE_DATE_EPOCH", time.to_string());
    command::run(&mut cargo)?;
    let sums = |dir: PathBuf| fs::read_to_string(dir.join("packages/SHA256SUMS"));
    let (here, there) = (sums(dir.to_owned())?, sums(elsewhere.join("built/dist"))?);
    ensure!(here == there, "built in another directory it differs:\n{here}\n{there}");
    println!("built in another directory it has the same bytes");
    fs::remove_dir_all(elsewhere)?;
    Ok(())
}
