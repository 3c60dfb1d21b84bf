//! The timer wheel: deadlines in, due slots out. Pure bookkeeping over the
//! slab's lists; it never looks at what a slot means.
//!
//! Why a hierarchical wheel: arming and disarming are O(1) whatever the order of
//! deadlines (a heap pays O(log n) for both and leaves garbage when a socket
//! leaves early; a FIFO, enough while time only rises, turns quadratic on late
//! records). Eight levels of 64 buckets cover every 64-bit time, so there is no
//! overflow list. A slot moves down at most once per level, and not at all when
//! its socket leaves before its bucket's time comes, which is the usual case.

use std::time::Duration;

use super::slab::{BUCKETS, DUE, List, Slab};
use crate::clock::MonoNs;

/// A tick is 2^20 ns, about a millisecond.
const TICK_SHIFT: u32 = 20;
const LEVEL_SHIFT: u32 = 6;
const LEVELS: u32 = 8;
const _: () = assert!(BUCKETS as u32 == LEVELS << LEVEL_SHIFT);
// 64 bits of nanoseconds less the tick are 44 bits: within 8 levels of 6.
const _: () = assert!(LEVELS * LEVEL_SHIFT + TICK_SHIFT >= u64::BITS);

/// The tick by whose start `deadline` has passed: never early, late by under a tick.
fn tick(deadline: MonoNs) -> u64 {
    deadline.0.saturating_add((1 << TICK_SHIFT) - 1) >> TICK_SHIFT
}

#[derive(Debug)]
pub(super) struct Wheel {
    threshold: Duration,
    /// Every bucket up to this tick has been emptied.
    elapsed: u64,
}

impl Wheel {
    pub(super) fn new(threshold: Duration) -> Self {
        Self { threshold, elapsed: 0 }
    }

    /// How long a socket must have been in CLOSE_WAIT.
    pub(super) const fn threshold(&self) -> Duration {
        self.threshold
    }

    /// The latest moment to count from for a deadline at `deadline` or before.
    pub(super) fn counting_to(&self, deadline: MonoNs) -> MonoNs {
        deadline - self.threshold
    }

    /// The list in which a slot that counts from `counts_from` waits for its deadline.
    pub(super) fn list_for(&self, counts_from: MonoNs) -> List {
        let tick = tick(counts_from + self.threshold);
        if tick <= self.elapsed {
            return DUE;
        }
        // The highest digit in which the tick differs from now decides the
        // level; there it is the greater one, so buckets never wrap around.
        let level = (tick ^ self.elapsed).ilog2() / LEVEL_SHIFT;
        let digit = (tick >> (level * LEVEL_SHIFT)) & 63;
        #[expect(clippy::cast_possible_truncation, reason = "below BUCKETS")]
        let list = (u64::from(level << LEVEL_SHIFT) | digit) as List;
        list
    }

    /// The tick at which the next bucket is to be emptied, and the bucket.
    fn next_bucket(&self, slab: &Slab) -> Option<(u64, List)> {
        (0..LEVELS).find_map(|level| {
            let occupied = slab.occupied(level as usize);
            (occupied != 0).then(|| {
                let digit = occupied.trailing_zeros();
                let shift = level * LEVEL_SHIFT;
                let above = self.elapsed >> shift >> LEVEL_SHIFT << LEVEL_SHIFT;
                #[expect(clippy::cast_possible_truncation, reason = "below BUCKETS")]
                let list = (level << LEVEL_SHIFT | digit) as List;
                ((above | u64::from(digit)) << shift, list)
            })
        })
    }

    /// When [`Wheel::advance`] next has something to do.
    pub(super) fn next(&self, slab: &Slab) -> Option<MonoNs> {
        let tick = match slab.first(DUE) {
            Some(_) => self.elapsed,
            None => self.next_bucket(slab)?.0,
        };
        Some(MonoNs(tick << TICK_SHIFT))
    }

    /// Moves every slot whose deadline is at or before `now` to [`DUE`].
    pub(super) fn advance(&mut self, slab: &mut Slab, now: MonoNs) {
        let now = now.0 >> TICK_SHIFT;
        while let Some((tick, bucket)) = self.next_bucket(slab)
            && tick <= now
        {
            self.elapsed = tick;
            while let Some(slot) = slab.first(bucket) {
                // Never the same bucket again: at `elapsed` it is a lower level's, or due.
                let list = self.list_for(slab[slot].counts_from());
                slab.move_to(slot, list);
            }
        }
        self.elapsed = self.elapsed.max(now);
    }
}
