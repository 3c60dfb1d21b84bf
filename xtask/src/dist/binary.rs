//! The executable that is given away: static, so that it runs on every distribution, and without
//! a path of the machine that built it, so that the same source gives the same bytes anywhere.

use crate::{
    build::Executables,
    command, ebpf,
    workspace::{root, target_dir},
};
use anyhow::{Context, Result, ensure};
use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds it; it embeds the BPF object `object`, or without one the committed object.
///
/// # Errors
/// When it does not compile.
pub(crate) fn build(object: Option<&Path>) -> Result<PathBuf> {
    let target = Target::here();
    let mut cargo = command::cargo();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\x1f")).env_remove("RUSTFLAGS");
    let what = ["build", "--release", "--bin", "closewait-trace", "--target", &target.triple()];
    Ok(Executables::of(cargo, &what, object)?.get("closewait-trace")?.to_owned())
}

/// A copy without symbols at `to`, after a look at what it is.
///
/// # Errors
/// When it needs another file to run, or knows a path of this machine.
pub(super) fn strip(executable: &Path, to: &Path) -> Result<()> {
    command::output(Command::new("strip").arg("-o").arg(to).arg(executable))
        .context("strip belongs to the package binutils")?;
    let bytes = fs::read(to)?;
    ensure!(interpreter(&bytes)?.is_none(), "{} is not static", to.display());
    let (home, triple) = (command::cargo_home(), triple());
    for (dir, below) in [
        (root(), &["closewait-user", "closewait-ebpf", "xtask"][..]),
        (&target_dir(), &["release", "debug", &triple]),
        (&home, &["registry", "git"]),
    ] {
        let known = path_in(&bytes, dir, below);
        ensure!(
            known.is_none(),
            "{} has a path of this machine in it: {}",
            to.display(),
            known.unwrap_or_default()
        );
    }
    Ok(())
}

/// A path below `dir` that is in an executable: one through a directory that is there. The name
/// of a checkout alone, `/src` say, is a part of many a path that is not of this machine.
fn path_in(bytes: &[u8], dir: &Path, below: &[&str]) -> Option<String> {
    let paths = below.iter().map(|name| format!("{}/", dir.join(name).display()));
    paths.into_iter().find(|path| bytes.windows(path.len()).any(|window| window == path.as_bytes()))
}

/// Which C library is linked in.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Target {
    /// Made for this: it looks into no other library at run time.
    Musl,
    /// Where musl cannot be had. It asks for users by libraries of the host where
    /// nsswitch.conf says so, which must then be of its own version.
    Glibc,
}

impl Target {
    /// Musl, if its standard library is here (`cargo xtask setup` brings it).
    fn here() -> Self {
        if has_musl() { Self::Musl } else { Self::Glibc }
    }

    fn triple(self) -> String {
        let library = if self == Self::Musl { "musl" } else { "gnu" };
        format!("{ARCH}-unknown-linux-{library}")
    }
}

/// Whether there is a standard library for musl.
pub(crate) fn has_musl() -> bool {
    let target = ["--print", "target-libdir", "--target", &Target::Musl.triple()];
    command::output(Command::new("rustc").args(target)).is_ok_and(|dir| ebpf::has_core(Path::new(&dir)))
}

/// What rustc calls this machine with musl.
pub(crate) fn musl() -> String {
    Target::Musl.triple()
}

/// What its name on the command line is: for the one who reads the list of what was made.
pub(super) fn triple() -> String {
    Target::here().triple()
}

/// Cargo leaves such prefixes out of what it derives the names of symbols from.
fn flags() -> Result<Vec<String>> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // The last that fits counts, so from the outside to the inside.
    let home = command::cargo_home();
    let mut prefixes = vec![(home.clone(), "cargo"), (root().to_owned(), "closewait-trace")];
    prefixes.push((target_dir(), "target"));
    // The directory of a registry has its host's name.
    if let Ok(registries) = home.join("registry/src").read_dir() {
        prefixes.extend(registries.flatten().map(|registry| (registry.path(), "registry")));
    }
    prefixes[2..].sort();
    for (path, name) in prefixes {
        let path = path.to_str().context("a path here is no UTF-8")?;
        flags.push(format!("--remap-path-prefix={path}=/{name}"));
    }
    Ok(flags)
}

/// The program that has to load an executable; `None` when it is static.
fn interpreter(elf: &[u8]) -> Result<Option<String>> {
    use object::read::elf::{ElfFile64, ProgramHeader};
    let file = ElfFile64::<object::Endianness>::parse(elf).context("no executable")?;
    let mut interpreters = file
        .elf_program_headers()
        .iter()
        .filter_map(|header| header.interpreter(file.endian(), elf).ok().flatten());
    Ok(interpreters.next().map(|name| String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_loaded_by_another_is_told_from_one_that_is_not() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(interpreter(&own).unwrap().is_some_and(|loader| loader.contains("ld-")));
        let object = fs::read(workspace_object()).unwrap();
        assert_eq!(interpreter(&object).unwrap(), None);
        assert!(interpreter(b"#!/bin/sh").is_err());
    }

    fn workspace_object() -> PathBuf {
        crate::workspace::prebuilt_dir().join(ebpf::OBJECT)
    }

    #[test]
    fn paths_of_this_machine_are_told_from_those_that_only_look_so() {
        let below = ["closewait-user", "xtask"];
        for (bytes, dir, known) in [
            ("x/src/closewait-user/src/lib.rs", "/src", Some("/src/closewait-user/")),
            ("/closewait-trace/closewait-user/src/lib.rs/rustc/library/src/x", "/src", None),
            ("/registry/foo-1.0/src/closewait-users", "/src", None),
            ("y/home/me/closewait/xtask/src", "/home/me/closewait", Some("/home/me/closewait/xtask/")),
            ("", "/src", None),
        ] {
            assert_eq!(path_in(bytes.as_bytes(), Path::new(dir), &below).as_deref(), known, "{bytes} {dir}");
        }
    }

    #[test]
    fn inner_directories_are_renamed_after_outer_ones() {
        let flags = flags().unwrap();
        let at = |name: &str| flags.iter().position(|flag| flag.ends_with(name)).unwrap();
        assert!(at("=/closewait-trace") < at("=/target"));
        assert!(at("=/cargo") < at("=/target"));
    }
}
