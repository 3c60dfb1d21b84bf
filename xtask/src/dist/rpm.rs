//! The .rpm, by rpmbuild, which Debian has too: a spec of the same files.

use super::{
    Release,
    contents::{self, Entry, Kind},
};
use crate::{command, workspace};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
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
    let entries = contents::entries(Kind::Rpm);
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

/// What rpm itself reads of `package`: all files, and the bytes of `executable`.
///
/// # Errors
/// Names what is otherwise.
pub(super) fn check(package: &Path, executable: &Path) -> Result<()> {
    let rpm = |what: &[&str]| {
        let mut rpm = Command::new("rpm");
        command::output(rpm.args(what).arg("--nosignature").arg(package))
    };
    rpm(&["--checksig"])?;
    let listed = rpm(&["-qpl"])?;
    let listed: BTreeSet<_> = listed.lines().map(str::to_owned).collect();
    let entries = contents::entries(Kind::Rpm);
    let files = entries.iter().map(|entry| entry.to.as_str());
    let wanted = files.chain(contents::OWN_DIRECTORIES).map(|path| format!("/{path}")).collect();
    ensure!(listed == wanted, "the .rpm has {listed:?} and not {wanted:?}");
    let config = rpm(&["-qpc"])?;
    ensure!(config == "/etc/closewait-trace.toml", "the .rpm's configuration: {config}");
    let needs = rpm(&["-qp", "--requires"])?;
    ensure!(foreign(&needs).is_none(), "the .rpm needs {needs}");
    let unpack = "rpm2cpio \"$0\" | cpio --quiet -i --to-stdout ./usr/bin/closewait-trace | cmp - \"$1\"";
    command::output(Command::new("sh").args(["-c", unpack]).arg(package).arg(executable)).map(drop)
}

/// Something that not every system with rpm has.
fn foreign(needs: &str) -> Option<&str> {
    needs.lines().find(|need| {
        !["rpmlib(", "/bin/sh", "config(closewait-trace)"].iter().any(|known| need.starts_with(known))
    })
}

/// The spec.
fn filled(template: &str, release: &Release, entries: &[Entry]) -> String {
    let attributes = |entry: &Entry| {
        let config = if entry.is_config { "%config(noreplace) " } else { "" };
        format!("%attr(-, root, root) {config}\"/{}\"", entry.to)
    };
    // Directories that are nobody else's go with the package.
    let own = contents::OWN_DIRECTORIES.iter().map(|dir| format!("%dir \"/{dir}\""));
    let files: Vec<String> = own.chain(entries.iter().map(attributes)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_or_a_program_that_is_needed_is_seen() {
        let usual = "/bin/sh\nrpmlib(PayloadIsXz) <= 5.2-1\nconfig(closewait-trace) = 0.1.0-1\n";
        assert_eq!(foreign(usual), None);
        assert_eq!(foreign(&format!("{usual}libc.so.6()(64bit)\n")), Some("libc.so.6()(64bit)"));
    }

    #[test]
    fn the_spec_has_nothing_left_to_fill_in() {
        let template = workspace::root().join("closewait-user/packaging/closewait-trace.spec.in");
        let template = fs::read_to_string(template).unwrap().replace("@NAMES@", "");
        let spec = filled(&template, &Release::for_tests(), &contents::entries(Kind::Rpm));
        assert!(!spec.contains('@'), "{spec}");
        assert!(spec.contains("%config(noreplace) \"/etc/closewait-trace.toml\"\n"));
        assert!(spec.contains("%dir \"/usr/share/doc/closewait-trace\"\n"));
    }
}
