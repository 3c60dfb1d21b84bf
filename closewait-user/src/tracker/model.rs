//! The tracker against histories that are known to be true: random lives of a
//! few addresses and ports, recorded with delay, duplication and loss, and seen
//! by snapshots that ran while they changed.

use std::collections::BTreeMap;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::item::{Destroyed, DiagSocket, Gap, Snapshot, Timer, Transition};
use crate::tcp::Endpoint;

const NS: Netns = Netns(7);
const THRESHOLD: Duration = Duration::from_secs(2);

/// How often a record comes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Told {
    Once,
    /// The same record comes again later.
    Twice,
    /// Both programs tell the edge, the second some time later (before the next event).
    ByBoth,
}

/// One step of a history: after `pause`, something happens at `sk`.
#[derive(Clone)]
struct Step {
    pause_us: u64,
    sk: u64,
    port: u16,
    /// A life ends by a reset under a file, which is closed later.
    reset: bool,
    delay_us: u64,
    told: Told,
    lost: bool,
    /// A snapshot begins here and takes so long.
    snapshot_us: Option<u64>,
}

impl fmt::Debug for Step {
    /// One line, so that a failing history can be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pause_us, sk, port, reset, delay_us, told, lost, snapshot_us } = self;
        write!(
            f,
            "+{pause_us} sk {sk} port {port} reset {reset} delay {delay_us} told {told:?} lost {lost} \
             snapshot {snapshot_us:?}"
        )
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![20..100_u64, 1000..1_000_000_u64];
    let snapshot = prop::option::weighted(0.15, 1..2_000_000_u64);
    let delay = prop_oneof![Just(0), 0..2_000_000_u64];
    let told = prop_oneof![15 => Just(Told::Once), 2 => Just(Told::Twice), 3 => Just(Told::ByBoth)];
    let chances = (any::<bool>(), told, prop::bool::weighted(0.15));
    (pause, 1..5_u64, 1..5_u16, delay, snapshot, chances).prop_map(
        |(pause_us, sk, port, delay_us, snapshot_us, (reset, told, lost))| Step {
            pause_us,
            sk,
            port,
            reset,
            delay_us,
            told,
            lost,
            snapshot_us,
        },
    )
}

/// What one address is doing, in truth.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Truth {
    Waiting { port: u16, since: MonoNs },
    Ghost { closed: MonoNs },
}

/// How records reach the tracker.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Wire {
    InOrder,
    Delayed,
    Lossy,
}

struct History {
    /// What reaches the tracker, in that order.
    items: Vec<Item>,
    /// What is true at the end.
    truth: BTreeMap<u64, Truth>,
    /// The lives in CLOSE_WAIT that ended: port, entered, left.
    lives: Vec<(u16, MonoNs, MonoNs)>,
    /// How many edges were told by both programs.
    again: u64,
    end: MonoNs,
}

fn tuple(port: u16) -> Tuple {
    let end = |port| Endpoint { ip: [127, 0, 0, 1].into(), port };
    Tuple { local: end(80), remote: end(port) }
}

fn transition(at: MonoNs, sk: u64, port: u16, from: State, to: State) -> Item {
    // Every socket has a file of its own.
    let inode = if to == State::Close { at.0 } else { 0 };
    Item::Transition(Transition {
        at,
        sk: SkAddr(sk),
        from,
        to,
        tuple: tuple(port),
        netns: NS,
        mptcp: false,
        has_socket: to == State::Close,
        inode,
        by: None,
    })
}

fn snapshot(began: MonoNs, ended: MonoNs, ports: impl Iterator<Item = u16>) -> Item {
    let socket = |port| DiagSocket {
        tuple: tuple(port),
        mptcp: false,
        state: State::CloseWait,
        inode: 1,
        cookie: None,
        uid: 0,
        recv_q: 1,
        send_q: 0,
        timer: Timer::Off,
        retrans: 0,
        tcp: None,
    };
    let sockets = ports.map(socket).collect();
    Item::Snapshot(Snapshot { began, ended, netns: NS, complete: true, proves_absence: true, sockets })
}

