//! `cargo xtask run`: build the tool, then become it, as root.

use crate::{build::Executables, privilege};
use anyhow::{Result, anyhow};
use std::{ffi::OsString, os::unix::process::CommandExt};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// With optimisations
    #[arg(long)]
    release: bool,
    /// Arguments for the tool
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Returns only when the tool could not be built or started: its exit code is ours.
///
/// # Errors
/// Says which of the two.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut what = vec!["build", "--bin", "closewait-trace"];
    if args.release {
        what.push("--release");
    }
    let built = Executables::build(&what, None)?;
    let tool = built.get("closewait-trace")?;
    let error = privilege::command(tool)?.args(&args.args).exec();
    Err(anyhow!("cannot start {}: {error}", tool.display()))
}
