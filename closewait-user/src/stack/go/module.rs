//! What a Go program says of itself outside `.gopclntab`, in `runtime.firstmoduledata`:
//! where its code begins, and where the trees of inlined calls are. No symbol tells where
//! that record is; it begins with pointers to the table, and they are in the file as the
//! program would have them where it was linked for, also in one that can be moved.

use super::{Functions, Layout, Record, Source, search};
use crate::stack::elf::{u32_at, word};

/// Where the linker puts the record: one place since Go 1.26, before that among other data.
const SECTIONS: [&str; 3] = [".go.module", ".noptrdata", ".data"];

/// Words of `runtime.moduledata` (runtime/symtab.go): a pointer to the table is the first,
/// one to the names of functions the second; then where code begins.
const NAMES: u64 = 8;
const TEXT: u64 = 22 * 8;

/// Which of a function's data is its tree of inlined calls: `FUNCDATA_InlTree`.
const FUNCDATA_INLINED: u32 = 3;

/// What the module's record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Module {
    /// The virtual address of the start of Go's code.
    pub(super) text: Option<u64>,
    /// That of functions' data.
    funcdata: Option<u64>,
}

/// A call that was inlined.
pub(super) struct Inlined {
    /// Where its name is among the names.
    pub(super) name: u32,
    /// An instruction of the caller's at the line of the call, from the start of the function.
    pub(super) parent: u32,
}

impl Module {
    /// As the program says.
    pub(super) fn of(table: &Functions, source: Source<'_>) -> Self {
        let record = SECTIONS.iter().find_map(|name| Self::record(table, source, name));
        let pointer = |at: u64| word(&source.at::<8>(record?.checked_add(at)?)?, 0);
        // `gofunc`; two pointers for coverage were put before it.
        let gofunc = match table.layout {
            Layout::Go118 => 38 * 8,
            Layout::Go120 => 40 * 8,
        };
        // The header says where code begins too, up to Go 1.25.
        let text = Some(table.text).filter(|&text| text != 0).or_else(|| pointer(TEXT));
        Self { text, funcdata: pointer(gofunc) }
    }

    /// The virtual address of the record, if it is in this section.
    fn record(table: &Functions, source: Source<'_>, section: &str) -> Option<u64> {
        let names = table.vaddr.checked_add(table.names)?;
        search(source, section, 8, |at, pointer| {
            let is_it = word(pointer, 0)? == table.vaddr
                && word(&source.at::<8>(at.checked_add(NAMES)?)?, 0)? == names;
            is_it.then_some(at)
        })
    }

    /// An entry of a function's tree; `None` when there is no tree, or it makes no sense.
    pub(super) fn inlined(
        &self,
        table: &Functions,
        source: Source<'_>,
        record: &Record,
        index: u32,
    ) -> Option<Inlined> {
        let tree = self.funcdata?.checked_add(record.funcdata(table, source, FUNCDATA_INLINED)?.into())?;
        match table.layout {
            Layout::Go118 => {
                // parent, funcID, file, line, name, parentPc
                let entry: [u8; 20] = source.at(tree.checked_add(20 * u64::from(index))?)?;
                Some(Inlined { name: u32_at(&entry, 12)?, parent: u32_at(&entry, 16)? })
            }
            Layout::Go120 => {
                // funcID, name, parentPc, startLine
                let entry: [u8; 16] = source.at(tree.checked_add(16 * u64::from(index))?)?;
                // What lies after the first byte is empty; it will not be when the layout changes again.
                let is_known = entry[1..4] == [0; 3];
                is_known.then(|| Some(Inlined { name: u32_at(&entry, 4)?, parent: u32_at(&entry, 8)? }))?
            }
        }
    }
}
