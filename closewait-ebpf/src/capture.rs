//! The user stack as it is: registers and some 16 KiB of bytes, from which userspace
//! finds the frames by unwind tables. Only the first few times a process takes a call
//! path ([`call_path`]); after that its id is all that is needed.

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf, bpf_ktime_get_ns,
        bpf_probe_read_user, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_task_pt_regs,
    },
};
use closewait_ebpf::{ABSENT, Copied, PYTHON_FRAMES, PythonFrame, STACK_ROOM, counter, kind};

use crate::{
    call_path::{self, Code},
    maps::{self, COPIES, COPYING, COPYING_ALL, PATHS, SCRATCH, WORDS},
    memory::read,
    python,
    tunables::{HAS_TASK_PT_REGS, offset},
    user_stack,
};

/// A path is copied this often, so that a copy that could not be used is made good.
const COPIES_PER_PATH: u8 = 3;

/// Copies of one process, and of all, in [`WINDOW_NS`]. A copy costs some 6 us here and
/// 200 us to be named; all of them fit into the ring if nobody reads it for a second.
const PER_PROCESS: u32 = 128;
const OVERALL: u32 = 192;
/// Of these, a copy of a path that has one already may take this part: a process that
/// takes many paths at once (a Go program at its start took 17) gets one of each first.
const AGAIN: u32 = 4;
const WINDOW_NS: u64 = 1_000_000_000;

/// Executables below this are not position independent.
const LOW: u64 = 1 << 32;

/// Bytes of a record.
const ROOM: usize = Copied::SIZE + STACK_ROOM + PYTHON_FRAMES * PythonFrame::SIZE;

/// The stack is read in these pieces; of the smallest pages there are.
const PAGE: u64 = 4096;
const PAGES: usize = STACK_ROOM / PAGE as usize;

const EFAULT: i32 = 14;
const EBUSY: i32 = 16;

/// Copies since `began_ns`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Window {
    began_ns: u64,
    copies: u32,
    reserved: u32,
}

/// Where user code was when it entered the kernel.
#[derive(Clone, Copy)]
struct Entry {
    regs: u64,
    ip: u64,
    sp: u64,
}

/// The id of the running task's call path, or a negative errno; copies the stack if it is new.
/// `desk` is that of the running program ([`maps::desk`]).
///
/// Not inlined: it is the larger part of every program that takes a stack. Global, so
/// that the verifier looks at it once, and not anew for all that its callers may know.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn copied_stack(desk: u32) -> i32 {
    let (task, regs) = user_regs();
    // SAFETY: integers, at offsets of the structures that the addresses are of.
    let (mm, entry) = unsafe {
        let entry = Entry { regs, ip: member(regs, offset!(regs_ip)), sp: member(regs, offset!(regs_sp)) };
        (member::<u64>(task, offset!(task_mm)), entry)
    };
    if mm == 0 || entry.ip == 0 {
        // A kernel thread, or a worker of io_uring: it has no user code.
        return -EFAULT;
    }
    // SAFETY: no precondition.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    // Two paths through an interpreter have one native stack.
    let python = python::python_frames(desk);
    let Some(scratch) = SCRATCH.get_ptr_mut(desk) else {
        return -EBUSY;
    };
    // SAFETY: integers; the slot is this CPU's.
    unsafe {
        let start: u64 = member(mm, offset!(mm_start_code));
        let code = Code { start, len: member::<u64>(mm, offset!(mm_start_code) + 8).wrapping_sub(start) };
        (&raw mut (*scratch).owner).write_volatile(pid_tgid);
        let (buf, len) = (member(regs, offset!(regs_buf)), member(regs, offset!(regs_buf_len)));
        if !call_path::read_words(scratch, entry.sp, buf, len) {
            return -EFAULT;
        }
        let seed = entry.ip ^ (entry.sp & 0xfff) ^ python;
        let words = call_path::of_words(scratch, seed, code);
        // Old kernels run a program on top of itself; then the words may be another task's.
        if (&raw const (*scratch).owner).read_volatile() != pid_tgid {
            return -EBUSY;
        }
        let process = pid_tgid >> 32 << 32;
        if let Some(&known) = WORDS.get(process | words as u64) {
            return known;
        }
        let id = if start < LOW { call_path::of_returns(scratch, seed, code) } else { words };
        if (&raw const (*scratch).owner).read_volatile() != pid_tgid {
            return -EBUSY;
        }
        let copies = PATHS.get(process | id as u64).copied().unwrap_or(0);
        if copies >= COPIES_PER_PATH {
            let _ = WORDS.insert(process | words as u64, id, 0);
        } else if copy(entry, id, (pid_tgid >> 32) as u32, copies == 0, desk) {
            let _ = PATHS.insert(process | id as u64, copies + 1, 0);
        }
        id
    }
}

/// The running task, in a form whose members can be read by [`member`].
#[inline(always)]
pub(crate) fn running_task() -> u64 {
    // SAFETY: no precondition.
    unsafe {
        if HAS_TASK_PT_REGS.load() != 0 { bpf_get_current_task_btf() as u64 } else { bpf_get_current_task() }
    }
}

