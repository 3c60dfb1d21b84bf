//! Running other programs: each is named before it runs, and a failure names it
//! again with what it said.

use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs `command` with our terminal, after printing it.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What `command` prints on stdout, without trailing white space.
///
/// # Errors
/// When it cannot be started or does not exit with 0; its stderr is in the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(command)?).trim_end().to_owned())
}

/// All that `command` prints on stdout.
///
/// # Errors
/// As [`output`].
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let line = shown(command);
    let done = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !done.status.success() {
        bail!("`{line}` failed: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr).trim_end());
    }
    Ok(done.stdout)
}

/// The cargo that runs us, so that a chore uses the toolchain it was started with.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command` and hands each line of its stdout to `see` as it comes, after
/// printing it.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub(crate) fn run_seen(command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let line = shown(command);
    eprintln!("+ {line}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    for out in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).split(b'\n')) {
        let out = String::from_utf8_lossy(&out.context("cannot read what it prints")?).into_owned();
        println!("{out}");
        see(&out);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// [`find`], and where Debian keeps programs that only root is expected to run.
pub(crate) fn find_system(name: &str) -> Option<PathBuf> {
    find(name).or_else(|| {
        ["/usr/sbin", "/sbin"].iter().map(|dir| Path::new(dir).join(name)).find(|file| file.is_file())
    })
}

/// The first executable called `name` on PATH or among cargo's installed programs.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([cargo_home().join("bin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Cargo's home: `CARGO_HOME`, else `.cargo` in the user's home.
pub(crate) fn cargo_home() -> PathBuf {
    let default = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from)
}

fn shown(command: &Command) -> String {
    let words: Vec<&OsStr> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    words.join(&OsString::from(" ")).to_string_lossy().into_owned()
}
