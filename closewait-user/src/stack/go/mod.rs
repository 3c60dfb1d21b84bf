//! Go's own table of functions (`.gopclntab`), which a Go program keeps when its symbols
//! are stripped: a virtual address in, the functions there out, with file and line, and
//! what was inlined. Read from the file piece by piece as it is asked, so that it takes
//! no memory. Any bytes: no panic, and a look costs a bounded number of reads.

mod module;
mod values;

use std::cell::OnceCell;
use std::ops::Range;

use super::elf::{Elf, u32_at, word};
use super::file::HeldFile;
use module::Module;
use values::Effort;

/// Where Go's linker puts it, and that in programs that can be moved; others' linkers put
/// the latter among other data.
const SECTIONS: [&str; 3] = [".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro"];

/// It begins at a multiple of this.
const ALIGNMENT: usize = 32;

/// Bytes of a section that are searched for something: it takes 0.2 ms a MiB.
const MAX_SEARCHED: u64 = 64 << 20;

/// Longest name of a function or a file that is read.
const MAX_NAME: usize = 4 << 10;

/// Calls inlined into each other; Go's compiler stops far earlier.
const MAX_INLINED: usize = 64;

/// Bytes of `runtime.pcHeader`.
const HEADER: usize = 72;

/// A function at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    /// Inlined into the next.
    pub(super) inlined: bool,
    /// From the start of the function that nothing is inlined around to the address.
    pub(super) offset: u64,
}

/// What differs between versions of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// Go 1.18 and 1.19.
    Go118,
    /// Go 1.20 and later.
    Go120,
}

/// The table of one file.
#[derive(Debug)]
pub(super) struct Functions {
    layout: Layout,
    /// Where it lies in the file.
    bytes: Range<u64>,
    /// Its virtual address.
    vaddr: u64,
    /// Bytes of the shortest instruction: addresses are counted in these.
    quantum: u64,
    /// Functions in it.
    count: u64,
    /// Where code begins, as the header says; 0 where it leaves that to others.
    text: u64,
    /// Parts of the table: names of functions, files of a package, names of files,
    /// values by address, functions. Offsets in the table.
    names: u64,
    packages: u64,
    files: u64,
    pc_values: u64,
    records: u64,
    /// What is said outside the table; found when first needed.
    module: OnceCell<Module>,
}

/// A file to look in.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) elf: &'a Elf,
    pub(super) file: &'a HeldFile,
}

impl Source<'_> {
    /// What lies at a virtual address.
    fn at<const N: usize>(&self, vaddr: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_at(&mut bytes, self.elf.file_offset(vaddr)?).then_some(bytes)
    }
}

/// The record of a function (`runtime._func`): where it lies in the table, and its fixed part.
struct Record {
    at: u64,
    fixed: [u8; 44],
    /// The function's first address, from the start of code.
    entry: u32,
}

impl Functions {
    /// The table of a file; `None` when it has none, or one of a version not known here.
    pub(super) fn of(source: Source<'_>) -> Option<Self> {
        source.elf.section(".go.buildinfo")?;
        SECTIONS.iter().find_map(|name| {
            let section = source.elf.section(name)?;
            let found = search(source, name, ALIGNMENT, |at, bytes| Some((at, Layout::of(bytes)?)));
            let (vaddr, (layout, quantum)) = found?;
            let from = section.offset.checked_add(vaddr.wrapping_sub(section.vaddr))?;
            let bytes = from..section.offset.checked_add(section.size)?;
            let mut header = [0; HEADER];
            if !source.file.read_at(&mut header, from) {
                return None;
            }
            Some(Self {
                layout,
                bytes,
                vaddr,
                quantum,
                count: word(&header, 8)?,
                text: word(&header, 24)?,
                names: word(&header, 32)?,
                packages: word(&header, 40)?,
                files: word(&header, 48)?,
                pc_values: word(&header, 56)?,
                records: word(&header, 64)?,
                module: OnceCell::new(),
            })
        })
    }

    /// The functions at a virtual address, what was inlined first; none when it is not Go's.
    pub(super) fn at(&self, source: Source<'_>, vaddr: u64) -> Vec<Function> {
        self.look(source, vaddr).unwrap_or_default()
    }

