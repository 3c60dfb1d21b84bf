//! Where the frames of a stack lie: a task and addresses, or a copied stack, in;
//! [`Place`]s out, each with the file it needs held open. This is the part that
//! cannot wait: it reads `/proc` while the process is still there, and remembers a
//! bounded number of processes so that a later stack of one that has exited can
//! still be placed. It never reads symbols.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::call_site::{WINDOW, can_return_after};
use super::capture::Capture;
use super::file::{FileId, HeldFile};
use super::jit::{Table, Tables};
use super::lru::Lru;
use super::maps::Maps;
use super::process::{Known, Process};
use super::python::names::Functions;
use super::python::{self, Interpreters};
use super::unwind::Unwinder;
use crate::clock::{Clock, MonoNs};
use crate::enrich::procfs;
use crate::item::{self, Task};
use crate::verdict::How;

/// Processes whose maps are remembered. A host has a few dozen that open sockets
/// by more than one path; each costs a few KB (measured: sleep 1.6 KiB, python
/// with four libraries loaded 4.6 KiB).
pub const MAX_PROCESSES: usize = 256;

/// Files held open for them. The usual soft limit is 1024 descriptors, and the
/// tool needs some 100 itself. Files are shared: a hundred processes with one
/// libc hold it once.
pub const MAX_FILES: usize = 384;

/// Executable mappings remembered of all processes; some 200 bytes each. A JVM has a few hundred,
/// but a process may have 65,530 (the default of `vm.max_map_count`), each by a name of its own.
const MAX_MAPPINGS: usize = 300_000;

/// Most bytes of a maps file that are read: 262,144 mappings, the largest
/// `vm.max_map_count` that databases ask for, at 128 bytes each.
const MAX_MAPS_BYTES: u64 = 32 << 20;

/// What one address of a stack lies in.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address as it was on the stack.
    pub addr: u64,
    /// How it was found.
    pub how: How,
    /// Path or name of what is mapped there.
    pub module: String,
    /// Offset in the file of the byte before `addr`: see [`lookup_address`].
    pub offset: u64,
    /// The file, held open; the reason when it could not be; `None` when there is no file.
    pub file: Option<Result<Arc<HeldFile>, String>>,
    /// The perf map that may name it, where a JIT may have written the code.
    pub jit: Option<Result<Arc<Table>, String>>,
}

impl Place {
    /// Whether a caller's frame can be here, as far as its code can be read.
    fn can_be_returned_to(&self) -> bool {
        let Some(Ok(file)) = &self.file else { return true };
        let mut before = [0; WINDOW];
        let start = (self.offset + 1).checked_sub(before.len() as u64);
        start.is_none_or(|start| !file.read_at(&mut before, start) || can_return_after(before))
    }
}

/// The address to look up for an address found on a stack: one less. Callers
/// are known by the address they will return to, and where a call is the last
/// instruction of a function (it never returns) that is already in the next
/// one. The innermost address is no exception: the hooks run inside system
/// calls, whose saved instruction pointer is that after `syscall`.
pub fn lookup_address(addr: u64) -> u64 {
    addr.saturating_sub(1)
}

/// Places of one stack.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// One for each address, innermost first, up to the first that is not in code.
    pub places: Vec<Place>,
    /// That address, and how many were dropped with it.
    pub not_code: Option<(u64, usize)>,
    /// Where and why the stack ends early.
    pub note: Option<String>,
    /// The Python functions in it, or why there are none; `None` when it is not of Python.
    pub python: Option<Result<Box<Functions>, String>>,
}

impl Placed {
    /// Keeps the places up to the first where no frame can be: what the kernel found
    /// by frame pointers in code that keeps none is any word of the stack.
    fn end_at_garbage(&mut self) {
        // The innermost address follows a system call, the others follow calls.
        let garbage = self.places.iter().skip(1).position(|place| !place.can_be_returned_to());
        let kept = garbage.map_or(self.places.len(), |at| at + 1);
        let what = match (self.places.get(kept), self.not_code) {
            (Some(place), _) => format!("no call stands before {:#x}", place.addr),
            (None, Some((addr, _))) => format!("{addr:#x} is not code"),
            (None, None) => return,
        };
        let dropped = self.places.len() - kept + self.not_code.map_or(0, |(_, dropped)| dropped);
        let why = "a function here keeps no frame pointer";
        self.note = Some(format!("ends early: {what}, {dropped} dropped ({why})"));
        self.places.truncate(kept);
    }
}

