//! What evidence costs: 10,000 sockets in CLOSE_WAIT, held by 20 processes, in a
//! network namespace of their own, beside `ss -tanp` in the same run.
//!
//! `sudo cargo bench --bench enrich` first prints wall and CPU time of the work for a
//! complete first report (both looks, holders, verdicts; not the waiting between them),
//! by the kernel's iterator and through /proc, each round beside one of `ss`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "a benchmark exports nothing")]
#![allow(clippy::print_stdout, reason = "its numbers are what a benchmark is for")]
#![allow(dead_code, reason = "the tests' own modules have more than is needed here")]

use std::sync::{LazyLock, Mutex, PoisonError};

use std::path::Path;
use std::time::Duration;

use closewait_trace::clock::Clock;
use closewait_trace::enrich::holders;
use closewait_trace::enrich::sock_diag::{SockDiag, wire};
use closewait_trace::enrich::{Enricher, Gathered, Options};
use closewait_trace::item::Snapshot;
use closewait_trace::kernel::load::{self, Settings};
use closewait_trace::kernel::plan::plan;
use closewait_trace::kernel::support::{BTF_PATH, Support};
use closewait_trace::kernel::task_files::TaskFiles;
use closewait_trace::report::{Finding, FirstLook, Report, Reporter, Style, TextOptions, TextSink};
use closewait_trace::tcp::State;
use closewait_trace::tracker::Suspect;
use closewait_trace::verdict::{Evidence, Policy, verdict};
use hashbrown::HashSet;
use rustix::time::{ClockId, clock_gettime};

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
    if std::env::args().all(|argument| argument != "--list") {
        first_report();
    }
    divan::main();
}

fn task_files() -> TaskFiles {
    let support = Support::probe(Path::new(BTF_PATH));
    let plan = plan(&support, &[]).unwrap();
    let mut loaded = load::load(&support, &plan, &Settings::default()).unwrap();
    loaded.task_files.take().unwrap_or_else(|| panic!("{:?}", loaded.served))
}

/// Wall and CPU time of this process and of the children it has waited for.
fn spent() -> [Duration; 2] {
    let time = clock_gettime(ClockId::Monotonic);
    let wall = Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap());
    let cpu = |who| {
        // SAFETY: an rusage is integers, for which zero is valid; the kernel fills it in.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(who, &raw mut usage), 0);
            usage
        };
        let of = |time: libc::timeval| {
            Duration::new(time.tv_sec.try_into().unwrap(), u32::try_from(time.tv_usec).unwrap() * 1000)
        };
        of(usage.ru_utime) + of(usage.ru_stime)
    };
    [wall, cpu(libc::RUSAGE_SELF) + cpu(libc::RUSAGE_CHILDREN)]
}

/// What the complete first report takes, by each way, beside `ss`, and beside the least
/// that the kernel takes for it.
fn first_report() {
    const ROUNDS: usize = 11;
    let mut by_proc = Enricher::new(Options::default()).unwrap();
    let mut by_iterator = Enricher::new(Options::default()).unwrap();
    by_iterator.use_task_files(task_files());
    let suspects = suspects_of(&seen(&mut by_proc));
    let files = task_files();
    let mut floor = Floor::new();
    let ss = || assert_nearly_all(with_net(|net| net.ss(&["-Htanp", "state", "close-wait"])).len());
    let mut took: [Vec<[Duration; 2]>; 4] = Default::default();
    let mut parts: Vec<Parts> = Vec::new();
    for _ in 0..ROUNDS {
        let works: [&mut dyn FnMut(); 4] = [
            &mut || parts.push(judge_all(&mut by_iterator, &suspects)),
            &mut || {
                judge_all(&mut by_proc, &suspects);
            },
            &mut || ss(),
            &mut || floor.take(&files),
        ];
        for (work, took) in works.into_iter().zip(&mut took) {
            let before = spent();
            work();
            let after = spent();
            took.push([0, 1].map(|i| after[i].saturating_sub(before[i])));
        }
    }
    println!("{ROUNDS} rounds, {} sockets; median and least, ms", suspects.len());
    println!("{:<32} {:>14} {:>14}", "", "wall", "CPU");
    let names = ["first report, iterator", "first report, /proc", "ss -tanp", "two dumps and a pass, unread"];
    let line = |name: &str, times: &[[Duration; 2]]| {
        let column = |i: usize| {
            let mut column: Vec<_> = times.iter().map(|times| times[i].as_secs_f64() * 1e3).collect();
            column.sort_by(f64::total_cmp);
            format!("{:.1} {:.1}", column[ROUNDS / 2], column[0])
        };
        println!("{name:<32} {:>14} {:>14}", column(0), column(1));
    };
    for (name, took) in names.into_iter().zip(took) {
        line(name, &took);
    }
    println!("of the first, by the iterator:");
    for (part, name) in ["first look, holders", "second look", "verdicts", "screen"].into_iter().enumerate() {
        line(name, &parts.iter().map(|parts| parts[part]).collect::<Vec<_>>());
    }
}

