//! The unwind tables of one file: its bytes in, the caller of an address in it out.
//!
//! Everything is in the file's own addresses, so that all processes that have it
//! mapped share one copy. The tables are whatever users run: what they make this
//! code do is bounded, and a panic in a parser costs the tables, not the tool.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use gimli::{BaseAddresses, UnwindContext};

use super::fdes::Fdes;
use super::registers::Registers;
use super::row::Row;
use crate::stack::capture::Capture;
use crate::stack::elf::{Elf, Section, unpacked};

/// Most bytes of one section of tables that are read. Measured: libc 0.2 MB,
/// libjvm 4 MB, node 7 MB; the largest browsers have 30 MB.
const MAX_BYTES: u64 = 48 << 20;

/// Where an address of a stack has its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// At `addr`, with these registers. `exact`: the caller was interrupted there by
    /// a signal; otherwise it made a call, and `addr` is where that returns to.
    To { addr: u64, registers: Registers, exact: bool },
    /// Nowhere: a thread starts here.
    Root,
    /// At this address of the stack, which was not copied.
    Unreadable(u64),
    /// The tables or the registers make no sense.
    Lost,
}

/// The unwind tables of one file.
pub(super) struct Tables {
    pub(super) elf: Elf,
    sections: Vec<Fdes>,
    bases: BaseAddresses,
    context: Box<UnwindContext<usize>>,
}

impl Tables {
    /// The tables of a file with these headers, whose bytes `read` gives.
    pub(super) fn of(elf: Elf, read: impl Fn(u64, usize) -> Option<Bytes>) -> Self {
        let start = |name: &str| elf.section(name).map_or(0, |section| section.vaddr);
        let bases = BaseAddresses::default()
            .set_eh_frame(start(".eh_frame"))
            .set_eh_frame_hdr(start(".eh_frame_hdr"))
            .set_text(start(".text"))
            .set_got(start(".got"));
        let load = || {
            let contents = |name: &str| contents(elf.section(name)?, &read);
            let eh_frame = contents(".eh_frame")
                .and_then(|bytes| Fdes::of_eh_frame(bytes, contents(".eh_frame_hdr"), &bases));
            // Go has no other; where there are both, this one is about what C was written without.
            let debug_frame = contents(".debug_frame").and_then(|bytes| Fdes::of_debug_frame(bytes, &bases));
            [eh_frame, debug_frame].into_iter().flatten().collect()
        };
        let sections = catch_unwind(AssertUnwindSafe(load)).unwrap_or_default();
        Self { sections, bases, context: Box::new(UnwindContext::new()), elf }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.sections.iter().map(Fdes::size).sum()
    }

    /// From the code at `vaddr` to its caller; `None` when the tables say nothing of it.
    pub(super) fn step(
        &mut self,
        vaddr: u64,
        is_innermost: bool,
        registers: &Registers,
        capture: &Capture,
    ) -> Option<Step> {
        let Self { sections, bases, context, .. } = self;
        let look = || {
            sections.iter().find_map(|fdes| {
                let reader = Row { vaddr, is_innermost, registers, capture, bases, context };
                fdes.read(vaddr, bases, reader)
            })
        };
        catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| {
            self.sections.clear();
            Some(Step::Lost)
        })
    }
}

/// The bytes of a section, unpacked.
fn contents(section: &Section, read: &impl Fn(u64, usize) -> Option<Bytes>) -> Option<Bytes> {
    if section.size == 0 || section.size > MAX_BYTES {
        return None;
    }
    let bytes = read(section.offset, usize::try_from(section.size).ok()?)?;
    if !section.compressed {
        return Some(bytes);
    }
    unpacked(&bytes, MAX_BYTES).map(Bytes::from)
}