/// Remembered processes.
#[derive(Debug)]
pub struct Processes {
    known: Lru<u32, Known>,
    files: HashMap<FileId, Weak<HeldFile>>,
    tables: Tables,
    unwinder: Unwinder,
    interpreters: Option<Interpreters>,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            known: Lru::new(MAX_PROCESSES),
            files: HashMap::new(),
            tables: Tables::default(),
            unwinder: Unwinder::default(),
            interpreters: None,
        }
    }
}

impl Processes {
    /// Names Python functions too.
    pub(super) fn naming_python(interpreters: Option<Interpreters>) -> Self {
        Self { interpreters, ..Self::default() }
    }

    /// Places the addresses of a stack of `task`, innermost first.
    ///
    /// The maps are read anew each time: the process may have loaded a library
    /// or executed another program since, or its id may belong to another
    /// process now. Only when it is gone are the remembered ones used. An error
    /// says why there is nothing.
    pub fn place(&mut self, task: &Task, addrs: &[u64]) -> Result<Placed, String> {
        let (mut process, _) = self.look(task)?;
        let mut placed = Placed::default();
        for (depth, &addr) in addrs.iter().enumerate() {
            let Some(place) = process.place(addr, How::Fp) else {
                // A zero is how the kernel pads a stack: nothing was lost there.
                placed.not_code = (addr != 0).then_some((addr, addrs.len() - depth));
                break;
            };
            placed.places.push(place);
        }
        placed.end_at_garbage();
        self.forget_excess();
        Ok(placed)
    }

    /// Unwinds a copied stack of `task` and places its frames; otherwise as [`Self::place`].
    pub fn unwind(&mut self, task: &Task, capture: &Capture) -> Result<Placed, String> {
        let (mut process, unwinder) = self.look(task)?;
        let unwound = unwinder.unwind(&mut process, capture);
        let places: Vec<_> =
            unwound.frames.iter().map_while(|frame| process.place(frame.addr, frame.how)).collect();
        let not_code = places.is_empty().then_some((capture.regs.ip, 1));
        self.forget_excess();
        Ok(Placed { places, not_code, note: unwound.note, python: None })
    }

    /// Unwinds or places a stack as it came.
    pub(super) fn locate(&mut self, path: &item::Path) -> Result<Placed, String> {
        let pid = path.task.pid;
        if began_after(pid, path.at) {
            // What is remembered of that number is of neither the one nor the other for sure.
            self.known.remove(&pid);
            return Err(format!("process {pid} has exited, and its number is another's now"));
        }
        match &path.copy {
            Some(copy) => {
                // Before all else: a function's memory is of more use to its process than ours.
                let python = self.python(path);
                Ok(Placed { python, ..self.unwind(&path.task, copy)? })
            }
            None => self.place(&path.task, &path.addrs),
        }
    }

    /// The Python functions of a stack.
    fn python(&mut self, path: &item::Path) -> Option<Result<Box<Functions>, String>> {
        let mut interpreters = self.interpreters.take()?;
        let named = match self.look(&path.task) {
            Ok((process, _)) => match &path.python {
                Some(walk) => {
                    let read = |addr, buf: &mut [u8]| process.read_memory(addr, buf);
                    Some(python::names::name(&interpreters, walk, &read).map(Box::new))
                }
                None => process.runs_python(&mut interpreters, path.at).map(Err),
            },
            Err(_) => path.python.as_ref().map(|_| Err("its process ended first".into())),
        };
        self.interpreters = Some(interpreters);
        named
    }

    /// Drops what can be read again, and the processes that have been gone since
    /// the last call.
    pub fn forget(&mut self) {
        self.unwinder.forget();
        self.tables.forget();
        self.known.retain(|pid, known| {
            let is_gone = !Path::new(&format!("/proc/{pid}")).exists();
            !std::mem::replace(&mut known.is_gone, is_gone) || !is_gone
        });
        self.files.retain(|_, file| file.strong_count() > 0);
    }

