//! What tells one call path of a process from another, as far as it can be told without
//! unwinding: a hash over the user instruction pointer, the stack pointer's place in its
//! page, and those words of the first KiB of stack that point into the code of the
//! executable. Such words are the return addresses, and a few that calls before left
//! behind: so one path may have several ids, which costs a copy each. Where a read goes
//! to a large buffer on the stack, half of the words are those above the buffer.
//!
//! The stack pointer stands for what the words do not show (callers further up, and code
//! in libraries, JITs and interpreters): thread and goroutine stacks begin at pages, so
//! its place in a page is the depth of the stack modulo 4 KiB. Two paths share an id
//! only if all of it is equal.
//!
//! Where the executable lies at low addresses (it is not position independent), numbers
//! look like its addresses: node keeps the milliseconds since boot on its stack. So there
//! only words count that a call stands before ([`of_returns`]).
//!
//! The verifier takes a loop for as many instructions as all its rounds have, times the
//! ways through them, and each program that takes a stack is verified with all of this:
//! so the loops here have one way through.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use closewait_ebpf::STACK_LONG;

use crate::call_site::is_return_address;

/// The words that are hashed: 1 KiB, read in two parts.
const WORDS: usize = 128;
const HASHED: usize = WORDS * 8;
const PART: usize = HASHED / 2;

/// Lanes of the hash. More would not fit into registers, and the room for them on the stack
/// is little.
const LANES: usize = 2;

/// Words into the code that are asked whether a call stands before them. Of a stack
/// with more, the first tell enough.
const MOST_RETURNS: usize = 32;

/// 2^64 divided by the golden ratio: spreads low bits over high ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Room to hash a stack in: the programs' own is too small.
#[repr(C)]
pub(crate) struct Scratch {
    /// Whose stack it is. Another task may preempt a program on this CPU.
    pub(crate) owner: u64,
    /// Once they are hashed, the first of them are those that point into the code.
    words: [u64; WORDS],
}

/// The bounds of the executable's code.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// All ones if `a` is less than `b`, which must be below 2^63; else zero. By arithmetic,
/// since a comparison makes two ways of one. (Nor may a constant be masked with it: newer
/// verifiers go two ways there.)
#[inline(always)]
pub(crate) fn below(a: u64, b: u64) -> u64 {
    ((a.wrapping_sub(b) & !a) as i64 >> 63) as u64
}

/// Reads what is hashed: from `sp` on; and if the `len` bytes from `buf` on are on the
/// part of the stack that is copied, and end above what is hashed, only half from `sp`
/// and half from their end. False if nothing can be read at `sp`.
///
/// # Safety
/// `scratch` is valid.
#[inline(always)]
pub(crate) unsafe fn read_words(scratch: *mut Scratch, sp: u64, buf: u64, len: u64) -> bool {
    let (part, most) = (PART as u64, STACK_LONG as u64);
    let from = buf.wrapping_sub(sp);
    let to = from.wrapping_add(len);
    let is_large = below(from, most) & below(to, most) & !below(to, HASHED as u64 + 1);
    let second = part.wrapping_sub(is_large & part.wrapping_sub((to + 7) & !7));
    // SAFETY: as the caller promises; two parts are all the room.
    unsafe {
        let words = (&raw mut (*scratch).words).cast::<u8>();
        // Mostly they are one: a call of the helper costs more than what it reads.
        if second == part && bpf_probe_read_user(words.cast(), HASHED as u32, sp as *const _) == 0 {
            return true;
        }
        read_part(words.add(PART), sp.wrapping_add(second));
        read_part(words, sp) == 0
    }
}

/// Reads a part; what is beyond the end of the stack is zero. Returns zero unless all is.
///
/// # Safety
/// `to` has room for it.
#[inline(always)]
unsafe fn read_part(to: *mut u8, from: u64) -> u64 {
    // Up to the next page, if one begins in this part.
    let rest = from.wrapping_neg() & (PART as u64 - 1);
    // SAFETY: as the caller promises. The helper zeroes what it cannot read, and reads
    // nothing of no length.
    unsafe {
        let read = bpf_probe_read_user(to.cast(), PART as u32, from as *const _) as i64;
        let failed = (read >> 63) as u64;
        let again = bpf_probe_read_user(to.cast(), (rest & failed) as u32, from as *const _) as u64;
        failed & (again | below(rest, 1))
    }
}

/// Hashes the words that point into the code.
///
/// By [`LANES`] lanes, each with every so many words: a multiplication waits for the one
/// before it, and those of the lanes do not wait for each other.
///
/// # Safety
/// `scratch` is valid.
#[inline(always)]
pub(crate) unsafe fn of_words(scratch: *const Scratch, seed: u64, code: Code) -> i32 {
    let mut lanes = [seed, !seed];
    let last = code.len.wrapping_sub(1);
    let mut at = 0;
    while at < WORDS {
        // Eight at a time: a loop costs as much as its body.
        for step in 0..8 {
            // SAFETY: as the caller promises.
            let inside = unsafe { word(scratch, at + step) }.wrapping_sub(code.start);
            // All ones for a word that is not in the code, as `below` has it, with fewer instructions:
            // they are those of half the time that a stack takes.
            let outside = (last.wrapping_sub(inside) | inside) as i64 >> 63;
            let lane = &mut lanes[step % LANES];
            *lane = (*lane ^ (inside | outside as u64)).wrapping_mul(SPREAD);
        }
        at += 8;
    }
    let hash = lanes.into_iter().fold(0, |hash: u64, lane| (hash ^ lane).wrapping_mul(SPREAD));
    (hash >> 33) as i32
}

/// Hashes those of the words into the code that a call stands before.
///
/// # Safety
/// `scratch` is valid.
#[inline(always)]
pub(crate) unsafe fn of_returns(scratch: *mut Scratch, seed: u64, code: Code) -> i32 {
    let mut found = 0_u64;
    for at in 0..WORDS {
        // SAFETY: as the caller promises; `found` is below the number of words, as the
        // mask tells the verifier, and not above `at`: what is written has been read.
        unsafe {
            let word = word(scratch, at);
            let to = (&raw mut (*scratch).words).cast::<u64>().add(found as usize & (WORDS - 1));
            to.write_volatile(word);
            found = found.wrapping_sub(below(word.wrapping_sub(code.start), code.len));
        }
    }
    let mut hash = seed.wrapping_mul(SPREAD);
    let mut at = 0;
    while at < MOST_RETURNS && (at as u64) < found {
        // SAFETY: as the caller promises.
        let word = unsafe { word(scratch, at) };
        let counts = 0_u64.wrapping_sub(is_return_address(word));
        hash = (hash ^ (word & counts)).wrapping_mul(1 + ((SPREAD - 1) & counts));
        at += 1;
    }
    (hash >> 33) as i32
}

/// One word.
///
/// # Safety
/// `scratch` is valid, and has so many.
#[inline(always)]
unsafe fn word(scratch: *const Scratch, at: usize) -> u64 {
    // SAFETY: as the caller promises; volatile, because another task may write it.
    unsafe { (&raw const (*scratch).words).cast::<u64>().add(at).read_volatile() }
}
