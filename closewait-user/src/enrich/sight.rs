//! One look at each of many suspects.
//!
//! In: suspects. Out: a look at each that is in CLOSE_WAIT. Absence is believed
//! only when the kernel's lookup and a dump agree: the lookup does not see
//! sockets bound to an interface, a dump may miss one whose hash chain changed.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::sockets::Sockets;
use crate::clock::Clock;
use crate::item::Netns;
use crate::tcp::State;
use crate::tracker::{Suspect, SuspectKind};
use crate::verdict::Look;

/// Up to so many suspects of one namespace are looked up one by one (2-3 us
/// each); more are found in one dump, which walks all sockets of the host.
pub(super) const LOOKUPS_MAX: usize = 32;

/// One suspect, looked at.
pub(super) enum Sight {
    /// It is in CLOSE_WAIT.
    Here(Look),
    /// It is not; its state, when its ends still have a socket.
    Left(Option<State>),
    /// It could not be looked at, and why.
    Unseen(String),
}

/// Looks at every suspect once, namespace by namespace.
pub(super) fn sights<'a>(sockets: &mut Sockets, suspects: &'a [Suspect]) -> Vec<(&'a Suspect, Sight)> {
    let (stuck, ghosts): (Vec<_>, Vec<_>) = suspects.iter().partition(|s| s.kind == SuspectKind::Stuck);
    let mut by_netns = BTreeMap::<Netns, Vec<&Suspect>>::new();
    for suspect in stuck {
        by_netns.entry(suspect.netns).or_default().push(suspect);
    }
    let unseen = |suspect, reason: &str| (suspect, Sight::Unseen(reason.into()));
    let mut all: Vec<_> = ghosts
        .into_iter()
        .map(|s| unseen(s, "a closed socket is in no table that the kernel shows"))
        .collect();
    for (netns, group) in by_netns {
        match in_netns(sockets, netns, &group) {
            Ok(seen) => all.extend(group.into_iter().zip(seen)),
            Err(reason) => all.extend(group.into_iter().map(|s| unseen(s, &reason))),
        }
    }
    all
}

fn in_netns(sockets: &mut Sockets, netns: Netns, group: &[&Suspect]) -> Result<Vec<Sight>, String> {
    let mut seen = vec![None; group.len()];
    let few = group.len() <= LOOKUPS_MAX;
    if few {
        look_up(sockets, netns, group, &mut seen)?;
    }
    let mut incomplete = None;
    if seen.contains(&None) {
        incomplete = find_in_dump(sockets, netns, group, &mut seen)?;
    }
    if !few {
        look_up(sockets, netns, group, &mut seen)?;
    }
    let sight = |look: Option<Look>| match (look, &incomplete) {
        (Some(look), _) if look.socket.state == State::CloseWait => Sight::Here(look),
        (Some(look), _) => Sight::Left(Some(look.socket.state)),
        (None, Some(reason)) => Sight::Unseen(reason.clone()),
        (None, None) => Sight::Left(None),
    };
    Ok(seen.into_iter().map(sight).collect())
}

/// Looks up one by one those not yet seen. MPTCP sockets have no lookup by tuple.
fn look_up(
    sockets: &mut Sockets,
    netns: Netns,
    group: &[&Suspect],
    seen: &mut [Option<Look>],
) -> Result<(), String> {
    for (suspect, seen) in group.iter().zip(seen).filter(|(s, seen)| seen.is_none() && !s.mptcp) {
        let found = sockets.one(netns, suspect.tuple)?;
        *seen = found.map(|socket| Look { at: Clock::mono_now(), socket });
    }
    Ok(())
}

/// Finds those not yet seen in a dump; returns why the dump may lack some.
fn find_in_dump(
    sockets: &mut Sockets,
    netns: Netns,
    group: &[&Suspect],
    seen: &mut [Option<Look>],
) -> Result<Option<String>, String> {
    let listed = sockets.list(netns, &[State::CloseWait])?;
    let mut by_ends: HashMap<_, _> =
        listed.sockets.into_iter().map(|s| ((s.tuple.canonical(), s.mptcp), s)).collect();
    for (suspect, seen) in group.iter().zip(seen).filter(|(_, seen)| seen.is_none()) {
        let found = by_ends.remove(&(suspect.tuple.canonical(), suspect.mptcp));
        *seen = found.map(|socket| Look { at: listed.ended, socket });
    }
    Ok(listed.incomplete)
}
