//! One process, as placing and unwinding see it: its maps, its files held open, its
//! perf map, and its memory where nothing else has the code. All of it is read while
//! the process lives; what was read stays when it is gone.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::file::{FileId, HeldFile, open_mapped};
use super::jit::{self, Table, Tables};
use super::maps::{Backing, Mapping, Maps};
use super::places::{Place, lookup_address};
use super::python::Interpreters;
use super::unwind::{Code, JitFrames, JitFunction, Modules};
use crate::clock::MonoNs;
use crate::enrich::memory;
use crate::verdict::How;

/// Largest vDSO that is read; it has two to four pages.
const MAX_IMAGE: u64 = 1 << 20;

/// What is remembered of a process.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) maps: Maps,
    opened: Vec<(Mapping, Arc<HeldFile>)>,
    jit: Option<Arc<HeldFile>>,
    image: Option<Bytes>,
    /// It was gone when this was last asked.
    pub(super) is_gone: bool,
}

impl Known {
    pub(super) fn new(maps: Maps) -> Self {
        Self { maps, opened: Vec::new(), jit: None, image: None, is_gone: false }
    }

    /// With newly read maps; files stay open where their mapping is unchanged.
    pub(super) fn carried_over(mut self, maps: Maps) -> Self {
        self.opened.retain(|(mapping, _)| maps.find(mapping.start) == Some(mapping));
        Self { maps, ..self }
    }

    fn open(
        &mut self,
        pid: Option<u32>,
        mapping: &Mapping,
        files: &mut HashMap<FileId, Weak<HeldFile>>,
    ) -> Result<Arc<HeldFile>, String> {
        if let Some((_, file)) = self.opened.iter().find(|(opened, _)| opened == mapping) {
            return Ok(Arc::clone(file));
        }
        let pid = pid.ok_or("its process exited before it could be opened")?;
        let file = shared(open_mapped(pid, mapping)?, files);
        self.opened.push((mapping.clone(), Arc::clone(&file)));
        Ok(file)
    }

    /// The perf map, opened anew while the process lives: runtimes write it when
    /// asked, which may be after the first stack, and some write a new file.
    fn open_jit(&mut self, pid: Option<u32>, tgid: u32) -> Result<Arc<HeldFile>, String> {
        if pid.is_some() {
            let now = jit::open(tgid).map_err(jit::NoMap::why)?;
            if self.jit.as_ref().is_none_or(|held| held.id != now.id) {
                self.jit = Some(Arc::new(now));
            }
        }
        self.jit.clone().ok_or_else(|| format!("process {tgid} exited before its perf map could be opened"))
    }
}

/// The file already held, where another process has it too.
fn shared(new: HeldFile, files: &mut HashMap<FileId, Weak<HeldFile>>) -> Arc<HeldFile> {
    if let Some(held) = files.get(&new.id).and_then(Weak::upgrade)
        && held.stamp == new.stamp
    {
        return held;
    }
    let new = Arc::new(new);
    files.insert(new.id, Arc::downgrade(&new));
    new
}

/// A process during one look at it.
pub(super) struct Process<'a> {
    known: &'a mut Known,
    files: &'a mut HashMap<FileId, Weak<HeldFile>>,
    tables: &'a mut Tables,
    /// The id under which `/proc` shows it; `None` when it is gone.
    pid: Option<u32>,
    tgid: u32,
    /// Read once a look: it does not change meanwhile as far as this stack goes.
    table: Option<Result<Arc<Table>, String>>,
}

impl<'a> Process<'a> {
    pub(super) fn new(
        known: &'a mut Known,
        files: &'a mut HashMap<FileId, Weak<HeldFile>>,
        tables: &'a mut Tables,
        pid: Option<u32>,
        tgid: u32,
    ) -> Self {
        Self { known, files, tables, pid, tgid, table: None }
    }

    /// What a frame's address lies in; `None` when that is not code.
    pub(super) fn place(&mut self, addr: u64, how: How) -> Option<Place> {
        let at = lookup_address(addr);
        let mapping = self.known.maps.find(at)?.clone();
        let file = matches!(mapping.backing, Backing::File { .. })
            .then(|| self.known.open(self.pid, &mapping, self.files));
        let jit = mapping.may_be_jit().then(|| self.table());
        let offset = mapping.file_offset(at);
        Some(Place { addr, how, module: mapping.module(), offset, file, jit })
    }

