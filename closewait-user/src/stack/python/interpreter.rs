//! One interpreter of Python: the executable that runs it, and the library that it is in
//! if that is another file, in; where its frames are out. Nothing is read of a process:
//! so an interpreter is known before it is first started.

use std::path::{Path, PathBuf};

use closewait_ebpf::Python;

use super::super::elf::Elf;
use super::super::file::HeldFile;
use super::dynamic::Dynamic;
use super::layout::{self, DEBUG_OFFSETS, Layout};

/// Where libraries are, besides where an executable says.
const LIBRARY_PATHS: [&str; 7] = [
    "/usr/local/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// Functions of the library that an executable has called before it runs a program: the
/// linker may fill in the address of another only when it is first called.
const CALLED_FIRST: [&str; 4] = ["Py_BytesMain", "Py_RunMain", "Py_Main", "Py_InitializeFromConfig"];

/// How a process is found to run Python, and what is then where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Interpreter {
    pub(super) layout: Layout,
    /// From `_PyRuntime` to the type of code objects.
    pub(super) code_type: u64,
}

impl Interpreter {
    /// For the kernel side, under the number `id`.
    pub(super) fn kernel(&self, id: u32) -> Python {
        Python { layout: id, ..self.layout.kernel }
    }
}

/// What an executable has to do with Python.
#[derive(Debug)]
pub(super) enum Found {
    /// It runs Python.
    Interpreter(Interpreter),
    /// It does, but its frames cannot be found, and why.
    Unknown(String),
    /// It does not.
    NoPython,
}

/// Looks at an executable; `library` finds the library of that interpreter.
pub(super) fn examine(exe: &HeldFile, library: impl FnOnce(&Dynamic) -> Option<HeldFile>) -> Found {
    let elf = Elf::of(exe);
    let Some(dynamic) = Dynamic::of(exe, &elf) else { return Found::NoPython };
    let Some(start) = elf.code_start() else { return Found::NoPython };
    if let Some(runtime) = dynamic.defined("_PyRuntime") {
        return found(exe, &elf, &dynamic, runtime, |python| python.anchor = runtime.wrapping_sub(start));
    }
    let imports: Vec<_> = dynamic.imported().filter(|(_, name)| is_public(name)).collect();
    if imports.is_empty() {
        return Found::NoPython;
    }
    let Some(library) = library(&dynamic) else {
        return Found::Unknown("its executable does not name the library that the interpreter is in".into());
    };
    let elf = Elf::of(&library);
    let tables = Dynamic::of(&library, &elf);
    let Some((tables, runtime)) = tables.and_then(|tables| {
        let runtime = tables.defined("_PyRuntime")?;
        Some((tables, runtime))
    }) else {
        return Found::Unknown("the library of its interpreter has no _PyRuntime".into());
    };
    let rank = |name: &str| CALLED_FIRST.iter().position(|first| *first == name).unwrap_or(usize::MAX);
    let first = imports.iter().min_by_key(|(_, name)| rank(name));
    let Some((word, function)) = first.and_then(|&(word, name)| Some((word, tables.defined(name)?))) else {
        return Found::Unknown("the library of its interpreter lacks what its executable calls".into());
    };
    found(&library, &elf, &tables, runtime, |python| {
        python.anchor = word.wrapping_sub(start);
        python.from_word = u64::MAX;
        python.delta = runtime.wrapping_sub(function);
    })
}

/// What is part of the interpreter's interface by its name.
fn is_public(name: &str) -> bool {
    name.starts_with("Py") || name.starts_with("_Py")
}

/// `file` is the one in which `runtime` is; `anchor` tells how the kernel side gets there.
fn found(
    file: &HeldFile,
    elf: &Elf,
    dynamic: &Dynamic,
    runtime: u64,
    anchor: impl FnOnce(&mut Python),
) -> Found {
    let bytes = |vaddr: Option<u64>, buf: &mut [u8]| {
        let at = vaddr.and_then(|vaddr| elf.file_offset(vaddr));
        at.is_some_and(|at| file.read_at(buf, at))
    };
    // Since 3.11.
    let mut version = [0; 8];
    if !bytes(dynamic.defined("Py_Version"), &mut version) {
        return Found::Unknown("it is older than CPython 3.11, or not CPython".into());
    }
    let Some(code_type) = dynamic.defined("PyCode_Type") else {
        return Found::Unknown("its interpreter does not show the type of its code".into());
    };
    let mut offsets = [0; DEBUG_OFFSETS];
    // None before 3.13: what is read there is not looked at.
    let _ = bytes(Some(runtime), &mut offsets);
    match layout::of(u64::from_ne_bytes(version), &offsets) {
        Ok(mut layout) => {
            anchor(&mut layout.kernel);
            Found::Interpreter(Interpreter { layout, code_type: code_type.wrapping_sub(runtime) })
        }
        Err(why) => Found::Unknown(why),
    }
}

/// The interpreter's library, where the linker would look for it.
pub(super) fn library_of(exe: &Path, dynamic: &Dynamic) -> Option<HeldFile> {
    let name = dynamic.needed().find(|name| is_library(name))?;
    let origin = exe.parent().unwrap_or(Path::new("/"));
    let own = dynamic.run_paths().map(|path| match path.strip_prefix("$ORIGIN") {
        Some(rest) => origin.join(rest.trim_start_matches('/')),
        None => PathBuf::from(path),
    });
    let mut places = own.chain(LIBRARY_PATHS.map(PathBuf::from));
    places.find_map(|dir| HeldFile::of_path(&dir.join(name)).ok())
}

/// Whether a library is an interpreter of Python 3, by its file name.
pub(super) fn is_library(name: &str) -> bool {
    name.starts_with("libpython3")
}
