//! Finds a compiler that can make BPF, and a linker.
//!
//! Two kinds exist in the field: rustup's nightly with `rust-src` (it compiles
//! `core` itself), and a distribution's rustc that ships `core` for bpfel (Debian:
//! rustc-web + libstd-rust-web-dev-bpf). Nothing is installed here; `setup` does.

use super::Kind;
use crate::command;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The target triple of the object: little endian, all kernels.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// What decides the bytes of the object beside its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// `rustc -V`
    pub(crate) rustc: String,
    /// `cargo -V`: cargo's hash of a package gets into symbol names
    pub(crate) cargo: String,
    /// `precompiled` or `build-std`
    pub(crate) core: String,
    /// `bpf-linker -V`
    pub(crate) linker: String,
    /// The LLVM the linker was built with, where that can be found out
    pub(crate) llvm: String,
}

pub(crate) struct Toolchain {
    pub(crate) kind: Kind,
    pub(crate) rustc: PathBuf,
    pub(crate) sysroot: PathBuf,
    pub(crate) linker: PathBuf,
    pub(crate) identity: Identity,
}

impl Toolchain {
    /// The toolchain of `kind`; without a kind the one that equals `recorded`,
    /// else the first there is.
    ///
    /// # Errors
    /// When none is there: says what was looked for and how to get it.
    pub(crate) fn find(kind: Option<Kind>, recorded: Option<&Identity>) -> Result<Self> {
        let linker = command::find("bpf-linker")
            .context("bpf-linker is neither on PATH nor in cargo's bin directory: run `cargo xtask setup`")?;
        let mut reasons = Vec::new();
        let mut found = Vec::new();
        for (wanted, probe) in [
            (Kind::Distribution, distribution as fn() -> Result<(PathBuf, PathBuf)>),
            (Kind::Nightly, nightly),
        ] {
            if kind.is_some_and(|kind| kind != wanted) {
                continue;
            }
            match probe() {
                Ok((rustc, sysroot)) => found.push(Self::new(wanted, rustc, sysroot, linker.clone())?),
                Err(why) => reasons.push(format!("{why:#}")),
            }
        }
        let best = found.iter().position(|it| Some(&it.identity) == recorded).unwrap_or(0);
        if found.is_empty() {
            bail!("no compiler for {TARGET}:\n  {}\nrun `cargo xtask setup`", reasons.join("\n  "));
        }
        Ok(found.swap_remove(best))
    }

    fn new(kind: Kind, rustc: PathBuf, sysroot: PathBuf, linker: PathBuf) -> Result<Self> {
        let core = if kind == Kind::Nightly { "build-std" } else { "precompiled" };
        let identity = Identity {
            rustc: command::output(Command::new(&rustc).arg("-V"))?,
            cargo: command::output(cargo(kind).arg("-V"))?,
            core: core.to_owned(),
            linker: command::output(Command::new(&linker).arg("-V"))?,
            llvm: llvm_of(&linker),
        };
        Ok(Self { kind, rustc, sysroot, linker, identity })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.identity, self.rustc.display())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} core, {}, {}", self.rustc, self.core, self.linker, self.llvm)
    }
}

/// The cargo that drives a compiler of this kind.
pub(crate) fn cargo(kind: Kind) -> Command {
    match kind {
        Kind::Distribution => command::cargo(),
        Kind::Nightly => {
            let mut rustup = Command::new("rustup");
            // The outer cargo's choice of toolchain must not win over `nightly`.
            rustup.args(["run", "nightly", "cargo"]).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
            rustup
        }
    }
}

/// rustup's nightly, if it has the source of `core`: (rustc, sysroot).
pub(super) fn nightly() -> Result<(PathBuf, PathBuf)> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", "nightly", "rustc", "--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN");
    let sysroot = PathBuf::from(command::output(&mut rustc).context("rustup nightly")?);
    let core = sysroot.join("lib/rustlib/src/rust/library/core");
    if !core.is_dir() {
        bail!("rustup nightly: no rust-src component ({} is missing)", core.display());
    }
    Ok((sysroot.join("bin/rustc"), sysroot))
}

/// A rustc with a compiled `core` for the target: (rustc, sysroot).
pub(super) fn distribution() -> Result<(PathBuf, PathBuf)> {
    let rustc =
        env::var_os("CLOSEWAIT_BPF_RUSTC").map_or_else(|| PathBuf::from("/usr/bin/rustc"), PathBuf::from);
    let ask = |what: &[&str]| command::output(Command::new(&rustc).args(what));
    let libdir = ask(&["--print", "target-libdir", "--target", TARGET]).context("distribution rustc")?;
    if !has_core(Path::new(&libdir)) {
        bail!("{}: no core for {TARGET} in {libdir}", rustc.display());
    }
    let sysroot = ask(&["--print", "sysroot"])?;
    Ok((rustc, sysroot.into()))
}

/// Whether a directory of libraries has a compiled `core`.
pub(crate) fn has_core(libdir: &Path) -> bool {
    let Ok(entries) = libdir.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

/// bpf-linker does not tell its LLVM; a dynamically linked one can be asked where
/// it finds the library, and the llvm-config beside that library for the version.
fn llvm_of(linker: &Path) -> String {
    let libraries = command::output(Command::new("ldd").arg(linker)).unwrap_or_default();
    let Some(library) =
        libraries.split_whitespace().find(|word| word.starts_with('/') && word.contains("libLLVM"))
    else {
        return "LLVM linked into the linker".to_owned();
    };
    let config =
        Path::new(library).parent().and_then(Path::parent).map(|prefix| prefix.join("bin/llvm-config"));
    let version = config.and_then(|config| command::output(Command::new(config).arg("--version")).ok());
    version.map_or_else(
        || Path::new(library).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        |version| format!("LLVM {version}"),
    )
}
