//! The decoder alone: records as they lie in the ring become items.
//!
//! `cargo bench --bench decoder` first prints transitions a second over a connection's two
//! records in turn, which `cargo xtask bench` quotes.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::time::Duration;

use bytes::TryGetError;
use closewait_ebpf::{Edge, TaskEdge, kind, tcp_state};
use closewait_trace::decode::decode;
use closewait_trace::item::Item;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: u32 = 2_000_000;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

fn main() {
    if std::env::args().all(|argument| argument != "--list") {
        let records = [entered(AF_INET), left(AF_INET)];
        let began = now();
        for _ in 0..ROUNDS {
            for record in &records {
                black_box(decode(black_box(record)).expect("a record of this build"));
            }
        }
        let took = now().saturating_sub(began);
        let transitions = f64::from(ROUNDS) * 2.0;
        println!("decoder: {:.0} transitions/s", transitions / took.as_secs_f64());
    }
    divan::main();
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// All zeros, but what tells the decoder which way to take.
fn record<T>(read: impl FnOnce(&mut &[u8]) -> Result<T, TryGetError>) -> T {
    read(&mut &[0; 256][..]).expect("shorter than that")
}

fn edge(kind: u32, family: u16, oldstate: u8, newstate: u8) -> Edge {
    let mut edge = record(|bytes| Edge::read(bytes));
    (edge.kind, edge.family, edge.oldstate, edge.newstate) = (kind, family, oldstate, newstate);
    (edge.at_ns, edge.skaddr, edge.sport) = (1_000_000_000, 0xffff_8881_0000_0900, 443);
    edge
}

/// As the kernel sends it for the edge into CLOSE_WAIT.
fn entered(family: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    edge(kind::ENTER, family, tcp_state::ESTABLISHED, tcp_state::CLOSE_WAIT).write(&mut bytes);
    bytes
}

/// And for the edge out of it.
fn left(family: u16) -> Vec<u8> {
    let mut edge_and_task = record(|bytes| TaskEdge::read(bytes));
    edge_and_task.edge = edge(kind::LEAVE, family, tcp_state::CLOSE_WAIT, tcp_state::LAST_ACK);
    edge_and_task.task.comm[..5].copy_from_slice(b"storm");
    let mut bytes = Vec::new();
    edge_and_task.write(&mut bytes);
    bytes
}

#[divan::bench(args = [AF_INET, AF_INET6], sample_size = 10_000)]
fn into_close_wait(bencher: Bencher, family: u16) {
    one(bencher, &entered(family));
}

#[divan::bench(args = [AF_INET, AF_INET6], sample_size = 10_000)]
fn out_of_close_wait(bencher: Bencher, family: u16) {
    one(bencher, &left(family));
}

/// What no build of this knows is refused: the cost of garbage.
#[divan::bench(sample_size = 10_000)]
fn unknown(bencher: Bencher) {
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| decode(black_box(&[0xff; 64])).is_err());
}

fn one(bencher: Bencher, record: &[u8]) {
    assert!(matches!(decode(record), Ok(Item::Transition(_))), "a record of this build");
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| decode(black_box(record)));
}
