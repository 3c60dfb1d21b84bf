//! tests/vm/matrix.toml as values: which kernels, and the machine they run on.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    pub(crate) machine: Machine,
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Kernel>,
}

/// The virtual hardware, the same for every kernel.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    /// From power-on to the verdict
    pub(crate) deadline_s: u64,
    /// The live tests that run when none are named: parts of their names
    pub(crate) tests: Vec<String>,
    /// Modules to load, in order
    pub(crate) modules: Vec<String>,
}

/// A kernel series and where to find its newest version.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) suites: Vec<String>,
    /// Names with one `*` each, which stands for the same text in all
    pub(crate) packages: Vec<String>,
}

impl Matrix {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing or says what this reader does not know.
    pub(crate) fn read() -> Result<Self> {
        let path = workspace::root().join("tests/vm/matrix.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// The kernels called `names`, or all.
    ///
    /// # Errors
    /// When there is none of a name.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<Kernel>> {
        if names.is_empty() {
            return Ok(self.kernels.clone());
        }
        let known: Vec<&str> = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        names
            .iter()
            .map(|name| match self.kernels.iter().find(|kernel| kernel.name == *name) {
                Some(kernel) => Ok(kernel.clone()),
                None => bail!("no kernel `{name}` in tests/vm/matrix.toml, which has: {}", known.join(", ")),
            })
            .collect()
    }
}
