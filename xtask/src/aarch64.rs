//! `cargo xtask aarch64`: compiles the tool for aarch64, as far as its types go. Nothing
//! is linked or run. The BPF object needs none of it: one is for all machines, and is told
//! by the tool where a machine has its registers.
//!
//! The standard library comes from rustup where that has it; else Debian's, for its own
//! compiler, which must be of the very same build.

use crate::{
    command,
    debian::{self, Suite},
    ebpf, workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Debian's compiler, and the packages with it and with what it compiles against.
const RUSTC: &str = "/usr/bin/rustc";
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";

/// A compiler that has what it needs.
enum Compiler {
    /// The one that cargo takes by itself.
    Usual,
    /// Debian's, with this sysroot.
    Debian(PathBuf),
}

/// Checks the tool and its library, and the words that both sides share.
///
/// # Errors
/// When there is no standard library, or the source does not compile.
pub(crate) fn check() -> Result<()> {
    let compiler =
        compiler().with_context(|| format!("no standard library for {TARGET}: run `cargo xtask setup`"))?;
    let mut flags = vec!["-Dwarnings".to_owned()];
    let mut cargo = command::cargo();
    if let Compiler::Debian(sysroot) = &compiler {
        flags.push(format!("--sysroot={}", sysroot.display()));
        cargo.env("RUSTC", RUSTC);
    }
    cargo
        .current_dir(workspace::root())
        .args(["check", "--locked", "--package", "closewait-trace", "--lib", "--bins", "--target", TARGET])
        // Not to compile everything anew for the usual compiler the next time.
        .arg("--target-dir")
        .arg(cache().join("build"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS");
    command::run(&mut cargo)
}

/// Whether [`check`] has what it needs.
pub(crate) fn has_library() -> bool {
    compiler().is_some()
}

/// Fetches the standard library.
///
/// # Errors
/// When neither rustup nor Debian has it.
pub(crate) fn install() -> Result<()> {
    let by_debian = install_debian();
    let Err(error) = by_debian else { return Ok(()) };
    let Some(rustup) = command::find("rustup") else { return Err(error) };
    eprintln!("not from Debian: {error:#}");
    command::run(Command::new(rustup).args(["target", "add", TARGET]))
}

fn compiler() -> Option<Compiler> {
    let libdir = |rustc: &mut Command| {
        command::output(rustc.args(["--print", "target-libdir", "--target", TARGET])).ok()
    };
    let is_complete = |libdir: String| ebpf::has_core(Path::new(&libdir));
    if libdir(&mut Command::new("rustc")).is_some_and(is_complete) {
        return Some(Compiler::Usual);
    }
    let sysroot = sysroot().ok()?;
    let complete = libdir(Command::new(RUSTC).arg("--sysroot").arg(&sysroot)).is_some_and(is_complete);
    complete.then_some(Compiler::Debian(sysroot))
}

/// Where Debian's library is kept for the compiler that is installed.
fn sysroot() -> Result<PathBuf> {
    Ok(cache().join(version()?))
}

fn cache() -> PathBuf {
    workspace::target_dir().join("aarch64")
}

/// The version of Debian's compiler.
fn version() -> Result<String> {
    let version = command::output(Command::new("dpkg-query").args(["-W", "-f=${Version}", COMPILER]))?;
    if version.is_empty() {
        bail!("{COMPILER} is not installed");
    }
    Ok(version)
}

fn install_debian() -> Result<()> {
    let (version, codename) = (version()?, debian::codename().context("this is not Debian")?);
    let mut reasons = Vec::new();
    for name in [format!("{codename}-security"), codename] {
        let found = Suite::open(&name, "arm64", &cache()).and_then(|suite| {
            let package = suite.package(&format!("{LIBRARY}={version}"))?;
            debian::unpack(&suite, &[package], &sysroot()?, make_sysroot)
        });
        match found {
            Ok(()) => return Ok(()),
            Err(error) => reasons.push(format!("{name}: {error:#}")),
        }
    }
    bail!("no {LIBRARY} {version} for arm64: {}", reasons.join("; "))
}

/// Makes of an unpacked package what a compiler takes for its own directory.
fn make_sysroot(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("lib/rustlib"))?;
    symlink("../../usr/lib/rustlib/".to_owned() + TARGET, dir.join("lib/rustlib").join(TARGET))?;
    Ok(())
}
