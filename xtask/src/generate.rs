//! `cargo xtask generate`: the files in the repository that are made from code.
//! The golden tests compare them on every run; here they are written.

use crate::{command, workspace};
use anyhow::Result;

/// Writes the JSON Schema of the output, the man pages and the completions.
///
/// # Errors
/// When the tests that write it do not compile.
pub(crate) fn run() -> Result<()> {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root()).env("UPDATE", "1");
    cargo.args(["test", "--locked", "--package", "closewait-trace", "--test", "golden", "committed"]);
    command::run(&mut cargo)
}
