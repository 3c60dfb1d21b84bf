//! `cargo xtask image`: the tool as a container image, without a container engine. An OCI
//! image is a directory of files that are called by their checksums, so `tar`, `gzip` and
//! a few lines of JSON are enough; any engine or registry client takes it from there.
//!
//! Out: `target/image/oci` (a layout) and the same as one file (an OCI archive). The same
//! executable, on the same system, gives the same bytes.

mod check;
mod layout;
mod root;

use crate::{command, privilege, workspace};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

use layout::Image;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The executable; with what it is linked to, if that is not in it
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Have umoci unpack it (Debian's, fetched if it is not installed), compare, and run what is in it
    #[arg(long)]
    check: bool,
}

/// What the image is called, beside its version: as the Kubernetes manifest has it.
const NAME: &str = "closewait-trace";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the executable is in the image.
const EXECUTABLE: &str = "/usr/bin/closewait-trace";

/// Makes the image.
///
/// # Errors
/// When there is no such executable, or `tar`, `gzip` or `umoci` fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let default = || workspace::target_dir().join("release").join(NAME);
    let binary = args.binary.clone().unwrap_or_else(default);
    let bytes = fs::read(&binary).with_context(|| {
        format!("cannot read {}: run `cargo build --release`, or give --binary", binary.display())
    })?;
    let dir = workspace::target_dir().join("image");
    let root = dir.join("root");
    root::stage(&binary, &root)?;
    let image = Image { architecture: layout::architecture(&bytes)?, entrypoint: EXECUTABLE };
    let oci = dir.join("oci");
    let digest = layout::write(&image, &root, &oci)?;
    let archive = dir.join(format!("{NAME}-{VERSION}.oci.tar"));
    layout::tar(&oci, &archive)?;
    let size = fs::metadata(&archive)?.len();
    println!(
        "{}: {NAME}:{VERSION} {digest}, {}.{} MB",
        archive.display(),
        size / 1_000_000,
        size / 100_000 % 10
    );
    eprintln!(
        "to a registry: skopeo copy oci-archive:{} docker://REGISTRY/{NAME}:{VERSION}",
        archive.display()
    );
    eprintln!("to a node: ctr --namespace k8s.io images import {}", archive.display());
    if args.check {
        check::unpacks(&oci, &root, &dir)?;
        println!("umoci unpacks the same files; what is in it says: {}", version(&dir)?);
    }
    Ok(())
}

/// Makes and checks the image of an executable.
///
/// # Errors
/// As [`run`].
pub(crate) fn of(binary: &Path) -> Result<()> {
    run(&Args { binary: Some(binary.to_owned()), check: true })
}

/// What the executable says of itself, run from the unpacked image and with nothing else.
fn version(dir: &Path) -> Result<String> {
    let mut chroot = privilege::command(command::find_system("chroot").context("there is no chroot")?)?;
    let said = command::output(
        chroot.arg(dir.join(check::UNPACKED).join("rootfs")).args([EXECUTABLE, "--version"]),
    )?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// An empty directory.
fn emptied(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
