//! `cargo xtask ebpf`: the BPF object, from its source to the committed file.
//!
//! source -> `compile` (with the `toolchain` that is there) -> `strip` ->
//! `provenance`. `compare` tells the committed object from a fresh one. The
//! object must be the same on every machine that has the same compiler and
//! linker: no path, time or name of a machine may get into it.

mod btf;
mod compare;
mod compile;
mod frames;
mod inspect;
mod provenance;
mod source_hash;
mod strip;
mod toolchain;

use crate::workspace;
use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
pub(crate) use compare::sizes;
pub(crate) use frames::{MOST, depths};
pub(crate) use inspect::{maps, programs};
use provenance::Provenance;
use std::{fs, path::PathBuf};
use toolchain::Toolchain;
pub(crate) use toolchain::has_core;

/// File name of the object, in `target/bpf` and in `prebuilt`.
pub(crate) const OBJECT: &str = "closewait.bpf.o";
/// File name of its provenance, beside it.
pub(crate) const PROVENANCE: &str = "provenance.json";
/// The committed object must stay below this: it is in every clone for ever.
const MAX_SIZE: usize = 300_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Which kind of compiler to use; without it, the recorded one if it is there
    #[arg(long, global = true, value_enum)]
    toolchain: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// rustup's nightly with the rust-src component
    Nightly,
    /// A distribution's rustc that comes with a compiled core for bpfel
    Distribution,
}

#[derive(Clone, Copy, Subcommand)]
enum Action {
    /// Build target/bpf/closewait.bpf.o from source (the default)
    Build,
    /// Fail when the committed object is not what the source gives
    Check,
    /// Build, then replace the committed object and its provenance
    Update,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args.action.unwrap_or(Action::Build) {
        Action::Build => build(args.toolchain).map(drop),
        Action::Check => check(args.toolchain),
        Action::Update => update(args.toolchain),
    }
}

/// Where `build` leaves the object; the provenance lies beside it.
pub(crate) fn built_object() -> PathBuf {
    workspace::target_dir().join("bpf").join(OBJECT)
}

/// Builds the object from source and returns what is known of it.
///
/// # Errors
/// When there is no toolchain, the source does not compile, or the object breaks
/// a rule (too large, a path in it).
pub(crate) fn build(kind: Option<Kind>) -> Result<Provenance> {
    let recorded = Provenance::read(&workspace::prebuilt_dir()).ok();
    let toolchain = Toolchain::find(kind, recorded.as_ref().map(|recorded| &recorded.toolchain))?;
    eprintln!("BPF toolchain: {toolchain}");

    let unstripped = compile::compile(&toolchain)?;
    let bytes = strip::strip(&unstripped).context("cannot strip the BPF object")?;
    refuse_paths(&bytes, &toolchain)?;
    if bytes.len() > MAX_SIZE {
        bail!(
            "the BPF object has {} bytes, the limit is {MAX_SIZE}: look for programs inlined twice",
            bytes.len()
        );
    }

    let provenance = Provenance::of(&bytes, toolchain.identity, source_hash::source_hash()?)?;
    let object = built_object();
    fs::write(&object, &bytes).with_context(|| format!("cannot write {}", object.display()))?;
    provenance.write(object.parent().unwrap_or(&object))?;
    eprint!("{provenance}");
    eprintln!("built {}", object.display());
    Ok(provenance)
}

/// Fails when the committed object is stale or differs from a fresh build.
///
/// # Errors
/// The difference, and the command that removes it.
pub(crate) fn check(kind: Option<Kind>) -> Result<()> {
    let dir = workspace::prebuilt_dir();
    let recorded = Provenance::read(&dir)?;
    let committed =
        fs::read(dir.join(OBJECT)).with_context(|| format!("cannot read {}", dir.join(OBJECT).display()))?;
    recorded.check_source()?;
    recorded.check_bytes(&committed)?;
    let fresh = build(kind)?;
    let fresh_bytes = fs::read(built_object())?;
    if fresh.toolchain == recorded.toolchain {
        if fresh_bytes != committed {
            bail!(
                "the committed BPF object is not what its source gives with the recorded toolchain \
                 (sha256 {} here, {} committed): run `cargo xtask ebpf update` and commit the result",
                fresh.sha256,
                recorded.sha256
            );
        }
        println!("committed BPF object: fresh, equal byte for byte (sha256 {})", recorded.sha256);
    } else {
        println!("committed BPF object: not compared byte for byte (built with {})", recorded.toolchain);
        compare::compare(&committed, &fresh_bytes)?;
        println!("committed BPF object: fresh; same programs, maps and BTF types");
    }
    Ok(())
}

/// Whether some compiler for the target is there, of either kind.
pub(crate) fn has_compiler() -> bool {
    toolchain::distribution().is_ok() || toolchain::nightly().is_ok()
}

/// Builds and replaces the committed object.
fn update(kind: Option<Kind>) -> Result<()> {
    let fresh = build(kind)?;
    let dir = workspace::prebuilt_dir();
    if Provenance::read(&dir).is_ok_and(|old| old == fresh && old.check_bytes_in(&dir).is_ok()) {
        println!("the committed BPF object is up to date");
        return Ok(());
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::copy(built_object(), dir.join(OBJECT))
        .with_context(|| format!("cannot write into {}", dir.display()))?;
    fresh.write(&dir)?;
    println!("replaced the BPF object in {}: commit both files", dir.display());
    Ok(())
}

/// A path of this machine in the object would make it differ on the next one.
fn refuse_paths(bytes: &[u8], toolchain: &Toolchain) -> Result<()> {
    for (path, _) in &compile::remaps(toolchain)? {
        if let Some(at) = memory_find(bytes, path.as_bytes()) {
            let end = bytes[at..].iter().position(|&byte| byte == 0).map_or(bytes.len(), |len| at + len);
            bail!(
                "a path of this machine is in the BPF object: {}",
                String::from_utf8_lossy(&bytes[at..end])
            );
        }
    }
    for home in [&b"/root/"[..], b"/home/"] {
        if memory_find(bytes, home).is_some() {
            bail!("a home directory ({}...) is in the BPF object", String::from_utf8_lossy(home));
        }
    }
    Ok(())
}

fn memory_find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