impl History {
    fn new(steps: &[Step], wire: Wire) -> Self {
        let mut now = MonoNs(1_000_000_000);
        let mut truth = BTreeMap::new();
        let mut lives = Vec::new();
        // When each item arrives.
        let mut arrivals: Vec<(MonoNs, Item)> = Vec::new();
        let mut again = 0;
        let pauses = steps.iter().skip(1).map(|step| step.pause_us).chain([1000]);
        for (step, until_next_us) in steps.iter().zip(pauses) {
            now = now + Duration::from_micros(step.pause_us);
            let port_used =
                truth.values().any(|t| matches!(t, Truth::Waiting { port, .. } if *port == step.port));
            let record = match truth.get(&step.sk).copied() {
                None if port_used => continue,
                None => {
                    truth.insert(step.sk, Truth::Waiting { port: step.port, since: now });
                    transition(now, step.sk, step.port, State::Established, State::CloseWait)
                }
                Some(Truth::Waiting { port, since }) => {
                    lives.push((port, since, now));
                    let to = if step.reset { State::Close } else { State::LastAck };
                    if step.reset {
                        truth.insert(step.sk, Truth::Ghost { closed: now });
                    } else {
                        truth.remove(&step.sk);
                    }
                    transition(now, step.sk, port, State::CloseWait, to)
                }
                Some(Truth::Ghost { .. }) => {
                    truth.remove(&step.sk);
                    Item::Destroyed(Destroyed { at: now, sk: SkAddr(step.sk), exiting: None })
                }
            };
            let delay = if wire == Wire::InOrder { 0 } else { step.delay_us };
            let arrival = now + Duration::from_micros(delay);
            if wire == Wire::Lossy && step.lost {
                let gap = Gap { from: now, to: arrival, leave: 1, ..Gap::default() };
                arrivals.push((arrival, Item::Gap(gap)));
                continue;
            }
            if wire != Wire::InOrder && step.told == Told::Twice {
                arrivals.push((arrival + Duration::from_micros(step.pause_us), record.clone()));
            }
            arrivals.push((arrival, record.clone()));
            if let Item::Transition(mut edge) = record
                && step.told == Told::ByBoth
            {
                // Its socket is locked until then: in the ring it follows at once, and what comes
                // next at this address does so later than clocks may disagree.
                edge.at = now + Duration::from_micros((until_next_us / 2).min(until_next_us - 12));
                arrivals.push((arrival, Item::Transition(edge)));
                again += 1;
            }
        }
        let open = truth.values().filter_map(|t| match t {
            Truth::Waiting { port, since } => Some((*port, *since, MonoNs(u64::MAX))),
            Truth::Ghost { .. } => None,
        });
        let all: Vec<_> = lives.iter().copied().chain(open).collect();
        if wire != Wire::InOrder {
            snapshots(steps, &all, &mut arrivals);
        }
        // Stable: what arrives together arrives as it happened.
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let end = arrivals.last().map_or(now, |(arrival, _)| now.max(*arrival)) + Duration::from_secs(1);
        Self { items: arrivals.into_iter().map(|(_, item)| item).collect(), truth, lives, again, end }
    }

    /// Ports in CLOSE_WAIT at the end, with the time of entry.
    fn waiting(&self) -> BTreeMap<u16, MonoNs> {
        let waiting = self.truth.values().filter_map(|t| match t {
            Truth::Waiting { port, since } => Some((*port, *since)),
            Truth::Ghost { .. } => None,
        });
        waiting.collect()
    }
}

impl History {
    /// Whether a snapshot that began then showed this port.
    fn showed(&self, at: MonoNs, port: u16) -> bool {
        self.items.iter().any(|item| match item {
            Item::Snapshot(snapshot) => {
                snapshot.began == at && snapshot.sockets.iter().any(|s| s.tuple.remote.port == port)
            }
            _ => false,
        })
    }
}

