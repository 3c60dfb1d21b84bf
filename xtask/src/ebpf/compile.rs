//! One cargo call: the source of the programs to an unstripped BPF object.

use super::{
    Kind,
    toolchain::{self, TARGET, Toolchain},
};
use crate::{command, workspace};
use anyhow::{Context, Result};
use std::{fs, path::PathBuf};

/// Flags that decide the bytes; paths of the machine are remapped besides.
/// Debug info is needed because the linker makes BTF from it.
pub(crate) const FLAGS: [&str; 3] = ["-Clink-arg=--btf", "-Cdebuginfo=2", "-Cpanic=abort"];

/// Builds the programs and returns the unstripped object.
///
/// # Errors
/// When the source does not compile or link; cargo has said why.
pub(crate) fn compile(toolchain: &Toolchain) -> Result<Vec<u8>> {
    let mut flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
    flags.push(format!("-Clinker={}", toolchain.linker.display()));
    flags.extend(remaps(toolchain)?.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));

    let target_dir = workspace::target_dir().join("bpf/build");
    let mut cargo = toolchain::cargo(toolchain.kind);
    cargo
        .current_dir(workspace::root())
        .args(["build", "--locked", "--package", "closewait-ebpf", "--bin", "closewait-ebpf"])
        .args(["--features", "programs", "--profile", "bpf", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        // Debug assertions or another optimisation level from outside would be another object.
        .env_remove("CARGO_BUILD_RUSTFLAGS");
    match toolchain.kind {
        Kind::Nightly => cargo.args(["-Z", "build-std=core"]),
        // bpfel is no stable target; the distribution's compiler is told to allow what nightly does.
        Kind::Distribution => cargo.env("RUSTC", &toolchain.rustc).env("RUSTC_BOOTSTRAP", "1"),
    };
    command::run(&mut cargo)?;

    let object = target_dir.join(TARGET).join("bpf/closewait-ebpf");
    fs::read(&object).with_context(|| format!("cannot read what cargo built, {}", object.display()))
}

/// Directories of this machine that would show in the object, and what stands for
/// them. BTF keeps file names so that a verifier's message names the source line.
///
/// # Errors
/// When the package registry's directory cannot be listed.
pub(crate) fn remaps(toolchain: &Toolchain) -> Result<Vec<(String, String)>> {
    let mut remaps = vec![(workspace::root().to_path_buf(), ".")];
    let registry = command::cargo_home().join("registry/src");
    if let Ok(entries) = registry.read_dir() {
        for entry in entries {
            remaps.push((
                entry.with_context(|| format!("cannot list {}", registry.display()))?.path(),
                "crates",
            ));
        }
    }
    if toolchain.kind == Kind::Nightly {
        remaps.push((toolchain.sysroot.clone(), "rust"));
    }
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    Ok(remaps.into_iter().map(|(from, to)| (text(from), to.to_owned())).collect())
}
