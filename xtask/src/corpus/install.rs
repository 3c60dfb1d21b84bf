//! What the cases need: Debian's packages, and Python's in a venv under target/corpus, of
//! the versions in tests/corpus/constraints.txt. Only `--install` and `cargo xtask setup`
//! install; a case whose software is not there names it.

use super::label::{Case, Needs};
use crate::{command, privilege, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Of every case: what makes the venv in which the drivers run.
const PYTHON: &str = "/usr/bin/python3";
const ALWAYS: [&str; 1] = ["python3-venv"];

/// Where the software is.
pub(super) struct Installed {
    dir: PathBuf,
}

impl Installed {
    pub(super) fn here() -> Self {
        Self { dir: workspace::target_dir().join("corpus") }
    }

    /// The Python that the drivers run in.
    pub(super) fn python(&self) -> PathBuf {
        self.dir.join("venv/bin/python")
    }

    /// Variables by which drivers find the rest.
    pub(super) fn surroundings(&self) -> [(&'static str, PathBuf); 3] {
        let no_caches = ("PYTHONDONTWRITEBYTECODE", "1".into());
        // A Node that is not Debian's does not look among Debian's modules.
        [("NODE_PATH", "/usr/share/nodejs".into()), ("CORPUS_BUILT", self.dir.join("built")), no_caches]
    }

    /// What is missing of `needs`, each with its kind.
    pub(super) fn missing(&self, needs: &Needs) -> Vec<String> {
        let debian =
            debian(needs).into_iter().filter(|it| !has_debian(it)).map(|it| format!("Debian's {it}"));
        let pip = needs.pip.iter().filter(|it| !self.has_pip(it)).map(|it| format!("PyPI's {it}"));
        debian.chain(pip).collect()
    }

    /// # Errors
    /// Names what is missing of `needs`.
    pub(super) fn ensure(&self, needs: &Needs) -> Result<()> {
        let missing = self.missing(needs);
        ensure!(
            missing.is_empty(),
            "not installed: {}; run `cargo xtask corpus --install`",
            missing.join(", ")
        );
        Ok(())
    }

    fn has_pip(&self, package: &str) -> bool {
        Command::new(self.python())
            .args(["-m", "pip", "show", "-q", bare(package)])
            .output()
            .is_ok_and(|it| it.status.success())
    }

    /// Installs what is missing for `cases`.
    ///
    /// # Errors
    /// Names what could not be installed.
    pub(super) fn install(&self, cases: &[&Case]) -> Result<()> {
        let mut all = Needs::default();
        for needs in cases.iter().map(|case| &case.label.needs) {
            all.debian.extend(needs.debian.iter().cloned());
            all.pip.extend(needs.pip.iter().cloned());
        }
        let packages: Vec<String> = debian(&all).into_iter().filter(|it| !has_debian(it)).collect();
        if !packages.is_empty() {
            apt(&packages)?;
        }
        if !self.python().is_file() {
            command::run(Command::new(PYTHON).args(["-m", "venv"]).arg(self.dir.join("venv")))?;
        }
        let pip: Vec<&String> = all.pip.iter().filter(|it| !self.has_pip(it)).collect();
        if !pip.is_empty() {
            let mut install = Command::new(self.python());
            let versions = workspace::root().join("tests/corpus/constraints.txt");
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint"]);
            command::run(install.arg(versions).args(pip))?;
        }
        let missing = self.missing(&all);
        ensure!(missing.is_empty(), "still missing: {}", missing.join(", "));
        println!("corpus: all is there");
        Ok(())
    }
}

fn debian(needs: &Needs) -> BTreeSet<String> {
    ALWAYS.into_iter().map(str::to_owned).chain(needs.debian.iter().cloned()).collect()
}

fn has_debian(package: &str) -> bool {
    let status =
        command::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}

/// `psycopg` of `psycopg[pool]`.
fn bare(package: &str) -> &str {
    package.split('[').next().unwrap_or(package)
}

/// Installs packages without starting their services: each case starts its own.
fn apt(packages: &[String]) -> Result<()> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let is_ours = !policy.exists();
    if is_ours {
        forbid(policy)?;
    } else if !refuses(policy) {
        bail!("{} lets services start: it must exit with 101 while packages are installed", policy.display());
    }
    let done = privilege::command("apt-get").and_then(|mut apt| {
        apt.args(["install", "-qq", "--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"])
            .args(packages);
        command::run(apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()))
    });
    if is_ours {
        command::run(privilege::command("rm")?.arg(policy))?;
    }
    done.with_context(|| format!("cannot install {}; is `apt-get update` needed?", packages.join(" ")))
}

/// What invoke-rc.d(8) asks, and 101 is "action forbidden".
fn forbid(policy: &Path) -> Result<()> {
    let write = format!("printf '#!/bin/sh\\nexit 101\\n' > {0} && chmod 755 {0}", policy.display());
    command::run(privilege::command("sh")?.args(["-c", &write]))
}

fn refuses(policy: &Path) -> bool {
    Command::new(policy).args(["a-service", "start"]).status().is_ok_and(|status| status.code() == Some(101))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::label;

    #[test]
    fn extras_are_no_part_of_a_name() {
        assert_eq!((bare("redis"), bare("psycopg[binary,pool]")), ("redis", "psycopg"));
    }

    #[test]
    fn what_python_needs_has_a_version() {
        let corpus = workspace::root().join("tests/corpus");
        let versions = std::fs::read_to_string(corpus.join("constraints.txt")).unwrap();
        let pinned: BTreeSet<&str> =
            versions.lines().filter_map(|line| Some(line.split_once("==")?.0)).collect();
        for case in label::all(&corpus.join("cases")).unwrap() {
            for package in &case.label.needs.pip {
                assert!(pinned.contains(bare(package)), "{}: {package}", case.name);
            }
        }
    }
}
