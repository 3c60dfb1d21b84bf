//! The maps by which the kernel side knows the interpreters of Python.

use aya::maps::{Array, HashMap, MapData, MapError};
use closewait_ebpf::{Python, pythons_known};

/// Interpreters, by the executable that runs them.
pub struct Pythons {
    by_executable: HashMap<MapData, u64, [u8; Python::SIZE]>,
    known: Array<MapData, u64>,
}

impl Pythons {
    pub(super) const fn new(
        by_executable: HashMap<MapData, u64, [u8; Python::SIZE]>,
        known: Array<MapData, u64>,
    ) -> Self {
        Self { by_executable, known }
    }

    /// From now on the frames of processes that run this executable are taken.
    pub fn insert(&mut self, key: u64, python: &Python) -> Result<(), MapError> {
        let mut value = [0; Python::SIZE];
        python.write(&mut &mut value[..]);
        self.by_executable.insert(key, value, 0)?;
        self.known.set(pythons_known::EXECUTABLES, 1, 0)
    }
}

impl std::fmt::Debug for Pythons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pythons").finish_non_exhaustive()
    }
}