    fn look(&self, source: Source<'_>, vaddr: u64) -> Option<Vec<Function>> {
        let module = self.module.get_or_init(|| Module::of(self, source));
        let target = u32::try_from(vaddr.checked_sub(module.text?)?).ok()?;
        let record = self.record(source, target)?;
        let within = target - record.entry;
        let outer = self.name(source, self.names, record.name())?;
        let mut effort = Effort::default();
        let mut value = |field, pc| self.value(source, field, pc, &mut effort);
        let inlined = record.pcdata(self, source, PCDATA_INLINED);
        let (mut functions, mut at) = (Vec::new(), within);
        loop {
            let tree_index = inlined.and_then(|table| value(table, at)).and_then(|i| u32::try_from(i).ok());
            let call = tree_index.map(|index| module.inlined(self, source, &record, index));
            let place = value(record.lines(), at).zip(value(record.files(), at)).and_then(|(line, file)| {
                Some((self.file(source, &record, file)?, u32::try_from(line).ok()?))
            });
            let (file, line) = place.unzip();
            let offset = u64::from(within) + 1;
            match call {
                Some(Some(call)) if functions.len() < MAX_INLINED => {
                    let name = self.name(source, self.names, call.name)?;
                    functions.push(Function { name, file, line, inlined: true, offset });
                    at = call.parent;
                }
                // Something is inlined here that cannot be named: its line is not the function's.
                Some(_) => {
                    functions.push(Function { name: outer, file: None, line: None, inlined: false, offset });
                    return Some(functions);
                }
                None => {
                    functions.push(Function { name: outer, file, line, inlined: false, offset });
                    return Some(functions);
                }
            }
        }
    }

    /// The record of the function that `target` lies in, by bisection of the table of starts.
    fn record(&self, source: Source<'_>, target: u32) -> Option<Record> {
        // Pairs of a start and a place; after the last pair, where code ends.
        let start = |index: u64| u32_at(&self.read::<4>(source, self.records, index.checked_mul(8)?)?, 0);
        if self.count == 0 || target < start(0)? || target >= start(self.count)? {
            return None;
        }
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            *(if start(middle)? <= target { &mut low } else { &mut high }) = middle;
        }
        let pair: [u8; 8] = self.read(source, self.records, low * 8)?;
        let at = self.records.checked_add(u32_at(&pair, 4)?.into())?;
        let mut fixed = [0; 44];
        let part = self.layout.fixed();
        self.fill(source, at, &mut fixed[..part])?;
        let entry = u32_at(&fixed, 0)?;
        (entry <= target).then_some(Record { at, fixed, entry })
    }

    /// Of a table of values by address, the one at `pc` from the function's start.
    fn value(&self, source: Source<'_>, table: u32, pc: u32, effort: &mut Effort) -> Option<i32> {
        if table == 0 {
            return None;
        }
        let read = |at: u64, buf: &mut [u8]| {
            let from = self.pc_values.checked_add(table.into())?.checked_add(at)?;
            self.fill_what_there_is(source, from, buf)
        };
        values::at(read, self.quantum, pc.into(), effort)
    }

    /// The file of a function by its number in the function's package.
    fn file(&self, source: Source<'_>, record: &Record, number: i32) -> Option<String> {
        let index = u64::from(record.package()?).checked_add(u64::try_from(number).ok()?)?;
        let offset = u32_at(&self.read::<4>(source, self.packages, index.checked_mul(4)?)?, 0)?;
        // Generated code has no file.
        (offset != u32::MAX).then(|| self.name(source, self.files, offset)).flatten()
    }

    /// The text at `offset` of a part of the table, up to its zero.
    fn name(&self, source: Source<'_>, part: u64, offset: u32) -> Option<String> {
        let at = part.checked_add(offset.into())?;
        let mut name = vec![0; 128];
        loop {
            let read = self.fill_what_there_is(source, at, &mut name)?;
            if let Some(end) = name[..read].iter().position(|&byte| byte == 0) {
                return (end > 0).then(|| String::from_utf8_lossy(&name[..end]).into_owned());
            }
            if read < name.len() || name.len() >= MAX_NAME {
                return None;
            }
            name.resize(MAX_NAME, 0);
        }
    }

    fn read<const N: usize>(&self, source: Source<'_>, part: u64, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(source, part.checked_add(offset)?, &mut bytes)?;
        Some(bytes)
    }

    fn fill(&self, source: Source<'_>, at: u64, buf: &mut [u8]) -> Option<()> {
        let from = self.bytes.start.checked_add(at)?;
        let end = from.checked_add(buf.len() as u64)?;
        (end <= self.bytes.end && source.file.read_at(buf, from)).then_some(())
    }

    /// Fills as much of `buf` as the table has, and says how much that is.
    fn fill_what_there_is(&self, source: Source<'_>, at: u64, buf: &mut [u8]) -> Option<usize> {
        let left = (self.bytes.end - self.bytes.start).checked_sub(at)?;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        self.fill(source, at, &mut buf[..len])?;
        Some(len)
    }
}

