//! Finding a caller without tables. By the frame pointer; and where nothing keeps
//! one, by looking for words of the stack that can be return addresses, because code
//! lies there and a call right before it. An old return address that nobody wiped
//! off the stack looks the same, so what is found so is marked, and what is known of
//! the code is asked first.

use super::arch::{self, Prologue};
use super::registers::Registers;
use super::tables::Step;
use super::{Code, JitFrames, JitFunction, Modules};
use crate::stack::call_site::{WINDOW, can_return_after};
use crate::stack::capture::Capture;

/// Bytes of a function made at run time that are searched for how it makes its
/// frame. HotSpot checks the receiver's class first, and aligns.
const PROLOGUE: usize = 128;

/// A system call wrapper is shorter than this, and so is its frame. In bytes.
const SMALL: u64 = 1024;

/// A caller and its registers.
pub(super) type Found = (u64, Registers);

/// The caller that the frame pointer leads to: it points at the frame pointer of the
/// caller, above which is the return address, on each machine known here. HotSpot's
/// interpreter also has, in the word below, where the caller's stack ends: its
/// arguments may have been moved (`interpreter_frame_sender_sp_offset`).
pub(super) fn by_frame_pointer(
    capture: &Capture,
    registers: &Registers,
    is_interpreted: bool,
    highest: u64,
) -> Step {
    let Some(fp) = registers.fp() else { return Step::Lost };
    if fp == 0 {
        return Step::Root;
    }
    let Some(above) = fp.checked_add(16).filter(|&sp| sp > registers.sp) else { return Step::Lost };
    let told = if is_interpreted { capture.word(fp.wrapping_sub(8)) } else { None };
    let sp = told.filter(|sp| (above..=capture.end()).contains(sp)).unwrap_or(above);
    match (capture.word(fp), capture.word(fp + 8)) {
        (Some(_), Some(0)) => Step::Root,
        (Some(next), Some(addr)) => Step::To {
            addr: arch::without_signature(addr, highest),
            registers: Registers::of_caller(sp, Some(next)),
            exact: false,
        },
        _ => Step::Unreadable(fp),
    }
}

/// Whether control can return to `addr`, as far as its code can be read.
pub(super) fn is_return_address(process: &mut impl Modules, addr: u64) -> bool {
    // The byte before it is what is looked up later.
    process.code(addr.wrapping_sub(1)).is_some() && returns_to(process, addr).unwrap_or(true)
}

/// The same, but only if there is proof.
fn is_surely_return_address(process: &mut impl Modules, addr: u64) -> bool {
    let (lowest, highest) = process.bounds();
    if addr <= lowest || addr > highest {
        return false;
    }
    let Some(code) = process.code(addr - 1) else { return false };
    returns_to(process, addr).unwrap_or_else(|| {
        // The process is gone, and so is the code: its map is what is left.
        matches!(code, Code::Jit) && process.jit_function(addr - 1).is_some()
    })
}

/// Whether the code at `addr` is returned to; `None` when it cannot be read.
fn returns_to(process: &mut impl Modules, addr: u64) -> Option<bool> {
    let before = before(process, addr)?;
    if can_return_after(before) {
        return Some(true);
    }
    // Entered without a call: a signal's way back, and bytecodes.
    let mut after = [0; arch::SIGNAL_RETURN.len()];
    let is_signal = process.read(addr, &mut after) && after == *arch::SIGNAL_RETURN;
    let function = process.jit_function(addr - 1);
    Some(is_signal || function.is_some_and(|function| function.frames == JitFrames::Interpreted))
}

/// The bytes before `addr`; zeros for those before the mapping that it lies in.
fn before(process: &mut impl Modules, addr: u64) -> Option<[u8; WINDOW]> {
    const PAGE: u64 = 4096;
    let from = addr.checked_sub(WINDOW as u64)?;
    let mut before = [0; WINDOW];
    let missing = match usize::try_from(addr % PAGE) {
        Ok(into) if into < WINDOW && process.code(from).is_none() => WINDOW - into,
        _ => 0,
    };
    process.read(from + missing as u64, &mut before[missing..]).then_some(before)
}

