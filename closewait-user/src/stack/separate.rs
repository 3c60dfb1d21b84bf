//! Debug information that is not in the binary but kept apart under its build id: a
//! build id in, the places where it may lie out. Nothing is fetched from anywhere.

use std::env;
use std::path::PathBuf;

use super::elf::Elf;
use super::file::HeldFile;

/// Where distributions install it.
const INSTALLED: [&str; 2] = ["/usr/lib/debug", "/lib/debug"];

/// Where else to look, from the environment.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// What `debuginfod-find`, gdb and their like have fetched, when one of them is
    /// set up (debuginfod-find(1): `DEBUGINFOD_URLS`, `DEBUGINFOD_CACHE_PATH`).
    pub(super) fetched: Option<PathBuf>,
}

impl Places {
    /// As this process's environment says.
    pub(super) fn of_environment() -> Self {
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = || {
            let own = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")))?;
            Some(own.join("debuginfod_client"))
        };
        let configured = env::var_os("DEBUGINFOD_URLS").is_some();
        Self { fetched: path("DEBUGINFOD_CACHE_PATH").or_else(|| configured.then(cache).flatten()) }
    }

    /// The debug information of the binary with this build id, in hex.
    pub(super) fn find(&self, build_id: &str) -> Option<HeldFile> {
        let (first, rest) = build_id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
        let installed = INSTALLED.map(|dir| PathBuf::from(format!("{dir}/.build-id/{first}/{rest}.debug")));
        let fetched = self.fetched.as_ref().map(|dir| dir.join(build_id).join("debuginfo"));
        let mut files = installed.into_iter().chain(fetched).filter_map(|path| HeldFile::of_path(&path).ok());
        files.find(|file| Elf::of(file).build_id(file).as_deref() == Some(build_id))
    }
}
