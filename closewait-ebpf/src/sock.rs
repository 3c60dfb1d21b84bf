//! What is read of a `struct sock`. In: its address. Out: integers, zero where it cannot
//! be read.
//!
//! Each call of the helper that reads kernel memory costs some 35 ns (measured on 6.18),
//! whatever it reads, and a load costs next to nothing: so members are loaded where the
//! verifier knows the socket's type. Elsewhere the head of the structure, where family, state,
//! ports, addresses and the namespace are (`struct sock_common`), is read by one call.

use core::mem::MaybeUninit;

use closewait_ebpf::{
    ABSENT,
    tcp_state::{IPPROTO_MPTCP, IPPROTO_TCP},
};

use crate::{
    memory::{plain, read, read_to},
    tunables::offset,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of the head: up to the IPv6 addresses, which end at 88 on all kernels seen (5.10
/// to 7.3). What lies elsewhere is read by a call of its own.
const HEAD: usize = 88;

/// A `struct sock`, as a program was given it.
pub(crate) trait Sock: Copy {
    /// What tells its head.
    type Head: Head;

    /// Whether the verifier takes it for a number, which any function may be given.
    const IS_NUMBER: bool;

    /// Its address.
    fn address(self) -> u64;

    /// Its address as a number, with which anything may be done: for what is logged.
    fn number(self) -> u64;

    /// Its head.
    fn head(self) -> Self::Head;

    /// Where it is, and in which state.
    fn place(self) -> Place;

    /// Between which ports it is, and where; `None` when the family is none that TCP serves.
    /// Not at an edge to CLOSE ([`Head::local_port`]).
    fn ends(self) -> Option<Ends>;

    /// A member of the structure at `base`: the socket, or what a member of it points to.
    ///
    /// # Safety
    /// `T` must be valid for any bit pattern, and `base` come from the socket by this.
    unsafe fn load<T: Copy>(self, base: u64, offset: u16) -> T;

    /// The protocol, `IPPROTO_TCP` where this kernel does not tell.
    #[inline(always)]
    fn protocol(self) -> u16 {
        if offset!(sk_protocol) == ABSENT {
            return IPPROTO_TCP;
        }
        // SAFETY: an integer.
        unsafe { self.load(self.address(), offset!(sk_protocol)) }
    }

    /// The `struct socket`; 0 when it has none: not accepted yet, or closed.
    #[inline(always)]
    fn socket(self) -> u64 {
        // SAFETY: an integer.
        unsafe { self.load(self.address(), offset!(sk_socket)) }
    }

    /// The error, an errno; 0 for none, or where this kernel does not tell.
    #[inline(always)]
    fn error(self) -> u16 {
        if offset!(sk_err) == ABSENT {
            return 0;
        }
        // SAFETY: an integer.
        unsafe { self.load::<u32>(self.address(), offset!(sk_err)) as u16 }
    }
}

/// One whose type the verifier knows (an argument of a BTF tracepoint or a trampoline): its
/// members are loaded, and what a bad address points to loads as zero. It must not be given
/// to a function that takes a number, which verifiers before 7.x refuse.
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) u64);

/// One that is an address and no more: its members are read by the helper.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub(crate) u64);

impl Sock for Typed {
    type Head = Self;
    const IS_NUMBER: bool = false;

    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn number(self) -> u64 {
        plain(self.0)
    }

    #[inline(always)]
    fn head(self) -> Self {
        self
    }

    #[inline(always)]
    fn place(self) -> Place {
        Place::of(&self)
    }

    #[inline(always)]
    fn ends(self) -> Option<Ends> {
        self.is_inet().then(|| Ends::of(&self, self.0))
    }

    #[inline(always)]
    unsafe fn load<T: Copy>(self, base: u64, offset: u16) -> T {
        // SAFETY: as the caller promises; the verifier has looked at the types.
        unsafe { ((base + u64::from(offset)) as *const T).read_volatile() }
    }
}

impl Sock for Number {
    type Head = Copied;
    const IS_NUMBER: bool = true;

    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn number(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn head(self) -> Copied {
        Copied::read(self.0)
    }

    #[inline(always)]
    fn place(self) -> Place {
        Place(place_of(self.0))
    }

    #[inline(always)]
    fn ends(self) -> Option<Ends> {
        // An accepted socket has a remote port.
        let ends = ends_of(self.0);
        (ends != 0).then(|| Ends {
            netns: ends as u32,
            sport: (ends >> 32) as u16,
            dport: (ends >> 48) as u16,
        })
    }

    #[inline(always)]
    unsafe fn load<T: Copy>(self, base: u64, offset: u16) -> T {
        // SAFETY: as the caller promises.
        unsafe { read(base + u64::from(offset)) }
    }
}

/// The head of a `struct sock`.
pub(crate) trait Head {
    /// A member, which lies at a multiple of its own size as C has it.
    ///
    /// # Safety
    /// `T` must be valid for any bit pattern.
    unsafe fn member<T: Copy>(&self, offset: u16) -> T;

