//! Root, where a chore needs it: as we are, or through sudo.

use anyhow::{Context, Result};
use std::{ffi::OsStr, fs, process::Command};

use crate::command;

/// A command that runs `program` as root; through sudo when we are not.
///
/// # Errors
/// When we are not root and there is no sudo.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let sudo = command::find("sudo").with_context(|| {
        format!("{} needs root, and there is no sudo: start this chore as root", program.as_ref().display())
    })?;
    let mut command = Command::new(sudo);
    // The programs that we start from here read these.
    command.arg("--preserve-env=RUST_BACKTRACE,DEBIAN_FRONTEND,CLOSEWAIT_TRACE_BIN,CLOSEWAIT_SCENARIOS,CLOSEWAIT_KEPT_ONLY");
    command.arg("--").arg(program);
    Ok(command)
}

/// Whether we are root already.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved and file system uid.
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}
