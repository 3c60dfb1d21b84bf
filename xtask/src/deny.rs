//! What `cargo xtask test` asks of the dependencies: that both lock files are fresh, and what
//! cargo-deny (`deny.toml`) finds in them. Whatever could not be checked is said.

use crate::{command, workspace};
use anyhow::{Context, Result};
use std::{fmt, fs, path::Path, process::Command};

/// The package of the fuzz targets, which is not of this workspace.
const FUZZ: &str = "tests/fuzz/Cargo.toml";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install cargo-deny from source first, which takes minutes, if it is not there
    #[arg(long)]
    install: bool,
}

/// What was checked, and what was not.
pub(crate) struct Checked {
    what: Vec<String>,
    /// What was left out, and why.
    pub(crate) left: Option<String>,
}

/// Checks, and says what was checked.
///
/// # Errors
/// When something is stale or denied, or when cargo-deny was asked for and cannot be installed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.install {
        install()?;
    }
    println!("ok: {}", check()?);
    Ok(())
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what.join(", "))?;
        self.left.as_ref().map_or(Ok(()), |left| write!(f, "; NOT CHECKED: {left}"))
    }
}

/// Installs cargo-deny from source, if it is not there.
///
/// # Errors
/// When it cannot be had or does not compile.
pub(crate) fn install() -> Result<()> {
    if command::find("cargo-deny").is_some() {
        return Ok(());
    }
    command::run(command::cargo().args(["install", "--locked", "cargo-deny"]).env_remove("CARGO_TARGET_DIR"))
}

/// Each lock file has what its manifests ask for.
fn locks_are_fresh() -> Result<()> {
    for manifest in ["Cargo.toml", FUZZ] {
        let update = |more: &[&str]| {
            let mut update = command::cargo();
            update.args(["update", "--workspace", "--locked", "--quiet", "--manifest-path", manifest]);
            update.args(more).current_dir(workspace::root());
            update
        };
        // A lock file that is fresh is so without the registry. Without a network it would have
        // to be asked in vain; where it does know more, or has to, the error is its own.
        if command::output(&mut update(&["--offline"])).is_ok() {
            continue;
        }
        command::run(&mut update(&[])).with_context(|| {
            format!("run `cargo update --workspace --manifest-path {manifest}` and commit its lock file")
        })?;
    }
    Ok(())
}

/// What can be checked here.
///
/// # Errors
/// When a lock file is stale, or cargo-deny is there and finds something that `deny.toml` denies.
pub(crate) fn check() -> Result<Checked> {
    locks_are_fresh()?;
    let mut what = vec!["lock files".to_owned()];
    if command::find("cargo-deny").is_none() {
        let left = "licences, bans, sources, advisories: cargo-deny is not installed; \
                    `cargo xtask test --full` installs it";
        return Ok(Checked { what, left: Some(left.to_owned()) });
    }
    deny("Cargo.toml", &["--locked"], &["check", "bans", "licenses", "sources"])?;
    // Nobody is given the fuzz targets: the licence of what they are linked with does not matter.
    deny(FUZZ, &["--locked"], &["check", "bans", "sources"])?;
    what.push("licences, bans, sources".to_owned());
    // The database of advisories lies outside the package registry, and a CI
    // machine may not reach it: no fault of the dependencies.
    if deny("Cargo.toml", &["--locked"], &["fetch", "db"]).is_err() {
        let left = "advisories: their database cannot be fetched (see above)".to_owned();
        return Ok(Checked { what, left: Some(left) });
    }
    for manifest in ["Cargo.toml", FUZZ] {
        deny(manifest, &["--locked", "--offline"], &["check", "advisories"])?;
    }
    what.push(match date_of_database(&command::cargo_home().join("advisory-dbs")) {
        Some(date) => format!("advisories known on {date}"),
        None => "advisories".to_owned(),
    });
    Ok(Checked { what, left: None })
}

fn deny(manifest: &str, options: &[&str], task: &[&str]) -> Result<()> {
    let mut deny = command::cargo();
    // The configuration of the fuzz targets is that of the workspace.
    deny.args(["deny", "--all-features", "--config", "deny.toml", "--manifest-path", manifest]);
    command::run(deny.args(options).args(task).current_dir(workspace::root()))
}

/// Of the newest advisory in it: the last change to any of the databases fetched.
fn date_of_database(databases: &Path) -> Option<String> {
    let clones = fs::read_dir(databases).ok()?.flatten().map(|entry| entry.path());
    let dates = clones.filter(|clone| clone.join(".git").exists()).filter_map(|clone| {
        let mut log = Command::new("git");
        command::output(log.arg("-C").arg(clone).args(["log", "-1", "--format=%cs"])).ok()
    });
    dates.max()
}
