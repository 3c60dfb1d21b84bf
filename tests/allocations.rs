//! A regression check that does not time: how often memory is allocated for an event when
//! nothing new happens. Records as the kernel lays them out go through `decode` and the
//! tracker, of sockets whose addresses the kernel reuses; the limit is in `counts.json`.
//!
//! Copied stacks are not part of it: they are kept, and are taken of a call path few times.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "a test binary exports nothing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use closewait_ebpf as wire;
use closewait_trace::decode::decode;
use closewait_trace::tracker::Tracker;

/// Counts what this thread asks for; the test harness has threads of its own.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn ask() {
    ASKED.set(ASKED.get() + 1);
}

// SAFETY: every call is passed on unchanged to the system's allocator. The counter is a
// thread-local without a destructor or a lazy beginning, so counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ask();
        // SAFETY: as our caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as our caller promised.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ask();
        // SAFETY: as our caller promised.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sockets that are in CLOSE_WAIT at one time.
const SOCKETS: u64 = 1000;
/// Rounds until everything has grown to its size, and rounds that are counted.
const ROUNDS: [u64; 2] = [200, 200];

const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;

fn edge(socket: u64, at_ns: u64, kind: u32, oldstate: u8, newstate: u8) -> wire::Edge {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    wire::Edge {
        kind,
        oldstate,
        newstate,
        family: 2,
        at_ns,
        skaddr: 0xffff_8881_0000_0000 + socket * 2304,
        netns: 4_026_531_840,
        sport: 8080,
        dport: u16::try_from(20_000 + socket).unwrap(),
        saddr: address,
        daddr: address,
        protocol: 6,
        flags: wire::edge_flags::HAS_SOCKET,
        inode: 0,
    }
}

/// The socket's FIN comes, and its owner closes.
fn records(socket: u64, at_ns: u64, leave_ns: u64, into: &mut [Vec<u8>; 2]) {
    into.iter_mut().for_each(Vec::clear);
    edge(socket, at_ns, wire::kind::ENTER, ESTABLISHED, CLOSE_WAIT).write(&mut into[0]);
    wire::TaskEdge {
        edge: edge(socket, leave_ns, wire::kind::LEAVE, CLOSE_WAIT, LAST_ACK),
        task: wire::Task { tgid: 4711, tid: 4712, comm: *b"http-nio-8080-e\0" },
        stack_id: 17,
        error: 0,
        about: wire::about::EXITING_READ | wire::about::ERROR_READ,
    }
    .write(&mut into[1]);
}

#[test]
fn an_event_in_steady_state_allocates_no_more_than_is_committed() {
    let committed: serde_json::Value = serde_json::from_str(include_str!("counts.json")).unwrap();
    let limit = committed["limits"]["allocations_per_1000_events"].as_u64().expect("a limit");

    let mut tracker = Tracker::new(Duration::from_secs(10));
    let mut written = [Vec::new(), Vec::new()];
    let (mut outcomes, mut suspects) = (Vec::new(), Vec::new());
    let mut now_ns = 1_000_000_000;
    let mut counted = 0;
    for (pass, rounds) in ROUNDS.into_iter().enumerate() {
        for _ in 0..rounds {
            for which in 0..2 {
                for socket in 0..SOCKETS {
                    now_ns += 1000;
                    // Each closes a thousand events after its FIN.
                    records(socket, now_ns, now_ns, &mut written);
                    let before = ASKED.get();
                    let item = decode(&written[which]).unwrap();
                    tracker.apply(&item, &mut outcomes);
                    tracker.expire(closewait_trace::clock::MonoNs(now_ns), &mut suspects);
                    outcomes.clear();
                    drop(item);
                    if pass == 1 {
                        counted += ASKED.get() - before;
                    }
                }
            }
        }
    }
    assert_eq!(tracker.stats().tracked, 0, "each has left");
    assert!(suspects.is_empty());
    let events = ROUNDS[1] * SOCKETS * 2;
    assert!(
        counted * 1000 <= limit * events,
        "{counted} allocations for {events} events, the limit is {limit} for 1000: see tests/counts.json"
    );
}