    /// The process as it is now, or as it was when it was last seen.
    fn look(&mut self, task: &Task) -> Result<(Process<'_>, &mut Unwinder), String> {
        let pid = self.refresh(task)?;
        let Some(known) = self.known.get(&task.pid) else {
            return Err(format!("process {} was forgotten", task.pid));
        };
        let process = Process::new(known, &mut self.files, &mut self.tables, pid, task.pid);
        Ok((process, &mut self.unwinder))
    }

    /// Reads the maps of the process; the id under which `/proc` still shows it,
    /// `None` when it is gone but remembered.
    fn refresh(&mut self, task: &Task) -> Result<Option<u32>, String> {
        let mut refused = None;
        // By its thread too: when the main thread has exited and others go on,
        // /proc/PID/maps is empty, /proc/TID/maps is not.
        for id in [task.pid, task.tid] {
            match read_maps(id) {
                Ok(maps) if !maps.code().is_empty() => {
                    let fresh = match self.known.remove(&task.pid) {
                        Some(old) => old.carried_over(maps),
                        None => Known::new(maps),
                    };
                    self.known.insert(task.pid, fresh);
                    return Ok(Some(id));
                }
                Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => refused = Some(err),
                _ => {}
            }
        }
        match refused {
            _ if self.known.get(&task.pid).is_some() => Ok(None),
            Some(err) => Err(format!("the maps of process {} cannot be read: {err}", task.pid)),
            None => Err(format!("process {} exited before its maps could be read", task.pid)),
        }
    }

    /// Keeps the number of open files, and of mappings, bounded: the process looked at longest
    /// ago goes first, the present one never.
    fn forget_excess(&mut self) {
        self.files.retain(|_, file| file.strong_count() > 0);
        let mappings = |known: &Lru<u32, Known>| known.values().map(|it| it.maps.code().len()).sum::<usize>();
        while (self.files.len() > MAX_FILES || mappings(&self.known) > MAX_MAPPINGS) && self.known.len() > 1 {
            self.known.drop_oldest();
            self.files.retain(|_, file| file.strong_count() > 0);
        }
    }

    /// Whether process `pid`, of which a stack was just placed, runs Java.
    pub(super) fn runs_java(&mut self, pid: u32) -> bool {
        self.known.get(&pid).is_some_and(|known| known.maps.runs_java())
    }

    /// Processes remembered and files held open.
    pub fn held(&self) -> (usize, usize) {
        (self.known.len(), self.files.values().filter(|file| file.strong_count() > 0).count())
    }
}

/// Whether the process of this number began after a moment at which it had done something:
/// then it is another one, and its code is not what was run.
fn began_after(pid: u32, at: MonoNs) -> bool {
    let stat = procfs::text(format!("/proc/{pid}/stat"));
    // Told in ticks, rounded down; and half a tick more for what lies between two clocks.
    let began = stat.ok().and_then(|stat| procfs::start_ticks(&stat)).map(Clock::since_boot);
    began.is_some_and(|began| began > at + Duration::from_millis(5))
}

/// The executable mappings of a process.
pub(super) fn read_maps(pid: u32) -> std::io::Result<Maps> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAX_MAPS_BYTES).read_to_end(&mut text)?;
    Ok(Maps::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_with_many_mappings_are_fewer() {
        let line = |n: usize| format!("{:x}-{:x} r-xp 00000000 fe:01 4711 /usr/bin/x\n", n * 16, n * 16 + 16);
        let maps = Maps::parse((0..60_000).map(line).collect::<String>().as_bytes());
        assert_eq!(maps.code().len(), 60_000);
        let mut processes = Processes::default();
        for pid in 0..9 {
            processes.known.insert(pid, Known::new(maps.clone()));
            processes.forget_excess();
        }
        assert_eq!(processes.held().0, MAX_MAPPINGS / 60_000);
        assert!(processes.known.get(&8).is_some() && processes.known.get(&3).is_none());
    }
}
