//! What is in the packages and where, one row for each file: the only list of it. Laid out as a
//! tree, of which every kind of package is made.

use crate::{command, workspace};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The kinds of package; they differ in some places.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    Deb,
    Rpm,
}

/// A file that is installed.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    /// Below the workspace, or below the directory of what was made.
    from: String,
    /// Without the leading slash.
    pub(super) to: String,
    mode: u32,
    /// An administrator's once it is installed: never written over.
    pub(super) is_config: bool,
    /// Packed, as Debian wants manual pages and changes.
    gzip: bool,
}

/// Files that are made, below the directory that [`lay`] is told.
pub(super) const BINARY: &str = "closewait-trace";
pub(super) const THIRD_PARTY: &str = "third-party-licences.txt";

const DOC: &str = "usr/share/doc/closewait-trace";
/// Directories that may be nobody else's where this package is installed.
pub(super) const OWN_DIRECTORIES: [&str; 5] = [
    DOC,
    "usr/share/doc/closewait-trace/examples",
    "usr/share/fish",
    "usr/share/fish/vendor_completions.d",
    "usr/share/zsh/site-functions",
];
/// What follows the name in those of the manual pages.
const PAGES: [&str; 9] =
    ["", "-diff", "-doctor", "-explain", "-kill", "-replay", "-run", "-snapshot", "-top"];

/// All of it.
pub(super) fn entries(kind: Kind) -> Vec<Entry> {
    let plain = |from: &str, to: String| Entry {
        from: from.to_owned(),
        to,
        mode: 0o644,
        is_config: false,
        gzip: false,
    };
    let user = |from: &str, to: String| plain(&format!("closewait-user/{from}"), to);
    let zsh = if kind == Kind::Deb { "vendor-completions" } else { "site-functions" };
    let mut all = vec![
        Entry { mode: 0o755, ..plain(BINARY, "usr/bin/closewait-trace".into()) },
        Entry { is_config: true, ..user("systemd/closewait-trace.toml", "etc/closewait-trace.toml".into()) },
        user("systemd/closewait-trace.service", "usr/lib/systemd/system/closewait-trace.service".into()),
        user(
            "completions/closewait-trace.bash",
            "usr/share/bash-completion/completions/closewait-trace".into(),
        ),
        user("completions/_closewait-trace", format!("usr/share/zsh/{zsh}/_closewait-trace")),
        user(
            "completions/closewait-trace.fish",
            "usr/share/fish/vendor_completions.d/closewait-trace.fish".into(),
        ),
        plain("README.md", format!("{DOC}/README.md")),
        Entry { gzip: true, ..plain("CHANGELOG.md", format!("{DOC}/changelog.gz")) },
        plain("LICENSE-MIT", format!("{DOC}/copyright")),
        plain("LICENSE-APACHE", format!("{DOC}/LICENSE-APACHE")),
        Entry { gzip: true, ..plain(THIRD_PARTY, format!("{DOC}/{THIRD_PARTY}.gz")) },
        user("schema/closewait-trace.schema.json", format!("{DOC}/closewait-trace.schema.json")),
        user("systemd/closewait-trace.toml", format!("{DOC}/examples/closewait-trace.toml")),
        user("prometheus/closewait.rules.yml", format!("{DOC}/examples/closewait.rules.yml")),
        user("prometheus/closewait.dashboard.json", format!("{DOC}/examples/closewait.dashboard.json")),
    ];
    all.extend(PAGES.iter().map(|page| Entry {
        gzip: true,
        ..user(
            &format!("man/closewait-trace{page}.1"),
            format!("usr/share/man/man1/closewait-trace{page}.1.gz"),
        )
    }));
    all
}

/// Lays the files out in the new directory `tree`, those that are made being in `made`.
///
/// # Errors
/// When a file is missing.
pub(super) fn lay(entries: &[Entry], made: &Path, tree: &Path) -> Result<()> {
    for entry in entries {
        let from: PathBuf = if [BINARY, THIRD_PARTY].contains(&entry.from.as_str()) {
            made.join(&entry.from)
        } else {
            workspace::root().join(&entry.from)
        };
        let to = tree.join(&entry.to);
        directories(tree, Path::new(&entry.to))?;
        if entry.gzip {
            // Neither name nor time of the file.
            let packed = command::bytes(Command::new("gzip").arg("-9nc").arg(&from))?;
            fs::write(&to, packed)?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        fs::set_permissions(&to, fs::Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}

/// Makes the directories of `file`, whatever this process's umask is.
fn directories(tree: &Path, file: &Path) -> Result<()> {
    let above: Vec<&Path> = file.ancestors().skip(1).collect();
    for dir in above.into_iter().rev().map(|dir| tree.join(dir)) {
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every manual page and completion that is generated is installed too.
    #[test]
    fn nothing_that_belongs_in_is_left_out() {
        let from: BTreeSet<String> = entries(Kind::Deb).into_iter().map(|entry| entry.from).collect();
        for dir in ["man", "completions", "systemd", "schema"] {
            for file in workspace::root().join("closewait-user").join(dir).read_dir().unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                assert!(from.contains(&format!("closewait-user/{dir}/{name}")), "{dir}/{name}");
            }
        }
    }

    #[test]
    fn what_is_named_is_there_and_has_a_place_of_its_own() {
        for kind in [Kind::Deb, Kind::Rpm] {
            let mut places = BTreeSet::new();
            for entry in entries(kind) {
                let is_made = [BINARY, THIRD_PARTY].contains(&entry.from.as_str());
                assert!(is_made || workspace::root().join(&entry.from).is_file(), "{}", entry.from);
                assert!(places.insert(entry.to.clone()), "{} twice", entry.to);
            }
        }
    }
}
