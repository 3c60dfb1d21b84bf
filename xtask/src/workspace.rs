//! Where things are: the workspace, its build directory, the committed BPF object.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The directory of the root manifest.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo's build directory: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub(crate) fn target_dir() -> PathBuf {
    // `join` keeps an absolute path as it is.
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The directory of the committed BPF object and its provenance.
pub(crate) fn prebuilt_dir() -> PathBuf {
    root().join("closewait-user/prebuilt")
}
