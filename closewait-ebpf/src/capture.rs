//! The user stack as it is: registers and up to 16 KiB of bytes, from which userspace
//! finds the frames by unwind tables. Only the first few times a process takes a call
//! path; after that its id is all that is needed.
//!
//! **What a call path is.** A hash over the user instruction pointer, the stack
//! pointer's place in its page, and those words of the first KiB of stack that point
//! into the code of the executable. Such words are the return addresses, and a few that
//! calls before left behind: so one path may have several ids, which costs a copy each.
//! Where a read goes to a large buffer on the stack, the KiB above the buffer counts too.
//! The stack pointer stands for what the words do not show (callers further up, and code
//! in libraries, JITs and interpreters): thread and goroutine stacks begin at pages, so
//! its place in a page is the depth of the stack modulo 4 KiB. Two paths share an id
//! only if all of it is equal.
//!
//! Where the executable lies at low addresses (it is not position independent), numbers
//! look like its addresses: node keeps the milliseconds since boot on its stack. So there
//! only words count that a call stands before; as that takes a read for each, what came
//! of the same words is remembered.

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf, bpf_ktime_get_ns,
        bpf_probe_read_user, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_task_pt_regs,
    },
};
use closewait_ebpf::{ABSENT, Copied, STACK_LONG, STACK_SHORT, counter, kind};

use crate::{
    call_site::is_return_address,
    maps::{self, COPIES, COPYING, COPYING_ALL, PATHS, SCRATCH, WORDS},
    memory::read,
    tunables::{HAS_TASK_PT_REGS, offset},
    user_stack,
};

/// A path is copied this often, so that a copy that could not be used is made good.
const COPIES_PER_PATH: u8 = 3;

/// Copies of one process, and of all, in [`WINDOW_NS`]. A copy costs some 6 us here and
/// 200 us to be named; all of them fit into the ring if nobody reads it for a second.
const PER_PROCESS: u32 = 64;
const OVERALL: u32 = 192;
/// Of these, a copy of a path that has one already may take this part: a process that
/// takes many paths at once (a Go program at its start took 17) gets one of each first.
const AGAIN: u32 = 4;
const WINDOW_NS: u64 = 1_000_000_000;

/// The words that are hashed: 1 KiB.
const HASHED: usize = 128;

/// 2^64 divided by the golden ratio: spreads low bits over high ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Executables below this are not position independent.
const LOW: u64 = 1 << 32;

/// The stack is read in pieces, and where it ends within one, in smaller pieces.
const PIECE: usize = 1024;
const SMALL_PIECE: usize = 64;

const EFAULT: i32 = 14;
const EBUSY: i32 = 16;

/// Room to hash a stack in. The programs' own stack is too small, and another task may
/// preempt a program on this CPU: `owner` tells.
#[repr(C)]
pub(crate) struct Scratch {
    owner: u64,
    words: [u64; HASHED],
}

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

/// The bounds of the executable's code.
#[derive(Clone, Copy)]
struct Code {
    start: u64,
    len: u64,
}

