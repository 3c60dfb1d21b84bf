//! Histories that are known to be true: random lives of a few addresses and ports, recorded
//! with delay, duplication and loss, and seen by snapshots that ran while they changed.

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;

use super::*;

/// How often a record comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Told {
    Once,
    /// The same record comes again later.
    Twice,
    /// Both programs tell the edge, the second some time later (before the next event).
    ByBoth,
}

/// One step of a history: after `pause`, something happens at `sk`.
#[derive(Clone)]
pub(super) struct Step {
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

pub(super) fn step() -> impl Strategy<Value = Step> {
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
pub(super) enum Truth {
    Waiting { port: u16, since: MonoNs },
    Ghost { closed: MonoNs },
}

/// How records reach the tracker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Wire {
    InOrder,
    Delayed,
    Lossy,
}

pub(super) struct History {
    /// What reaches the tracker, in that order.
    pub(super) items: Vec<Item>,
    /// What is true at the end.
    pub(super) truth: BTreeMap<u64, Truth>,
    /// The lives in CLOSE_WAIT that ended: port, entered, left.
    pub(super) lives: Vec<(u16, MonoNs, MonoNs)>,
    /// How many edges were told by both programs.
    pub(super) again: u64,
    pub(super) end: MonoNs,
}

pub(super) fn transition(at: MonoNs, sk: u64, port: u16, from: State, to: State) -> Item {
    // Every socket has a file of its own.
    let inode = if to == Close { at.0 } else { 0 };
    Item::Transition(Transition {
        at,
        sk: SkAddr(sk),
        from,
        to,
        tuple: tuple(port),
        netns: NS,
        mptcp: false,
        has_socket: to == Close,
        inode,
        by: None,
    })
}

pub(super) fn snapshot(began: MonoNs, ended: MonoNs, ports: impl Iterator<Item = u16>) -> Item {
    let sockets = ports.map(shown).collect();
    Item::Snapshot(Snapshot { began, ended, netns: NS, complete: true, proves_absence: true, sockets })
}

impl History {
    pub(super) fn new(steps: &[Step], wire: Wire) -> Self {
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
                    transition(now, step.sk, step.port, Established, CloseWait)
                }
                Some(Truth::Waiting { port, since }) => {
                    lives.push((port, since, now));
                    let to = if step.reset { Close } else { LastAck };
                    if step.reset {
                        truth.insert(step.sk, Truth::Ghost { closed: now });
                    } else {
                        truth.remove(&step.sk);
                    }
                    transition(now, step.sk, port, CloseWait, to)
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
    pub(super) fn waiting(&self) -> BTreeMap<u16, MonoNs> {
        let waiting = self.truth.values().filter_map(|t| match t {
            Truth::Waiting { port, since } => Some((*port, *since)),
            Truth::Ghost { .. } => None,
        });
        waiting.collect()
    }

    /// Whether a snapshot that began then showed this port.
    pub(super) fn showed(&self, at: MonoNs, port: u16) -> bool {
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
