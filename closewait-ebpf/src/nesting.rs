//! What happens on top of the second transitions program.
//!
//! While it runs, the kernel skips it on that CPU: for an event in softirq, and, where
//! programs may be preempted, for one of another task. The first program sees those too.
//! It counts them, so that userspace knows which skipped runs are accounted for (most
//! are edges that nobody needs), and does for an edge of interest what the second would,
//! but for the stack.

use aya_ebpf::EbpfContext;
use closewait_ebpf::{Task, counter};

use crate::{maps::RUNNING, user_stack};

/// What a stack says that was not taken on top of another one.
const EBUSY: i32 = 16;

/// Which of the two programs does the work of the second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// The second.
    Usual,
    /// The first, on top of the second.
    OnTop,
}

impl Run {
    /// The running task's stack. Not on top of a program that may be taking one, at this desk.
    #[inline(always)]
    pub(crate) fn stack(self, ctx: &impl EbpfContext, task: &Task, desk: u32) -> i32 {
        match self {
            Self::Usual => user_stack::take(ctx, task, desk),
            Self::OnTop => -EBUSY,
        }
    }

    /// A counter belongs to one program: on top of it another one counts.
    #[inline(always)]
    pub(crate) const fn slot(self, usual: u32) -> u32 {
        match (self, usual) {
            (Self::Usual, _) => usual,
            (Self::OnTop, counter::LOST_LEAVE) => counter::LOST_NESTED,
            (Self::OnTop, _) => counter::SENT_NESTED,
        }
    }
}

/// The second program begins. Between the kernel's own mark and this one an event is
/// skipped and not counted here: that is taken for a loss.
#[inline(always)]
pub(crate) fn begin() {
    set(1);
}

/// And ends.
#[inline(always)]
pub(crate) fn end() {
    set(0);
}

/// Whether the kernel will skip the second program for the present event.
#[inline(always)]
pub(crate) fn is_skipped() -> bool {
    // SAFETY: the map hands out this CPU's own slot, which the program below this one has
    // written; volatile, because that one is interrupted.
    RUNNING.get_ptr(0).is_some_and(|running| unsafe { running.read_volatile() } != 0)
}

#[inline(always)]
fn set(value: u64) {
    if let Some(running) = RUNNING.get_ptr_mut(0) {
        // SAFETY: as above; nothing else writes it while this program runs.
        unsafe { running.write_volatile(value) };
    }
}
