//! The tracker at a million sockets and at ten: bytes of memory for each, and the cost of a
//! transition, of arming in any order of time, and of expiry.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use closewait_trace::clock::MonoNs;
use closewait_trace::item::{Item, Netns, SkAddr, Snapshot, Transition};
use closewait_trace::tcp::{Endpoint, State, Tuple};
use closewait_trace::tracker::Tracker;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rustix::time::{ClockId, clock_gettime};

const MILLION: u32 = 1_000_000;
const THRESHOLD: Duration = Duration::from_secs(10);
/// From one to the next.
const BETWEEN: Duration = Duration::from_micros(25);
/// An address is not used again in less than [`closewait_trace::tracker::SKEW`].
const REUSED_AFTER: Duration = Duration::from_micros(20);

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn allocated(bytes: usize) {
    let now = ALLOCATED.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: as our caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as our caller promised.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        allocated(new_size);
        // SAFETY: as our caller promised.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    if std::env::args().all(|argument| argument != "--list") {
        for count in [MILLION, 10 * MILLION] {
            at_size(count);
        }
    }
    divan::main();
}

/// What `cargo xtask bench` quotes of so many sockets: the memory of each, and transitions a
/// second, while they come, and then while any of them leaves and comes again.
fn at_size(count: u32) {
    let before = ALLOCATED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let began = now();
    let mut tracker = filled_with(count, u64::from);
    let came = now().saturating_sub(began);
    let each = count as usize;
    let held = (ALLOCATED.load(Relaxed) - before) / each;
    let peak = (PEAK.load(Relaxed) - before) / each;
    let mut out = Vec::new();
    let mut at = MonoNs(30_000_000_000);
    let began = now();
    for n in (0..MILLION).map(|n| scattered_over(n, count)) {
        at = at + BETWEEN;
        out.clear();
        tracker.apply(&leave(n, at), &mut out);
        tracker.apply(&enter(n, at + REUSED_AFTER), &mut out);
    }
    let again = now().saturating_sub(began);
    assert_eq!(tracker.stats().tracked, u64::from(count));
    let shown = grouped(count);
    println!("bytes per tracked socket at {shown}: {held}, at the peak {peak}");
    println!(
        "tracker at {shown}: {:.0} transitions/s as they come, {:.0} as any leave and come again",
        f64::from(count) / came.as_secs_f64(),
        2.0 * f64::from(MILLION) / again.as_secs_f64()
    );
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Of millions.
fn grouped(count: u32) -> String {
    format!("{},000,000", count / MILLION)
}

fn tuple(n: u32) -> Tuple {
    let end = |ip, port| Endpoint { ip: std::net::Ipv4Addr::from_bits(ip).into(), port };
    #[expect(clippy::cast_possible_truncation, reason = "any port will do")]
    let tuple = Tuple { local: end(1, 443), remote: end(n, n as u16) };
    tuple
}

/// Socket `n` enters or leaves CLOSE_WAIT.
fn edge(n: u32, at: MonoNs, from: State, to: State) -> Item {
    Item::Transition(Transition {
        at,
        sk: SkAddr(0xffff_8881_0000_0000 + u64::from(n) * 2304),
        from,
        to,
        tuple: tuple(n),
        netns: Netns(4_026_531_840),
        mptcp: false,
        has_socket: to == State::Close,
        inode: 0,
        by: None,
    })
}

fn enter(n: u32, at: MonoNs) -> Item {
    edge(n, at, State::Established, State::CloseWait)
}

fn leave(n: u32, at: MonoNs) -> Item {
    edge(n, at, State::CloseWait, State::LastAck)
}

/// A tracker of a million sockets; `at_us` says when each entered.
fn filled(at_us: impl Fn(u32) -> u64) -> Tracker {
    filled_with(MILLION, at_us)
}

fn filled_with(count: u32, at_us: impl Fn(u32) -> u64) -> Tracker {
    let mut tracker = Tracker::new(THRESHOLD);
    let mut out = Vec::new();
    for n in 0..count {
        tracker.apply(&enter(n, MonoNs(1_000_000_000 + at_us(n) * 1000)), &mut out);
    }
    assert_eq!(tracker.stats().tracked, u64::from(count));
    tracker
}

/// A number that looks random, the same each time.
fn scattered(n: u32) -> u32 {
    scattered_over(n, MILLION)
}

fn scattered_over(n: u32, count: u32) -> u32 {
    n.wrapping_mul(2_654_435_761) % count
}

/// A pair of transitions of short-lived sockets, whose addresses the kernel
/// reuses, beside a million stuck ones.
#[divan::bench(sample_size = 10_000)]
fn enter_and_leave(bencher: Bencher) {
    let mut tracker = filled(u64::from);
    let mut out = Vec::new();
    let mut at = MonoNs(3_000_000_000);
    let mut n = MILLION;
    bencher.counter(ItemsCount::new(2_u32)).bench_local(|| {
        at = at + BETWEEN;
        n = if n < MILLION + 100 { n + 1 } else { MILLION };
        out.clear();
        tracker.apply(black_box(&enter(n, at)), &mut out);
        tracker.apply(black_box(&leave(n, at + REUSED_AFTER)), &mut out);
    });
}

/// Any one of the million leaves, and its address enters again: every access
/// finds cold memory.
#[divan::bench(sample_size = 10_000)]
fn leave_and_enter_anywhere(bencher: Bencher) {
    let mut tracker = filled(u64::from);
    let mut out = Vec::new();
    let mut at = MonoNs(3_000_000_000);
    let mut n = 0;
    bencher.counter(ItemsCount::new(2_u32)).bench_local(|| {
        at = at + BETWEEN;
        n += 1;
        let n = scattered(n);
        out.clear();
        tracker.apply(black_box(&leave(n, at)), &mut out);
        tracker.apply(black_box(&enter(n, at + REUSED_AFTER)), &mut out);
    });
}

/// A million entries whose times rise, fall, or are scattered over a quarter of an hour.
#[divan::bench(args = ["rising", "falling", "scattered"], sample_count = 5, sample_size = 1)]
fn arm_a_million(bencher: Bencher, order: &str) {
    let at_us: fn(u32) -> u64 = match order {
        "rising" => u64::from,
        "falling" => |n| u64::from(MILLION - n),
        _ => |n| u64::from(scattered(n)) * 1000,
    };
    bencher.counter(ItemsCount::new(MILLION)).bench_local(|| filled(at_us));
}

/// A million sockets reach their deadlines while time passes in steps of 50 ms.
#[divan::bench(args = ["rising", "scattered"], sample_count = 5, sample_size = 1)]
fn expire_a_million(bencher: Bencher, order: &str) {
    let scatter = order == "scattered";
    bencher
        .counter(ItemsCount::new(MILLION))
        .with_inputs(|| filled(|n| if scatter { u64::from(scattered(n)) * 1000 } else { u64::from(n) }))
        .bench_local_refs(|tracker| {
            let mut suspects = Vec::new();
            let mut handed = 0;
            let mut now = MonoNs(1_000_000_000);
            while tracker.next_deadline().is_some() {
                now = now + Duration::from_millis(50);
                tracker.expire(now, &mut suspects);
                handed += suspects.len();
                suspects.clear();
            }
            assert_eq!(handed, MILLION as usize);
        });
}

/// A complete snapshot of a namespace in which nothing is left, beside a million
/// sockets of another one.
#[divan::bench]
fn snapshot_of_another_namespace(bencher: Bencher) {
    let mut tracker = filled(u64::from);
    let mut out = Vec::new();
    let at = MonoNs(3_000_000_000);
    let snapshot = Snapshot {
        began: at,
        ended: at,
        netns: Netns(1),
        complete: true,
        proves_absence: true,
        sockets: Vec::new(),
    };
    let snapshot = Item::Snapshot(snapshot);
    bencher.bench_local(|| tracker.apply(black_box(&snapshot), &mut out));
}