    /// A member of what a member points to; zero where that is nothing.
    ///
    /// # Safety
    /// `T` must be valid for any bit pattern.
    unsafe fn beyond<T: Copy>(&self, offset: u16, further: u16) -> T;

    #[inline(always)]
    fn family(&self) -> u16 {
        // SAFETY: an integer.
        unsafe { self.member(offset!(skc_family)) }
    }

    /// Whether the family is one that TCP serves.
    #[inline(always)]
    fn is_inet(&self) -> bool {
        let family = self.family();
        family == AF_INET || family == AF_INET6
    }

    /// The state, as the kernel numbers it.
    #[inline(always)]
    fn state(&self) -> u8 {
        // SAFETY: an integer.
        unsafe { self.member(offset!(skc_state)) }
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    fn netns(&self) -> u32 {
        if offset!(skc_net) == ABSENT {
            return 0;
        }
        // SAFETY: an integer.
        unsafe { self.beyond(offset!(skc_net), offset!(net_inum)) }
    }

    /// Remote port, host order.
    #[inline(always)]
    fn dport(&self) -> u16 {
        // SAFETY: an integer.
        u16::from_be(unsafe { self.member(offset!(skc_dport)) })
    }

    /// Local port of `sk`, whose head this is, host order. Not at an edge to CLOSE, before which
    /// the kernel clears this member of the head.
    #[inline(always)]
    fn local_port(&self, sk: u64) -> u16 {
        if offset!(skc_num) == ABSENT {
            return sport(sk);
        }
        // SAFETY: an integer.
        unsafe { self.member(offset!(skc_num)) }
    }

    /// Writes both addresses into 16 bytes each that are zero.
    ///
    /// # Safety
    /// `saddr` and `daddr` are valid for them, and lie at multiples of four.
    #[inline(always)]
    unsafe fn addresses(&self, saddr: *mut u8, daddr: *mut u8) {
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

impl Head for Typed {
    #[inline(always)]
    unsafe fn member<T: Copy>(&self, offset: u16) -> T {
        // SAFETY: as the caller promises.
        unsafe { self.load(self.0, offset) }
    }

    #[inline(always)]
    unsafe fn beyond<T: Copy>(&self, offset: u16, further: u16) -> T {
        // SAFETY: as the caller promises.
        unsafe { self.load(self.member::<u64>(offset), further) }
    }
}

/// A copy of the head.
#[repr(C, align(8))]
pub(crate) struct Copied {
    bytes: MaybeUninit<[u8; HEAD]>,
    sk: u64,
}

impl Copied {
    /// Makes it.
    #[inline(always)]
    pub(crate) fn read(sk: u64) -> Self {
        let mut head = Self { bytes: MaybeUninit::uninit(), sk };
        // SAFETY: there is room; the helper writes all of it, zeroes where it cannot read.
        unsafe { read_to::<HEAD>(head.bytes.as_mut_ptr().cast(), sk) };
        head
    }
}

impl Head for Copied {
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
    unsafe fn beyond<T: Copy>(&self, offset: u16, further: u16) -> T {
        // SAFETY: as the caller promises; a null pointer reads as zero.
        unsafe { read(self.member::<u64>(offset) + u64::from(further)) }
    }
}

/// What programs that take a stack ask of the head: [`Place`], as one number.
///
/// A function of its own: they have 512 bytes of stack with what they call, and the head
/// must not be on it when a stack is taken. Global, so that the verifier looks at it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn place_of(sk: u64) -> u64 {
    Place::of(&Copied::read(sk)).0
}

/// The same of [`Ends`]; 0 when there are none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ends_of(sk: u64) -> u64 {
    let head = Copied::read(sk);
    if !head.is_inet() {
        return 0;
    }
    let Ends { netns, sport, dport } = Ends::of(&head, sk);
    u64::from(netns) | u64::from(sport) << 32 | u64::from(dport) << 48
}

/// Between which ports a connection is, host order, and in which namespace.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) netns: u32,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
}

impl Ends {
    #[inline(always)]
    fn of(head: &impl Head, sk: u64) -> Self {
        Self { netns: head.netns(), sport: head.local_port(sk), dport: head.dport() }
    }
}

/// Where a socket is, and in which state.
#[derive(Clone, Copy)]
pub(crate) struct Place(u64);

impl Place {
    /// By the head.
    #[inline(always)]
    fn of(head: &impl Head) -> Self {
        let (dport, state) = (u64::from(head.dport()), u64::from(head.state()));
        Self(u64::from(head.netns()) | dport << 32 | state << 48)
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

/// The inode number of a socket's file; 0 where this kernel does not tell.
#[inline(always)]
pub(crate) fn inode(socket: u64) -> u32 {
    if offset!(socket_ino) == ABSENT {
        return 0;
    }
    // SAFETY: an integer.
    unsafe { read::<u64>(socket + u64::from(offset!(socket_ino))) as u32 }
}
