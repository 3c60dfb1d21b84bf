//! The wire between the BPF programs and userspace: record layouts, map value
//! layouts, counter indices and the predicates both sides must agree on.
//!
//! In: nothing. Out: plain types. This crate is `no_std`, is built for the host
//! as well as for BPF, and never does I/O; `aya-ebpf` is used only by the
//! programs (`main.rs`), which exist only for `target_arch = "bpf"`.
//!
//! Every record is declared once, by [`wire!`]: the programs get a `repr(C)`
//! struct, userspace gets a reader that takes the same fields in the same order
//! from any [`bytes::Buf`], so the two cannot drift apart.
#![no_std]

pub mod calls;
pub mod tcp_state;
mod wire;

pub use wire::*;