/// The running task, and the user registers that its entry into the kernel saved.
#[inline(always)]
fn user_regs() -> (u64, u64) {
    // SAFETY: the running task lives.
    unsafe {
        if HAS_TASK_PT_REGS.load() != 0 {
            let task = bpf_get_current_task_btf();
            return (task as u64, bpf_task_pt_regs(task) as u64);
        }
        // They are at the end of the task's kernel stack.
        let task = bpf_get_current_task();
        (task, read::<u64>(task + u64::from(offset!(task_stack))) + u64::from(offset!(stack_regs)))
    }
}

/// Reads a member of the structure at `base`.
///
/// # Safety
/// `T` must be valid for any bit pattern, and `base` an address that came from [`user_regs`],
/// or by this from there.
#[inline(always)]
pub(crate) unsafe fn member<T: Copy>(base: u64, offset: u16) -> T {
    // SAFETY: as the caller promises. The verifier knows the types of addresses that the
    // newer helpers gave, and allows loads, which survive a bad address; and it sees one
    // of the two branches.
    unsafe {
        if HAS_TASK_PT_REGS.load() != 0 {
            ((base + u64::from(offset)) as *const T).read_volatile()
        } else {
            read(base + u64::from(offset))
        }
    }
}

/// Copies the stack, unless there were too many copies lately.
#[inline(always)]
fn copy(entry: Entry, id: i32, tgid: u32, first: bool, desk: u32) -> bool {
    // SAFETY: no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    if !may_copy(tgid, now, if first { 1 } else { AGAIN }) {
        if first {
            maps::count(counter::COPY_PUT_OFF);
        }
        return false;
    }
    send(entry, id, now, desk)
}

#[inline(always)]
fn may_copy(tgid: u32, now: u64, part: u32) -> bool {
    if COPYING.get_ptr(tgid).is_none() {
        let _ = COPYING.insert(tgid, Window { began_ns: now, copies: 0, reserved: 0 }, 0);
    }
    let (Some(own), Some(all)) = (COPYING.get_ptr_mut(tgid), COPYING_ALL.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: both live at least until this program ends. Counts lost between CPUs
    // let a few more through.
    unsafe { within(own, now, PER_PROCESS / part) && within(all, now, OVERALL / part) }
}

/// Whether one more copy is within `limit`, which it then counts to.
///
/// # Safety
/// `window` is valid.
#[inline(always)]
unsafe fn within(window: *mut Window, now: u64, limit: u32) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        if now.wrapping_sub((*window).began_ns) >= WINDOW_NS {
            (*window).began_ns = now;
            (*window).copies = 0;
        }
        let within = (*window).copies < limit;
        if within {
            (*window).copies += 1;
        }
        within
    }
}

#[inline(always)]
fn send(entry: Entry, id: i32, now: u64, desk: u32) -> bool {
    let ring = (&raw const COPIES).cast_mut().cast();
    // SAFETY: COPIES is a ring buffer; the kernel gives null or the room asked for.
    let record = unsafe { bpf_ringbuf_reserve(ring, ROOM as u64, 0) }.cast::<Copied>();
    if record.is_null() {
        maps::count(counter::LOST_COPY);
        return false;
    }
    // SAFETY: room for a Copied, a stack and frames after it; every member is written. Bytes
    // of the room that are not told to be used are left as they were, in a ring that is userspace's own.
    unsafe {
        (*record).kind = kind::COPIED;
        (*record).stack_id = id;
        (*record).at_ns = now;
        (*record).task = user_stack::task();
        (*record).ip = entry.ip;
        (*record).sp = entry.sp;
        (*record).fp = read(entry.regs + u64::from(offset!(regs_fp)));
        (*record).lr =
            if offset!(regs_lr) == ABSENT { 0 } else { read(entry.regs + u64::from(offset!(regs_lr))) };
        (*record).len = read_stack(record.add(1).cast(), entry.sp);
        python::tell(record, record.add(1).cast::<u8>().add(STACK_ROOM).cast(), desk);
        // They are few, and the maps of the process must be read while it lives.
        bpf_ringbuf_submit(record.cast(), u64::from(BPF_RB_FORCE_WAKEUP));
    }
    maps::count(counter::COPIED);
    true
}

/// Reads the stack page by page, so that each piece is there or not; returns how many
/// bytes there were. Not every page need be there: one that only an unused part of a
/// buffer is on was never touched. What is missing before the last is zero.
///
/// # Safety
/// `to` has [`STACK_ROOM`] bytes.
#[inline(always)]
unsafe fn read_stack(to: *mut u8, sp: u64) -> u32 {
    let mut end = 0;
    let mut at = 0;
    let mut size = PAGE - (sp & (PAGE - 1));
    for _ in 0..PAGES {
        // SAFETY: as the caller promises: the first piece is a page at most, as are the
        // others. The helper zeroes what it cannot read.
        let read = unsafe {
            bpf_probe_read_user(to.add(at as usize).cast(), size as u32, (sp + at) as *const _) as i64
        };
        at += size;
        size = PAGE;
        // By arithmetic: a branch for each page would double the ways to what follows.
        let failed = (read >> 63) as u64;
        end = (end & failed) | (at & !failed);
    }
    end as u32
}
