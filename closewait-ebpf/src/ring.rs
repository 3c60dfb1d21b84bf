//! Sending records. Nothing waits for a wake-up per record: the reader drains by
//! timer, and is woken only when the ring fills.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit},
};

use crate::{
    maps::{self, RECORDS},
    tunables::WAKE_AT,
};

/// Reserves a record, lets `fill` write all of it, and sends it. A full ring adds to
/// the counter `lost`.
///
/// `fill` must write every byte: what it leaves out reaches userspace as it was.
#[inline(always)]
pub(crate) fn send<T>(lost: u32, fill: impl FnOnce(*mut T)) -> bool {
    let ring = (&raw const RECORDS).cast_mut().cast();
    // SAFETY: RECORDS is a ring buffer; the kernel gives null or room for a T.
    let record = unsafe { bpf_ringbuf_reserve(ring, size_of::<T>() as u64, 0) }.cast::<T>();
    if record.is_null() {
        maps::count(lost);
        return false;
    }
    fill(record);
    // SAFETY: querying the ring has no precondition.
    let unread = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    let flags = if unread >= WAKE_AT.load() { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // SAFETY: `record` came from reserve and is submitted once.
    unsafe { bpf_ringbuf_submit(record.cast(), u64::from(flags)) };
    true
}
