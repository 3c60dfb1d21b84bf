//! What a test machine is to run: the tool, the live tests and the scenario
//! programs, built here with the same cargo as everything else.

use crate::{
    build::{self, Executables},
    command, dist,
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
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
/// `instead` replaces the live tests by a command; `filter` is passed to them, and
/// `environment` (NAME=VALUE each) to whatever runs; the tool embeds `object`, or the committed one.
///
/// # Errors
/// When something does not compile.
pub(crate) fn payload(
    instead: Option<&str>,
    filter: &[String],
    environment: &[String],
    object: Option<&Path>,
    cache: &Path,
) -> Result<Payload> {
    // Emulation is slow enough, and this is the executable that users install.
    let mut files = vec![("usr/bin/closewait-trace".to_owned(), slim(&dist::build(object)?, cache)?)];
    if instead.is_none() {
        let tests = Executables::build(&["test", "--no-run", "--test", "live"], object)?;
        files.push(("usr/bin/live".to_owned(), slim(tests.get("live")?, cache)?));
    }

    let scenarios = cache.join("scenarios");
    build::scenarios(&scenarios)?;
    for entry in scenarios.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // An interpreter is met where it is installed.
        let place = if name == "python3" { "usr/bin/python3.11".into() } else { format!("scenarios/{name}") };
        files.push((place, path));
    }

    let environment = format!(
        "CLOSEWAIT_TRACE_BIN=/usr/bin/closewait-trace CLOSEWAIT_SCENARIOS=/scenarios {}",
        environment.join(" ")
    );
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

/// A copy without DWARF: an emulated machine unpacks every byte of it.
fn slim(executable: &Path, cache: &Path) -> Result<PathBuf> {
    let dir = cache.join("stripped");
    fs::create_dir_all(&dir)?;
    let copy = dir.join(executable.file_name().unwrap_or_default());
    command::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(executable))
        .context("strip belongs to the package binutils")?;
    Ok(copy)
}
