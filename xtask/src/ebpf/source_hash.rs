//! One hash over everything in the repository that decides the object's bytes:
//! sources, manifest, profiles, locked dependencies, flags. Any change of it makes
//! the committed object stale.

use super::{compile, toolchain};
use crate::workspace;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Lower-case hexadecimal SHA-256.
///
/// # Errors
/// When a source cannot be read.
pub(crate) fn source_hash() -> Result<String> {
    let root = workspace::root();
    let mut hash = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        // Lengths keep "a" + "bc" apart from "ab" + "c".
        hash.update(format!("{name}\0{}\0", bytes.len()));
        hash.update(bytes);
    };

    let mut sources = Vec::new();
    list(&root.join("closewait-ebpf/src"), &mut sources)?;
    sources.push(root.join("closewait-ebpf/Cargo.toml"));
    sources.sort();
    for source in &sources {
        let name = source.strip_prefix(root).unwrap_or(source).to_string_lossy();
        add(&name, &fs::read(source).with_context(|| format!("cannot read {}", source.display()))?);
    }

    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    for table in ["[profile.release]", "[profile.bpf]"] {
        add(table, table_body(&manifest, table).join("\n").as_bytes());
    }
    let edition =
        table_body(&manifest, "[workspace.package]").into_iter().find(|line| line.starts_with("edition"));
    add("edition", edition.unwrap_or_default().as_bytes());

    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    for package in closure(&lock, "closewait-ebpf") {
        add("locked", package.as_bytes());
    }
    add("target", toolchain::TARGET.as_bytes());
    add("flags", compile::FLAGS.join(" ").as_bytes());
    Ok(hex(&hash.finalize()))
}

/// Lower-case hexadecimal SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in dir.read_dir().with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines of a TOML table that say something.
fn table_body<'a>(manifest: &'a str, table: &str) -> Vec<&'a str> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != table).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The lock file's entries of `package` and of all it depends on, in order.
fn closure<'a>(lock: &'a str, package: &str) -> BTreeSet<&'a str> {
    let mut by_name: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for entry in lock.split("[[package]]").skip(1) {
        let name = entry.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        by_name.entry(name.unwrap_or_default()).or_default().push(entry.trim());
    }
    let mut found = BTreeSet::new();
    let mut names = vec![package];
    while let Some(name) = names.pop() {
        // Of two locked versions of a package both are taken: a needless rebuild
        // at worst, never a stale object that passes.
        for entry in by_name.get(name).into_iter().flatten().copied() {
            if found.insert(entry) {
                let dependencies =
                    entry.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
                names.extend(dependencies.filter_map(|line| line.split(' ').next()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closure_has_what_the_package_needs_and_nothing_else() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n \"c 2.0.0\",\n]\n\n\
                    [[package]]\nname = \"b\"\n\n[[package]]\nname = \"c\"\nversion = \"2.0.0\"\n\n\
                    [[package]]\nname = \"d\"\ndependencies = [\n \"a\",\n]\n";
        let names: Vec<&str> =
            closure(lock, "a").into_iter().filter_map(|entry| entry.lines().next()).collect();
        assert_eq!(names, ["name = \"a\"", "name = \"b\"", "name = \"c\""]);
    }

    #[test]
    fn a_table_ends_at_the_next_and_comments_do_not_count() {
        let manifest = "[profile.bpf]\n# why\nlto = true\n\n[other]\nlto = false\n";
        assert_eq!(table_body(manifest, "[profile.bpf]"), ["lto = true"]);
    }
}
