//! Only what one command and all its descendants do (`closewait-trace run`).
//!
//! Descendants are followed at fork, so that those that daemonise, change their session
//! or live for a millisecond belong too. Not by cgroup: there is none to be made in many
//! containers, and one would outlive a daemon that the command leaves. A process is its
//! id and the time its leader began, which survives `exec` also from another thread
//! (de_thread copies it), so that a reused id does not make a stranger a member.
//!
//! What a socket leaves behind when its process ends cannot be looked up afterwards: it
//! is sent with the end ([`ended`]). So it is when a socket was closed late: a gate must
//! not depend on having looked in time.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task, bpf_ktime_get_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use closewait_ebpf::{Ended, Remembered, about, counter, kind};

use crate::{
    maps::{self, FAMILY, SOCKETS},
    memory::read,
    ring::send,
    sock::{Number, Sock, inode},
    tunables::{FAMILY_ONLY, offset},
    user_stack,
};

/// A close within so many units of [`short`] of the peer's FIN is no news: the least
/// that a gate can be told to count is 1 ms, and most of what is healthy is faster.
const LATE: u32 = 1;

/// `sched_process_fork(parent, child)`, before the child runs.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn fork_raw(ctx: RawTracePointContext) -> i32 {
    let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let Some(tgid) = leads(child) else {
        return 0;
    };
    if is_member(parent) && FAMILY.insert(tgid, started(child), 0).is_err() {
        maps::count(counter::LOST_MEMBER);
    }
    0
}

/// `sched_process_free(task)`, when nothing refers to it any more.
#[raw_tracepoint(tracepoint = "sched_process_free")]
fn free_raw(ctx: RawTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    let Some(tgid) = leads(task) else {
        return 0;
    };
    if let Some(known) = FAMILY.get_ptr(tgid)
        // SAFETY: the entry lives at least until this program ends (RCU).
        && unsafe { *known } == started(task)
    {
        let _ = FAMILY.remove(tgid);
    }
    0
}

/// Whether only members' sockets are of interest.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    FAMILY_ONLY.load() != 0
}

/// Whether the running task is none whose sockets are of interest.
#[inline(always)]
pub(crate) fn is_outsider() -> bool {
    // SAFETY: no precondition.
    is_on() && !is_member(unsafe { bpf_get_current_task() })
}

/// Whether a socket is of no interest: no member is known to have opened it, and it has
/// been accepted. (Whose listener one waits for that has not, userspace finds out. One that
/// a member is just accepting looks like it: `transitions::entered_before`.)
#[inline(always)]
pub(crate) fn is_foreign(sk: u64) -> bool {
    if !is_on() || SOCKETS.get_ptr(sk).is_some() {
        return false;
    }
    Number(sk).socket() != 0
}

/// How far has been written to a socket of a member. (Asked at its opening too: it may
/// enter CLOSE_WAIT before it is accepted.)
#[inline(always)]
pub(crate) fn written(sk: u64) -> u32 {
    if !is_on() {
        return 0;
    }
    // SAFETY: an integer.
    unsafe { read(sk + u64::from(offset!(tcp_write_seq))) }
}

/// A member's socket entered CLOSE_WAIT: remembers how far it had written.
#[inline(always)]
pub(crate) fn entered(sk: u64) {
    if !is_on() {
        return;
    }
    if let Some(entry) = SOCKETS.get_ptr_mut(sk) {
        // SAFETY: the entry lives at least until this program ends (RCU).
        unsafe {
            (*entry).entered_seq = written(sk);
            // If it is 0 by chance, a record more is sent.
            (*entry).entered = short(bpf_ktime_get_ns());
        }
    }
}

/// A time in units of about a millisecond.
#[inline(always)]
const fn short(at_ns: u64) -> u32 {
    (at_ns >> 20) as u32
}

/// A socket ends at `at_ns`. If its process ends with it, or closed it late
/// (`by_application`: it was the application's doing, not the network's), sends what is
/// remembered of it and what was queued on it; the record of the end itself follows.
#[inline(always)]
pub(crate) fn ended(sk: u64, at_ns: u64, by_application: bool) {
    if !is_on() || is_outsider() {
        return;
    }
    let about = user_stack::exiting() & about::EXITING;
    let known = SOCKETS.get_ptr(sk);
    if about == 0 {
        // SAFETY: the entry lives at least until this program ends (RCU).
        let entered = known.map_or(0, |known| unsafe { (*known).entered });
        let at_once = entered != 0 && short(at_ns).wrapping_sub(entered) < LATE;
        if !by_application || at_once {
            return;
        }
    }
    // SAFETY: integers.
    let (write_seq, snd_una, rcv_nxt, copied_seq) = unsafe {
        (
            read::<u32>(sk + u64::from(offset!(tcp_write_seq))),
            read::<u32>(sk + u64::from(offset!(tcp_snd_una))),
            read::<u32>(sk + u64::from(offset!(tcp_rcv_nxt))),
            read::<u32>(sk + u64::from(offset!(tcp_copied_seq))),
        )
    };
    let task = user_stack::task();
    let inode = inode(Number(sk).socket());
    send::<Ended>(counter::LOST_ENDED, |record| {
        // SAFETY: room for an Ended; every member is written. The entry lives at least
        // until this program ends (RCU).
        unsafe {
            (*record).kind = kind::ENDED;
            (*record).unread = rcv_nxt.wrapping_sub(copied_seq);
            (*record).at_ns = at_ns;
            (*record).skaddr = sk;
            (*record).unsent = write_seq.wrapping_sub(snd_una);
            (*record).written = 0;
            (*record).inode = inode;
            (*record).about = u32::from(about);
            (*record).task = task;
            if let Some(known) = known {
                (*record).written = write_seq.wrapping_sub((*known).entered_seq);
                (*record).remembered = *known;
            } else {
                (*record).remembered = Remembered::EMPTY;
            }
        }
    });
}

/// The process that this task leads; `None` for any other thread.
#[inline(always)]
fn leads(task: u64) -> Option<u32> {
    // SAFETY: integers.
    let (pid, tgid): (u32, u32) =
        unsafe { (read(task + u64::from(offset!(task_pid))), read(task + u64::from(offset!(task_tgid)))) };
    (pid == tgid).then_some(tgid)
}

/// When a task began.
#[inline(always)]
fn started(task: u64) -> u64 {
    // SAFETY: an integer.
    unsafe { read(task + u64::from(offset!(task_start_time))) }
}

#[inline(always)]
fn is_member(task: u64) -> bool {
    // SAFETY: integers.
    let (tgid, leader): (u32, u64) = unsafe {
        (read(task + u64::from(offset!(task_tgid))), read(task + u64::from(offset!(task_group_leader))))
    };
    let Some(known) = FAMILY.get_ptr(tgid) else {
        return false;
    };
    // SAFETY: the entry lives at least until this program ends (RCU).
    let known = unsafe { *known };
    known == 0 || known == started(leader)
}
