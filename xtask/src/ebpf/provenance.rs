//! What is known of an object: the source and toolchain it came from, and what is
//! in it. Written beside each object; the committed pair is checked against the
//! source, so that nobody has to trust a blob.

use super::{
    OBJECT, PROVENANCE,
    inspect::{self, Map, Program},
    source_hash::{self, sha256},
    toolchain::Identity,
};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, path::Path};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// SHA-256 of the object, lower-case hexadecimal. The first field, because the
    /// tool's build script looks for it without a JSON parser.
    pub(crate) sha256: String,
    /// Bytes of the object
    pub(crate) size: usize,
    /// See `source_hash`
    pub(crate) source_hash: String,
    pub(crate) flags: Vec<String>,
    pub(crate) toolchain: Identity,
    pub(crate) programs: Vec<Program>,
    pub(crate) maps: Vec<Map>,
}

impl Provenance {
    /// What is to be written down of `object`.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub(crate) fn of(object: &[u8], toolchain: Identity, source_hash: String) -> Result<Self> {
        Ok(Self {
            sha256: sha256(object),
            size: object.len(),
            source_hash,
            flags: super::compile::FLAGS.map(str::to_owned).to_vec(),
            toolchain,
            programs: inspect::programs(object)?,
            maps: inspect::maps(object)?,
        })
    }

    /// Reads the provenance in `dir`.
    ///
    /// # Errors
    /// When it is missing or not readable as such.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(PROVENANCE);
        let hint = || format!("cannot read {}: run `cargo xtask ebpf update`", path.display());
        let text = fs::read_to_string(&path).with_context(hint)?;
        serde_json::from_str(&text).with_context(hint)
    }

    /// Writes it into `dir`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(PROVENANCE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Fails when the sources have changed since this object was built.
    ///
    /// # Errors
    /// Says that it is stale and how to renew it.
    pub(crate) fn check_source(&self) -> Result<()> {
        let now = source_hash::source_hash()?;
        if now != self.source_hash {
            bail!(
                "the committed BPF object is stale: its source hash is {}, the source's is {now}\n\
                 (sources, manifest, profiles, locked dependencies or flags of closewait-ebpf changed): \
                 run `cargo xtask ebpf update` and commit the result",
                self.source_hash
            );
        }
        Ok(())
    }

    /// Fails when `object` is not the one this was written about.
    ///
    /// # Errors
    /// Names both hashes.
    pub(crate) fn check_bytes(&self, object: &[u8]) -> Result<()> {
        let sha256 = sha256(object);
        ensure!(
            sha256 == self.sha256,
            "{OBJECT} has sha256 {sha256}, {PROVENANCE} says {}: run `cargo xtask ebpf update`",
            self.sha256
        );
        Ok(())
    }

    /// [`Self::check_bytes`] of the object in `dir`.
    ///
    /// # Errors
    /// When it cannot be read or is another one.
    pub(crate) fn check_bytes_in(&self, dir: &Path) -> Result<()> {
        let path = dir.join(OBJECT);
        self.check_bytes(&fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?)
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12}  program", "instructions")?;
        for program in &self.programs {
            writeln!(f, "{:>12}  {} ({})", program.instructions, program.name, program.section)?;
        }
        let maps: Vec<&str> = self.maps.iter().map(|map| map.name.as_str()).collect();
        writeln!(f, "maps: {}", maps.join(", "))?;
        writeln!(f, "{} bytes, sha256 {}", self.size, self.sha256)
    }
}