/// The id of the running task's call path, or a negative errno; copies the stack if it is new.
///
/// Not inlined: it is the larger part of every program that takes a stack. Global, so
/// that the verifier looks at it once, and not anew for all that its callers may know.
#[inline(never)]
pub(crate) extern "C" fn copied_stack() -> i32 {
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
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return -EBUSY;
    };
    // SAFETY: integers; the slot is this CPU's.
    unsafe {
        let start: u64 = member(mm, offset!(mm_start_code));
        let code = Code { start, len: member::<u64>(mm, offset!(mm_start_code) + 8).wrapping_sub(start) };
        let words = path_id(scratch, code, entry, pid_tgid, false);
        if words < 0 {
            return words;
        }
        let process = pid_tgid >> 32 << 32;
        if let Some(&known) = WORDS.get(process | words as u64) {
            return known;
        }
        let id = if start < LOW { path_id(scratch, code, entry, pid_tgid, true) } else { words };
        if id < 0 {
            return id;
        }
        let copies = PATHS.get(process | id as u64).copied().unwrap_or(0);
        if copies >= COPIES_PER_PATH {
            let _ = WORDS.insert(process | words as u64, id, 0);
        } else if copy(entry, id, (pid_tgid >> 32) as u32, copies == 0) {
            let _ = PATHS.insert(process | id as u64, copies + 1, 0);
        }
        id
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
/// `T` must be valid for any bit pattern, and `base` an address that came from [`user_regs`].
#[inline(always)]
unsafe fn member<T: Copy>(base: u64, offset: u16) -> T {
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

/// The hash that makes the id, or a negative errno; only of `returns`, if so asked.
///
/// # Safety
/// `scratch` is this CPU's.
#[inline(always)]
unsafe fn path_id(scratch: *mut Scratch, code: Code, entry: Entry, me: u64, returns: bool) -> i32 {
    // SAFETY: the slot has the room that is named.
    unsafe {
        (&raw mut (*scratch).owner).write_volatile(me);
        let words = (&raw mut (*scratch).words).cast::<u64>();
        if !read_words(words, entry.sp) {
            return -EFAULT;
        }
        let seed = (entry.ip ^ (entry.sp & 0xfff)).wrapping_mul(SPREAD);
        let mut hash = hash_words(seed, words, code, returns);
        let above = above_buffer(entry);
        if above != 0 && read_words(words, above) {
            hash = hash_words(hash, words, code, returns);
        }
        if (&raw const (*scratch).owner).read_volatile() != me {
            // Preempted meanwhile, and the words are another task's.
            return -EBUSY;
        }
        (hash >> 33) as i32
    }
}

/// The first address above the buffer that the system call reads to, if that is on the
/// copied part of the stack and ends above what is hashed anyway; else 0.
#[inline(always)]
fn above_buffer(entry: Entry) -> u64 {
    // SAFETY: integers.
    let (buf, len): (u64, u64) =
        unsafe { (member(entry.regs, offset!(regs_buf)), member(entry.regs, offset!(regs_buf_len))) };
    let from = buf.wrapping_sub(entry.sp);
    let to = from.wrapping_add(len);
    let is_large = from < STACK_LONG as u64 && to > (HASHED * 8) as u64 && to < STACK_LONG as u64;
    if is_large { (entry.sp + to + 7) & !7 } else { 0 }
}

/// Mixes those words into `hash` that point into the code; only where a call stands
/// before it, if `returns`.
///
/// # Safety
/// `words` has room for [`HASHED`] words.
#[inline(always)]
unsafe fn hash_words(mut hash: u64, words: *mut u64, code: Code, returns: bool) -> u64 {
    let mut at = 0;
    while at < HASHED {
        // Eight at a time: a loop costs as much as its body. Read twice, so that what
        // is done with the few that count is not done with all.
        for word in 0..8 {
            // SAFETY: as the caller promises.
            unsafe {
                let word = words.add(at + word);
                if word.read_volatile().wrapping_sub(code.start) < code.len
                    && (!returns || is_return_address(word.read_volatile()) != 0)
                {
                    hash = (hash ^ word.read_volatile()).wrapping_mul(SPREAD);
                }
            }
        }
        at += 8;
    }
    hash
}

/// Reads [`HASHED`] words from the user address `from`; what is beyond the end of the
/// stack is zero. False if nothing could be read.
///
/// # Safety
/// `words` has room for them.
#[inline(always)]
unsafe fn read_words(words: *mut u64, from: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        bpf_probe_read_user(words.cast(), (HASHED * 8) as u32, from as *const _) == 0
            || read_shorter(words.cast(), from)
    }
}

/// Reads the words of a stack that ends within the first KiB; what is beyond its end is zero.
///
/// # Safety
/// `words` has room for [`HASHED`] words.
#[inline(always)]
unsafe fn read_shorter(words: *mut u8, sp: u64) -> bool {
    let mut any = false;
    let mut at = 0;
    while at < HASHED * 8 {
        // SAFETY: as the caller promises; `at` stays below the room's size.
        let read = unsafe {
            bpf_probe_read_user(words.add(at).cast(), SMALL_PIECE as u32, (sp + at as u64) as *const _)
        };
        any |= read == 0;
        at += SMALL_PIECE;
    }
    any
}

/// Copies the stack, unless there were too many copies lately.
#[inline(always)]
fn copy(entry: Entry, id: i32, tgid: u32, first: bool) -> bool {
    // SAFETY: no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    if !may_copy(tgid, now, if first { 1 } else { AGAIN }) {
        if first {
            maps::count(counter::COPY_PUT_OFF);
        }
        return false;
    }
    if goes_on(entry.sp) { send::<STACK_LONG>(entry, id, now) } else { send::<STACK_SHORT>(entry, id, now) }
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
fn send<const ROOM: usize>(entry: Entry, id: i32, now: u64) -> bool {
    let ring = (&raw const COPIES).cast_mut().cast();
    // SAFETY: COPIES is a ring buffer; the kernel gives null or the room asked for.
    let record = unsafe { bpf_ringbuf_reserve(ring, (Copied::SIZE + ROOM) as u64, 0) }.cast::<Copied>();
    if record.is_null() {
        maps::count(counter::LOST_COPY);
        return false;
    }
    // SAFETY: room for a Copied and a stack after it; every member is written. Bytes of
    // the room beyond `len` are left as they were, in a ring that is userspace's own.
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
        (*record).len = read_stack::<ROOM>(record.add(1).cast(), entry.sp);
        (*record).reserved = 0;
        // They are few, and the maps of the process must be read while it lives.
        bpf_ringbuf_submit(record.cast(), u64::from(BPF_RB_FORCE_WAKEUP));
    }
    maps::count(counter::COPIED);
    true
}

/// Whether there is a stack beyond the first [`STACK_SHORT`] bytes. Not every page of it
/// need be there: one that only an unused part of a buffer is on was never touched.
#[inline(always)]
fn goes_on(sp: u64) -> bool {
    let mut found = false;
    let mut end = STACK_SHORT;
    while end <= STACK_LONG {
        let mut word = 0_u64;
        let last = sp + (end - 8) as u64;
        // SAFETY: there is room for eight bytes; the helper checks the source.
        found |= unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, last as *const _) } == 0;
        end += STACK_SHORT;
    }
    found
}

/// Reads up to `ROOM` bytes of stack; returns how many there were. What is missing
/// before the last of them is zero.
///
/// # Safety
/// `to` has that room.
#[inline(always)]
unsafe fn read_stack<const ROOM: usize>(to: *mut u8, sp: u64) -> u32 {
    let (mut at, mut end) = (0, 0);
    while at < ROOM {
        let from = sp + at as u64;
        // SAFETY: as the caller promises: `at` and a piece stay within the room. The
        // helper zeroes what it cannot read.
        if unsafe { bpf_probe_read_user(to.add(at).cast(), PIECE as u32, from as *const _) } == 0 {
            end = at + PIECE;
        } else if (from & 0xfff) + PIECE as u64 > 0x1000 {
            // It is on two pages, of which one may be there.
            let mut small = 0;
            while small < PIECE {
                let from = from + small as u64;
                // SAFETY: as above.
                let read = unsafe {
                    bpf_probe_read_user(to.add(at + small).cast(), SMALL_PIECE as u32, from as *const _)
                };
                if read == 0 {
                    end = at + small + SMALL_PIECE;
                }
                small += SMALL_PIECE;
            }
        }
        at += PIECE;
    }
    end as u32
}
