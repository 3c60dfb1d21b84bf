//! Ghosts that no record told of: descriptors on sockets that were connected once and
//! that TCP has ended since.
//!
//! In: fd tables. Out: a [`GhostLook`]. By the kernel's iterator one pass tells all. By
//! /proc a TCP socket whose inode is in no table of sockets is borrowed for a moment
//! (pidfd_getfd) and asked for its state; nothing is read from it, and its error is
//! left on it, since asking for that would clear it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use closewait_ebpf::{Held, held_flags, tcp_state};
use hashbrown::HashSet;
use rustix::fs::{CWD, RawDir};

use super::borrowed;
use super::holders::{Descriptors, open_process, socket_inode};
use super::netns::NetnsFilter;
use super::procfs::{self, number, numbers};
use super::sock_diag::wire;
use crate::clock::{Clock, MonoNs};
use crate::decode;
use crate::interrupt::Interrupt;
use crate::item::{FoundGhost, GhostLook, Netns, SkAddr, TcpInfo};
use crate::kernel::task_files::TaskFiles;
use crate::tcp::{Endpoint, State, Tuple};

/// A walk through /proc takes at most so long beside a trace; the next one goes on from
/// where it ended.
const WALK_MAX: Duration = Duration::from_millis(200);
/// And so long where there is one look only.
const ONLY_WALK_MAX: Duration = Duration::from_secs(5);

/// Which moment the threshold counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CountsFrom {
    /// When the socket was in CLOSE for sure: who watches can wait.
    Closed,
    /// The last sign of life before it closed: one look cannot.
    LastSign,
}

/// A look by the kernel's iterator.
pub(super) fn iterated(files: &TaskFiles, filter: &NetnsFilter) -> io::Result<GhostLook> {
    let began = Clock::mono_now();
    let mut seen = HashSet::new();
    let mut ghosts = Vec::new();
    files.pass(|held| {
        let is_ghost = held.state == tcp_state::CLOSE && held.flags & held_flags::WAS_CONNECTED != 0;
        if is_ghost && filter.allows(Netns(held.netns)) && seen.insert(held.inode) {
            ghosts.extend(of_held(held, began));
        }
    })?;
    Ok(GhostLook { began, ended: Clock::mono_now(), complete: true, ghosts })
}

/// `None`: of a family that is neither IPv4 nor IPv6.
fn of_held(held: &Held, began: MonoNs) -> Option<FoundGhost> {
    let active = MonoNs(held.active_us.saturating_mul(1000));
    // What ended it was the last that TCP had to do with it.
    let closed = if active == MonoNs(0) { began } else { active.min(began) };
    Some(FoundGhost {
        inode: held.inode,
        sk: Some(SkAddr(held.skaddr)),
        netns: Netns(held.netns),
        tuple: decode::held_tuple(held)?,
        closed,
        counts_from: closed,
        error: Some(held.error),
    })
}

/// A look through /proc beside a trace. `alive` are the inodes of all sockets that tables show;
/// `from` is the process to begin with, and afterwards the one that the next look is to begin with.
pub(super) fn walked(
    filter: &NetnsFilter,
    alive: &HashSet<u64>,
    counts_from: CountsFrom,
    from: &mut u32,
    interrupt: &Interrupt,
) -> io::Result<GhostLook> {
    let began = Clock::mono_now();
    let mut walk = Walk::new(filter, alive, counts_from);
    let mut dents = Vec::with_capacity(32 << 10);
    let mut cut = None;
    for pid in beginning_with(*from, numbers(procfs::open_dir(CWD, "/proc")?)?) {
        if Clock::mono_now().since(began) > WALK_MAX || interrupt.is_over() {
            cut = Some(pid);
            break;
        }
        // It ended, or may not be looked into: then its sockets stay unknown.
        if let Err(e) = walk.process(pid, &mut dents) {
            log::trace!("process {pid} has no ghosts to show: {e}");
        }
    }
    *from = cut.unwrap_or(0);
    Ok(GhostLook { began, ended: Clock::mono_now(), complete: cut.is_none(), ghosts: walk.ghosts })
}

/// The one look there is: all descriptors on sockets, which tell of holders, too, and the
/// ghosts among them.
pub(super) fn listed(
    filter: &NetnsFilter,
    alive: &HashSet<u64>,
    counts_from: CountsFrom,
    interrupt: &Interrupt,
) -> io::Result<(GhostLook, Descriptors)> {
    let began = Clock::mono_now();
    let mut walk = Walk::new(filter, alive, counts_from);
    let descriptors =
        Descriptors::list(ONLY_WALK_MAX, interrupt, |pid, inode, fd| walk.descriptor(pid, fd, inode))?;
    let complete = descriptors.complete;
    Ok((GhostLook { began, ended: Clock::mono_now(), complete, ghosts: walk.ghosts }, descriptors))
}

/// All of `pids` in order and round again, from the first that is `from` or above.
fn beginning_with(from: u32, mut pids: Vec<u32>) -> Vec<u32> {
    pids.sort_unstable();
    let first = pids.partition_point(|&pid| pid < from);
    pids.rotate_left(first);
    pids
}

