//! The .deb, by dpkg-deb, which every Debian has: fields, checksums, scripts, and the tree.

use super::contents::Entry;
use super::{Release, contents};
use crate::{command, workspace};
use anyhow::{Context, Result};
use std::{
    env::consts::ARCH,
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes the package in the directory `to`, of the files in `made`; `room` is ours.
///
/// # Errors
/// When dpkg-deb is missing or refuses.
pub(super) fn make(release: &Release, made: &Path, room: &Path, to: &Path) -> Result<PathBuf> {
    let entries = contents::entries(contents::Kind::Deb);
    let tree = room.join("deb");
    contents::lay(&entries, made, &tree)?;

    let control = tree.join("DEBIAN");
    fs::create_dir(&control)?;
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
    let mut sums = String::new();
    let mut bytes = 0;
    for Entry { to, .. } in &entries {
        let sum = command::output(Command::new("md5sum").arg(to).current_dir(&tree))?;
        writeln!(sums, "{sum}")?;
        bytes += fs::metadata(tree.join(to))?.len();
    }
    let mut config = String::new();
    for entry in entries.iter().filter(|entry| entry.is_config) {
        writeln!(config, "/{}", entry.to)?;
    }
    let files = [("control", fields(release, bytes)), ("md5sums", sums), ("conffiles", config)];
    for (name, text) in files {
        put(&control.join(name), &text, 0o644)?;
    }
    for name in ["postinst", "prerm", "postrm"] {
        let script = workspace::root().join("closewait-user/packaging").join(name);
        put(&control.join(name), &fs::read_to_string(script)?, 0o755)?;
    }

    let package = to.join(format!("closewait-trace_{}_{}.deb", release.version, architecture()));
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&package);
    command::output(dpkg.env("SOURCE_DATE_EPOCH", release.time.to_string()))
        .context("dpkg-deb makes the .deb")?;
    Ok(package)
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// As Debian calls this machine.
pub(super) fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn fields(release: &Release, bytes: u64) -> String {
    // A line that is indented goes on; none of it may be empty.
    let text = release.long.replace('\n', "\n ");
    format!(
        "Package: closewait-trace\nVersion: {}\nArchitecture: {}\nMaintainer: {}\n\
         Installed-Size: {}\nSection: net\nPriority: optional\nHomepage: {}\nDescription: {}\n {text}\n",
        release.version,
        architecture(),
        release.maintainer,
        bytes.div_ceil(1024),
        release.url,
        release.summary,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_reads_the_fields_that_were_meant() {
        let release = Release::for_tests();
        let text = fields(&release, 2049);
        assert!(text.contains("\nInstalled-Size: 3\n"), "{text}");
        assert!(text.ends_with("\nDescription: short\n one\n two\n"), "{text}");
        assert!(text.lines().all(|line| !line.is_empty()));
    }
}
