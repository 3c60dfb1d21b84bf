//! The Python functions that the running thread is in: the interpreter's own list of
//! frames, followed from the thread's state. At the moment of the call, because the
//! interpreter uses a frame again as soon as its function returns.
//!
//! Which processes run Python, and where it keeps what, userspace has found out
//! (`PYTHONS`). A thread that waits in a system call does not hold the interpreter's lock;
//! its state is found as the interpreter finds it, under a key of the thread's own, and
//! is believed only if it names this very thread.
//!
//! One way through, as everywhere that is verified often: see `call_path`. And few reads:
//! each costs as much as fifty instructions.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user};
use closewait_ebpf::{
    Copied, PYTHON_FRAME_READ, PYTHON_FRAMES, PYTHON_STATE_READ, Python, PythonFrame, python_key,
    pythons_known,
};

use crate::{
    call_path::below,
    capture::{member, running_task},
    maps::{PYTHONS, PYTHONS_KNOWN, WALKED},
    tunables::{PYTHON, offset},
};

/// The C library's keys of a thread are pairs of words.
const KEY_SIZE: u64 = 16;

/// 2^64 divided by the golden ratio: spreads low bits over high ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Words that an offset in a frame or a state can reach: more than are read.
const REACH: usize = 32;

/// Bytes that are read at once: the interpreter keeps most frames in one place, each after
/// its caller, in some hundred bytes.
const WINDOW: usize = 1024;

/// What was walked.
#[repr(C)]
pub(crate) struct Walked {
    /// Whose frames these are. Another task may preempt a program on this CPU.
    owner: u64,
    runtime: u64,
    /// The frame that there was no room for; 0 when there was for all.
    rest: u64,
    layout: u32,
    count: u32,
    /// Where the window begins, the last place in it at which a frame can be, and the place of
    /// the present one. In memory, so that the verifier knows nothing of them and what it
    /// is told with a mask: the compiler leaves out masks that it finds needless.
    base: u64,
    span: u64,
    from: u64,
    /// What was read last: the thread's state, then a frame and what is before it.
    words: [u64; WINDOW / 8 + REACH],
    frames: [PythonFrame; PYTHON_FRAMES],
}

/// Walks the frames of the running thread, if it runs Python. Returns a hash of where
/// each function is, 0 when there is none. `desk` is that of the running program.
///
/// Global, so that the verifier looks at it once.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn python_frames(desk: u32) -> u64 {
    // The verifier looks at it also when nobody calls it.
    if PYTHON.load() == 0 {
        return 0;
    }
    // SAFETY: the entry lives as long as the map.
    if PYTHONS_KNOWN.get_ptr(pythons_known::EXECUTABLES).is_none_or(|known| unsafe { *known } == 0) {
        return 0;
    }
    let Some(walked) = WALKED.get_ptr_mut(desk) else {
        return 0;
    };
    // SAFETY: no precondition; members of the running task; `walked` is this CPU's.
    unsafe {
        (&raw mut (*walked).owner).write_volatile(bpf_get_current_pid_tgid());
        (&raw mut (*walked).count).write_volatile(0);
        let task = running_task();
        let mm: u64 = member(task, offset!(task_mm));
        if mm == 0 {
            return 0;
        }
        let file: u64 = member(mm, offset!(mm_exe_file));
        if file == 0 {
            return 0;
        }
        let inode: u64 = member(file, offset!(file_f_inode));
        let (ino, size) = (member(inode, offset!(inode_i_ino)), member(inode, offset!(inode_i_size)));
        let Some(python) = PYTHONS.get_ptr(python_key(ino, size)) else {
            return 0;
        };
        let start: u64 = member(mm, offset!(mm_start_code));
        let pointer: u64 = member(task, offset!(task_thread_pointer));
        let first = frame_of(walked, python, start, pointer);
        if first == 0 {
            return 0;
        }
        walk(walked, python, first)
    }
}

/// The innermost frame of the running thread; 0 when it is none of the interpreter's, or is
/// in no function. `start` is where the executable's code is.
///
/// # Safety
/// Both are valid.
#[inline(always)]
unsafe fn frame_of(walked: *mut Walked, python: *const Python, start: u64, pointer: u64) -> u64 {
    // SAFETY: as the caller promises. What cannot be read reads as zero, and there is
    // nothing at zero.
    unsafe {
        let anchor = start.wrapping_add((*python).anchor);
        let mut runtime = anchor;
        read_user(&raw mut runtime, (*python).from_word & 8, anchor);
        runtime = runtime.wrapping_add((*python).delta);
        let mut key = 0_u32;
        read_user(&raw mut key, 4, runtime.wrapping_add(u64::from((*python).key)));
        let value = u64::from((*python).specific) + u64::from(key) * KEY_SIZE;
        let mut state = 0_u64;
        read_user(&raw mut state, 8, pointer.wrapping_add(value));
        if state == 0 {
            return 0;
        }
        let words = (&raw mut (*walked).words).cast::<u64>();
        bpf_probe_read_user(words.cast(), PYTHON_STATE_READ as u32, state as *const _);
        if words.add(word_at((*python).thread_id)).read_volatile() != pointer {
            return 0;
        }
        let holder = words.add(word_at((*python).frame)).read_volatile();
        let mut frame = holder;
        let cframe = holder.wrapping_add(u64::from((*python).current_frame));
        read_user(&raw mut frame, u64::from((*python).cframe) & 8, cframe);
        (*walked).runtime = runtime;
        (*walked).layout = (*python).layout;
        frame
    }
}

