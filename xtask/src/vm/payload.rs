//! What a test machine is to run: the tool, the live tests and the scenario
//! programs, built here with the same cargo as everything else.

use crate::{command, workspace};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Files for the machine, and the command lines to run there.
pub(crate) struct Payload {
    /// (path in the machine, without the leading slash; file here)
    pub(crate) files: Vec<(String, PathBuf)>,
    pub(crate) tests: Vec<Test>,
}

/// One test: it passes when the shell command exits with 0.
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) command: String,
}

/// Builds the tool, the live tests and the scenario programs.
/// `instead` replaces the live tests by a command; `filter` is passed to them.
///
/// # Errors
/// When something does not compile.
pub(crate) fn build(instead: Option<&str>, filter: &[String], cache: &Path) -> Result<Payload> {
    let what: &[&str] = match instead {
        Some(_) => &["build", "--bin", "closewait-trace"],
        None => &["test", "--no-run", "--test", "live"],
    };
    let built = executables(what)?;
    let find = |name: &str| {
        let file = built.iter().find(|(built, _)| built == name).map(|(_, file)| file);
        file.with_context(|| format!("cargo built no executable `{name}`"))
    };
    let mut files = Vec::new();
    let mut add = |name: &str| -> Result<()> {
        files.push((format!("usr/bin/{name}"), without_debug_info(find(name)?, cache)?));
        Ok(())
    };
    add("closewait-trace")?;
    if instead.is_none() {
        add("live")?;
    }

    let scenarios = cache.join("scenarios");
    command::run(Command::new("sh").arg(workspace::root().join("tests/scenarios/build.sh")).arg(&scenarios))?;
    for entry in scenarios.read_dir()? {
        let path = entry?.path();
        files.push((format!("scenarios/{}", path.file_name().unwrap_or_default().to_string_lossy()), path));
    }

    let environment = "CLOSEWAIT_TRACE_BIN=/usr/bin/closewait-trace CLOSEWAIT_SCENARIOS=/scenarios";
    let test = match instead {
        Some(command) => {
            Test { name: "command".to_owned(), command: format!("export {environment}; {command}") }
        }
        None => Test {
            name: "live".to_owned(),
            command: format!("{environment} /usr/bin/live {}", filter.join(" ")),
        },
    };
    Ok(Payload { files, tests: vec![test] })
}

/// Every executable that one cargo command gives; the live tests bring the tool.
fn executables(what: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root()).args(what).args(["--locked", "--package", "closewait-trace"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let messages = command::output(&mut cargo)?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message.get("target")?.get("name")?.as_str()?.to_owned();
        Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
    };
    Ok(messages.lines().filter_map(executable).collect())
}

/// A copy without DWARF: an emulated machine unpacks every byte of it.
fn without_debug_info(executable: &Path, cache: &Path) -> Result<PathBuf> {
    let dir = cache.join("stripped");
    fs::create_dir_all(&dir)?;
    let copy = dir.join(executable.file_name().unwrap_or_default());
    command::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(executable))
        .context("strip belongs to the package binutils")?;
    Ok(copy)
}