/// Snapshots that see each port at a moment of their own while the dump runs.
fn snapshots(steps: &[Step], lives: &[(u16, MonoNs, MonoNs)], arrivals: &mut Vec<(MonoNs, Item)>) {
    let mut now = MonoNs(1_000_000_000);
    for step in steps {
        now = now + Duration::from_micros(step.pause_us);
        let Some(takes) = step.snapshot_us else { continue };
        let ended = now + Duration::from_micros(takes);
        let shows = |port: &u16| {
            let moment = now + Duration::from_micros(takes * u64::from(*port) / 5);
            lives.iter().any(|(of, since, left)| of == port && *since <= moment && moment < *left)
        };
        let arrival = ended + Duration::from_micros(step.delay_us);
        arrivals.push((arrival, snapshot(now, ended, (1..5).filter(shows))));
    }
}

/// A tracker that was fed all items, with every outcome.
fn run(history: &History) -> (Tracker, Vec<Outcome>) {
    let mut tracker = Tracker::new(THRESHOLD);
    let mut out = Vec::new();
    for item in &history.items {
        tracker.apply(item, &mut out);
        check(&tracker, &out);
    }
    (tracker, out)
}

/// What holds at every moment.
fn check(tracker: &Tracker, out: &[Outcome]) {
    let stats = tracker.stats();
    let count = |of: fn(&Outcome) -> bool| out.iter().filter(|outcome| of(outcome)).count() as u64;
    let released = count(|o| matches!(o, Outcome::Released(_)));
    assert_eq!(stats.entered + stats.found_by_snapshot + stats.unmatched_leaves, stats.tracked + released);
    assert_eq!(stats.left + stats.healed, released);
    let ended = count(|o| matches!(o, Outcome::GhostEnded { .. }));
    assert_eq!(stats.ghosts_begun, stats.ghosts + ended);

    let mut lives = (0, 0);
    for (slot, entry) in tracker.slab.slots() {
        match entry.life {
            Life::Waiting { .. } => {
                lives.0 += 1;
                let found = match entry.sk {
                    0 => tracker.find_unkeyed(entry.netns, entry.tuple),
                    sk => tracker.find(SkAddr(sk)),
                };
                assert_eq!(found, Some(slot));
            }
            Life::Ghost { .. } => lives.1 += 1,
            Life::Free | Life::Left { .. } => {}
        }
    }
    assert_eq!(lives, (stats.tracked, stats.ghosts));
    assert_eq!(tracker.suspects().count() as u64, stats.suspects);
    assert_eq!(tracker.slab.members(slab::LEFT).count(), tracker.remembered);
}

