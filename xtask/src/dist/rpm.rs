//! The .rpm, by rpmbuild, which Debian has too: a spec of the same files.

use super::{
    Release,
    contents::{self, Entry},
};
use crate::{command, workspace};
use anyhow::{Context, Result};
use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes the package in the directory `to`, of the files in `made`; `room` is ours.
///
/// # Errors
/// When rpmbuild is missing or refuses.
pub(super) fn make(release: &Release, made: &Path, room: &Path, to: &Path) -> Result<PathBuf> {
    let entries = contents::entries(contents::Kind::Rpm);
    let tree = room.join("rpm");
    contents::lay(&entries, made, &tree)?;
    let template = workspace::root().join("closewait-user/packaging/closewait-trace.spec.in");
    let spec = room.join("closewait-trace.spec");
    fs::write(&spec, filled(&fs::read_to_string(template)?, release, &entries))?;

    let top = room.join("rpmbuild");
    let mut rpmbuild = Command::new("rpmbuild");
    for define in [
        format!("_topdir {}", top.display()),
        format!("_rpmdir {}", to.display()),
        "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm".to_owned(),
        // Nothing of this machine or of the hour, as far as a tool tells it by itself.
        "_buildhost localhost".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        "_build_id_links none".to_owned(),
        // Level and kind that every rpm since 4.6 can unpack, one thread for the same bytes.
        "_binary_payload w6.xzdio".to_owned(),
        // The files are final: no stripping, no renaming of manual pages.
        "__os_install_post %{nil}".to_owned(),
        "debug_package %{nil}".to_owned(),
    ] {
        rpmbuild.args(["--define", &define]);
    }
    rpmbuild.args(["-bb", "--quiet", "--noclean", "--nodebuginfo", "--target", &format!("{ARCH}-linux")]);
    rpmbuild.arg("--buildroot").arg(&tree).arg(&spec);
    command::output(rpmbuild.env("SOURCE_DATE_EPOCH", release.time.to_string()).env("LC_ALL", "C"))
        .context("rpmbuild makes the .rpm (package rpm)")?;
    Ok(to.join(format!("closewait-trace-{}-1.{ARCH}.rpm", release.version)))
}

/// The spec.
fn filled(template: &str, release: &Release, entries: &[Entry]) -> String {
    let attributes = |entry: &Entry| {
        let config = if entry.is_config { "%config(noreplace) " } else { "" };
        format!("%attr(-, root, root) {config}\"/{}\"", entry.to)
    };
    let files: Vec<String> = entries.iter().map(attributes).collect();
    [
        ("@VERSION@", release.version.as_str()),
        ("@SUMMARY@", &release.summary),
        ("@URL@", &release.url),
        ("@DESCRIPTION@", &release.long),
        ("@FILES@", &files.join("\n")),
    ]
    .into_iter()
    .fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}
