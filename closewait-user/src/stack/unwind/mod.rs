//! Unwinding: a copied stack in, the addresses of its frames out, each with how it
//! was found. Unwind tables first; the frame pointer where there are none; and where
//! both get nowhere, the nearest word of the stack that can be a return address,
//! marked as the guess it is. Bounded: frames, bytes of tables, words looked at. No
//! stack and no file makes it panic.

mod arch;
mod fdes;
mod registers;
mod row;
mod scan;
mod tables;

use std::sync::Arc;

use bytes::Bytes;

use super::capture::Capture;
use super::elf::Elf;
use super::file::{FileId, HeldFile, Stamp};
use super::lru::Lru;
use crate::verdict::How;
use registers::Registers;
use tables::{Step, Tables};

/// Most frames of a stack; the kernel's own limit for its stack table is 127.
pub const MAX_FRAMES: usize = 128;

/// Most bytes of unwind tables that are kept: those of some twenty large programs.
pub const MAX_TABLE_BYTES: usize = 64 << 20;

/// Files whose tables are kept, with or without bytes.
const MAX_FILES: usize = 128;

/// Frames that may be found by scanning, one after the other, in code that has a
/// file. A library without tables is left after two or three.
const MAX_SCANNED: usize = 16;

/// What an address of a process lies in.
#[derive(Debug)]
pub enum Code {
    /// A file, and the offset in it.
    File(Arc<HeldFile>, u64),
    /// An ELF file in memory only, and the offset in it: the vDSO.
    Image(Bytes, u64),
    /// Code made at run time.
    Jit,
    /// Code of which nothing can be read.
    Opaque,
}

/// A function made at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JitFunction {
    /// Where it starts.
    pub start: u64,
    /// What its name says of its frames.
    pub frames: JitFrames,
}

/// How code made at run time keeps its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JitFrames {
    /// By the frame pointer.
    Linked,
    /// As HotSpot's interpreter does: by the frame pointer, below which is where the
    /// stack of the caller ended.
    Interpreted,
    /// As its first instructions say.
    Unknown,
}

/// A process, as unwinding asks about it.
pub trait Modules {
    /// What `addr` lies in; `None` when that is not code.
    fn code(&mut self, addr: u64) -> Option<Code>;
    /// Fills `buf` with the code from `addr` on; `false` when it cannot be read.
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> bool;
    /// The same of data.
    fn read_data(&mut self, addr: u64, buf: &mut [u8]) -> bool;
    /// The function made at run time that `addr` lies in, when its runtime has told.
    fn jit_function(&mut self, addr: u64) -> Option<JitFunction>;
    /// Lowest address of code, and the first above all code.
    fn bounds(&self) -> (u64, u64);
}

/// One frame, not named yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnwoundFrame {
    /// Where it is: of the innermost the instruction pointer, of the others where they return to.
    pub addr: u64,
    /// How it was found.
    pub how: How,
}

/// The frames of a stack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unwound {
    /// Innermost first.
    pub frames: Vec<UnwoundFrame>,
    /// Where and why it ends early, if it does.
    pub note: Option<String>,
}

/// Unwinds stacks, and keeps the tables that it read.
pub struct Unwinder {
    tables: Lru<(FileId, Stamp), Tables>,
}

impl Default for Unwinder {
    fn default() -> Self {
        Self { tables: Lru::new(MAX_FILES) }
    }
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("files", &self.tables.len()).finish_non_exhaustive()
    }
}

/// Where a walk up the stack is.
#[derive(Clone, Copy)]
struct At {
    frame: UnwoundFrame,
    registers: Registers,
    /// Its address is that of an instruction, not of one after a call.
    exact: bool,
    /// Frames scanned in a row.
    scanned: usize,
}

/// Why there is no further frame.
enum End {
    /// A thread starts here.
    Root,
    /// Something is missing.
    Early(String),
}

impl Unwinder {
    /// The frames of a copied stack.
    pub fn unwind(&mut self, process: &mut impl Modules, capture: &Capture) -> Unwound {
        let frame = UnwoundFrame { addr: capture.regs.ip, how: How::Kernel };
        let mut at = At { frame, registers: Registers::copied(&capture.regs), exact: true, scanned: 0 };
        let mut unwound = Unwound { frames: vec![frame], note: None };
        while unwound.frames.len() < MAX_FRAMES {
            match self.caller(process, capture, &at) {
                Ok(caller) => at = caller,
                Err(End::Root) => return unwound,
                Err(End::Early(why)) => {
                    unwound.note = Some(format!("ends early: {why}"));
                    return unwound;
                }
            }
            unwound.frames.push(at.frame);
        }
        unwound.note = Some(format!("ends early: only the innermost {MAX_FRAMES} frames are taken"));
        unwound
    }

    /// Forgets the tables; they are read again when they are needed.
    pub fn forget(&mut self) {
        self.tables.clear();
    }

    /// Bytes of tables that are held.
    pub fn held(&self) -> usize {
        self.tables.values().map(Tables::size).sum()
    }

