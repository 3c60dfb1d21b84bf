//! The ring buffer and the maps beside it, as a source of Items. Drained by timer,
//! and when the kernel says that the ring fills. Loss comes out as gaps.

use std::io;

use aya::maps::{HashMap, MapData, RingBuf, StackTraceMap};
use closewait_ebpf::{Opened, opened_flags, via};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock::MonoNs;
use crate::decode::{self, Opening};
use crate::item::{Gap, Item, SkAddr, StackId};
use crate::kernel::counters::{Counters, Totals};
use crate::kernel::load::Maps;
use crate::tcp::Tuple;

/// Byte offset of [`Opened::flags`] on the wire: before it come all members but the last three bytes.
const FLAGS_AT: usize = Opened::SIZE - 3;

/// The live source.
pub struct RingSource {
    records: AsyncFd<RingBuf<MapData>>,
    sockets: HashMap<MapData, u64, [u8; Opened::SIZE]>,
    stacks: StackTraceMap<MapData>,
    counters: Counters,
    malformed: u64,
}

impl RingSource {
    /// Takes over the maps. Must be called inside a tokio runtime.
    pub fn new(maps: Maps) -> io::Result<Self> {
        // SAFETY: the descriptor is the map's, which the ring owns until it is dropped
        // with this AsyncFd; it is never replaced.
        let records = unsafe { AsyncFd::register_with_interest(maps.records, Interest::READABLE) };
        Ok(Self {
            records: records.map_err(io::Error::from)?,
            sockets: maps.sockets,
            stacks: maps.stacks,
            counters: maps.counters,
            malformed: 0,
        })
    }

    /// Waits until the kernel says that the ring fills.
    pub async fn filling(&mut self) -> io::Result<()> {
        self.records.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Feeds every record that is there now to `sink`; returns how many.
    pub fn drain(&mut self, mut sink: impl FnMut(Item)) -> u64 {
        let mut records = 0;
        while let Some(record) = self.records.get_mut().next() {
            records += 1;
            match decode::decode(&record) {
                Ok(Item::Path(mut path)) => {
                    path.addrs = addresses(&self.stacks, path.stack);
                    sink(Item::Path(path));
                }
                Ok(item) => sink(item),
                Err(error) => {
                    log::warn!("a record was dropped: {error}");
                    self.malformed += 1;
                }
            }
        }
        records
    }

    /// What was lost since the last call.
    pub fn gap(&mut self, now: MonoNs) -> Option<Gap> {
        let malformed = std::mem::take(&mut self.malformed);
        let gap = self.counters.gap(now);
        if malformed == 0 {
            return gap;
        }
        Some(Gap { malformed, to: now, ..gap.unwrap_or_default() })
    }

    /// The programs' counters since load.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Who opened the socket at `sk`, if the kernel side saw it; checked against the
    /// ports of `tuple` so that a stale entry is not believed.
    pub fn opening(&self, sk: SkAddr, tuple: &Tuple) -> Option<Opening> {
        decode::opening(&self.sockets.get(&sk.0, 0).ok()?, tuple)
    }

    /// Asks the kernel side for the stack of whoever ends this socket.
    ///
    /// A socket older than the programs has no entry yet and gets an empty one. If the
    /// socket ends just now, that entry stays behind until the address is used again,
    /// which costs its place in the map and nothing else.
    pub fn mark_stuck(&mut self, sk: SkAddr) {
        let mut value = self.sockets.get(&sk.0, 0).unwrap_or_else(|_| {
            let mut unseen = [0; Opened::SIZE];
            unseen[Opened::SIZE - 4] = via::NONE;
            unseen
        });
        value[FLAGS_AT] |= opened_flags::STUCK;
        if let Err(error) = self.sockets.insert(sk.0, value, 0) {
            log::debug!("{sk:?} could not be marked: {error}");
        }
    }

    /// The addresses of a stack, innermost first; empty when the kernel has none.
    pub fn addresses(&self, stack: StackId) -> Vec<u64> {
        addresses(&self.stacks, stack)
    }
}

fn addresses(stacks: &StackTraceMap<MapData>, stack: StackId) -> Vec<u64> {
    stacks
        .get(&stack.0, 0)
        .map(|trace| trace.frames().iter().map(|frame| frame.ip).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use closewait_ebpf::{NO_STACK, Task};

    #[test]
    fn the_flags_are_where_the_wire_has_them() {
        let opened = Opened {
            at_ns: 0,
            task: Task { tgid: 0, tid: 0, comm: [0; 16] },
            fd: 0,
            stack_id: NO_STACK,
            sport: 0,
            dport: 0,
            via: 0x55,
            flags: 0xaa,
            reserved: 0,
        };
        let mut wire = [0; Opened::SIZE];
        opened.write(&mut &mut wire[..]);
        assert_eq!((wire[Opened::SIZE - 4], wire[FLAGS_AT]), (0x55, 0xaa));
    }
}
