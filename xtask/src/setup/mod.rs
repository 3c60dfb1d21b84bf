//! `cargo xtask setup`: brings what the chores need and this machine lacks.
//!
//! `needs` says what and why; here is how: Debian's and Ubuntu's packages, cargo
//! and rustup. Says what it does before it does it; a second run does nothing.

mod needs;

use crate::{aarch64, command, corpus, dist, privilege};
use anyhow::{Context, Result, bail};
use needs::{Need, Remedy};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only list what is missing; fails when something is
    #[arg(long)]
    check: bool,
}

/// Installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed here: says what and why it is needed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.check {
        musl();
    }
    let missing: Vec<Need> = needs::all().into_iter().filter(|need| !(need.present)()).collect();
    let software = corpus::missing()?;
    if missing.is_empty() && software.is_empty() {
        println!("setup: nothing is missing");
        return Ok(());
    }
    for need in &missing {
        eprintln!("missing: {} ({})", need.what, need.why);
    }
    if !software.is_empty() {
        eprintln!("missing: {} (software of `cargo xtask corpus`)", software.join(", "));
    }
    if args.check {
        bail!("{} missing: run `cargo xtask setup`", missing.len() + software.len());
    }

    let packages: Vec<&str> = missing.iter().flat_map(|need| need.debian.iter().copied()).collect();
    if has_apt() && !packages.is_empty() {
        install(&packages)?;
    }
    // Packages come first: the compiler and LLVM are needed by what cargo builds.
    for need in missing.iter().filter(|need| !(need.present)()) {
        match need.remedy {
            Remedy::Package => {}
            Remedy::Rustup(args) => rustup(args)?,
            Remedy::BpfLinker => bpf_linker()?,
            Remedy::Aarch64 => aarch64::install()?,
        }
    }

    let left: Vec<String> = needs::all()
        .iter()
        .filter(|need| !(need.present)())
        .map(|it| format!("{} ({})", it.what, it.why))
        .collect();
    if !left.is_empty() {
        bail!("still missing, install by hand: {}", left.join("; "));
    }
    if !software.is_empty() {
        corpus::install()?;
    }
    println!("setup: all is there");
    Ok(())
}

/// For what is given away: better than glibc, and no must.
fn musl() {
    let Some(rustup) = command::find("rustup").filter(|_| !dist::has_musl()) else { return };
    if let Err(error) = command::run(Command::new(rustup).args(["target", "add", &dist::musl()])) {
        eprintln!("`cargo xtask dist` will link glibc instead: {error:#}");
    }
}

fn has_apt() -> bool {
    Path::new("/etc/debian_version").exists() && command::find("apt-get").is_some()
}

/// Installs those of `packages` that this release has.
fn install(packages: &[&str]) -> Result<()> {
    apt(&["update", "-qq"])?;
    let (known, unknown): (Vec<&str>, Vec<&str>) = packages.iter().partition(|package| is_known(package));
    if !unknown.is_empty() {
        eprintln!("this release has no package {}", unknown.join(", "));
    }
    if known.is_empty() {
        return Ok(());
    }
    eprintln!("installing packages: {}", known.join(" "));
    apt(&[&["install", "-qq", "--yes", "--no-install-recommends"], known.as_slice()].concat())
}

fn is_known(package: &str) -> bool {
    let policy = command::output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
    policy.is_ok_and(|policy| {
        policy.lines().any(|line| line.contains("Candidate:") && !line.contains("(none)"))
    })
}

fn apt(args: &[&str]) -> Result<()> {
    let mut apt = privilege::command("apt-get")?;
    apt.args(["-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"]).args(args);
    command::run(apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()))
}

fn rustup(args: &[&str]) -> Result<()> {
    let Some(rustup) = command::find("rustup") else {
        eprintln!("rustup is not here, so not tried: rustup {}", args.join(" "));
        return Ok(());
    };
    command::run(Command::new(rustup).args(args))
}

/// Builds bpf-linker against the LLVM that is there: it must be at least as new as
/// the compiler's, whose bitcode it reads.
fn bpf_linker() -> Result<()> {
    let (major, prefix) = llvm().with_context(|| {
        format!(
            "bpf-linker needs the development files of LLVM {} (llvm-config not found): install them and run again",
            LLVM.map(|major| major.to_string()).join(", ")
        )
    })?;
    let mut cargo = command::cargo();
    cargo.args(["install", "bpf-linker", "--locked", "--version", needs::BPF_LINKER]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{major}")]);
    command::run(cargo.env("LLVM_PREFIX", prefix).env_remove("CARGO_TARGET_DIR"))
}

/// Versions of LLVM that the pinned bpf-linker can use, best first.
const LLVM: [u32; 3] = [22, 23, 21];

/// The best LLVM with development files: its major version and its directory.
fn llvm() -> Option<(u32, String)> {
    LLVM.into_iter().find_map(|major| {
        let debian = format!("/usr/lib/llvm-{major}/bin/llvm-config");
        let config = [debian, format!("llvm-config-{major}"), "llvm-config".to_owned()].into_iter().find(
            |config| {
                ask(config, "--version").is_some_and(|version| version.starts_with(&format!("{major}.")))
            },
        )?;
        fs::metadata(ask(&config, "--includedir")?).ok()?;
        Some((major, ask(&config, "--prefix")?))
    })
}

fn ask(config: &str, what: &str) -> Option<String> {
    command::output(Command::new(config).arg(what)).ok()
}
