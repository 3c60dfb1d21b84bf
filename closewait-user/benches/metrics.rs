//! A scrape: counting the stuck sockets, writing the text.
//!
//! `cargo bench --bench metrics`
#![allow(missing_docs, reason = "a benchmark exports nothing")]

#[path = "../../tests/metrics/host.rs"]
mod host;

use closewait_trace::metrics::exposition::text;
use divan::Bencher;
use host::Host;

fn main() {
    divan::main();
}

/// So many sockets, in so many processes.
#[divan::bench(args = [(0, 1), (100, 5), (10_000, 50), (100_000, 500), (1_000_000, 500)], max_time = 3)]
fn scrape(bencher: Bencher, (sockets, processes): (u32, u32)) {
    let mut host = Host::new(processes);
    (0..sockets).for_each(|_| host.leak());
    bencher.bench_local(|| text(host.sample()));
}
