//! What evidence costs: 10,000 sockets in CLOSE_WAIT, held by 20 processes, in a
//! network namespace of their own, beside `ss -tanp` in the same run.
//!
//! `sudo cargo bench --bench enrich`
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "a benchmark exports nothing")]
#![allow(dead_code, reason = "the tests' own modules have more than is needed here")]

use std::sync::{LazyLock, Mutex, PoisonError};

use closewait_trace::clock::Clock;
use closewait_trace::enrich::holders;
use closewait_trace::enrich::sock_diag::SockDiag;
use closewait_trace::enrich::{Enricher, Options};
use closewait_trace::item::Snapshot;
use closewait_trace::tcp::State;
use hashbrown::HashSet;

#[path = "../../tests/enrich/net.rs"]
mod net;
#[path = "../../tests/enrich/suspects.rs"]
mod suspects;
use net::{Holding, Net};
use suspects::{snapshot, suspects_of};

const PROCESSES: usize = 20;
const SOCKETS: usize = 500;

type World = Mutex<Option<(Net, Vec<Holding>)>>;

/// The sockets and their holders; taken, and so ended, after the benchmarks.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let net = Net::new();
    let hold = |_| net.hold(net.leak("127.0.0.1", "127.0.0.1", SOCKETS));
    let holdings = (0..PROCESSES).map(hold).collect();
    Mutex::new(Some((net, holdings)))
});

fn with_net<T>(work: impl FnOnce(&Net) -> T) -> T {
    let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    work(&world.as_ref().unwrap().0)
}

fn seen(enricher: &mut Enricher) -> Snapshot {
    let snapshot = with_net(|net| snapshot(enricher, net));
    assert_nearly_all(snapshot.sockets.len());
    snapshot
}

/// A dump beside busy neighbours may miss a few (see `Dump::holes`).
fn assert_nearly_all(count: usize) {
    assert!((PROCESSES * SOCKETS - 10..=PROCESSES * SOCKETS).contains(&count), "{count} sockets");
}

/// Ends the world also when a benchmark panics: a static is never dropped.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn main() {
    let _cleared = Cleared;
    divan::main();
}

#[divan::bench]
fn dump(bencher: divan::Bencher) {
    let mut diag = with_net(|net| SockDiag::open_in(net.at()).unwrap());
    bencher.bench_local(|| {
        let dump = diag.dump(&[State::CloseWait]).unwrap();
        assert_nearly_all(dump.sockets.len());
    });
}

#[divan::bench]
fn lookups(bencher: divan::Bencher) {
    let tuples: Vec<_> =
        seen(&mut Enricher::new(Options::default()).unwrap()).sockets.iter().map(|s| s.tuple).collect();
    let mut diag = with_net(|net| SockDiag::open_in(net.at()).unwrap());
    bencher.bench_local(|| {
        for &tuple in &tuples {
            diag.one(tuple).unwrap();
        }
    });
}

#[divan::bench]
fn scan(bencher: divan::Bencher) {
    let snapshot = seen(&mut Enricher::new(Options::default()).unwrap());
    let wanted: HashSet<_> = snapshot.sockets.iter().map(|s| s.inode).collect();
    bencher.bench_local(|| {
        let scan = holders::scan(&wanted).unwrap();
        assert_nearly_all(wanted.iter().filter(|&&inode| scan.is_held(inode)).count());
        scan
    });
}

#[divan::bench(args = [false, true])]
fn gather(bencher: divan::Bencher, without_inet_diag: bool) {
    let mut enricher = Enricher::new(Options { without_inet_diag }).unwrap();
    let suspects = suspects_of(&seen(&mut enricher));
    bencher.bench_local(|| {
        let gathered = enricher.gather(&suspects, Clock::mono_now());
        assert_nearly_all(gathered.len());
        gathered
    });
}

#[divan::bench]
fn look(bencher: divan::Bencher) {
    let mut enricher = Enricher::new(Options::default()).unwrap();
    let suspects = suspects_of(&seen(&mut enricher));
    bencher.bench_local(|| enricher.look(&suspects, Clock::mono_now()));
}

/// The peer: the same sockets with their holders, without age, evidence or verdict.
#[divan::bench]
fn ss_tanp(bencher: divan::Bencher) {
    bencher.bench_local(|| {
        let lines = with_net(|net| net.ss(&["-Htanp", "state", "close-wait"])).len();
        assert_nearly_all(lines);
    });
}
