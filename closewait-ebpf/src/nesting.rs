//! What happens on top of a transitions program.
//!
//! While one of the two runs, the kernel skips it on that CPU: for an event in softirq,
//! and, where programs may be preempted, for one of another task. The other one sees the
//! event, and does what the skipped one would (the first without a stack). Each counts
//! what the other has to do, so that userspace knows how many edges neither saw: events
//! between the kernel's own mark and that of the program, a few instructions. The kernel's
//! count of skipped runs is mostly of edges that nobody needs.
//!
//! Before 6.1 the kernel runs a raw tracepoint's program on top of itself. The second
//! looks for that, and leaves the edge to the first.

use aya_ebpf::EbpfContext;
use closewait_ebpf::{Task, counter, edges};

use crate::{maps::EDGES, user_stack};

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

/// The value of this CPU.
pub(crate) type Edges = [u64; edges::COUNT];

/// The value of this CPU.
#[inline(always)]
pub(crate) fn edges() -> Option<*mut Edges> {
    EDGES.get_ptr_mut(0)
}

/// A program, [`edges::FIRST`] or [`edges::SECOND`], begins.
#[inline(always)]
pub(crate) fn begin(edges: *mut Edges, program: usize) {
    mark(edges, program, 1);
}

/// And ends.
#[inline(always)]
pub(crate) fn end(edges: *mut Edges, program: usize) {
    mark(edges, program, 0);
}

/// Whether a program runs below this one: then the kernel skips it for the present event.
#[inline(always)]
pub(crate) fn is_below(edges: *mut Edges, program: usize) -> bool {
    // SAFETY: this CPU's own value; volatile, because that program is interrupted.
    unsafe { (&raw const (*edges)[program]).read_volatile() != 0 }
}

/// Adds one to a member.
#[inline(always)]
pub(crate) fn add(edges: *mut Edges, member: usize) {
    // SAFETY: this CPU's own value; a member is written by one program, of which a run on
    // top of another, on an old kernel, may cost the count one.
    unsafe { (*edges)[member] += 1 };
}

#[inline(always)]
fn mark(edges: *mut Edges, program: usize, running: u64) {
    // SAFETY: this CPU's own value; volatile, because the other program interrupts this one.
    unsafe { (&raw mut (*edges)[program]).write_volatile(running) };
}
