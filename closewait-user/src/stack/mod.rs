//! User stacks: addresses from the kernel in, named frames out.
//!
//! A stack must be placed while its process lives ([`places`]), and can be named
//! later ([`symbolize`]); [`worker`] does both in threads of its own, so that the
//! event loop never waits for them. [`fold`] tells plumbing from a program's own frames.

mod answers;
pub mod attach;
mod call_site;
pub mod capture;
mod debug;
mod demangle;
mod elf;
pub mod file;
pub mod finalizer;
pub mod fold;
mod go;
pub mod hint;
pub mod jit;
mod lru;
pub mod maps;
pub mod named;
pub mod places;
mod process;
pub mod python;
mod renaming;
mod sealed;
mod separate;
pub mod symbolize;
pub mod unwind;
pub mod worker;

use std::sync::Arc;

pub use places::lookup_address;
pub use worker::Stacks;

use crate::verdict::Frame;

/// A named stack.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stack {
    /// Innermost frame first; a frame that was inlined stands before the one it was inlined into.
    /// Thousands of sockets may share them.
    pub frames: Arc<Vec<Frame>>,
    /// What is missing and why, when something is known to be: where the stack
    /// ends early, which modules could not be read.
    pub note: Option<String>,
}

/// Why the kernel gave no stack: `errno` as `bpf_get_stackid` returned it,
/// negative or not. The reasons are those of kernel/bpf/stackmap.c,
/// `__bpf_get_stackid`.
pub fn kernel_reason(errno: i32) -> String {
    let errno = errno.unsigned_abs();
    let why = match errno {
        12 => "no free slot in the stack table",
        // Ours: `copied_stack` and `nesting` in closewait-ebpf.
        16 => "another program was taking one on that CPU",
        14 => "the task has no user stack, or it could not be read",
        17 => "stack table collision: another stack has its slot",
        _ => return format!("kernel gave no stack: errno -{errno}"),
    };
    format!("kernel gave no stack: errno -{errno} ({why})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_a_reason() {
        let collision = "kernel gave no stack: errno -17 (stack table collision: another stack has its slot)";
        assert_eq!(kernel_reason(-17), collision);
        assert_eq!(kernel_reason(17), collision);
        assert!(kernel_reason(-14).contains("errno -14 (the task has no user stack"));
        assert!(kernel_reason(-16).contains("errno -16 (another program was taking one"));
        assert!(kernel_reason(-12).contains("errno -12 (no free slot"));
        assert_eq!(kernel_reason(-1), "kernel gave no stack: errno -1");
        assert_eq!(kernel_reason(i32::MIN), "kernel gave no stack: errno -2147483648");
    }
}
