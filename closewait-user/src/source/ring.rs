//! The ring buffer and the maps beside it, as a source of Items. Drained by timer,
//! and when the kernel says that the ring fills. Loss comes out as gaps.

use std::io;
use std::time::Duration;

use aya::maps::{HashMap, MapData, RingBuf, StackTraceMap};
use closewait_ebpf::{Remembered, flags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::decode::{self, Memory, Opening};
use crate::item::{Gap, Item, SkAddr, StackId};
use crate::kernel::counters::{Counters, Totals};
use crate::kernel::load::Maps;
use crate::tcp::Tuple;
use crate::tracker::SuspectKind;
use crate::verdict::OpenedVia;

/// At most so many records of a ring are taken at once, which is more than fit into it: whoever
/// makes them as fast as they are read must not keep the rest of the work waiting.
const DRAINED_MAX: usize = 1 << 18;

/// The live source.
pub struct RingSource {
    records: AsyncFd<RingBuf<MapData>>,
    copies: AsyncFd<RingBuf<MapData>>,
    sockets: HashMap<MapData, u64, [u8; Remembered::SIZE]>,
    stacks: StackTraceMap<MapData>,
    counters: Counters,
    malformed: u64,
    /// Sockets that found no room in `sockets` when they were to be marked.
    unmarked: u64,
}

impl RingSource {
    /// Takes over the maps. Must be called inside a tokio runtime.
    pub fn new(maps: Maps) -> io::Result<Self> {
        Ok(Self {
            records: watched(maps.records)?,
            copies: watched(maps.copies)?,
            sockets: maps.sockets,
            stacks: maps.stacks,
            counters: maps.counters,
            malformed: 0,
            unmarked: 0,
        })
    }

    /// Waits until the kernel says that the ring fills, or that a stack was copied:
    /// where its code is must be found out while its process lives.
    pub async fn filling(&mut self) -> io::Result<()> {
        tokio::select! {
            ready = self.records.readable_mut() => ready?.clear_ready(),
            ready = self.copies.readable_mut() => ready?.clear_ready(),
        }
        Ok(())
    }

    /// Feeds every record that is there now to `sink`; returns how many. A record that
    /// names a copied stack was sent after the copy: so the copies are read last.
    pub fn drain(&mut self, mut sink: impl FnMut(Item)) -> u64 {
        let mut count = 0;
        for ring in [&mut self.records, &mut self.copies] {
            for _ in 0..DRAINED_MAX {
                let Some(record) = ring.get_mut().next() else { break };
                count += 1;
                match decode::decode(&record) {
                    Ok(Item::Path(mut path)) => {
                        if path.copy.is_none() {
                            path.addrs = addresses(&self.stacks, path.stack);
                        }
                        sink(Item::Path(path));
                    }
                    Ok(item) => sink(item),
                    Err(error) => {
                        log::warn!("a record was dropped: {error}");
                        self.malformed += 1;
                    }
                }
            }
        }
        count
    }

    /// What was lost since the last call.
    pub fn gap(&mut self) -> Option<Gap> {
        let malformed = std::mem::take(&mut self.malformed);
        let unmarked = std::mem::take(&mut self.unmarked);
        let from = self.counters.last_read();
        let gap = self.counters.gap();
        if malformed + unmarked == 0 {
            return gap;
        }
        let gap = gap.unwrap_or(Gap { from, ..Gap::default() });
        Some(Gap { malformed, opener: gap.opener + unmarked, to: self.counters.last_read(), ..gap })
    }

    /// The counters, where they ask for a second program for EOF reads.
    pub fn wants_eof_again(&mut self) -> Option<&mut Counters> {
        self.counters.wants_eof_again().then_some(&mut self.counters)
    }

    /// The programs' counters since load.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// CPU time of the programs since load; `None` when the kernel does not count it.
    pub fn run_time(&self) -> Option<Duration> {
        self.counters.run_time()
    }

    /// What the kernel side remembers of the socket at `sk`; checked against the ports
    /// of `tuple` so that a stale entry is not believed.
    pub fn memory(&self, sk: SkAddr, tuple: &Tuple) -> Option<Memory> {
        decode::memory(&self.sockets.get(&sk.0, 0).ok()?, tuple)
    }

    /// What the kernel side remembers of an accepted socket whose address is not known,
    /// because its edge was lost: the one entry with these ports, if there is just one.
    /// Another namespace may use the same ports: the caller must find the opener among
    /// the holders before believing it.
    pub fn memory_by_ports(&self, tuple: &Tuple) -> Option<Memory> {
        let mut fitting = self.sockets.iter().flatten().filter_map(|(_, value)| {
            let memory = decode::memory(&value, tuple)?;
            let accepted = |opening: &Opening| opening.via == OpenedVia::Accept;
            memory.opening.as_ref().is_some_and(accepted).then_some(memory)
        });
        let found = fitting.next();
        if fitting.next().is_some() { None } else { found }
    }

    /// Asks the kernel side for the stack of whoever ends this socket, and for the end of
    /// a ghost, which it tells only of those whose close it saw.
    ///
    /// A socket older than the programs has no entry yet and gets an empty one. If the
    /// socket ends just now, that entry stays behind until the address is used again,
    /// which costs its place in the map and nothing else.
    pub fn mark(&mut self, sk: SkAddr, kind: SuspectKind) {
        let known = self.sockets.get(&sk.0, 0).ok();
        let known = known.and_then(|wire| Remembered::read(&mut &wire[..]).ok());
        let mut entry = known.unwrap_or(Remembered::EMPTY);
        entry.flags |= flags::STUCK;
        if kind != SuspectKind::Stuck {
            entry.flags |= flags::CLOSED_WITH_FILE;
        }
        let mut value = [0; Remembered::SIZE];
        entry.write(&mut &mut value[..]);
        if let Err(error) = self.sockets.insert(sk.0, value, 0) {
            log::debug!("{sk:?} could not be marked: {error}");
            self.unmarked += 1;
        }
    }
}

fn watched(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the descriptor is the map's, which the ring owns until it is dropped
    // with this AsyncFd; it is never replaced.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    ring.map_err(io::Error::from)
}

/// The addresses of a stack, innermost first; empty when the kernel has none.
fn addresses(stacks: &StackTraceMap<MapData>, stack: StackId) -> Vec<u64> {
    stacks
        .get(&stack.0, 0)
        .map(|trace| trace.frames().iter().map(|frame| frame.ip).collect())
        .unwrap_or_default()
}
