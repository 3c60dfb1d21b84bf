//! The user stack of the running task, by frame pointers, as an id of the stack map.
//! Only for process context: in softirq it would be the stack of a bystander.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_USER_STACK,
    helpers::generated::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_stackid},
};
use closewait_ebpf::{NO_STACK, Task, counter};

use crate::{
    maps::{self, STACKS},
    tunables::STACKS_ON,
};

/// Takes the stack; [`NO_STACK`] when stacks are off, a negative errno when the kernel has none.
#[inline(always)]
pub(crate) fn take(ctx: &impl EbpfContext) -> i32 {
    if STACKS_ON.load() == 0 {
        return NO_STACK;
    }
    let map = (&raw const STACKS).cast_mut().cast();
    // SAFETY: `ctx` is the program's own context and STACKS a stack map.
    let id = unsafe { bpf_get_stackid(ctx.as_ptr(), map, u64::from(BPF_F_USER_STACK)) };
    if id < 0 {
        maps::count(counter::LOST_STACK);
    }
    id as i32
}

/// The running task.
#[inline(always)]
pub(crate) fn task() -> Task {
    let mut task = Task { tgid: 0, tid: 0, comm: [0; 16] };
    // SAFETY: these helpers have no precondition; `comm` has the 16 bytes promised.
    let id = unsafe {
        bpf_get_current_comm(task.comm.as_mut_ptr().cast(), 16);
        bpf_get_current_pid_tgid()
    };
    task.tgid = (id >> 32) as u32;
    task.tid = id as u32;
    task
}