/// Wall and CPU time of the parts of the work.
type Parts = [[Duration; 2]; 4];

/// The least that the kernel takes: two dumps of what is stuck and one pass over the
/// descriptors, of which nothing is kept.
struct Floor(netlink_sys::Socket, Vec<u8>);

impl Floor {
    fn new() -> Self {
        let socket = with_net(|net| {
            net.run(|| {
                let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_SOCK_DIAG).unwrap();
                socket.bind_auto().unwrap();
                socket
            })
        });
        Self(socket, Vec::with_capacity(64 << 10))
    }

    fn take(&mut self, files: &TaskFiles) {
        for _ in 0..2 {
            self.0.send(&wire::Request::Tcp(&[State::CloseWait]).encode(1), 0).unwrap();
            loop {
                self.1.clear();
                self.0.recv(&mut self.1, 0).unwrap();
                if self.1[4..6] == wire::DONE.to_ne_bytes() {
                    break;
                }
            }
        }
        let mut seen = 0;
        files.pass(|_| seen += 1).unwrap();
        assert!(seen >= PROCESSES * SOCKETS - 10, "{seen} descriptors");
    }
}

/// Both looks, holders, a verdict for each socket, and the text of the report.
fn judge_all(enricher: &mut Enricher, suspects: &[Suspect]) -> Parts {
    let mut times = vec![spent()];
    let gathered = enricher.gather(suspects, Clock::mono_now());
    let known = |(_, gathered)| {
        let Gathered::Found(found) = gathered else { return None };
        let mut evidence = Evidence { looks: Vec::with_capacity(2), ..Evidence::unknown() };
        evidence.looks.push(found.look);
        (evidence.holders, evidence.listener) = (found.holders, found.listener);
        found.around.add_to(&mut evidence);
        Some(evidence)
    };
    let mut evidence: Vec<_> = gathered.into_iter().map(known).collect();
    assert_nearly_all(evidence.iter().flatten().count());
    times.push(spent());
    let looks = enricher.look(suspects, Clock::mono_now());
    for ((_, look), evidence) in looks.into_iter().zip(&mut evidence) {
        if let (Ok(Some(look)), Some(evidence)) = (look, evidence) {
            evidence.looks.push(look);
        }
    }
    times.push(spent());
    let (now, policy) = (Clock::mono_now(), Policy::default());
    let judged = suspects.iter().zip(evidence).filter_map(|(suspect, evidence)| {
        let evidence = evidence?;
        let verdict = verdict(suspect, &evidence, now, &policy);
        Some(Report::Stuck(Box::new(Finding::new(now, suspect.clone(), evidence, verdict))))
    });
    let judged: Vec<_> = judged.collect();
    times.push(spent());
    let options = TextOptions {
        style: Style::default(),
        threshold: Duration::from_secs(10),
        group: true,
        limit: 20,
        interval: None,
        once: false,
    };
    let screen = TextSink::new(Box::new(std::io::sink()), Box::new(std::io::sink()), options);
    let mut reporter = Reporter::new(vec![Box::new(screen)]);
    let clock = Clock::read();
    for report in judged {
        reporter.report(report, &clock, now).unwrap();
    }
    let first = FirstLook { watched: suspects.len() as u64, young: 0 };
    reporter.report(Report::FirstLook(first), &clock, now).unwrap();
    times.push(spent());
    std::array::from_fn(|part| [0, 1].map(|i| times[part + 1][i].saturating_sub(times[part][i])))
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

#[divan::bench]
fn scan_iterated(bencher: divan::Bencher) {
    let snapshot = seen(&mut Enricher::new(Options::default()).unwrap());
    let wanted: HashSet<_> = snapshot.sockets.iter().map(|s| s.inode).collect();
    let files = task_files();
    bencher.bench_local(|| {
        let scan = holders::iterated::scan(&files, &wanted).unwrap();
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