struct Walk<'a> {
    filter: &'a NetnsFilter,
    alive: &'a HashSet<u64>,
    counts_from: CountsFrom,
    seen: HashSet<u64>,
    ghosts: Vec<FoundGhost>,
}

impl<'a> Walk<'a> {
    fn new(filter: &'a NetnsFilter, alive: &'a HashSet<u64>, counts_from: CountsFrom) -> Self {
        Self { filter, alive, counts_from, seen: HashSet::new(), ghosts: Vec::new() }
    }

    fn process(&mut self, pid: u32, dents: &mut Vec<u8>) -> io::Result<()> {
        let dir = procfs::open_dir(open_process(pid)?, "fd")?;
        let mut entries = RawDir::new(&dir, dents.spare_capacity_mut());
        let mut link = [std::mem::MaybeUninit::<u8>::uninit(); 32];
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let Some(fd) = number(name) else { continue };
            let Ok((link, _)) = rustix::fs::readlinkat_raw(&dir, name, &mut link) else { continue };
            if let Some(inode) = socket_inode(link) {
                self.descriptor(pid, fd, inode);
            }
        }
        Ok(())
    }

    /// Takes a ghost, if this is one.
    fn descriptor(&mut self, pid: u32, fd: u32, inode: u64) {
        if self.alive.contains(&inode) || self.seen.contains(&inode) || !is_tcp(pid, fd) {
            return;
        }
        let ghost = asked(pid, fd, inode, self.counts_from);
        if let Some(ghost) = ghost.filter(|ghost| self.filter.allows(ghost.netns)) {
            self.seen.insert(inode);
            self.ghosts.push(ghost);
        }
    }
}

/// Whether a descriptor is a TCP socket.
fn is_tcp(pid: u32, fd: u32) -> bool {
    borrowed::is_of_protocol(pid, fd, |name| matches!(name, b"TCP\0" | b"TCPv6\0"))
}

/// Asks a copy of the descriptor, which is closed at once.
fn asked(pid: u32, fd: u32, inode: u64, counts_from: CountsFrom) -> Option<FoundGhost> {
    let socket = borrowed::socket(pid, fd, inode).ok()?;
    let now = Clock::mono_now();
    let info = tcp_info(&socket)?;
    if info.state != State::Close as u8 || !info.was_connected() {
        return None;
    }
    let local = rustix::net::getsockname(&socket).ok()?;
    let local = SocketAddr::try_from(local).ok()?;
    // getpeername() does not tell of a closed socket.
    let any = if local.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let remote = Endpoint { ip: any, port: 0 };
    let signs = [info.tcp.last_data_sent_ms, info.tcp.last_data_recv_ms, info.tcp.last_ack_recv_ms];
    let last = signs.into_iter().flatten().min().map_or(now, |ms| now - Duration::from_millis(ms.into()));
    Some(FoundGhost {
        inode,
        sk: None,
        netns: netns_of(&socket)?,
        tuple: Tuple { local: Endpoint { ip: local.ip(), port: local.port() }, remote },
        closed: now,
        counts_from: if counts_from == CountsFrom::LastSign { last } else { now },
        error: None,
    })
}

/// What TCP says of a socket.
struct Told {
    state: u8,
    /// Smoothed round-trip time, microseconds.
    rtt_us: u32,
    tcp: TcpInfo,
}

impl Told {
    /// Bytes went over it, or the handshake measured a round trip. `tcp_disconnect`
    /// forgets all three.
    fn was_connected(&self) -> bool {
        self.rtt_us > 0
            || self.tcp.bytes_acked.is_some_and(|bytes| bytes > 0)
            || self.tcp.bytes_received.is_some_and(|bytes| bytes > 0)
    }
}

fn tcp_info(socket: &OwnedFd) -> Option<Told> {
    let mut bytes = [0_u8; 512];
    let mut len = libc::socklen_t::try_from(bytes.len()).ok()?;
    // SAFETY: the kernel writes at most `len` bytes to `bytes`, and how many to `len`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let told = bytes.get(..usize::try_from(len).ok()?).filter(|_| result == 0)?;
    let rtt_us = told.get(68..72)?.try_into().ok().map(u32::from_ne_bytes)?;
    Some(Told { state: *told.first()?, rtt_us, tcp: wire::tcp_info(told) })
}

/// The network namespace of a socket.
fn netns_of(socket: &OwnedFd) -> Option<Netns> {
    /// include/uapi/linux/sockios.h
    const SIOCGSKNS: libc::c_ulong = 0x894C;
    // SAFETY: the request takes no argument and returns a descriptor.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS as _) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the kernel has just given us this descriptor.
    let namespace = unsafe { OwnedFd::from_raw_fd(fd) };
    u32::try_from(rustix::fs::fstat(&namespace).ok()?.st_ino).ok().map(Netns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_that_was_cut_short_is_gone_on_with() {
        let pids = || vec![9, 1, 30, 7];
        assert_eq!(beginning_with(0, pids()), [1, 7, 9, 30]);
        assert_eq!(beginning_with(8, pids()), [9, 30, 1, 7]);
        assert_eq!(beginning_with(31, pids()), [1, 7, 9, 30], "the last ones have ended");
        assert!(beginning_with(5, Vec::new()).is_empty());
    }
}
