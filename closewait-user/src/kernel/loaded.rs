//! What has been loaded: the programs, which are attached while it lives (nothing is
//! pinned), and the maps through which they speak.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, RingBuf, StackTraceMap};
use aya::programs::{BtfTracePoint, RawTracePoint};
use aya_log::EbpfLogger;
use closewait_ebpf::Remembered;

use super::attach::program;
use super::counters::{Counters, EOF, EOF_TYPED, Program};
use super::detach::Slow;
use super::family::Family;
use super::plan::{CannotTrace, Hook};
use super::pythons::Pythons;
use super::refusal::{broken, refusal};
use super::served::Served;
use super::task_files::TaskFiles;

/// Attached programs and the maps through which they speak.
pub struct Loaded {
    /// Holds the programs and their links.
    pub(super) ebpf: Ebpf,
    /// Holds the attachments that the kernel takes its time to let go of.
    pub(super) _slow: Slow,
    /// Lists descriptors, when that is served.
    pub task_files: Option<TaskFiles>,
    /// How each purpose is served.
    pub served: Vec<Served>,
    /// Prints the programs' log, when it is on.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// The maps, taken out of [`Loaded`].
pub struct Maps {
    /// Records.
    pub records: RingBuf<MapData>,
    /// Openers by socket address; the value is a [`Remembered`] in wire form.
    pub sockets: HashMap<MapData, u64, [u8; Remembered::SIZE]>,
    /// Copied stacks.
    pub copies: RingBuf<MapData>,
    /// Stacks by id.
    pub stacks: StackTraceMap<MapData>,
    /// What was lost.
    pub counters: Counters,
}

impl Loaded {
    /// Takes the maps out; once.
    pub fn maps(&mut self) -> Result<Maps, CannotTrace> {
        let counters = self.counters()?;
        Ok(Maps {
            records: self.map("RECORDS")?,
            sockets: self.map("SOCKETS")?,
            copies: self.map("COPIES")?,
            stacks: self.map("STACKS")?,
            counters,
        })
    }

    /// The processes that are followed, with [`Settings::family`]; once.
    pub fn family(&mut self) -> Result<Family, CannotTrace> {
        Ok(Family::new(self.map("FAMILY")?))
    }

    /// Where interpreters of Python are made known, if that is served; once.
    pub fn pythons(&mut self) -> Option<Pythons> {
        let served = self.served.iter().any(|served| served.by == Some(Hook::PythonFrames));
        served.then(|| Some(Pythons::new(self.map("PYTHONS").ok()?, self.map("PYTHONS_KNOWN").ok()?)))?
    }

    fn counters(&mut self) -> Result<Counters, CannotTrace> {
        let array = self.map("COUNTERS")?;
        let edges = self.map("EDGES")?;
        let attached = self.ebpf.programs().filter(|(name, _)| *name != EOF[1]);
        let programs = attached.filter_map(|(name, program)| {
            let fd = program.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
            Some(Program { name: name.to_owned(), fd })
        });
        Ok(Counters::new(array, edges, programs.collect()))
    }

    /// Attaches the second program for EOF reads, which steps in where the first is skipped,
    /// and has `counters` count it. Not from the start: every receive of the host pays for it.
    pub fn attach_eof_again(&mut self, counters: &mut Counters) -> Result<(), String> {
        match self.eof_again() {
            Ok(program) => {
                counters.add_eof_again(program);
                Ok(())
            }
            Err(why) => {
                counters.refuse_eof_again();
                Err(why)
            }
        }
    }

    /// Detaches the first program for EOF reads: tests see what the second does without it.
    #[doc(hidden)]
    pub fn detach_first_eof(&mut self) -> Result<(), String> {
        let typed: &mut BtfTracePoint = program(&mut self.ebpf, EOF_TYPED)?;
        if typed.unload().is_ok() {
            return Ok(());
        }
        let program: &mut RawTracePoint = program(&mut self.ebpf, EOF[0])?;
        program.unload().map_err(|error| refusal(&error))
    }

    fn eof_again(&mut self) -> Result<Program, String> {
        let program: &mut RawTracePoint = program(&mut self.ebpf, EOF[1])?;
        program.attach("sock_recv_length").map_err(|error| refusal(&error))?;
        let fd = program.fd().map_err(|error| refusal(&error))?.as_fd().try_clone_to_owned();
        Ok(Program { name: EOF[1].to_owned(), fd: fd.map_err(|error| error.to_string())? })
    }

    fn map<T>(&mut self, name: &str) -> Result<T, CannotTrace>
    where
        T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or_else(|| broken(format!("the object has no map {name}")))?;
        T::try_from(map).map_err(|error| broken(format!("map {name}: {error}")))
    }

    /// Verified instructions of each loaded program, where the kernel tells (5.16+).
    pub fn instructions(&self) -> Vec<(String, Option<u32>)> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                Some((name.to_owned(), program.info().ok()?.verified_instruction_count()))
            })
            .collect()
    }
}