/// Everything that is tracked, by way of handing it all out.
fn all(tracker: &mut Tracker, now: MonoNs) -> Vec<Suspect> {
    tracker.expire(now + THRESHOLD + Duration::from_secs(1), &mut Vec::new());
    tracker.suspects().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn in_order_every_life_is_told_exactly(steps in vec(step(), 1..60)) {
        let history = History::new(&steps, Wire::InOrder);
        let (tracker, out) = run(&history);
        let released: Vec<_> = out.iter().filter_map(|outcome| match outcome {
            Outcome::Released(Released { tuple, since: Since::Seen(since), at, to: Some(_), .. }) => {
                Some((tuple.remote.port, *since, *at))
            }
            Outcome::Released(other) => panic!("{other:?}"),
            _ => None,
        }).collect();
        prop_assert_eq!(released, history.lives);
        let stats = tracker.stats();
        let told = (stats.late, stats.duplicates, stats.reordered, stats.healed);
        prop_assert_eq!(told, (0, history.again, 0, 0));
    }

    #[test]
    fn without_loss_the_end_is_the_truth_however_records_arrive(steps in vec(step(), 1..60)) {
        let history = History::new(&steps, Wire::Delayed);
        let (mut tracker, _) = run(&history);
        let (mut waiting, mut ghosts) = (BTreeMap::new(), Vec::new());
        for suspect in all(&mut tracker, history.end) {
            match (suspect.kind, suspect.since) {
                (SuspectKind::Ghost { closed, .. }, _) => ghosts.push((suspect.sk.unwrap().0, closed)),
                (_, Since::Seen(since)) => _ = waiting.insert(suspect.tuple.remote.port, since),
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(waiting, history.waiting());
        ghosts.sort_unstable();
        let truth = history.truth.iter().filter_map(|(sk, truth)| match truth {
            Truth::Ghost { closed } => Some((*sk, *closed)),
            Truth::Waiting { .. } => None,
        });
        prop_assert_eq!(ghosts, truth.collect::<Vec<_>>());
    }

    #[test]
    fn after_loss_one_snapshot_heals_everything(steps in vec(step(), 1..60)) {
        let history = History::new(&steps, Wire::Lossy);
        let (mut tracker, mut out) = run(&history);
        let waiting = history.waiting();
        tracker.apply(&snapshot(history.end, history.end, waiting.keys().copied()), &mut out);
        check(&tracker, &out);
        let mut found = Vec::new();
        for suspect in all(&mut tracker, history.end) {
            if suspect.kind != SuspectKind::Stuck {
                continue;
            }
            let port = suspect.tuple.remote.port;
            prop_assert!(!suspect.tainted, "{:?}", suspect);
            // A snapshot that was taken to confirm another life between these ports bounds nothing.
            let bound = suspect.not_before.filter(|at| !history.showed(*at, port));
            prop_assert!(bound.is_none_or(|at| at <= waiting[&port]), "{:?}", suspect);
            // Of some life between these ports: snapshots cannot tell two of them apart.
            let (Since::Seen(at) | Since::Inferred(at) | Since::NoLaterThan(at)) = suspect.since;
            let ended = history.lives.iter().filter(|(of, ..)| *of == port).map(|(_, since, _)| since);
            prop_assert!(ended.chain([&waiting[&port]]).any(|since| *since <= at), "{:?}", suspect);
            found.push(port);
        }
        found.sort_unstable();
        prop_assert_eq!(found, waiting.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn timers_fire_as_a_plain_list_of_deadlines_says(
        ops in vec((any::<bool>(), prop_oneof![0..40_u64, 0..100_000_u64, any::<u64>()], 0..40_u64), 1..200)
    ) {
        const TICK: u64 = 1 << 20;
        let threshold = Duration::from_millis(50);
        let mut tracker = Tracker::new(threshold);
        let mut naive: BTreeMap<u16, u64> = BTreeMap::new();
        let mut newest = MonoNs(0);
        for (port, (arm, ms, which)) in (1_u16..).zip(ops) {
            let at = MonoNs(ms.saturating_mul(1_000_000));
            if arm {
                let edge = transition(at, u64::from(port), port, State::Established, State::CloseWait);
                tracker.apply(&edge, &mut Vec::new());
                naive.insert(port, (at + threshold).0);
            } else if let Some((&port, _)) = naive.iter().nth(usize::try_from(which).unwrap()) {
                let at = MonoNs(u64::MAX);
                let edge = transition(at, u64::from(port), port, State::CloseWait, State::LastAck);
                tracker.apply(&edge, &mut Vec::new());
                naive.remove(&port);
            } else {
                newest = newest.max(at);
                let mut handed = Vec::new();
                tracker.expire(at, &mut handed);
                let mut handed: Vec<_> = handed.iter().map(|suspect| suspect.tuple.remote.port).collect();
                handed.sort_unstable();
                // Rounded up to a tick, but for the very last one of all time.
                let due = |deadline: u64| deadline.saturating_add(TICK - 1) / TICK <= newest.0 / TICK;
                let want: Vec<_> = naive.iter().filter(|(_, at)| due(**at)).map(|(port, _)| *port).collect();
                naive.retain(|_, deadline| !due(*deadline));
                prop_assert_eq!(handed, want);
            }
            let next = tracker.next_deadline();
            let earliest = naive.values().map(|at| at.saturating_add(TICK - 1) / TICK * TICK).min();
            prop_assert_eq!(next.is_some(), earliest.is_some());
            prop_assert!(next.is_none_or(|next| next.0 <= earliest.unwrap_or(0).max(newest.0)));
        }
    }
}
