//! What is read of a `struct sock`. In: its address. Out: integers, zero where it cannot
//! be read.
//!
//! Each call of the helper that reads kernel memory costs some 35 ns (measured on 6.18),
//! whatever it reads: so the head of the structure, where family, state, ports, addresses
//! and the namespace are (`struct sock_common`), is read by one call.

use core::mem::MaybeUninit;

use closewait_ebpf::{
    ABSENT,
    tcp_state::{IPPROTO_MPTCP, IPPROTO_TCP},
};

use crate::{
    memory::{read, read_to},
    tunables::offset,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of the head: up to the IPv6 addresses, which end at 88 on all kernels seen (5.10
/// to 7.3). What lies elsewhere is read by a call of its own.
const HEAD: usize = 88;

/// The head of a `struct sock`.
#[repr(C, align(8))]
pub(crate) struct Head {
    bytes: MaybeUninit<[u8; HEAD]>,
    sk: u64,
}

impl Head {
    /// Reads it.
    #[inline(always)]
    pub(crate) fn read(sk: u64) -> Self {
        let mut head = Self { bytes: MaybeUninit::uninit(), sk };
        // SAFETY: there is room; the helper writes all of it, zeroes where it cannot read.
        unsafe { read_to::<HEAD>(head.bytes.as_mut_ptr().cast(), sk) };
        head
    }

    /// A member, which lies at a multiple of its own size as C has it.
    ///
    /// # Safety
    /// `T` must be valid for any bit pattern.
    #[inline(always)]
    unsafe fn member<T: Copy>(&self, offset: u16) -> T {
        let at = usize::from(offset);
        // The verifier knows `at`, and looks at one of the two.
        if at + size_of::<T>() <= HEAD {
            // SAFETY: inside the bytes, which are all written; as the caller promises.
            unsafe { self.bytes.as_ptr().cast::<u8>().add(at).cast::<T>().read_volatile() }
        } else {
            // SAFETY: as the caller promises.
            unsafe { read(self.sk + offset as u64) }
        }
    }

    #[inline(always)]
    pub(crate) fn family(&self) -> u16 {
        // SAFETY: an integer.
        unsafe { self.member(offset!(skc_family)) }
    }

    /// Whether the family is one that TCP serves.
    #[inline(always)]
    pub(crate) fn is_inet(&self) -> bool {
        let family = self.family();
        family == AF_INET || family == AF_INET6
    }

    /// The state, as the kernel numbers it.
    #[inline(always)]
    pub(crate) fn state(&self) -> u8 {
        // SAFETY: an integer.
        unsafe { self.member(offset!(skc_state)) }
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub(crate) fn netns(&self) -> u32 {
        if offset!(skc_net) == ABSENT {
            return 0;
        }
        // SAFETY: integers; a null `net` reads as zero.
        unsafe { read(self.member::<u64>(offset!(skc_net)) + u64::from(offset!(net_inum))) }
    }

    /// Remote port, host order.
    #[inline(always)]
    pub(crate) fn dport(&self) -> u16 {
        // SAFETY: an integer.
        u16::from_be(unsafe { self.member(offset!(skc_dport)) })
    }

    /// Writes both addresses into 16 bytes each that are zero.
    ///
    /// # Safety
    /// `saddr` and `daddr` are valid for them, and lie at multiples of four.
    #[inline(always)]
    pub(crate) unsafe fn addresses(&self, saddr: *mut u8, daddr: *mut u8) {
        // SAFETY: as the caller promises; integers.
        unsafe {
            if self.family() == AF_INET6 && offset!(skc_v6_daddr) != ABSENT {
                for word in 0..4_u16 {
                    let at = usize::from(word) * 4;
                    let (local, remote) = (offset!(skc_v6_rcv_saddr), offset!(skc_v6_daddr));
                    saddr.add(at).cast::<u32>().write(self.member(local + word * 4));
                    daddr.add(at).cast::<u32>().write(self.member(remote + word * 4));
                }
            } else {
                saddr.cast::<u32>().write(self.member(offset!(skc_rcv_saddr)));
                daddr.cast::<u32>().write(self.member(offset!(skc_daddr)));
            }
        }
    }
}

/// What programs that take a stack ask of the head: [`Place`], as one number.
///
/// A function of its own: they have 512 bytes of stack with what they call, and the head
/// must not be on it when a stack is taken. Global, so that the verifier looks at it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn place_of(sk: u64) -> u64 {
    Place::of_typed(sk).0
}

/// Where a socket is, and in which state.
#[derive(Clone, Copy)]
pub(crate) struct Place(u64);

impl Place {
    const INET: u8 = 1;

    /// That of a socket.
    #[inline(always)]
    pub(crate) fn of(sk: u64) -> Self {
        Self(place_of(sk))
    }

    /// The same, where the verifier knows what `sk` points to (a trampoline's argument):
    /// then it is no number that a function could take.
    #[inline(always)]
    pub(crate) fn of_typed(sk: u64) -> Self {
        let head = Head::read(sk);
        let inet = if head.is_inet() { u64::from(Self::INET) } else { 0 };
        let (dport, state) = (u64::from(head.dport()), u64::from(head.state()));
        Self(u64::from(head.netns()) | dport << 32 | state << 48 | inet << 56)
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub(crate) const fn netns(self) -> u32 {
        self.0 as u32
    }

    /// Remote port, host order.
    #[inline(always)]
    pub(crate) const fn dport(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The state, as the kernel numbers it.
    #[inline(always)]
    pub(crate) const fn state(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// Whether the family is one that TCP serves.
    #[inline(always)]
    pub(crate) const fn is_inet(self) -> bool {
        (self.0 >> 56) as u8 == Self::INET
    }
}

/// The protocol, `IPPROTO_TCP` where this kernel does not tell.
#[inline(always)]
pub(crate) fn protocol(sk: u64) -> u16 {
    if offset!(sk_protocol) == ABSENT {
        return IPPROTO_TCP;
    }
    // SAFETY: an integer.
    unsafe { read(sk + u64::from(offset!(sk_protocol))) }
}

/// Whether a protocol is TCP, or made of it.
#[inline(always)]
pub(crate) const fn is_tcp(protocol: u16) -> bool {
    protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP
}

/// Local port, host order.
#[inline(always)]
pub(crate) fn sport(sk: u64) -> u16 {
    // SAFETY: an integer.
    u16::from_be(unsafe { read(sk + u64::from(offset!(inet_sport))) })
}

/// The `struct socket`; 0 when it has none: not accepted yet, or closed.
#[inline(always)]
pub(crate) fn socket(sk: u64) -> u64 {
    // SAFETY: an integer.
    unsafe { read(sk + u64::from(offset!(sk_socket))) }
}

/// The inode number of a socket's file; 0 where this kernel does not tell.
#[inline(always)]
pub(crate) fn inode(socket: u64) -> u32 {
    if offset!(socket_ino) == ABSENT {
        return 0;
    }
    // SAFETY: an integer.
    unsafe { read::<u64>(socket + u64::from(offset!(socket_ino))) as u32 }
}

/// The error, an errno; 0 for none, or where this kernel does not tell.
#[inline(always)]
pub(crate) fn error(sk: u64) -> u16 {
    if offset!(sk_err) == ABSENT {
        return 0;
    }
    // SAFETY: an integer.
    unsafe { read::<u32>(sk + u64::from(offset!(sk_err))) as u16 }
}
