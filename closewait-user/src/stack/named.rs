//! The named stacks that are kept, within a bound of memory. In: stacks as they are named;
//! out: what is known under a key. Equal ones are kept once: processes forked from one parent
//! have the same code at the same addresses. What was asked for longest ago goes first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::Stack;
use super::lru::Lru;
use super::worker::Named;
use crate::fact::Fact;

/// Keys that are kept, with a stack or with the reason why there is none.
pub const MAX_STACKS: usize = 4096;

/// Frames of the different stacks among them; about 300 bytes each, so 38 MB.
pub const MAX_FRAMES: usize = 1 << 17;

/// Named stacks by key.
#[derive(Debug)]
pub(super) struct NamedStacks<K> {
    /// `None`: not named yet.
    entries: Lru<K, Option<Named>>,
    /// Each of the different stacks, and how many entries have it.
    different: HashMap<Arc<Stack>, usize>,
    /// Of all the different stacks.
    frames: usize,
    max_frames: usize,
}

impl<K> Default for NamedStacks<K>
where
    K: Copy + Eq + Hash,
{
    fn default() -> Self {
        Self::new(MAX_STACKS, MAX_FRAMES)
    }
}

impl<K: Copy + Eq + Hash> NamedStacks<K> {
    fn new(max_stacks: usize, max_frames: usize) -> Self {
        Self { entries: Lru::new(max_stacks), different: HashMap::new(), frames: 0, max_frames }
    }

    /// What is known under `key`, which counts as a use: nothing, that it is being named, or
    /// what came of it.
    pub(super) fn get(&mut self, key: &K) -> Option<&Option<Named>> {
        self.entries.get(key).map(|entry| &*entry)
    }

    /// Puts what is known under `key`; drops what there is no room for. The newest has room
    /// whatever its size.
    pub(super) fn insert(&mut self, key: K, named: Option<Named>) {
        self.remove(&key);
        let named = named.map(|named| match named {
            Fact::Known(stack) => Fact::Known(self.share(stack)),
            unknown @ Fact::Unknown(_) => unknown,
        });
        while self.entries.is_full() || self.frames > self.max_frames && self.entries.len() > 0 {
            let Some((_, oldest)) = self.entries.drop_oldest() else { break };
            self.release(oldest);
        }
        self.entries.insert(key, named);
    }

    /// Forgotten to make room, ever.
    pub(super) fn dropped(&self) -> u64 {
        self.entries.dropped
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.release(entry);
        }
    }

    /// The same stack, the one that is kept already if there is one.
    fn share(&mut self, stack: Arc<Stack>) -> Arc<Stack> {
        let frames = stack.frames.len();
        let entry = self.different.entry(stack);
        let shared = Arc::clone(entry.key());
        let uses = entry.or_insert(0);
        if *uses == 0 {
            self.frames += frames;
        }
        *uses += 1;
        shared
    }

    /// An entry has gone.
    fn release(&mut self, entry: Option<Named>) {
        let Some(Fact::Known(stack)) = entry else { return };
        let Some(uses) = self.different.get_mut(&stack) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.different.remove(&stack);
            self.frames -= stack.frames.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Frame, How};

    fn stack(addresses: &[u64]) -> Named {
        let frame = |addr: &u64| Frame {
            addr: *addr,
            symbol: None,
            module: None,
            build_id: None,
            offset: 0,
            file: None,
            line: None,
            inlined: false,
            how: How::Dwarf,
        };
        let frames = addresses.iter().map(frame).collect::<Vec<_>>().into();
        Fact::Known(Arc::new(Stack { frames, note: None }))
    }

    fn known(kept: &mut NamedStacks<u32>, key: u32) -> Option<Arc<Stack>> {
        kept.get(&key)?.as_ref()?.known().cloned()
    }

    #[test]
    fn equal_stacks_are_kept_once() {
        let mut kept = NamedStacks::new(10, 100);
        for process in 0..7 {
            kept.insert(process, None);
            kept.insert(process, Some(stack(&[1, 2, 3])));
        }
        kept.insert(7, Some(stack(&[1, 2])));
        assert_eq!((kept.frames, kept.different.len()), (5, 2));
        let (one, other) = (known(&mut kept, 0).unwrap(), known(&mut kept, 6).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        // Named again, or unknown in the end.
        (0..7).for_each(|process| kept.insert(process, Some(Fact::unknown("it has ended"))));
        assert_eq!((kept.frames, kept.different.len(), kept.dropped()), (2, 1, 0));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut kept = NamedStacks::new(3, 8);
        for key in 0..3 {
            kept.insert(key, Some(stack(&[u64::from(key), 7])));
        }
        assert!(known(&mut kept, 0).is_some(), "used");
        kept.insert(3, Some(stack(&[9])));
        assert_eq!([0, 1, 2, 3].map(|key| known(&mut kept, key).is_some()), [true, false, true, true]);
        // More frames than there may be: all others go, and it stays.
        kept.insert(4, Some(stack(&[5; 20])));
        assert_eq!([0, 2, 3, 4].map(|key| known(&mut kept, key).is_some()), [false, false, false, true]);
        assert_eq!((kept.frames, kept.different.len(), kept.dropped()), (20, 1, 4));
        kept.insert(5, Some(stack(&[6])));
        assert_eq!((kept.frames, kept.entries.len()), (1, 1));
    }
}
