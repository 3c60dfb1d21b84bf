//! Foreign bytes about code: stacks with unwind tables, symbols, perf maps.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustix::fs::MemfdFlags;

use crate::stack::capture::{Capture, Regs};
use crate::stack::file::HeldFile;
use crate::stack::jit::Table;
use crate::stack::places::{Place, Placed};
use crate::stack::symbolize::Symbols;
use crate::stack::unwind::{Code, JitFrames, JitFunction, MAX_FRAMES, Modules, Unwinder};
use crate::verdict::{Frame, How};

/// Where things are in the process that [`stacks`] makes.
const IMAGE: u64 = 0x5555_0000_0000;
const JIT: u64 = 0x7f00_0000_0000;
const OPAQUE: u64 = 0x7f11_0000_0000;
const STACK: u64 = 0x7ffc_0000_0000;
const SIZE: u64 = 0x4000;

/// A process with one file, code made at run time, and code that cannot be read.
struct Process {
    image: Bytes,
}

impl Modules for Process {
    fn code(&mut self, addr: u64) -> Option<Code> {
        match addr {
            JIT.. if addr < JIT + SIZE => Some(Code::Jit),
            OPAQUE.. if addr < OPAQUE + SIZE => Some(Code::Opaque),
            IMAGE.. if addr < IMAGE + self.image.len() as u64 => {
                Some(Code::Image(self.image.clone(), addr - IMAGE))
            }
            _ => None,
        }
    }

    fn read(&mut self, addr: u64, buf: &mut [u8]) -> bool {
        // Code made at run time: the bytes of the file once more.
        let from = addr.checked_sub(if addr >= JIT { JIT } else { IMAGE }).map(usize::try_from);
        let bytes = from.and_then(|from| self.image.get(from.ok()?..)?.get(..buf.len()));
        bytes.map(|bytes| buf.copy_from_slice(bytes)).is_some()
    }

    fn read_data(&mut self, addr: u64, buf: &mut [u8]) -> bool {
        self.read(addr, buf)
    }

    fn jit_function(&mut self, addr: u64) -> Option<JitFunction> {
        let kinds = [JitFrames::Linked, JitFrames::Interpreted, JitFrames::Unknown];
        let start = addr & !0xff;
        let frames = *kinds.get(usize::try_from(start >> 8).ok()? % 4)?;
        (JIT..JIT + SIZE).contains(&addr).then_some(JitFunction { start, frames })
    }

    fn bounds(&self) -> (u64, u64) {
        (IMAGE, OPAQUE + SIZE)
    }
}

/// A copied stack and the file whose code it was in: a byte for the registers, three offsets of
/// 16 bits, how many words of the stack follow, those in three bytes each, the file.
pub fn stacks(data: &[u8]) {
    let mut words = data;
    let (Ok(how), Ok(numbers)) = (words.try_get_u8(), words.try_get_u64_le()) else { return };
    let number = |nth: u32| numbers >> (16 * nth) & 0xffff;
    let place = |kind: u64, offset: u64| match kind % 8 {
        0 => JIT + offset % SIZE,
        1 => OPAQUE + offset % SIZE,
        2 | 3 => STACK + offset,
        4 => u64::MAX - offset,
        5 => offset,
        _ => IMAGE + offset,
    };
    let (words, image) = words.split_at(words.len().min(3 * usize::from(numbers.to_le_bytes()[6])));
    let words =
        words.chunks_exact(3).map(|word| place(word[2].into(), u64::from(word[0]) | u64::from(word[1]) << 8));
    let stack: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    let sp = if how & 1 == 0 { STACK } else { place(2, number(2)) };
    let regs = Regs {
        ip: place((how >> 1).into(), number(0)),
        sp,
        fp: place((how >> 4).into(), number(1)),
        lr: None,
    };
    let capture = Capture { regs, stack: stack.into(), truncated: how & 0x80 != 0 };
    let mut process = Process { image: Bytes::copy_from_slice(image) };
    let frames = Unwinder::default().unwind(&mut process, &capture).frames;
    assert!(frames.len() <= MAX_FRAMES);
    // The innermost is what the kernel said.
    for frame in &frames[1..] {
        let code = process.code(frame.addr).or_else(|| process.code(frame.addr.wrapping_sub(1)));
        assert!(code.is_some(), "{:#x} is not code: {frames:x?}", frame.addr);
    }
}

/// What a runtime says of the code it made.
pub fn perf_maps(data: &[u8]) {
    let table = Table::parse(data);
    assert!(table.len() <= data.len());
    for addr in [0, 0x1000, 0x1040, u64::MAX] {
        let found = table.find(addr);
        assert!(found.is_none_or(|(_, start)| start <= addr));
    }
}

/// Lets pass the panics of others' parsers, which the tool survives too: here overflow is
/// checked, and they overflow. Our own end the run.
pub fn forgive_parsers() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|at| at.file().contains("closewait")) {
            end(panic);
        }
    }));
}

/// An ELF file: two bytes of an offset to be named, then the file.
pub fn symbols(data: &[u8]) {
    let mut file = data;
    let Ok(offset) = file.try_get_u16_le() else { return };
    let (offset, len) = (u64::from(offset), file.len() as u64);
    named(file, &[offset, offset / 2, len / 2, len]);
}

/// The frames at offsets of a file with these bytes.
pub(super) fn named(bytes: &[u8], offsets: &[u64]) -> Vec<Frame> {
    let Ok(memory) = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC) else { return Vec::new() };
    let mut memory = File::from(memory);
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    if memory.write_all(bytes).is_err() {
        return Vec::new();
    }
    let Ok(file) = HeldFile::of_path(Path::new(&path)) else { return Vec::new() };
    let file = Arc::new(file);
    let place = |&offset: &u64| {
        let file = Some(Ok(Arc::clone(&file)));
        Place { addr: IMAGE + offset + 1, how: How::Dwarf, module: "program".into(), offset, file, jit: None }
    };
    let places: Vec<_> = offsets.iter().map(place).collect();
    let found = Symbols::default().stack(&Placed { places, ..Placed::default() }).frames;
    assert!(found.len() >= offsets.len());
    Arc::unwrap_or_clone(found)
}
