//! Builds workspace members by cargo and learns from it where the executables are.

use crate::{command, workspace};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Executables of one cargo command, by name.
pub(crate) struct Executables(Vec<(String, PathBuf)>);

impl Executables {
    /// Runs `cargo WHAT...` for the tool's package; it embeds the BPF object
    /// `object`, or without one the committed object.
    ///
    /// # Errors
    /// When it does not compile.
    pub(crate) fn build(what: &[&str], object: Option<&Path>) -> Result<Self> {
        Self::of(command::cargo(), what, object)
    }

    /// The same, by a cargo that has been told more.
    ///
    /// # Errors
    /// When it does not compile.
    pub(crate) fn of(mut cargo: Command, what: &[&str], object: Option<&Path>) -> Result<Self> {
        cargo.current_dir(workspace::root()).args(what).args(["--locked", "--package", "closewait-trace"]);
        cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
        if let Some(object) = object {
            cargo.env("CLOSEWAIT_BPF_OBJECT", object);
        }
        let messages = command::output(&mut cargo)?;
        let executable = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            let name = message.get("target")?.get("name")?.as_str()?.to_owned();
            Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
        };
        Ok(Self(messages.lines().filter_map(executable).collect()))
    }

    /// The executable called `name`.
    ///
    /// # Errors
    /// When cargo did not make it.
    pub(crate) fn get(&self, name: &str) -> Result<&Path> {
        let found = self.0.iter().find(|(built, _)| built == name);
        found.map(|(_, file)| file.as_path()).with_context(|| format!("cargo built no executable `{name}`"))
    }
}

/// Compiles the scenario programs of tests/scenarios into `dir`.
///
/// # Errors
/// When the C or the Go compiler is missing or fails.
pub(crate) fn scenarios(dir: &Path) -> Result<()> {
    let script = workspace::root().join("tests/scenarios/build.sh");
    command::run(Command::new("sh").arg(script).arg(dir))
        .context("the scenario programs need a C compiler and Go: run `cargo xtask setup`")
}
