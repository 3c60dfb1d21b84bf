//! What the cases need: Debian's packages, Python's in a venv and npm's in a directory,
//! both under target/corpus. Only `--install` installs; a case whose software is not
//! there names it.

use super::label::{Case, Needs};
use crate::{command, privilege, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeSet,
    fs,
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
        [("NODE_PATH", self.modules()), ("CORPUS_BUILT", self.dir.join("built")), no_caches]
    }

    fn modules(&self) -> PathBuf {
        self.dir.join("npm/node_modules")
    }

    /// What is missing of `needs`, each with its kind.
    pub(super) fn missing(&self, needs: &Needs) -> Vec<String> {
        let debian =
            debian(needs).into_iter().filter(|it| !has_debian(it)).map(|it| format!("Debian's {it}"));
        let pip = needs.pip.iter().filter(|it| !self.has_pip(it)).map(|it| format!("PyPI's {it}"));
        let npm = needs.npm.iter().filter(|it| !self.has_npm(it)).map(|it| format!("npm's {it}"));
        debian.chain(pip).chain(npm).collect()
    }

    fn has_pip(&self, package: &str) -> bool {
        Command::new(self.python())
            .args(["-m", "pip", "show", "-q", bare(package)])
            .output()
            .is_ok_and(|it| it.status.success())
    }

    fn has_npm(&self, package: &str) -> bool {
        self.modules().join(bare(package)).is_dir()
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
            all.npm.extend(needs.npm.iter().cloned());
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
            command::run(install.args(["-m", "pip", "install", "--quiet"]).args(pip))?;
        }
        let npm: Vec<&String> = all.npm.iter().filter(|it| !self.has_npm(it)).collect();
        if !npm.is_empty() {
            let dir = self.dir.join("npm");
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let mut install = Command::new("npm");
            command::run(
                install.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(dir).args(npm),
            )?;
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

/// `requests` of `requests==2.32`, `psycopg` of `psycopg[pool]`, `undici` of `undici@6`.
fn bare(package: &str) -> &str {
    let end = package.find(['=', '[', '<', '>', '~']).unwrap_or(package.len());
    let name = &package[..end];
    name.get(1..).and_then(|rest| rest.find('@')).map_or(name, |at| &name[..=at])
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
    #[test]
    fn versions_and_extras_are_no_part_of_a_name() {
        for (package, name) in [
            ("redis", "redis"),
            ("requests==2.32.3", "requests"),
            ("psycopg[binary,pool]>=3", "psycopg"),
            ("undici@6", "undici"),
            ("@hapi/hapi@21", "@hapi/hapi"),
            ("@hapi/hapi", "@hapi/hapi"),
        ] {
            assert_eq!(super::bare(package), name);
        }
    }
}
