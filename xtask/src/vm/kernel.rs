//! From a series in the matrix to a kernel image and its modules on disk.
//!
//! Everything fetched lies under target/vm by checksum: a second run asks the
//! mirror whether there is something newer and downloads nothing.

use super::matrix::Kernel;
use crate::{
    command,
    debian::{self, Package, Suite},
};
use anyhow::{Context, Result, bail};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An unpacked kernel.
pub(crate) struct Unpacked {
    /// As `uname -r` prints it
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE`, with modules.dep
    pub(crate) modules: PathBuf,
}

/// Fetches the newest kernel of the series, unless it is there.
///
/// # Errors
/// When no suite has it or the mirror does not answer: never the kernel's fault.
pub(crate) fn fetch(kernel: &Kernel, cache: &Path) -> Result<Unpacked> {
    let mut reasons = Vec::new();
    for name in &kernel.suites {
        let found = Suite::open(name, "amd64", cache).and_then(|suite| {
            let packages = newest(&suite, &kernel.packages)?;
            Ok((suite, packages))
        });
        match found {
            Ok((suite, packages)) => return unpack(&suite, &packages, cache),
            Err(error) => reasons.push(format!("{name}: {error:#}")),
        }
    }
    bail!("no kernel {}: {}", kernel.name, reasons.join("; "))
}

/// The packages of the newest version that has all of them.
fn newest(suite: &Suite, patterns: &[String]) -> Result<Vec<Package>> {
    let mut versions: Option<BTreeSet<String>> = None;
    for pattern in patterns {
        let (prefix, suffix) = pattern.split_once('*').with_context(|| format!("no `*` in {pattern}"))?;
        let names = suite.names(prefix)?;
        let found = names.iter().filter_map(|name| name.strip_prefix(prefix)?.strip_suffix(suffix));
        let found: BTreeSet<String> =
            found.filter(|version| !version.contains("-rt")).map(str::to_owned).collect();
        versions = Some(versions.map_or(found.clone(), |versions| &versions & &found));
    }
    let mut versions: Vec<String> = versions.unwrap_or_default().into_iter().collect();
    versions.sort_by(|a, b| by_version(b, a));
    let complete = |version: &String| -> Option<Vec<Package>> {
        patterns.iter().map(|pattern| suite.package(&pattern.replace('*', version)).ok()).collect()
    };
    versions.iter().find_map(complete).with_context(|| format!("it has no {}", patterns.join(" with ")))
}

fn unpack(suite: &Suite, packages: &[Package], cache: &Path) -> Result<Unpacked> {
    let Some(first) = packages.first() else { bail!("no package is named") };
    let dir = cache.join("kernels").join(&first.sha256);
    debian::unpack(suite, packages, &dir, settle)?;
    let modules = only_entry(&dir.join("lib/modules"))?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The image lies in /boot, from 7.2 on beside the modules.
    let places = [dir.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = places.into_iter().find(|place| place.is_file());
    let image = image.with_context(|| format!("no kernel image in {}", dir.display()))?;
    Ok(Unpacked { release, image, modules })
}

/// Puts the modules where every release of Debian would have them, and makes
/// modules.dep, which the package's own install script would make.
fn settle(dir: &Path) -> Result<()> {
    if dir.join("usr/lib/modules").is_dir() {
        fs::create_dir_all(dir.join("lib"))?;
        fs::rename(dir.join("usr/lib/modules"), dir.join("lib/modules"))?;
    }
    let modules = only_entry(&dir.join("lib/modules"))?;
    let depmod =
        command::find_system("depmod").context("no depmod on this machine: run `cargo xtask setup`")?;
    command::output(Command::new(depmod).arg("-b").arg(dir).arg(modules.file_name().unwrap_or_default()))?;
    Ok(())
}

fn only_entry(dir: &Path) -> Result<PathBuf> {
    let entries = dir.read_dir().with_context(|| format!("no modules in {}", dir.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    match (paths.pop(), paths.len()) {
        (Some(path), 0) => Ok(path),
        _ => bail!("{} has not exactly one kernel's modules", dir.display()),
    }
}

/// Files of the modules `wanted` and of all they need, each after its needs;
/// what the kernel has built in, or lacks, is left out.
///
/// # Errors
/// When there is no modules.dep.
pub(crate) fn module_files(modules: &Path, wanted: &[String]) -> Result<Vec<PathBuf>> {
    let path = modules.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(load_order(&text, wanted).into_iter().map(|file| modules.join(file)).collect())
}

/// `modules.dep` has one line per module, `FILE: NEED...`, all needs of needs
/// included, the deepest last.
fn load_order<'a>(modules_dep: &'a str, wanted: &[String]) -> Vec<&'a str> {
    let mut needs: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for (file, rest) in modules_dep.lines().filter_map(|line| line.split_once(':')) {
        let name = file.rsplit('/').next().and_then(|name| name.split_once(".ko"));
        needs.insert(name.map_or(file, |(name, _)| name).replace('-', "_"), (file, rest));
    }
    let mut order = Vec::new();
    for (file, rest) in wanted.iter().filter_map(|name| needs.get(name).copied()) {
        for file in rest.split_whitespace().rev().chain([file]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    order
}

/// Compares versions as people read them: numbers by value, the rest as text.
fn by_version(a: &str, b: &str) -> Ordering {
    let split = |text: &str| -> Vec<(u64, String)> {
        let mut parts = vec![(0_u64, String::new())];
        let mut in_number = false;
        for char in text.chars() {
            match (char.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((number, _))) if in_number => {
                    *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                }
                (Some(digit), _) => parts.push((u64::from(digit), String::new())),
                (None, Some((_, text))) => text.push(char),
                (None, None) => {}
            }
            in_number = char.is_ascii_digit();
        }
        parts
    };
    split(a).cmp(&split(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (older, newer) in
            [("7.2.9+deb13", "7.2.12+deb13"), ("5.10.0-9", "5.10.0-32"), ("6.1.0", "6.1.0-1")]
        {
            assert_eq!(by_version(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(by_version(newer, older), Ordering::Greater);
            assert_eq!(by_version(newer, newer), Ordering::Equal);
        }
    }

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let dep = "net/inet_diag.ko.xz:\nnet/tcp_diag.ko.xz: net/inet_diag.ko.xz\n\
                   net/c.ko: net/b.ko net/a.ko\nnet/b.ko: net/a.ko\nnet/a.ko:\n";
        let wanted = ["tcp_diag", "absent", "c", "inet_diag"].map(str::to_owned);
        let order = ["net/inet_diag.ko.xz", "net/tcp_diag.ko.xz", "net/a.ko", "net/b.ko", "net/c.ko"];
        assert_eq!(load_order(dep, &wanted), order);
    }
}
