//! `inet_sock_set_state`, by two programs on the same event.
//!
//! The kernel does not run a program that is already running on the CPU. With one
//! program, a FIN handled in softirq on top of a `close()` that is being recorded
//! would be skipped (0.6-2 % of entries were, measured). So the edge into CLOSE_WAIT
//! has a program of its own that does as little as possible, and the edges made in
//! process context, with task and stack, have another. What happens on top of the one
//! is left to the other: see [`nesting`].

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};
use aya_log_ebpf::debug;
use closewait_ebpf::{
    ABSENT, Edge, NO_STACK, TaskEdge, about, counter, edge_flags, edges, flags, kind,
    tcp_state::{CLOSE, CLOSE_WAIT, ESTABLISHED, EdgeUse, edge_use},
    via,
};

use crate::{
    family,
    maps::{self, SOCKETS, desk},
    memory::read,
    nesting::{self, Run},
    openers,
    ring::send,
    sock::{Ends, Head, Number, Sock, Typed, inode, is_tcp, sport},
    tunables::{ONLY_NETNS, offset},
    user_stack,
};

/// `RCV_SHUTDOWN` (include/net/sock.h).
const RCV_SHUTDOWN: u8 = 1;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn enter_btf(ctx: BtfTracePointContext) -> i32 {
    first(&ctx, Typed(ctx.arg(0)), ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8)
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn edge_btf(ctx: BtfTracePointContext) -> i32 {
    second(&ctx, Typed(ctx.arg(0)), ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8)
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn enter_raw(ctx: RawTracePointContext) -> i32 {
    first(&ctx, Number(ctx.arg(0)), ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8)
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn edge_raw(ctx: RawTracePointContext) -> i32 {
    second(&ctx, Number(ctx.arg(0)), ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8)
}

#[tracepoint(category = "sock", name = "inet_sock_set_state")]
fn enter_tp(ctx: TracePointContext) -> i32 {
    let (sk, old, new) = classic(&ctx);
    first(&ctx, Number(sk), old, new)
}

#[tracepoint(category = "sock", name = "inet_sock_set_state")]
fn edge_tp(ctx: TracePointContext) -> i32 {
    let (sk, old, new) = classic(&ctx);
    second(&ctx, Number(sk), old, new)
}

/// The arguments, from the record of the classic tracepoint, whose layout the loader
/// took from the `format` file (vendors shift it).
#[inline(always)]
fn classic(ctx: &TracePointContext) -> (u64, u8, u8) {
    let record = ctx.as_ptr() as u64;
    // SAFETY: integers; a wrong offset reads zero or other integers of the record.
    unsafe {
        (
            read(record + u64::from(offset!(tp_skaddr))),
            read::<i32>(record + u64::from(offset!(tp_oldstate))) as u8,
            read::<i32>(record + u64::from(offset!(tp_newstate))) as u8,
        )
    }
}

/// Program one: the edge into CLOSE_WAIT, and what happens on top of program two.
#[inline(always)]
fn first(ctx: &impl EbpfContext, sk: impl Sock, oldstate: u8, newstate: u8) -> i32 {
    let edge_use = edge_use(oldstate, newstate);
    let is_entry = is_entry(oldstate, newstate);
    // Most edges are of no interest, and cost no more than this.
    if !is_entry && !matters(sk, edge_use) {
        return 0;
    }
    let Some(edges) = nesting::edges() else {
        return 0;
    };
    nesting::begin(edges, edges::FIRST);
    if is_entry {
        if !nesting::is_below(edges, edges::SECOND) {
            nesting::add(edges, edges::ENTRIES_DONE);
        }
        enter(sk, oldstate, newstate);
    } else {
        nesting::add(edges, edges::DUE);
        if nesting::is_below(edges, edges::SECOND) {
            nesting::add(edges, edges::ON_TOP);
            edge(ctx, sk, oldstate, newstate, edge_use, Run::OnTop);
        }
    }
    nesting::end(edges, edges::FIRST);
    0
}

/// Program two: the edges of interest that are made in process context, and an edge into
/// CLOSE_WAIT on top of program one.
#[inline(always)]
fn second(ctx: &impl EbpfContext, sk: impl Sock, oldstate: u8, newstate: u8) -> i32 {
    let edge_use = edge_use(oldstate, newstate);
    let is_entry = is_entry(oldstate, newstate);
    if !is_entry && !matters(sk, edge_use) {
        return 0;
    }
    let Some(edges) = nesting::edges() else {
        return 0;
    };
    if nesting::is_below(edges, edges::SECOND) {
        // Only an old kernel runs it on top of itself: the first has done this edge.
        return 0;
    }
    let on_top = nesting::is_below(edges, edges::FIRST);
    nesting::begin(edges, edges::SECOND);
    if is_entry {
        if on_top {
            enter(sk, oldstate, newstate);
        } else {
            nesting::add(edges, edges::ENTRIES_DUE);
        }
    } else {
        if !on_top {
            nesting::add(edges, edges::DONE);
        }
        edge(ctx, sk, oldstate, newstate, edge_use, Run::Usual);
    }
    nesting::end(edges, edges::SECOND);
    0
}

#[inline(always)]
const fn is_entry(oldstate: u8, newstate: u8) -> bool {
    newstate == CLOSE_WAIT && oldstate != CLOSE_WAIT
}

/// Reports an edge into CLOSE_WAIT.
#[inline(always)]
fn enter<S: Sock>(sk: S, oldstate: u8, newstate: u8) {
    if S::IS_NUMBER {
        enter_number(sk.address(), u32::from(oldstate), u32::from(newstate));
    } else {
        entered(sk, oldstate, newstate);
    }
}

/// Global, so that it is there once for all programs that have no more than an address.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn enter_number(sk: u64, oldstate: u32, newstate: u32) -> i32 {
    entered(Number(sk), oldstate as u8, newstate as u8);
    0
}

#[inline(always)]
fn entered(socket: impl Sock, oldstate: u8, newstate: u8) {
    let (sk, head) = (socket.address(), socket.head());
    let netns = head.netns();
    let protocol = socket.protocol();
    if foreign(protocol, netns) {
        if unreadable(protocol, netns) {
            maps::count(counter::UNREADABLE_ENTER);
        }
        return;
    }
    if family::is_foreign(sk) {
        return;
    }
    family::entered(sk);
    let sent = send::<Edge>(counter::LOST_ENTER, |record| {
        fill(record, kind::ENTER, sk, &head, oldstate, newstate, protocol, netns, 0);
    });
    if sent {
        maps::count(counter::SENT_ENTER);
    }
    debug!(&(), "sk {:x} entered CLOSE_WAIT in netns {}", socket.number(), netns);
}

/// A member accepted `sk`: reports the edge into CLOSE_WAIT if it has been, since it was taken
/// for a stranger's when it came between the kernel's accept and our seeing it (at the return
/// of the syscall that can be milliseconds). It is told as of now, which is later by that.
///
/// If it was told before, because it came before the kernel's accept, it is told again: the
/// flag on it says so.
#[inline(never)]
pub(crate) fn entered_before(sk: u64) {
    // `tcp_fin` shuts the receiving side before it makes the edge, and makes the edge before it
    // sets the state. So the edge's program finds the opener that is remembered by now, or this
    // finds it shut; unless both look at once, in nanoseconds in which neither sees yet what the other
    // has stored (nothing orders a store before a load of another place). Then the edge is not told,
    // and the end of the socket is.
    // SAFETY: integers.
    let (state, shutdown): (u8, u8) =
        unsafe { (read(sk + u64::from(offset!(skc_state))), read(sk + u64::from(offset!(sk_shutdown)))) };
    if shutdown & RCV_SHUTDOWN == 0 || (state != CLOSE_WAIT && state != ESTABLISHED) {
        return;
    }
    family::entered(sk);
    let socket = Number(sk);
    let head = socket.head();
    send::<Edge>(counter::LOST_ACCEPTED, |record| {
        let (protocol, netns) = (socket.protocol(), head.netns());
        fill(
            record,
            kind::ENTER,
            sk,
            &head,
            ESTABLISHED,
            CLOSE_WAIT,
            protocol,
            netns,
            edge_flags::HAS_SOCKET,
        );
    });
}

/// Whether an edge is of interest. The usual end is not: closed by the application before
/// the peer's last ACK.
#[inline(always)]
fn matters(sk: impl Sock, edge_use: EdgeUse) -> bool {
    match edge_use {
        EdgeUse::Ignore => false,
        EdgeUse::Close => sk.socket() != 0,
        EdgeUse::Connect | EdgeUse::Leave => true,
    }
}

#[inline(always)]
fn edge(ctx: &impl EbpfContext, sock: impl Sock, oldstate: u8, newstate: u8, edge_use: EdgeUse, run: Run) {
    let (sk, place) = (sock.address(), sock.place());
    let netns = place.netns();
    let protocol = sock.protocol();
    if foreign(protocol, netns) {
        if unreadable(protocol, netns) {
            maps::count(counter::UNREADABLE_EDGE);
        }
        return;
    }
    if matches!(edge_use, EdgeUse::Connect) {
        // The port is chosen after the edge: there is none, or that of an earlier life.
        let ends = Ends { netns, sport: 0, dport: place.dport() };
        openers::opened(ctx, sk, ends, via::CONNECT, -1, run);
        return;
    }

    // Its opening may have been missed: what a member ends is the command's, too.
    if family::is_foreign(sk) && family::is_outsider() {
        return;
    }
    let socket = sock.socket();
    let has_socket = socket != 0;
    let closes_with_file = newstate == CLOSE && has_socket;
    let task = user_stack::task();
    let stack_id =
        if remember(sock, closes_with_file) { run.stack(ctx, &task, desk::EDGE) } else { NO_STACK };
    let inode = if closes_with_file { inode(socket) } else { 0 };
    // Whoever ends a connection sets it before the edge: 32 a reset, 110 a timeout, 103
    // SOCK_DESTROY. An application that aborts leaves it as it is (tcp_close, tcp_disconnect).
    let error = sock.error();
    let about = user_stack::exiting() | if offset!(sk_err) == ABSENT { 0 } else { about::ERROR_READ };
    let edge_flags = if has_socket { edge_flags::HAS_SOCKET } else { 0 };
    // SAFETY: no precondition.
    family::ended(sk, unsafe { bpf_ktime_get_ns() }, oldstate == CLOSE_WAIT && error == 0);
    let sent = send::<TaskEdge>(run.slot(counter::LOST_LEAVE), |record| {
        // SAFETY: `record` points to room for a TaskEdge; the parts below are all of it.
        unsafe {
            let edge = &raw mut (*record).edge;
            fill(edge, kind::LEAVE, sk, &sock.head(), oldstate, newstate, protocol, netns, edge_flags);
            (*edge).inode = inode;
            (*record).task = task;
            (*record).stack_id = stack_id;
            (*record).error = error;
            (*record).about = about;
        }
    });
    if sent {
        maps::count(run.slot(counter::SENT_LEAVE));
    }
    debug!(ctx, "sk {:x} left {} for {} by pid {}", sock.number(), oldstate, newstate, task.tgid);
}

/// Marks a socket that closes with a file on it, so that its destroy is reported.
/// Returns whether userspace has asked for the stack of whoever ends this socket.
#[inline(always)]
fn remember(sock: impl Sock, closes_with_file: bool) -> bool {
    let sk = sock.address();
    let entry = if closes_with_file { maps::remembered(sk) } else { SOCKETS.get_ptr_mut(sk) };
    let Some(entry) = entry else {
        return false;
    };
    // SAFETY: the entry lives at least until this program ends (RCU); flags are written
    // by the edges of this one socket, which its lock serialises, and by userspace
    // before them.
    unsafe {
        if closes_with_file {
            (*entry).flags |= flags::CLOSED_WITH_FILE;
            // A reset and a timeout set it before they close the socket.
            (*entry).error = u32::from(sock.error());
        }
        (*entry).flags & flags::STUCK != 0
    }
}

/// Whether the socket is none of ours: another protocol (SCTP and DCCP use this event
/// too), or a namespace outside the filter.
#[inline(always)]
fn foreign(protocol: u16, netns: u32) -> bool {
    let only = ONLY_NETNS.load();
    !is_tcp(protocol) || (only != 0 && only != netns)
}

/// Whether a socket looks foreign only because it could not be read: what cannot be
/// read reads as zero, and neither number is zero on a socket of this event.
#[inline(always)]
fn unreadable(protocol: u16, netns: u32) -> bool {
    protocol == 0 || (netns == 0 && offset!(skc_net) != ABSENT)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "inlined into three callers, each with constants")]
fn fill(
    record: *mut Edge,
    kind: u32,
    sk: u64,
    head: &impl Head,
    oldstate: u8,
    newstate: u8,
    protocol: u16,
    netns: u32,
    flags: u16,
) {
    // SAFETY: the caller gives room for an Edge; every member is written.
    unsafe {
        (*record).kind = kind;
        (*record).oldstate = oldstate;
        (*record).newstate = newstate;
        (*record).family = head.family();
        (*record).at_ns = bpf_ktime_get_ns();
        (*record).skaddr = sk;
        (*record).netns = netns;
        (*record).sport = if newstate == CLOSE { sport(sk) } else { head.local_port(sk) };
        (*record).dport = head.dport();
        (*record).protocol = protocol;
        (*record).flags = flags;
        (*record).inode = 0;
        (*record).saddr = [0; 16];
        (*record).daddr = [0; 16];
        head.addresses((&raw mut (*record).saddr).cast(), (&raw mut (*record).daddr).cast());
    }
}
