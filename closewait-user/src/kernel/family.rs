//! The processes of a command: the map in which the kernel side follows its descendants.

use aya::maps::{HashMap, MapData, MapError};

/// The members, by process id. Nothing is followed until somebody has been let in.
pub struct Family(HashMap<MapData, u32, u64>);

impl Family {
    pub(super) const fn new(map: HashMap<MapData, u32, u64>) -> Self {
        Self(map)
    }

    /// From now on the children of `pid` are members, and it is one.
    pub fn admit(&mut self, pid: u32) -> Result<(), MapError> {
        self.0.insert(pid, 0, 0)
    }

    /// `pid` is no member any more; its children remain what they are.
    pub fn dismiss(&mut self, pid: u32) -> Result<(), MapError> {
        self.0.remove(&pid)
    }

    /// Whether `pid` is a member that has not ended. (A member that has ended may still
    /// be one for a moment.)
    pub fn contains(&self, pid: u32) -> bool {
        self.0.get(&pid, 0).is_ok()
    }

    /// All that have not ended, by number.
    pub fn members(&self) -> Vec<u32> {
        let mut members: Vec<_> = self.0.keys().flatten().collect();
        members.sort_unstable();
        members
    }
}
