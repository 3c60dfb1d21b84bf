//! Symbols: places in, named frames out. Reads symbol tables and debug
//! information through files already held open, so that it does not matter
//! whether the process still lives or what became of its binary. Slow (tens of
//! ms for a module not seen before), so it never runs on the event path.
//! What the parser maps are sealed copies in memory, never users' files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use blazesym::symbolize::source::{Elf as ElfSource, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolizer};

use super::Stack;
use super::demangle;
use super::elf::Elf;
use super::file::{FileId, HeldFile, START};
use super::fold::is_plumbing_module;
use super::go;
use super::hint::{hint, named_by_perf_map};
use super::lru::Lru;
use super::places::{Place, Placed};
use super::python::merge::merge;
use super::sealed::SealedCopy;
use super::separate::Places;
use crate::verdict::Frame;

/// Modules whose symbols are kept parsed. A stack has two to five. Measured: 70 KB
/// for a C program with its libc, 3 MB for a small Go program, 13 MB for node.
pub const MAX_MODULES: usize = 16;

/// Most bytes of copied symbols that are kept, beside those of the module in use.
pub const MAX_BYTES: u64 = 256 << 20;

/// Calls inlined into each other that are named; compilers stop far earlier.
const MAX_INLINED: usize = 64;

/// Parsed symbols, of the modules used last.
///
/// Each module has a symbolizer of its own: dropping it is then known to drop
/// all that was read on its behalf, separate debug files included.
#[derive(Debug)]
pub struct Symbols {
    modules: Lru<FileId, Module>,
    places: Places,
}

#[derive(Debug)]
struct Module {
    /// Keeps the inode number from being reused.
    file: Arc<HeldFile>,
    elf: Elf,
    build_id: Option<String>,
    /// What the parser reads: the file's symbols, and its debug information where that
    /// is kept apart.
    own: Option<SealedCopy>,
    separate: Option<SealedCopy>,
    /// The table of functions that a Go program has beside its symbols.
    go: Option<go::Functions>,
    /// Why there is no copy.
    failure: Option<String>,
    /// `None` once it has panicked: the file is broken in a way the parser did not foresee.
    symbolizer: Option<Symbolizer>,
    /// Debug information is used until it turns out to be unreadable.
    debug: bool,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { modules: Lru::new(MAX_MODULES), places: Places::of_environment() }
    }
}

impl Symbols {
    /// Looks for debug information in this directory too, laid out as debuginfod's
    /// clients lay out what they have fetched; otherwise as the environment says.
    pub fn with_fetched(dir: impl Into<PathBuf>) -> Self {
        Self { modules: Lru::new(MAX_MODULES), places: Places { fetched: Some(dir.into()) } }
    }

    /// Names the frames of one stack.
    pub fn stack(&mut self, found: &Placed) -> Stack {
        let mut stack = Stack::default();
        let mut notes: Vec<String> = Vec::new();
        let mut note = |text: String| {
            if !notes.contains(&text) {
                notes.push(text);
            }
        };
        for place in &found.places {
            if let Err(reason) = self.frames(place, Arc::make_mut(&mut stack.frames)) {
                note(reason);
            }
        }
        found.note.clone().map(&mut note);
        if let Some(python) = &found.python {
            // The interpreter may have written their names to a perf map already.
            match python {
                Ok(functions) if !named_by_perf_map(&stack.frames) => {
                    stack.frames =
                        Arc::new(merge(std::mem::take(Arc::make_mut(&mut stack.frames)), functions));
                    functions.note.clone().map(&mut note);
                }
                Ok(_) => {}
                Err(why) => {
                    if hint(&stack.frames).is_some() {
                        note(format!("Python's own functions are not named: {why}"));
                    }
                }
            }
        }
        hint(&stack.frames).map(str::to_owned).map(&mut note);
        // It may be kept for long.
        Arc::make_mut(&mut stack.frames).shrink_to_fit();
        stack.note = (!notes.is_empty()).then(|| notes.join("; "));
        stack
    }

    /// Forgets everything parsed. What was named stays named; what comes is read again.
    pub fn forget(&mut self) {
        self.modules.clear();
    }

    /// Appends the frames of one place, inlined ones first. An error says why
    /// the frame has no name although one could be expected.
    fn frames(&mut self, place: &Place, out: &mut Vec<Frame>) -> Result<(), String> {
        let mut bare = Frame {
            addr: place.addr,
            symbol: None,
            module: Some(place.module.clone()),
            build_id: None,
            // The place is one byte before the address; the frame is not.
            offset: place.offset.saturating_add(1),
            file: None,
            line: None,
            inlined: false,
            how: place.how,
        };
        let mut reason = Ok(());
        match &place.file {
            Some(Ok(file)) => {
                let module = self.module(file, &place.module);
                bare.build_id.clone_from(&module.build_id);
                if file.changed() && !module.is_of_the_same_build(file) {
                    reason = Err(format!("{} was written to after it was mapped", place.module));
                } else if module.frames(&bare, place.offset, out) {
                    return Ok(());
                } else if let Some(why) = &module.failure {
                    reason = Err(format!("no symbols of {}: {why}", place.module));
                }
                bare.offset = module
                    .elf
                    .virtual_address(place.offset)
                    .map_or(bare.offset, |vaddr| vaddr.saturating_add(1));
            }
            Some(Err(why)) => reason = Err(format!("no symbols of {}: {why}", place.module)),
            None => {}
        }
        match &place.jit {
            Some(Ok(table)) => {
                if let Some((name, start)) = table.find(super::lookup_address(place.addr)) {
                    bare.symbol = Some(name);
                    bare.offset = place.addr - start;
                    reason = Ok(());
                }
            }
            Some(Err(why)) => reason = Err(format!("no names for code made at run time: {why}")),
            None => {}
        }
        out.push(bare);
        reason
    }

