//! The Python functions that the running thread is in: the interpreter's own list of
//! frames, followed from the thread's state. At the moment of the call, because the
//! interpreter uses a frame again as soon as its function returns.
//!
//! Which processes run Python, and where it keeps what, userspace has found out
//! (`PYTHONS`). A thread that waits in a system call does not hold the interpreter's lock;
//! its state is found as the interpreter finds it, under a key of the thread's own, and
//! is believed only if it names this very thread.
//!
//! One way through, as everywhere that is verified often: see `call_path`.

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user,
};
use closewait_ebpf::{Copied, PYTHON_FRAME_READ, PYTHON_FRAMES, PythonFrame, python_key, pythons_known};

use crate::{
    maps::{PYTHONS, PYTHONS_KNOWN, WALKED},
    memory::read,
    tunables::{PYTHON, offset},
};

/// The C library's keys of a thread are pairs of words.
const KEY_SIZE: u64 = 16;

/// 2^64 divided by the golden ratio: spreads low bits over high ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Words that an offset in a frame can reach: more than are read.
const REACH: usize = 16;

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
    /// The frame that is being read.
    frame: [u64; REACH],
    frames: [PythonFrame; PYTHON_FRAMES],
}

/// Walks the frames of the running thread, if it runs Python. Returns a hash of where
/// each function is, 0 when there is none.
///
/// Global, so that the verifier looks at it once.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn python_frames() -> u64 {
    // SAFETY: the entry lives as long as the map.
    if PYTHONS_KNOWN.get_ptr(pythons_known::EXECUTABLES).is_none_or(|known| unsafe { *known } == 0) {
        return 0;
    }
    let Some(walked) = WALKED.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: no precondition; integers of the running task; `walked` is this CPU's. What
    // cannot be read reads as zero, and there is nothing at zero.
    unsafe {
        (&raw mut (*walked).owner).write_volatile(bpf_get_current_pid_tgid());
        (&raw mut (*walked).count).write_volatile(0);
        let task = bpf_get_current_task();
        let mm: u64 = read(task + u64::from(offset!(task_mm)));
        let file: u64 = read(mm + u64::from(offset!(mm_exe_file)));
        let inode: u64 = read(file + u64::from(offset!(file_f_inode)));
        let (ino, size): (u64, u64) =
            (read(inode + u64::from(offset!(inode_i_ino))), read(inode + u64::from(offset!(inode_i_size))));
        let Some(python) = PYTHONS.get_ptr(python_key(ino, size)) else {
            return 0;
        };
        let start: u64 = read(mm + u64::from(offset!(mm_start_code)));
        let pointer: u64 = read(task + u64::from(offset!(task_thread_pointer)));

        let anchor = start.wrapping_add((*python).anchor);
        let word: u64 = read_user(anchor);
        let from_word = (*python).from_word;
        let runtime = ((word & from_word) | (anchor & !from_word)).wrapping_add((*python).delta);
        let key: u32 = read_user(runtime.wrapping_add(u64::from((*python).key)));
        let value = u64::from((*python).specific) + u64::from(key) * KEY_SIZE;
        let state: u64 = read_user(pointer.wrapping_add(value));
        if state == 0 {
            // Not a thread of the interpreter's.
            return 0;
        }
        if read_user::<u64>(state.wrapping_add(u64::from((*python).thread_id))) != pointer {
            return 0;
        }
        let cframe: u64 = read_user(state.wrapping_add(u64::from((*python).cframe)));
        let by_cframe = (*python).by_cframe;
        let holder = (cframe & by_cframe) | (state & !by_cframe);
        let first: u64 = read_user(holder.wrapping_add(u64::from((*python).current_frame)));

        let at = |offset: u32| offset as usize / 8 & (REACH - 1);
        let (code, previous) = (at((*python).code), at((*python).previous));
        let (instr, about) = (at((*python).instr), at((*python).about));
        (*walked).runtime = runtime;
        (*walked).layout = (*python).layout;
        walk(walked, first, code, previous, instr, about)
    }
}

/// Follows the frames from `frame` on; the others are where in a frame what is found.
///
/// # Safety
/// `walked` is valid.
#[inline(always)]
unsafe fn walk(
    walked: *mut Walked,
    mut frame: u64,
    code: usize,
    previous: usize,
    instr: usize,
    about: usize,
) -> u64 {
    let mut hash = SPREAD;
    let mut count = 0;
    while count < PYTHON_FRAMES && frame != 0 {
        // SAFETY: as the caller promises; the words are below REACH.
        unsafe {
            let words = (&raw mut (*walked).frame).cast::<u64>();
            bpf_probe_read_user(words.cast(), PYTHON_FRAME_READ as u32, frame as *const _);
            let told = PythonFrame {
                code: words.add(code).read_volatile(),
                instr: words.add(instr).read_volatile(),
                about: words.add(about).read_volatile(),
            };
            frame = words.add(previous).read_volatile();
            (&raw mut (*walked).frames).cast::<PythonFrame>().add(count).write_volatile(told);
            hash = (hash ^ told.code).wrapping_mul(SPREAD);
            hash = (hash ^ told.instr).wrapping_mul(SPREAD);
        }
        count += 1;
    }
    // SAFETY: as the caller promises.
    unsafe {
        (*walked).rest = frame;
        (&raw mut (*walked).count).write_volatile(count as u32);
    }
    hash
}

/// Tells in `record` of the frames that were walked, and copies them to `to`.
///
/// # Safety
/// Both are valid, `to` for all of [`PYTHON_FRAMES`].
#[inline(always)]
pub(crate) unsafe fn tell(record: *mut Copied, to: *mut PythonFrame) {
    // SAFETY: as the caller promises; the slot is this CPU's.
    unsafe {
        (*record).python = 0;
        (*record).python_runtime = 0;
        (*record).python_layout = 0;
        (*record).python_more = 0;
        if PYTHON.load() == 0 {
            return;
        }
        let Some(walked) = WALKED.get_ptr_mut(0) else {
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

/// Reads a `T` at user address `addr`; zero when it cannot be read.
///
/// # Safety
/// `T` must be valid for any bit pattern.
#[inline(always)]
unsafe fn read_user<T: Copy>(addr: u64) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination has room for a T; the helper checks the source and
    // initialises the whole destination whether it succeeds or not.
    unsafe {
        bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, addr as *const _);
        value.assume_init()
    }
}