    /// The names of its code made at run time.
    fn table(&mut self) -> Result<Arc<Table>, String> {
        let Self { known, tables, pid, tgid, table, .. } = self;
        table.get_or_insert_with(|| tables.of(&*known.open_jit(*pid, *tgid)?)).clone()
    }

    /// Reads its memory; `false` when that is refused, not there, or the process is gone.
    pub(super) fn read_memory(&self, addr: u64, buf: &mut [u8]) -> bool {
        self.pid.is_some_and(|pid| memory::read((self.tgid, pid), addr, buf))
    }

    /// Why a stack taken `at` that time has no Python functions, if it runs Python at all.
    pub(super) fn runs_python(&self, interpreters: &mut Interpreters, at: MonoNs) -> Option<String> {
        interpreters.learn(self.pid?, &self.known.maps, at)
    }

    /// The vDSO, from its memory; from our own when it is gone. A kernel has one for
    /// all processes of a machine word, so one of the same size is the same.
    fn image(&mut self, mapping: &Mapping) -> Option<Bytes> {
        if self.known.image.is_none() {
            let size = mapping.end - mapping.start;
            let mut bytes = vec![0; usize::try_from(size.min(MAX_IMAGE)).ok()?];
            let read = self.read_memory(mapping.start, &mut bytes) || own_image(mapping, &mut bytes);
            self.known.image = read.then(|| bytes.into());
        }
        self.known.image.clone()
    }
}

fn own_image(like: &Mapping, bytes: &mut [u8]) -> bool {
    let maps = Maps::parse(&std::fs::read("/proc/self/maps").unwrap_or_default());
    let same = |own: &&Mapping| own.backing == like.backing && own.end - own.start == like.end - like.start;
    let own = maps.code().iter().find(same);
    let memory = own.and_then(|own| Some((File::open("/proc/self/mem").ok()?, own.start)));
    memory.is_some_and(|(memory, start)| memory.read_exact_at(bytes, start).is_ok())
}

impl Modules for Process<'_> {
    fn code(&mut self, addr: u64) -> Option<Code> {
        let mapping = self.known.maps.find(addr)?;
        if mapping.may_be_jit() {
            return Some(Code::Jit);
        }
        let mapping = mapping.clone();
        Some(match &mapping.backing {
            Backing::File { .. } => match self.known.open(self.pid, &mapping, self.files) {
                Ok(file) => Code::File(file, mapping.file_offset(addr)),
                Err(_) => Code::Opaque,
            },
            Backing::Kernel(name) if name == "[vdso]" => match self.image(&mapping) {
                Some(image) => Code::Image(image, addr - mapping.start),
                None => Code::Opaque,
            },
            Backing::Kernel(_) | Backing::Anonymous(_) => Code::Opaque,
        })
    }

    fn read(&mut self, addr: u64, buf: &mut [u8]) -> bool {
        match self.code(addr) {
            Some(Code::File(file, offset)) => file.read_at(buf, offset),
            Some(_) => self.read_memory(addr, buf),
            None => false,
        }
    }

    fn read_data(&mut self, addr: u64, buf: &mut [u8]) -> bool {
        self.read_memory(addr, buf)
    }

    fn jit_function(&mut self, addr: u64) -> Option<JitFunction> {
        let (name, start) = self.table().ok()?.find(addr)?;
        // Names that HotSpot gives to code that it did not compile (`CodeBlob` in its sources).
        let frames = match name.as_str() {
            "Interpreter" => JitFrames::Interpreted,
            name if name.starts_with("StubRoutines") => JitFrames::Linked,
            _ => JitFrames::Unknown,
        };
        Some(JitFunction { start, frames })
    }

    fn bounds(&self) -> (u64, u64) {
        let code = self.known.maps.code();
        (code.first().map_or(0, |first| first.start), code.last().map_or(0, |last| last.end))
    }
}
