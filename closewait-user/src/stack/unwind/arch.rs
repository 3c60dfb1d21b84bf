//! What unwinding has to know of a machine: its registers and its code. Pure.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::*;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::*;

/// Bytes of a stub of the procedure linkage table that are looked at.
pub(super) const STUB: usize = 16;

/// What a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(target_arch = "aarch64", expect(dead_code, reason = "not asked where nothing is scanned"))]
pub(super) enum Call {
    /// The code at this address.
    To(u64),
    /// The code to which the pointer at this address leads.
    Through(u64),
}

/// What the first instructions of a function tell of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(target_arch = "aarch64", expect(dead_code, reason = "only one of them is used there"))]
pub(super) enum Prologue {
    /// The frame pointer leads to the caller.
    FramePointer,
    /// The frame has this many bytes, and the return address lies above them or
    /// above the word that follows them. `saves` says whether the word below the
    /// return address is the caller's frame pointer.
    Size { bytes: u64, saves: bool },
    /// Nothing that can be told.
    Unknown,
}
