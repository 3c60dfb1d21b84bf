//! One Debian suite, asked through apt with directories of its own, so that the
//! system's package lists stay as they are and root is not needed. apt checks
//! signatures and checksums.

use super::mirror;
use crate::command;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Debian's keys, from the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub(crate) struct Suite {
    dir: PathBuf,
    architecture: &'static str,
}

/// A package of a suite.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Of the file, from the signed package list, lower-case hexadecimal
    pub(crate) sha256: String,
}

impl Suite {
    /// Fetches the list of packages of `name` for `architecture`; `cache` is ours. When the mirror
    /// cannot be reached an older list is used, and that is said.
    ///
    /// # Errors
    /// When the list can be had neither from the mirror nor from an earlier run.
    pub(crate) fn open(name: &str, architecture: &'static str, cache: &Path) -> Result<Self> {
        let suite = Self { dir: cache.join("apt").join(name), architecture };
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(suite.dir.join(dir))?;
        }
        let mirror = mirror::mirror_of(name)?;
        let source = format!("deb [arch={architecture} signed-by={KEYRING}] {mirror} {name} main\n");
        fs::write(suite.dir.join("sources.list"), source)?;
        // --error-on=any: apt counts a list it could not fetch as a warning.
        let updated =
            retried(|| command::output(suite.apt("apt-get").args(["update", "-qq", "--error-on=any"])));
        if let Err(error) = updated {
            if suite.names("lib").is_ok_and(|names| names.is_empty()) {
                return Err(error.context(format!("cannot fetch the package list of {name}")));
            }
            eprintln!(
                "{name}: the mirror does not answer, using the package list of an earlier run ({error:#})"
            );
        }
        Ok(suite)
    }

    /// Names of packages that begin with `prefix`.
    ///
    /// # Errors
    /// When apt fails.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = command::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// What the list says of the package `name`, which may be `NAME=VERSION`.
    ///
    /// # Errors
    /// When it is not in the list (apt also knows names that others only mention).
    pub(crate) fn package(&self, name: &str) -> Result<Package> {
        let shown = command::output(self.apt("apt-cache").args(["show", "--no-all-versions", name]))?;
        let sha256 = shown.lines().find_map(|line| line.strip_prefix("SHA256: "));
        let sha256 = sha256.with_context(|| format!("the list has no checksum for {name}"))?;
        Ok(Package { name: name.to_owned(), sha256: sha256.to_owned() })
    }

    /// Downloads `package` and returns the file.
    ///
    /// # Errors
    /// When it cannot be had; apt has compared the checksum.
    pub(crate) fn download(&self, package: &Package) -> Result<PathBuf> {
        let dir = self.dir.join("downloads").join(&package.sha256);
        fs::create_dir_all(&dir)?;
        eprintln!("downloading {}", package.name);
        let mut apt = self.apt("apt-get");
        apt.args(["download", "-qq", &package.name]).current_dir(&dir);
        retried(|| command::output(&mut apt)).with_context(|| format!("cannot download {}", package.name))?;
        let file = dir
            .read_dir()?
            .flatten()
            .map(|entry| entry.path())
            .find(|it| it.extension().is_some_and(|it| it == "deb"));
        file.with_context(|| format!("apt-get download left no file for {}", package.name))
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::Lists={dir}/lists"),
            format!("Dir::Cache={dir}/cache"),
            format!("APT::Architecture={}", self.architecture),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt.env("LC_ALL", "C");
        apt
    }
}

/// A mirror in the middle of its own update refuses for a moment.
fn retried<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for number in 1..3 {
        match attempt() {
            Err(error) => eprintln!("attempt {number} of 3 failed: {error:#}"),
            done => return done,
        }
    }
    attempt()
}
