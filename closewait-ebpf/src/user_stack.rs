//! The user stack of the running task, as an id: of a copy, or of the kernel's walk of
//! frame pointers. Only for process context: in softirq it would be that of a bystander.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_USER_STACK,
    helpers::generated::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_stackid},
};
use closewait_ebpf::{ABSENT, COMM_LEN, NO_STACK, Task, about, counter, stacks_by};

use crate::{
    capture::{self, member, running_task},
    maps::{self, STACKS},
    path,
    tunables::{HAS_TASK_PT_REGS, STACKS_BY, offset},
};

/// Takes the stack of the running `task`, and announces its call path if that is new.
/// `desk` is that of the program ([`maps::desk`]). Returns the stack's id; [`NO_STACK`] when stacks are off, a negative errno when there is none.
#[inline(always)]
pub(crate) fn take(ctx: &impl EbpfContext, task: &Task, desk: u32) -> i32 {
    let id = match STACKS_BY.load() {
        stacks_by::COPY => capture::copied_stack(desk),
        stacks_by::FRAME_POINTERS => {
            let map = (&raw const STACKS).cast_mut().cast();
            // SAFETY: `ctx` is the program's own context and STACKS a stack map.
            let id = unsafe { bpf_get_stackid(ctx.as_ptr(), map, u64::from(BPF_F_USER_STACK)) } as i32;
            path::announce(task, id);
            id
        }
        _ => return NO_STACK,
    };
    if id < 0 {
        maps::count(counter::LOST_STACK);
    }
    id
}

/// Whether the running task is ending, as bits of [`about`].
#[inline(always)]
pub(crate) fn exiting() -> u16 {
    // include/linux/sched.h
    const PF_EXITING: u32 = 4;
    if offset!(task_flags) == ABSENT {
        return 0;
    }
    // SAFETY: an integer of the running task.
    let flags: u32 = unsafe { member(running_task(), offset!(task_flags)) };
    // The bit by arithmetic: a branch would double the paths of the program around it.
    about::EXITING_READ | ((flags & PF_EXITING) >> 2) as u16 * about::EXITING
}

/// The running task.
#[inline(always)]
pub(crate) fn task() -> Task {
    let mut task = Task { tgid: 0, tid: 0, comm: [0; COMM_LEN] };
    tell_task(&mut task);
    task
}

/// By loads where its type is known: two more calls of helpers cost more.
///
/// A function of its own, for the stack of its callers (512 bytes with what they call, on 5.10 and
/// 6.1). Not global: a global one is given no address there.
#[inline(never)]
fn tell_task(task: &mut Task) {
    let comm = task.comm.as_mut_ptr();
    // SAFETY: integers, and bytes, of the running task; `comm` has the 16 bytes written and
    // promised. The helpers have no precondition.
    unsafe {
        if HAS_TASK_PT_REGS.load() != 0 && offset!(task_comm) != ABSENT {
            let running = running_task();
            task.tgid = member(running, offset!(task_tgid));
            task.tid = member(running, offset!(task_pid));
            comm.cast::<u64>().write_unaligned(member(running, offset!(task_comm)));
            comm.add(8).cast::<u64>().write_unaligned(member(running, offset!(task_comm) + 8));
        } else {
            bpf_get_current_comm(comm.cast(), COMM_LEN as u32);
            let id = bpf_get_current_pid_tgid();
            task.tgid = (id >> 32) as u32;
            task.tid = id as u32;
        }
    }
}
