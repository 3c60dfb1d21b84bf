//! The programs. Each source file is one of them or a piece that several share;
//! what each program costs and why it exists is told in its file.
//!
//! Nothing here decides whether a socket is stuck: the programs say what happened,
//! as little as possible of it, and count what they could not say.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "a program has no public interface")]
#![allow(clippy::wildcard_imports)]

mod call_path;
mod call_site;
mod capture;
mod destroy;
mod eof;
mod error;
mod family;
mod holders;
mod maps;
mod memory;
mod nesting;
mod openers;
mod path;
mod python;
mod ring;
mod sock;
mod transitions;
mod tunables;
mod user_stack;

/// The licence the kernel asks for before it lends GPL-only helpers
/// (`bpf_probe_read_kernel`, `bpf_get_stackid`); the source is MIT or Apache-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
