//! A map that forgets what was used longest ago. In: keys and values; out: the
//! value, and what had to go. It never grows beyond the limit it was made with.

use std::collections::HashMap;
use std::hash::Hash;

/// A bounded map; inserting beyond the limit drops the entry used longest ago.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    limit: usize,
    uses: u64,
    /// Entries dropped to make room, ever.
    pub(super) dropped: u64,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// An empty map for at most `limit` entries (at least one).
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), uses: 0, dropped: 0, entries: HashMap::new() }
    }

    /// The value of `key`, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    /// Puts `value` under `key`, where it is returned; drops an entry if there is no room.
    pub(super) fn insert(&mut self, key: K, value: V) -> &mut V {
        if self.is_full() && !self.entries.contains_key(&key) {
            self.drop_oldest();
        }
        self.uses += 1;
        let slot = self.entries.entry(key).insert_entry((self.uses, value));
        &mut slot.into_mut().1
    }

    /// Drops the entry used longest ago. Scans: the limits are small, and this
    /// happens at most once per insertion.
    pub(super) fn drop_oldest(&mut self) -> Option<(K, V)> {
        let oldest = *self.entries.iter().min_by_key(|(_, (used, _))| *used)?.0;
        let value = self.remove(&oldest)?;
        self.dropped += 1;
        Some((oldest, value))
    }

    /// Whether the next new key drops an entry.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// Drops `key`.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    /// Drops those of which `keep` says no.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain(|key, (_, value)| keep(key, value));
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.entries = HashMap::new();
    }

    /// Entries held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_used_longest_ago_goes_first() {
        let mut lru = Lru::new(2);
        lru.insert('a', 1);
        lru.insert('b', 2);
        assert_eq!(lru.get(&'a'), Some(&mut 1));
        *lru.insert('c', 3) += 1;
        assert_eq!(lru.insert('c', 5), &5, "replacing needs no room");
        assert_eq!(['a', 'b', 'c'].map(|key| lru.get(&key).copied()), [Some(1), None, Some(5)]);
        assert_eq!((lru.len(), lru.dropped), (2, 1));
    }
}