/// Follows the frames from `frame` on.
///
/// # Safety
/// Both are valid.
#[inline(always)]
unsafe fn walk(walked: *mut Walked, python: *const Python, mut frame: u64) -> u64 {
    // SAFETY: as the caller promises; there are REACH words after the window's.
    unsafe {
        let window = (&raw mut (*walked).words).cast::<u64>();
        let (base, span, from) = (&raw mut (*walked).base, &raw mut (*walked).span, &raw mut (*walked).from);
        base.write_volatile(0);
        span.write_volatile(0);
        let (mut hash, mut count) = (SPREAD, 0);
        while count < PYTHON_FRAMES && frame != 0 {
            let place = frame.wrapping_sub(base.read_volatile());
            from.write_volatile(place);
            // The one branch: both of its ways come to the same, so that they are
            // verified as one.
            if place > span.read_volatile() {
                let place = before(frame);
                let size = (place + PYTHON_FRAME_READ as u64) & (WINDOW as u64 - 1);
                from.write_volatile(place);
                span.write_volatile(place);
                base.write_volatile(frame.wrapping_sub(place));
                bpf_probe_read_user(window.cast(), size as u32, frame.wrapping_sub(place) as *const _);
            }
            let there = window.add((from.read_volatile() >> 3) as usize & (WINDOW / 8 - 1));
            // Anew each time: older verifiers forget how large a number is that was kept on
            // the stack meanwhile.
            let word = |offset: *const u32| there.add(word_at(offset.read_volatile())).read_volatile();
            let told = PythonFrame {
                code: word(&raw const (*python).code),
                instr: word(&raw const (*python).instr),
                about: word(&raw const (*python).about),
            };
            frame = word(&raw const (*python).previous);
            (&raw mut (*walked).frames).cast::<PythonFrame>().add(count).write_volatile(told);
            hash = (hash ^ told.code).wrapping_mul(SPREAD);
            hash = (hash ^ told.instr).wrapping_mul(SPREAD);
            count += 1;
        }
        (*walked).rest = frame;
        (&raw mut (*walked).count).write_volatile(count as u32);
        hash
    }
}

/// How many bytes before a frame are read with it: as many as there is room for, but none
/// of another page, which may not be there.
#[inline(always)]
fn before(frame: u64) -> u64 {
    const MOST: u64 = (WINDOW - PYTHON_FRAME_READ - 8) as u64;
    let in_page = frame & 4095;
    MOST.wrapping_add(in_page.wrapping_sub(MOST) & below(in_page, MOST))
}

/// Which word of what was read an offset is that of.
#[inline(always)]
fn word_at(offset: u32) -> usize {
    offset as usize / 8 & (REACH - 1)
}

/// Reads `size` bytes at user address `addr`, as many as `to` has, or none.
///
/// # Safety
/// `to` is valid for them.
#[inline(always)]
unsafe fn read_user<T>(to: *mut T, size: u64, addr: u64) {
    // SAFETY: as the caller promises; the helper checks the source, and zeroes what it
    // cannot read.
    unsafe { bpf_probe_read_user(to.cast(), size as u32, addr as *const _) };
}

/// Tells in `record` of the frames that were walked, and copies them to `to`.
///
/// # Safety
/// Both are valid, `to` for all of [`PYTHON_FRAMES`].
#[inline(always)]
pub(crate) unsafe fn tell(record: *mut Copied, to: *mut PythonFrame, desk: u32) {
    // SAFETY: as the caller promises; the slot is this CPU's.
    unsafe {
        (*record).python = 0;
        (*record).python_runtime = 0;
        (*record).python_layout = 0;
        (*record).python_more = 0;
        if PYTHON.load() == 0 {
            return;
        }
        let Some(walked) = WALKED.get_ptr_mut(desk) else {
            return;
        };
        let size = (PYTHON_FRAMES * PythonFrame::SIZE) as u32;
        bpf_probe_read_kernel(to.cast(), size, (&raw const (*walked).frames).cast());
        let count = (&raw const (*walked).count).read_volatile();
        (*record).python_runtime = (*walked).runtime;
        (*record).python_layout = (*walked).layout;
        (*record).python_more = ((*walked).rest != 0) as u32;
        // Preempted meanwhile, they may be another task's.
        if (&raw const (*walked).owner).read_volatile() == bpf_get_current_pid_tgid() {
            (*record).python = count;
        }
    }
}
