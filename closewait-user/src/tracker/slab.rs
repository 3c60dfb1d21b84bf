//! Where entries live: slots that are reused, each a member of exactly one
//! circular, doubly linked list. Moving a slot to another list is O(1),
//! allocates nothing and leaves nothing behind.

use std::ops::{Index, IndexMut};

use super::SocketId;
use super::entry::{Entry, Life};

/// No slot.
const NIL: u32 = u32::MAX;

/// A list of slots. The first [`BUCKETS`] are the timer wheel's.
pub(super) type List = u16;
/// How many lists the timer wheel has.
pub(super) const BUCKETS: List = 512;
/// Deadline reached, not handed out yet.
pub(super) const DUE: List = BUCKETS;
/// Handed out as suspects.
pub(super) const HANDED: List = BUCKETS + 1;
/// Over, the oldest first.
pub(super) const LEFT: List = BUCKETS + 2;
/// Unused.
const FREE: List = BUCKETS + 3;
/// Used up: their next generation would be a number given out before.
const WORN: List = BUCKETS + 4;
const LISTS: usize = WORN as usize + 1;

#[derive(Debug)]
pub(super) struct Slab {
    entries: Vec<Entry>,
    heads: Box<[u32; LISTS]>,
    /// One bit per list: it has members.
    occupied: [u64; LISTS.div_ceil(64)],
    /// How many are in [`DUE`].
    due: u64,
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), heads: Box::new([NIL; LISTS]), occupied: [0; _], due: 0 }
    }

    /// Puts a new life into a slot; its generation and links are given here.
    pub(super) fn insert(&mut self, list: List, new: Entry) -> u32 {
        // The slot freed last is the one most likely still in a cache.
        let slot = if let Some(head) = self.first(FREE) {
            let slot = self[head].prev;
            self.unlink(slot);
            let generation = self[slot].generation + 1;
            self[slot] = Entry { generation, ..new };
            slot
        } else {
            // Growing by an eighth bounds the slack, which doubling would not; a
            // reallocation of this size moves pages, not bytes.
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact(self.entries.len() / 8 + 64);
            }
            self.entries.push(Entry { generation: 0, ..new });
            #[expect(clippy::cast_possible_truncation, reason = "2^32 slots are 412 GB")]
            let slot = (self.entries.len() - 1) as u32;
            slot
        };
        self.link(slot, list);
        slot
    }

    /// Gives a slot back.
    pub(super) fn free(&mut self, slot: u32) {
        self[slot].life = Life::Free;
        let list = if self[slot].generation == u32::MAX { WORN } else { FREE };
        self.move_to(slot, list);
    }

    /// Moves a slot to the end of a list.
    pub(super) fn move_to(&mut self, slot: u32, list: List) {
        self.unlink(slot);
        self.link(slot, list);
    }

    /// The first member of a list.
    pub(super) fn first(&self, list: List) -> Option<u32> {
        let head = self.heads[usize::from(list)];
        (head != NIL).then_some(head)
    }

    /// The members of a list, first to last.
    pub(super) fn members(&self, list: List) -> impl Iterator<Item = u32> {
        let head = self.first(list);
        std::iter::successors(head, move |&slot| {
            let next = self[slot].next;
            (Some(next) != head).then_some(next)
        })
    }

    /// How many have reached their deadline and were not handed out.
    pub(super) const fn due(&self) -> u64 {
        self.due
    }

    /// One bit for each of the lists `64 * word ..`: it has members.
    pub(super) fn occupied(&self, word: usize) -> u64 {
        self.occupied[word]
    }

    /// Every slot there is, in any state.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0_u32..).zip(&self.entries)
    }

    /// The slot of a life that is not over.
    pub(super) fn resolve(&self, id: SocketId) -> Option<u32> {
        let entry = self.entries.get(id.slot as usize)?;
        let alive = matches!(entry.life, Life::Waiting { .. } | Life::Ghost { .. });
        (alive && entry.generation == id.generation).then_some(id.slot)
    }

    /// The name of the life in a slot.
    pub(super) fn id(&self, slot: u32) -> SocketId {
        SocketId { slot, generation: self[slot].generation }
    }

    fn link(&mut self, slot: u32, list: List) {
        self.due += u64::from(list == DUE);
        let head = self.heads[usize::from(list)];
        let (prev, next) = if head == NIL {
            self.heads[usize::from(list)] = slot;
            self.occupied[usize::from(list) / 64] |= 1 << (list % 64);
            (slot, slot)
        } else {
            (self[head].prev, head)
        };
        self[prev].next = slot;
        self[next].prev = slot;
        let entry = &mut self[slot];
        (entry.prev, entry.next, entry.list) = (prev, next, list);
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { prev, next, list, .. } = self[slot];
        self.due -= u64::from(list == DUE);
        if next == slot {
            self.heads[usize::from(list)] = NIL;
            self.occupied[usize::from(list) / 64] &= !(1 << (list % 64));
            return;
        }
        self[prev].next = next;
        self[next].prev = prev;
        if self.heads[usize::from(list)] == slot {
            self.heads[usize::from(list)] = next;
        }
    }
}

impl Index<u32> for Slab {
    type Output = Entry;
    fn index(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }
}

impl IndexMut<u32> for Slab {
    fn index_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }
}
