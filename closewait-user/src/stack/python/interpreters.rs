//! All interpreters of Python that were found: executables in, entries of the kernel side's
//! map out. Looked for before anything is captured, so that the first stack of a process
//! has its functions: among what runs, and where a command would be started from. One that
//! is met in a stack for the first time is known from then on.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use closewait_ebpf::python_key;

use super::super::file::{HeldFile, open_mapped};
use super::super::lru::Lru;
use super::super::maps::{Backing, Maps};
use super::super::places::read_maps;
use super::dynamic::Dynamic;
use super::interpreter::{Found, Interpreter, examine, is_library, library_of};
use super::{Walk, command};
use crate::clock::{Clock, MonoNs};
use crate::kernel::pythons::Pythons;

/// Interpreters that are known at most; as many as the kernel side has room for.
const MAX: usize = 256;

/// Executables that are known to be none: those looked at last.
const MAX_OTHERS: usize = 512;

/// So long are the executables of processes looked at before tracing begins, which takes some
/// milliseconds: whoever names a program python chooses what is in it. Those that are left are
/// known when they are met in a stack.
const PATIENCE: Duration = Duration::from_millis(200);

/// The interpreters that are known.
pub struct Interpreters {
    map: Pythons,
    known: Vec<Interpreter>,
    /// What became of each executable: since when it is known, or why it is not.
    executables: HashMap<u64, Result<MonoNs, String>>,
    /// Those that do not run Python.
    others: Lru<u64, ()>,
}

impl fmt::Debug for Interpreters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interpreters").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Interpreters {
    /// Those that run now, those that can be started by name, and the one that `started`,
    /// a command, would run.
    pub fn find(map: Pythons, started: Option<&OsStr>) -> Self {
        let mut found =
            Self { map, known: Vec::new(), executables: HashMap::new(), others: Lru::new(MAX_OTHERS) };
        let paths = started.map(command::interpreters_of).unwrap_or_default();
        for path in paths.into_iter().chain(command::in_path()) {
            found.add_path(&path);
        }
        let until = Clock::mono_now() + PATIENCE;
        for pid in processes().take_while(|_| Clock::mono_now() < until) {
            let exe = format!("/proc/{pid}/exe");
            let names_python = |path: PathBuf| {
                path.file_name().is_some_and(|name| name.as_bytes().windows(6).any(|part| part == b"python"))
            };
            if std::fs::read_link(&exe).is_ok_and(names_python) {
                found.add_process(pid, None);
            }
        }
        found
    }

    /// Which interpreters are known, for tests and logs.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The interpreter whose frames the kernel side walked.
    pub(super) fn of(&self, walk: &Walk) -> Option<&Interpreter> {
        self.known.get(usize::try_from(walk.layout).ok()?)
    }

    /// Why the stack of a process, with these mappings, came without Python functions `at`
    /// that time; it may be known from now on. `None` when it does not run Python.
    pub(in super::super) fn learn(&mut self, pid: u32, maps: &Maps, at: MonoNs) -> Option<String> {
        match self.add_process(pid, Some(maps))? {
            Ok(since) if at <= since => {
                Some("its interpreter was not known before this stack was taken".into())
            }
            Ok(_) => Some("this thread was in none, or they could not be read".into()),
            Err(why) => Some(why),
        }
    }

    fn add_path(&mut self, path: &Path) {
        // Where the linker looks depends on where the file is, not where links to it are.
        let Ok(path) = path.canonicalize() else { return };
        if let Ok(exe) = HeldFile::of_path(&path) {
            self.add(&exe, |dynamic| library_of(&path, dynamic));
        }
    }

    fn add_process(&mut self, pid: u32, maps: Option<&Maps>) -> Option<Result<MonoNs, String>> {
        let exe = HeldFile::of_path(Path::new(&format!("/proc/{pid}/exe"))).ok()?;
        self.add(&exe, |_| match maps {
            Some(maps) => mapped_library(pid, maps),
            None => mapped_library(pid, &read_maps(pid).ok()?),
        })
    }

    /// Since when an executable is known, or why it cannot be; `None` when it does not run Python.
    fn add(
        &mut self,
        exe: &HeldFile,
        library: impl FnOnce(&Dynamic) -> Option<HeldFile>,
    ) -> Option<Result<MonoNs, String>> {
        let key = python_key(exe.id.inode(), exe.stamp.size);
        if let Some(outcome) = self.executables.get(&key) {
            return Some(outcome.clone());
        }
        if self.others.get(&key).is_some() {
            return None;
        }
        let outcome = match examine(exe, library) {
            Found::NoPython => {
                self.others.insert(key, ());
                return None;
            }
            Found::Unknown(why) => Err(why),
            Found::Interpreter(_) if self.known.len() >= MAX => Err("too many interpreters are known".into()),
            Found::Interpreter(interpreter) => self.tell(key, interpreter),
        };
        if self.executables.len() < 2 * MAX {
            self.executables.insert(key, outcome.clone());
        }
        Some(outcome)
    }

    fn tell(&mut self, key: u64, interpreter: Interpreter) -> Result<MonoNs, String> {
        let value = interpreter.kernel(u32::try_from(self.known.len()).unwrap_or(u32::MAX));
        self.map
            .insert(key, &value)
            .map_err(|error| format!("the kernel side took no note of it: {error}"))?;
        log::debug!("an interpreter of Python: {interpreter:?}");
        self.known.push(interpreter);
        Ok(Clock::mono_now())
    }
}

/// The library that a process has mapped.
fn mapped_library(pid: u32, maps: &Maps) -> Option<HeldFile> {
    let is_it = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(is_library);
    let mapping =
        maps.code().iter().find(|m| matches!(&m.backing, Backing::File { path, .. } if is_it(path)))?;
    open_mapped(pid, mapping).ok()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