    fn caller(&mut self, process: &mut impl Modules, capture: &Capture, at: &At) -> Result<At, End> {
        let lookup = at.frame.addr.wrapping_sub(u64::from(!at.exact));
        let Some(code) = process.code(lookup) else {
            return Err(End::Early(format!("{:#x} is not code", at.frame.addr)));
        };
        let is_jit = matches!(code, Code::Jit);
        let by_tables = match code {
            Code::File(file, offset) => self.tables_of(&file).step_at(offset, at, capture),
            // Not kept: frames of the vDSO are rare.
            Code::Image(bytes, offset) => tables_of_image(&bytes).step_at(offset, at, capture),
            Code::Jit | Code::Opaque => None,
        };
        match by_tables {
            Some(Step::Root) => return Err(End::Root),
            Some(Step::To { addr, registers, exact }) => {
                let fits =
                    if exact { process.code(addr).is_some() } else { scan::is_return_address(process, addr) };
                if fits && advances(&registers, at) {
                    let frame = UnwoundFrame { addr, how: How::Dwarf };
                    return Ok(At { frame, registers, exact, scanned: 0 });
                }
            }
            Some(Step::Unreadable(addr)) if addr >= capture.end() => return Err(End::Early(cut(capture))),
            Some(_) => {}
            None => {
                if let Some(caller) = without_tables(process, capture, at, is_jit)? {
                    return Ok(caller);
                }
            }
        }
        if let Some((addr, registers)) = scan::nearest(process, capture, &at.registers)
            && (is_jit || at.scanned < MAX_SCANNED)
        {
            let scanned = if is_jit { 0 } else { at.scanned + 1 };
            return Ok(At::scanned(addr, registers, scanned));
        }
        Err(End::Early(match by_tables {
            _ if capture.truncated => cut(capture),
            Some(_) => format!("the unwind tables of {:#x} lead to no caller", at.frame.addr),
            None => {
                format!("the code at {:#x} has no unwind tables and keeps no frame pointer", at.frame.addr)
            }
        }))
    }

    fn tables_of(&mut self, file: &Arc<HeldFile>) -> &mut Tables {
        let key = (file.id, file.stamp);
        let tables = self.tables.remove(&key).unwrap_or_else(|| {
            Tables::of(Elf::of(file), |offset, len| {
                let mut bytes = vec![0; len];
                file.read_at(&mut bytes, offset).then(|| Bytes::from(bytes))
            })
        });
        while self.tables.len() > 0 && self.held() + tables.size() > MAX_TABLE_BYTES {
            self.tables.drop_oldest();
        }
        self.tables.insert(key, tables)
    }
}

impl At {
    fn scanned(addr: u64, registers: Registers, scanned: usize) -> Self {
        Self { frame: UnwoundFrame { addr, how: How::Scan }, registers, exact: false, scanned }
    }

    fn is_innermost(&self) -> bool {
        self.frame.how == How::Kernel
    }
}

impl Tables {
    /// One step from a place in the file; `None` when the tables say nothing of it.
    fn step_at(&mut self, offset: u64, at: &At, capture: &Capture) -> Option<Step> {
        let vaddr = self.elf.virtual_address(offset)?;
        self.step(vaddr, at.is_innermost(), &at.registers, capture)
    }
}

fn tables_of_image(bytes: &Bytes) -> Tables {
    Tables::of(Elf::of_bytes(bytes), |offset, len| {
        let from = usize::try_from(offset).ok()?;
        let to = from.checked_add(len)?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    })
}

/// One step out of code that no table is about; `None` when nothing but looking for
/// a return address is left.
fn without_tables(
    process: &mut impl Modules,
    capture: &Capture,
    at: &At,
    is_jit: bool,
) -> Result<Option<At>, End> {
    let ip = at.frame.addr;
    let frames = if is_jit { scan::jit_frames(process, ip) } else { JitFrames::Linked };
    if frames == JitFrames::Unknown {
        let found = scan::from_jit(process, capture, ip, &at.registers);
        return Ok(found.map(|(addr, registers)| At::scanned(addr, registers, 0)));
    }
    let is_interpreted = frames == JitFrames::Interpreted;
    let step = scan::by_frame_pointer(capture, &at.registers, is_interpreted, process.bounds().1);
    let by_frame_pointer = match step {
        Step::To { addr, registers, exact }
            if advances(&registers, at) && scan::is_return_address(process, addr) =>
        {
            let frame = UnwoundFrame { addr, how: How::Fp };
            Some(At { frame, registers, exact, scanned: 0 })
        }
        _ => None,
    };
    // A frame pointer of 0 ends a stack, but only if it has been kept so far.
    if step == Step::Root && !is_jit && matches!(at.frame.how, How::Fp | How::Dwarf) {
        return Err(End::Root);
    }
    // Code that keeps no frame pointer has its caller's in the register, and following
    // that would leave the caller out without a trace.
    let limit = by_frame_pointer.map_or(u64::MAX, |caller| caller.registers.sp - 8);
    if !is_jit && let Some((addr, registers)) = scan::proved(process, capture, ip, &at.registers, limit) {
        return Ok(Some(At::scanned(addr, registers, 0)));
    }
    Ok(by_frame_pointer)
}

/// Whether a caller's frame lies above the one it called. The innermost may not have
/// touched the stack.
fn advances(caller: &Registers, at: &At) -> bool {
    caller.sp > at.registers.sp || (at.is_innermost() && caller.sp == at.registers.sp)
}

fn cut(capture: &Capture) -> String {
    format!("only the innermost {} KiB of the stack were copied", capture.stack.len() >> 10)
}
