//! The maps. Each says who writes, who reads and who deletes.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, StackTrace},
};
use closewait_ebpf::{Python, Remembered, counter, edges, pythons_known};

use crate::call_path::Scratch;
use crate::capture::Window;
use crate::python::Walked;
use crate::tunables::FAMILY_ONLY;

/// Records to userspace. Written by all programs, read by `source::ring`. Its size
/// is set by the loader.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What could not be sent or remembered, by [`counter`]. Written by all programs,
/// read by `kernel::counters`, never reset.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// What is remembered of the socket at an address: who opened it, who was told EOF,
/// its error. Written at accept, connect, EOF and error (and by userspace, which sets
/// STUCK), read by userspace for suspects only, deleted at `tcp_destroy_sock`. A full map is counted, never evicted from: a silently
/// forgotten owner would be worse than an unknown one. Its size is set by the loader.
#[map]
pub(crate) static SOCKETS: HashMap<u64, Remembered> = HashMap::with_max_entries(131_072, 0);

/// User stacks by id. Written by `bpf_get_stackid`, read by userspace when a PATH
/// record names the id, never deleted: an id must not change its meaning.
#[map]
pub(crate) static STACKS: StackTrace = StackTrace::with_max_entries(8192, 0);

/// Call paths already announced, keyed by process and stack id, and how often. Written
/// and read by whoever takes a stack, evicted by the kernel: an evicted path is
/// announced again, no more.
#[map]
pub(crate) static PATHS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(8192, 0);

/// The id of the call path that has these words, for paths that need no copy any more;
/// keyed by process and hash. Written and read by `capture`, evicted by the kernel.
#[map]
pub(crate) static WORDS: LruHashMap<u64, i32> = LruHashMap::with_max_entries(8192, 0);

/// Copied stacks to userspace. Written by `capture`, read by `source::ring`. A ring of
/// their own: however many stacks there are, they take no room from the edges.
#[map]
pub(crate) static COPIES: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// The words of a user stack that are being hashed, by [`desk`]. Written and read by `call_path`.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(desk::COUNT, 0);

/// The interpreters of Python, by [`closewait_ebpf::python_key`] of the executable. Written by
/// userspace as it finds them, read by `python`, never deleted: a program may be started again.
#[map]
pub(crate) static PYTHONS: HashMap<u64, Python> = HashMap::with_max_entries(256, 0);

/// Whether there is anything to look for in `PYTHONS`, by [`pythons_known`]. Likewise.
#[map]
pub(crate) static PYTHONS_KNOWN: Array<u64> = Array::with_max_entries(pythons_known::COUNT, 0);

/// The Python frames of a thread that opens or reads, by [`desk`]. Written by `python`, read by `capture`.
#[map]
pub(crate) static WALKED: PerCpuArray<Walked> = PerCpuArray::with_max_entries(desk::COUNT, 0);

/// How many stacks of a process were copied lately, by its id. Written and read by
/// `capture`, evicted by the kernel: a process that was forgotten may copy again.
#[map]
pub(crate) static COPYING: LruHashMap<u32, Window> = LruHashMap::with_max_entries(1024, 0);

/// How many stacks were copied lately, of all processes. Written and read by `capture`.
#[map]
pub(crate) static COPYING_ALL: Array<Window> = Array::with_max_entries(1, 0);

/// What the two transitions programs tell each other on a CPU: members [`edges`]. Written by
/// both (see `nesting`), read by `kernel::counters`.
#[map]
pub(crate) static EDGES: PerCpuArray<[u64; edges::COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// With `run`: the processes of the command, by id; the value is when it began, 0 for
/// the one that userspace has written to begin with. Written at fork, read by all
/// programs, deleted when a process is freed. Its size is set by the loader.
#[map]
pub(crate) static FAMILY: HashMap<u32, u64> = HashMap::with_max_entries(32_768, 0);

/// Where a program that takes a stack works. A program that is preempted is in the way of
/// itself only: the kernel does not run it again on that CPU meanwhile, but it runs others.
pub(crate) mod desk {
    /// The second transitions program.
    pub(crate) const EDGE: u32 = 0;
    /// The one for accepts, of whichever hook.
    pub(crate) const ACCEPT: u32 = 1;
    /// The one for accepts by io_uring.
    pub(crate) const URING: u32 = 2;
    /// The first for reads of EOF.
    pub(crate) const EOF: u32 = 3;
    /// The second.
    pub(crate) const EOF_AGAIN: u32 = 4;
    /// Number of desks.
    pub(crate) const COUNT: u32 = 5;
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(slot: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: the map hands out this CPU's own slot. A program of the same kind does not
        // nest on a CPU. Where one transitions program does the work of the other, on top of
        // it, an increment of a few slots may be lost: the number is less then, and still grows.
        unsafe { *value += 1 };
    }
}

/// The entry of a socket, made empty when it has none; `None` (and counted) when the map is full.
/// With `run`, a socket without one is none of ours.
#[inline(always)]
pub(crate) fn remembered(sk: u64) -> Option<*mut Remembered> {
    if let Some(entry) = SOCKETS.get_ptr_mut(sk) {
        return Some(entry);
    }
    if FAMILY_ONLY.load() != 0 {
        return None;
    }
    // Not if another CPU has made one meanwhile: that one is used then.
    let _ = SOCKETS.insert(sk, Remembered::EMPTY, u64::from(BPF_NOEXIST));
    let entry = SOCKETS.get_ptr_mut(sk);
    if entry.is_none() {
        count(counter::LOST_OPENER);
    }
    entry
}
