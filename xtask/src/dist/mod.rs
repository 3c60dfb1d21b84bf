//! `cargo xtask dist`: what is given away. A static executable, and of it a .deb and an .rpm,
//! with their checksums: the same bytes from the same source, wherever it is built.
//!
//! `contents` says what is in the packages. dpkg-deb and rpmbuild write them, which is what the
//! distributions use; `tried` installs the .deb in a bare Debian and uses it there.

mod binary;
mod cgroup;
mod completes;
mod contents;
mod deb;
mod licences;
mod root;
mod rpm;
mod services;
mod tried;
mod twice;

pub(crate) use binary::{build, has_musl, musl};

use crate::{command, progress, workspace};
use anyhow::{Context, Result, bail, ensure};
use contents::{BINARY, THIRD_PARTY};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The BPF object to embed, instead of the committed one
    #[arg(long)]
    object: Option<PathBuf>,
    /// Build it all in a second directory too, and compare
    #[arg(long)]
    twice: bool,
    /// Install the .deb in a bare Debian, and use it there: self-test, manual, completion, service, alert
    #[arg(long = "try")]
    tried: bool,
    /// (What `--try` runs as root in namespaces of its own)
    #[arg(long, hide = true, num_args = 5, value_names = ["ROOT", "DEB", "RPM", "SCENARIOS", "PROMETHEUS"])]
    inside: Option<Vec<PathBuf>>,
}

/// What the packages say of themselves.
struct Release {
    version: String,
    /// One line.
    summary: String,
    long: String,
    url: String,
    maintainer: String,
    /// Of all files in the packages, in seconds since 1970.
    time: u64,
}

#[cfg(test)]
impl Release {
    fn for_tests() -> Self {
        Self {
            version: "1.2.3".into(),
            summary: "short".into(),
            long: "one\ntwo".into(),
            url: "https://example.org".into(),
            maintainer: "the developers".into(),
            time: 0,
        }
    }
}

/// What was made that is tried.
struct Made {
    deb: PathBuf,
    rpm: PathBuf,
}

/// Makes, compares and tries.
///
/// # Errors
/// Names what failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some([root, deb, rpm, scenarios, prometheus]) = args.inside.as_deref() {
        return tried::inside(root, [deb, rpm], scenarios, prometheus);
    }
    let made = make(args.object.as_deref())?;
    if args.twice {
        twice::compare(&dir(), args.object.as_deref(), release_time()?)?;
    }
    if args.tried
        && let Some(why) = tried::run(&made)?
    {
        bail!("not tried: {why}");
    }
    Ok(())
}

/// For CI: makes the packages and tries the .deb; why not, when what that takes cannot be had.
///
/// # Errors
/// When something that was made is not as it should be.
pub(crate) fn check(object: &Path) -> Result<Option<String>> {
    tried::run(&make(Some(object))?)
}

/// Where it is put.
fn dir() -> PathBuf {
    workspace::target_dir().join("dist")
}

fn make(object: Option<&Path>) -> Result<Made> {
    let built = build(object)?;
    let chore = progress::begin("dist");
    chore.does("packing");
    let dir = dir();
    let made = fresh(&dir.join("made"))?;
    binary::strip(&built, &made.join(BINARY))?;
    let triple = binary::triple();
    fs::write(made.join(THIRD_PARTY), licences::text(&triple)?)?;

    let release = Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        summary: "finds TCP sockets stuck in CLOSE_WAIT, and the code that forgot them".to_owned(),
        long: "Watches the kernel by eBPF and reports sockets that entered CLOSE_WAIT and were not\n\
               closed: since when, which processes hold them, the stacks that opened them and that\n\
               read the end of the stream, why they are stuck, and what to do. As a service it has\n\
               metrics for Prometheus (closewait-trace.service, which is not enabled)."
            .to_owned(),
        url: env!("CARGO_PKG_REPOSITORY").to_owned(),
        maintainer: "The closewait-trace developers".to_owned(),
        time: release_time()?,
    };
    let out = fresh(&dir.join("packages"))?;
    let package = |to: &Path| -> Result<(PathBuf, PathBuf)> {
        let room = fresh(&to.with_extension("room"))?;
        let packages = (deb::make(&release, &made, &room, to)?, rpm::make(&release, &made, &room, to)?);
        fs::remove_dir_all(room)?;
        Ok(packages)
    };
    let (deb, rpm) = package(&out)?;
    chore.does("packing again, to compare");
    let again = fresh(&dir.join("packages-again"))?;
    let (second_deb, second_rpm) = package(&again)?;
    for (one, other) in [(&deb, second_deb), (&rpm, second_rpm)] {
        ensure!(fs::read(one)? == fs::read(other)?, "{}: packed again it differs", one.display());
    }
    fs::remove_dir_all(again)?;
    rpm::check(&rpm, &made.join(BINARY))?;

    drop(chore);
    let executable = out.join(format!("closewait-trace-{}-{triple}", release.version));
    fs::copy(made.join(BINARY), &executable)?;
    let names: Vec<_> = [&executable, &deb, &rpm].iter().filter_map(|path| path.file_name()).collect();
    let sums = command::output(Command::new("sha256sum").args(&names).current_dir(&out))? + "\n";
    fs::write(out.join("SHA256SUMS"), &sums)?;
    for (line, file) in sums.lines().zip([&executable, &deb, &rpm]) {
        println!("{:>9} bytes  {line}", fs::metadata(file)?.len());
    }
    println!("in {}", out.display());
    Ok(Made { deb, rpm })
}

/// The time of a source that nobody knows the time of: the same for everybody.
const SOME_TIME: &str = "1577836800";

/// `SOURCE_DATE_EPOCH`, else the time of the last commit, else [`SOME_TIME`].
fn release_time() -> Result<u64> {
    let epoch = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| {
        let mut git = Command::new("git");
        git.args(["log", "-1", "--format=%ct"]).current_dir(workspace::root());
        command::output(&mut git).unwrap_or_else(|error| {
            eprintln!("when this source is from is not known (set SOURCE_DATE_EPOCH): {error:#}");
            SOME_TIME.to_owned()
        })
    });
    epoch.parse().with_context(|| format!("SOURCE_DATE_EPOCH is no time in seconds: {epoch}"))
}

/// An empty directory.
fn fresh(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}