/// How the code made at run time at `ip` keeps its frames.
pub(super) fn jit_frames(process: &mut impl Modules, ip: u64) -> JitFrames {
    match process.jit_function(ip.wrapping_sub(1)) {
        // Nothing is known of it. V8 keeps frame pointers, HotSpot does when told to.
        None => JitFrames::Linked,
        Some(JitFunction { start, frames: JitFrames::Unknown }) => match jit_prologue(process, start, ip) {
            Prologue::FramePointer => JitFrames::Linked,
            _ => JitFrames::Unknown,
        },
        Some(function) => function.frames,
    }
}

/// The caller of code made at run time that keeps no frame pointer: by the size of
/// the frame that its first instructions make.
pub(super) fn from_jit(
    process: &mut impl Modules,
    capture: &Capture,
    ip: u64,
    registers: &Registers,
) -> Option<Found> {
    let start = process.jit_function(ip.wrapping_sub(1))?.start;
    let Prologue::Size { bytes, saves } = jit_prologue(process, start, ip) else { return None };
    let slots = [registers.sp.checked_add(bytes), registers.sp.checked_add(bytes.saturating_add(8))];
    slots.into_iter().flatten().find_map(|slot| {
        let addr = return_address_at(process, capture, slot)?;
        let saved = if saves { capture.word(slot.wrapping_sub(8)) } else { registers.fp() };
        Some((addr, Registers::of_caller(slot.checked_add(8)?, saved)))
    })
}

fn jit_prologue(process: &mut impl Modules, start: u64, ip: u64) -> Prologue {
    let mut code = [0; PROLOGUE];
    let len = usize::try_from(ip.saturating_sub(start)).unwrap_or(0).min(PROLOGUE);
    let code = &mut code[..len];
    if process.read(start, code) { arch::prologue(code) } else { Prologue::Unknown }
}

/// The nearest return address on the stack.
pub(super) fn nearest(process: &mut impl Modules, capture: &Capture, registers: &Registers) -> Option<Found> {
    if !arch::CAN_SCAN {
        return None;
    }
    let first = registers.sp.checked_next_multiple_of(8)?;
    (first..capture.end()).step_by(8).find_map(|slot| {
        let addr = return_address_at(process, capture, slot)?;
        Some((addr, Registers::of_caller(slot.checked_add(8)?, registers.fp())))
    })
}

/// The caller of code without tables, when the words below `limit` have it and there
/// is proof: what its call calls begins a little before `ip`. A system call wrapper
/// of a C library or of Go is such code; its frame pointer may be its caller's still.
pub(super) fn proved(
    process: &mut impl Modules,
    capture: &Capture,
    ip: u64,
    registers: &Registers,
    limit: u64,
) -> Option<Found> {
    if !arch::CAN_SCAN {
        return None;
    }
    let first = registers.sp.checked_next_multiple_of(8)?;
    let limit = limit.min(capture.end()).min(first.saturating_add(SMALL));
    (first..limit).step_by(8).find_map(|slot| {
        let addr = return_address_at(process, capture, slot)?;
        let called = called_from(process, addr)?;
        let inside = ip.checked_sub(called).is_some_and(|into| into < SMALL);
        inside.then_some((addr, Registers::of_caller(slot.checked_add(8)?, registers.fp())))
    })
}

/// What the call right before `addr` calls, through the procedure linkage table or
/// not; `None` when it is not a constant.
fn called_from(process: &mut impl Modules, addr: u64) -> Option<u64> {
    let call = arch::call(before(process, addr)?, addr)?;
    let mut slot = [0; 8];
    let pointer = match call {
        arch::Call::Through(pointer) => pointer,
        arch::Call::To(target) => {
            let mut stub = [0; arch::STUB];
            let read = process.read(target, &mut stub);
            match read.then(|| arch::stub(stub, target)).flatten() {
                None => return Some(target),
                Some(pointer) => pointer,
            }
        }
    };
    process.read_data(pointer, &mut slot).then(|| u64::from_ne_bytes(slot))
}

fn return_address_at(process: &mut impl Modules, capture: &Capture, slot: u64) -> Option<u64> {
    capture.word(slot).filter(|&addr| is_surely_return_address(process, addr))
}