    fn module(&mut self, file: &Arc<HeldFile>, name: &str) -> &mut Module {
        let known = self.modules.remove(&file.id).filter(|module| module.file.stamp == file.stamp);
        let module = known.unwrap_or_else(|| Module::new(Arc::clone(file), name, &self.places));
        let held = |modules: &Lru<FileId, Module>| modules.values().map(Module::size).sum::<u64>();
        while self.modules.len() > 0 && held(&self.modules) + module.size() > MAX_BYTES {
            self.modules.drop_oldest();
        }
        self.modules.insert(file.id, module)
    }
}

impl Module {
    fn new(file: Arc<HeldFile>, name: &str, places: &Places) -> Self {
        let elf = Elf::of(&file);
        let build_id = elf.build_id(&file);
        // Lines inside the C library help nobody, and where its debug files are
        // installed they cost 30-80 ms and 11 MB: it is in every stack.
        let debug = !is_plumbing_module(name);
        let separate = build_id.as_deref().filter(|_| debug).and_then(|id| places.find(id));
        let separate = separate.and_then(|file| SealedCopy::of(&file, &Elf::of(&file), true).ok());
        let (own, failure) = match SealedCopy::of(&file, &elf, false) {
            Ok(copy) => (Some(copy), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            symbolizer: Some(
                Symbolizer::builder().enable_auto_reload(false).enable_demangling(false).build(),
            ),
            debug,
            go: go::Functions::of(go::Source { elf: &elf, file: &file }),
            elf,
            build_id,
            separate,
            own,
            failure,
            file,
        }
    }

    /// Whether the file, which has another time than when it was opened, is what it was all the
    /// same: as long, and with the same build id, which lies in what is compared.
    fn is_of_the_same_build(&self, file: &HeldFile) -> bool {
        self.elf.has_build_id_within(START) && file.begins_as_it_did()
    }

    /// Bytes of the copies.
    fn size(&self) -> u64 {
        [&self.own, &self.separate].into_iter().flatten().map(|copy| copy.size).sum()
    }

    /// Appends the frames at `offset`; `false` when there is no symbol.
    fn frames(&mut self, bare: &Frame, offset: u64, out: &mut Vec<Frame>) -> bool {
        // The files are whatever users run: a panic costs their names, not the tool.
        let Ok(frames) = catch_unwind(AssertUnwindSafe(|| self.named(bare, offset))) else {
            self.symbolizer = None;
            return false;
        };
        out.extend_from_slice(&frames);
        !frames.is_empty()
    }

    fn named(&mut self, bare: &Frame, offset: u64) -> Vec<Frame> {
        let Some(symbolizer) = &self.symbolizer else { return Vec::new() };
        let vaddr = self.elf.virtual_address(offset);
        let look = |copy: &SealedCopy, debug: bool, input: Input<u64>| {
            let mut source = ElfSource::new(copy.path());
            source.debug_syms = debug;
            let found = symbolizer.symbolize_single(&Source::Elf(source), input);
            found.map(|found| found.into_sym().map(|sym| expand(bare, &sym)).unwrap_or_default())
        };
        // What is kept apart has no code, so it is asked by virtual address.
        if let (Some(copy), Some(vaddr)) = (&self.separate, vaddr)
            && let Ok(frames) = look(copy, !copy.without_debug, Input::VirtOffset(vaddr))
            && !frames.is_empty()
        {
            return frames;
        }
        // Without debug information it knows more than symbols do: lines, and what was inlined.
        if let (Some(functions), Some(vaddr)) = (&self.go, vaddr.filter(|_| !self.elf.has_debug())) {
            let found = functions.at(go::Source { elf: &self.elf, file: &self.file }, vaddr);
            if !found.is_empty() {
                return found.into_iter().map(|function| of_go(bare, function)).collect();
            }
        }
        let Some(copy) = &self.own else { return Vec::new() };
        let input = Input::FileOffset(offset);
        match look(copy, self.debug && !copy.without_debug, input) {
            // A debug file that does not fit, say: the symbol table will do.
            Err(_) if self.debug => {
                self.debug = false;
                look(copy, false, input).unwrap_or_default()
            }
            other => other.unwrap_or_default(),
        }
    }
}

fn of_go(bare: &Frame, function: go::Function) -> Frame {
    let go::Function { name, file, line, inlined, offset } = function;
    let file = file.map(demangle::cut);
    Frame { symbol: Some(demangle::cut(name)), offset, file, line, inlined, ..bare.clone() }
}

/// One frame for the function and one for each call inlined at this place, innermost first.
fn expand(bare: &Frame, sym: &Sym<'_>) -> Vec<Frame> {
    // The symbol was looked up one byte before the address.
    let offset = (sym.offset as u64).saturating_add(1);
    let frame = |name: &str, code: Option<&CodeInfo<'_>>, inlined| Frame {
        symbol: Some(demangle::name(name)),
        offset,
        file: code.map(|code| demangle::cut(code.to_path().to_string_lossy().into_owned())),
        line: code.and_then(|code| code.line),
        inlined,
        ..bare.clone()
    };
    let inlined = sym
        .inlined
        .iter()
        .take(MAX_INLINED)
        .rev()
        .map(|call| frame(&call.name, call.code_info.as_ref(), true));
    inlined.chain([frame(&sym.name, sym.code_info.as_deref(), false)]).collect()
}
