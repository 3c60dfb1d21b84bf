//! The tracker against histories that are known to be true, and its timers against a plain
//! list of deadlines.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::history::{History, Truth, Wire, snapshot, step, transition};
use super::*;

/// Of the histories, which are short.
const THRESHOLD: Duration = Duration::from_secs(2);

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
                let edge = transition(at, u64::from(port), port, Established, CloseWait);
                tracker.apply(&edge, &mut Vec::new());
                naive.insert(port, (at + threshold).0);
            } else if let Some((&port, _)) = naive.iter().nth(usize::try_from(which).unwrap()) {
                let at = MonoNs(u64::MAX);
                let edge = transition(at, u64::from(port), port, CloseWait, LastAck);
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
