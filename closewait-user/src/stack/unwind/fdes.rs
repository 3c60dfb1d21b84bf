//! The entries of one section of unwind tables: an address in, the entry about it
//! out. The bytes are whatever users run; work is bounded by their number.

use bytes::Bytes;
use gimli::{
    BaseAddresses, CieOrFde, DebugFrame, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice,
    FrameDescriptionEntry, NativeEndian, Pointer, UnwindSection,
};

/// What the tables are read through.
pub(super) type Slice<'a> = EndianSlice<'a, NativeEndian>;

/// Longest entry that is believed, in bytes. The largest of a browser's have 30 KB;
/// all of it is run through to reach the last address it is about.
const MAX_ENTRY: usize = 256 << 10;

/// Reads one entry, whichever kind of section it is in.
pub(super) trait Reader {
    /// What comes of it.
    type Out;
    /// Reads it.
    fn entry<'a, S: UnwindSection<Slice<'a>>>(
        self,
        section: &S,
        fde: &FrameDescriptionEntry<Slice<'a>>,
    ) -> Self::Out;
}

/// A section of unwind tables and how to find an entry in it.
pub(super) enum Fdes {
    /// `.eh_frame` with the table of its entries that the linker made.
    Sorted { eh_frame_hdr: Bytes, eh_frame: Bytes },
    /// `.eh_frame` without.
    EhFrame(Bytes, Index),
    /// `.debug_frame`.
    DebugFrame(Bytes, Index),
}

/// Where entries are.
pub(super) struct Index(Vec<Indexed>);

/// An entry about the code from `start` to `end`.
struct Indexed {
    start: u64,
    end: u64,
    offset: u64,
}

impl Fdes {
    /// Of an `.eh_frame` section, and its `.eh_frame_hdr` if it has one.
    pub(super) fn of_eh_frame(eh_frame: Bytes, hdr: Option<Bytes>, bases: &BaseAddresses) -> Option<Self> {
        let has_table = |hdr: &Bytes| {
            let parsed = EhFrameHdr::new(hdr, NativeEndian).parse(bases, 8);
            parsed.is_ok_and(|parsed| parsed.table().is_some())
        };
        if let Some(eh_frame_hdr) = hdr.filter(has_table) {
            return Some(Self::Sorted { eh_frame_hdr, eh_frame });
        }
        let index = Index::of(&as_eh_frame(&eh_frame), bases)?;
        Some(Self::EhFrame(eh_frame, index))
    }

    /// Of a `.debug_frame` section.
    pub(super) fn of_debug_frame(debug_frame: Bytes, bases: &BaseAddresses) -> Option<Self> {
        let index = Index::of(&as_debug_frame(&debug_frame), bases)?;
        Some(Self::DebugFrame(debug_frame, index))
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Sorted { eh_frame_hdr, eh_frame } => eh_frame_hdr.len() + eh_frame.len(),
            Self::EhFrame(bytes, index) | Self::DebugFrame(bytes, index) => {
                bytes.len() + size_of::<Indexed>() * index.0.len()
            }
        }
    }

    /// Shows `reader` the entry about the code at `vaddr`, if there is one.
    pub(super) fn read<R: Reader>(&self, vaddr: u64, bases: &BaseAddresses, reader: R) -> Option<R::Out> {
        match self {
            Self::Sorted { eh_frame_hdr, eh_frame } => {
                let hdr = EhFrameHdr::new(eh_frame_hdr, NativeEndian).parse(bases, 8).ok()?;
                let table = hdr.table()?;
                let entry_of = table.lookup(vaddr, bases).ok()?;
                // `pointer_to_offset` would panic where the entry lies before the section.
                let (Pointer::Direct(at), Pointer::Direct(start)) = (entry_of, hdr.eh_frame_ptr()) else {
                    return None;
                };
                let offset = EhFrameOffset(usize::try_from(at.checked_sub(start)?).ok()?);
                let section = as_eh_frame(eh_frame);
                let fde = entry(&section, bases, offset, vaddr)?;
                Some(reader.entry(&section, &fde))
            }
            Self::EhFrame(bytes, index) => {
                let section = as_eh_frame(bytes);
                let fde = entry(&section, bases, index.find(vaddr)?.into(), vaddr)?;
                Some(reader.entry(&section, &fde))
            }
            Self::DebugFrame(bytes, index) => {
                let section = as_debug_frame(bytes);
                let fde = entry(&section, bases, index.find(vaddr)?.into(), vaddr)?;
                Some(reader.entry(&section, &fde))
            }
        }
    }
}

impl Index {
    fn of<'a, S: UnwindSection<Slice<'a>>>(section: &S, bases: &BaseAddresses) -> Option<Self>
    where
        S::Offset: gimli::UnwindOffset<usize>,
    {
        let mut found = Vec::new();
        let mut entries = section.entries(bases);
        // Up to the first that makes no sense.
        while let Ok(Some(entry)) = entries.next() {
            if let CieOrFde::Fde(fde) = entry
                && let Ok(fde) = fde.parse(S::cie_from_offset)
            {
                found.push(Indexed {
                    start: fde.initial_address(),
                    end: fde.end_address(),
                    offset: fde.offset() as u64,
                });
            }
        }
        found.sort_unstable_by_key(|entry| entry.start);
        (!found.is_empty()).then_some(Self(found))
    }

    fn find(&self, vaddr: u64) -> Option<usize> {
        let after = self.0.partition_point(|entry| entry.start <= vaddr);
        let entry = self.0[..after].last().filter(|entry| vaddr < entry.end)?;
        usize::try_from(entry.offset).ok()
    }
}

fn entry<'a, S: UnwindSection<Slice<'a>>>(
    section: &S,
    bases: &BaseAddresses,
    offset: S::Offset,
    vaddr: u64,
) -> Option<FrameDescriptionEntry<Slice<'a>>> {
    let fde = section.fde_from_offset(bases, offset, S::cie_from_offset).ok()?;
    let short = fde.entry_len() <= MAX_ENTRY && fde.cie().entry_len() <= MAX_ENTRY;
    (short && fde.contains(vaddr)).then_some(fde)
}

fn as_eh_frame(bytes: &[u8]) -> EhFrame<Slice<'_>> {
    let mut section = EhFrame::from(EndianSlice::new(bytes, NativeEndian));
    section.set_address_size(8);
    section
}

fn as_debug_frame(bytes: &[u8]) -> DebugFrame<Slice<'_>> {
    let mut section = DebugFrame::from(EndianSlice::new(bytes, NativeEndian));
    section.set_address_size(8);
    section
}