/// Which of a function's tables of values says what is inlined: `PCDATA_InlTreeIndex`.
const PCDATA_INLINED: u32 = 2;

impl Layout {
    /// By how a table begins (runtime/symtab.go, `pcHeader`): magic, two zeros, bytes of an
    /// instruction, of a pointer. With the bytes of an instruction.
    fn of(bytes: &[u8]) -> Option<(Self, u64)> {
        let layout = match u32_at(bytes, 0)? {
            0xffff_fff0 => Self::Go118,
            0xffff_fff1 => Self::Go120,
            _ => return None,
        };
        let [0, 0, quantum @ (1 | 2 | 4), 8] = *bytes.get(4..8)? else { return None };
        Some((layout, quantum.into()))
    }

    /// Bytes of the fixed part of `runtime._func`: Go 1.20 added the line a function starts at.
    const fn fixed(self) -> usize {
        match self {
            Self::Go118 => 40,
            Self::Go120 => 44,
        }
    }
}

/// Fields of `runtime._func`: entryoff, nameoff, args, deferreturn, pcsp, pcfile, pcln,
/// npcdata, cuOffset; its last byte is nfuncdata; after it npcdata and then nfuncdata numbers.
impl Record {
    fn field(&self, index: usize) -> u32 {
        u32_at(&self.fixed, 4 * index).unwrap_or_default()
    }

    fn name(&self) -> u32 {
        self.field(1)
    }

    fn files(&self) -> u32 {
        self.field(5)
    }

    fn lines(&self) -> u32 {
        self.field(6)
    }

    fn package(&self) -> Option<u32> {
        Some(self.field(8)).filter(|&package| package != u32::MAX)
    }

    fn pcdata(&self, table: &Functions, source: Source<'_>, index: u32) -> Option<u32> {
        let at = self.at.checked_add(table.layout.fixed() as u64)?;
        let value = || u32_at(&table.read::<4>(source, at, 4 * u64::from(index))?, 0);
        (index < self.field(7)).then(value).flatten()
    }

    fn funcdata(&self, table: &Functions, source: Source<'_>, index: u32) -> Option<u32> {
        let fixed = table.layout.fixed();
        let at = self.at.checked_add(fixed as u64)?.checked_add(4 * u64::from(self.field(7)))?;
        let value = || u32_at(&table.read::<4>(source, at, 4 * u64::from(index))?, 0);
        let is_one = index < u32::from(self.fixed[fixed - 1]);
        is_one.then(value).flatten().filter(|&offset| offset != u32::MAX)
    }
}

/// The first part of `size` bytes of a section of which `look`, which is told its virtual
/// address, has something to say.
fn search<T>(
    source: Source<'_>,
    section: &str,
    size: usize,
    mut look: impl FnMut(u64, &[u8]) -> Option<T>,
) -> Option<T> {
    let section = source.elf.section(section)?;
    let mut chunk = vec![0; 64 << 10];
    let mut at = 0;
    while at < section.size.min(MAX_SEARCHED) {
        let len = usize::try_from(section.size - at).unwrap_or(chunk.len()).min(chunk.len());
        if !source.file.read_at(&mut chunk[..len], section.offset.checked_add(at)?) {
            return None;
        }
        for part in chunk[..len].chunks_exact(size) {
            if let Some(found) = look(section.vaddr.wrapping_add(at), part) {
                return Some(found);
            }
            at += size as u64;
        }
        if len < chunk.len() {
            return None;
        }
    }
    None
}
