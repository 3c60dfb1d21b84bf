//! Where interpreters of Python are started from: `PATH` in, executables out. A command
//! may be one, or a script that names one in its first line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::file::HeldFile;
use crate::files::of_command;

/// Longest first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// The interpreters that can be started by name, and those between which a tool such as
/// pyenv chooses.
pub(super) fn in_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = Vec::new();
    for dir in std::env::split_paths(&path) {
        if dir.ends_with("shims")
            && let Ok(versions) = dir.with_file_name("versions").read_dir()
        {
            for version in versions.flatten() {
                found.extend(interpreters_in(&version.path().join("bin")));
            }
        }
        found.extend(interpreters_in(&dir));
    }
    found
}

fn interpreters_in(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = dir.read_dir().into_iter().flatten().flatten();
    entries.filter(|entry| is_interpreter(entry.file_name().as_bytes())).map(|entry| entry.path())
}

/// `python`, `python3`, `python3.11`; not `python3-config`.
fn is_interpreter(name: &[u8]) -> bool {
    let version = name.strip_prefix(b"python");
    version.is_some_and(|version| version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
}

/// What a command would run: its executable, and the one that its first line names.
pub(super) fn interpreters_of(command: &OsStr) -> Vec<PathBuf> {
    let Some(path) = of_command(command) else { return Vec::new() };
    let named = named_in(&path).and_then(|name| of_command(&name));
    std::iter::once(path).chain(named).collect()
}

/// `#!/usr/bin/python3 -s`, `#!/usr/bin/env python3`.
fn named_in(script: &Path) -> Option<OsString> {
    let text = HeldFile::of_path(script).ok()?.contents(FIRST_LINE).ok()?;
    let line = text.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let first = words.next()?;
    let name = if first.ends_with(b"/env") {
        words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))?
    } else {
        first
    };
    Some(OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_told_by_its_name_and_a_script_names_its_own() {
        for (name, is_one) in [
            ("python", true),
            ("python3", true),
            ("python3.11", true),
            ("python3-config", false),
            ("python3.11-gdb.py", false),
            ("ipython", false),
        ] {
            assert_eq!(is_interpreter(name.as_bytes()), is_one, "{name}");
        }
        let script = std::env::temp_dir().join(format!("closewait-first-line-{}", std::process::id()));
        for (line, want) in [
            ("#!/usr/bin/python3 -s\nimport os", Some("/usr/bin/python3")),
            ("#! /usr/bin/env -S FOO=1 python3.12 -u\n", Some("python3.12")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!\n", None),
            ("\u{7f}ELF", None),
        ] {
            std::fs::write(&script, line).unwrap();
            assert_eq!(named_in(&script), want.map(OsString::from), "{line}");
        }
        std::fs::remove_file(&script).unwrap();
    }
}
