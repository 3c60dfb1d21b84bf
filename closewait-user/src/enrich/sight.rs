//! One look at each of many suspects.
//!
//! In: suspects. Out: a look at each that is in CLOSE_WAIT. Absence is believed
//! only when the kernel's lookup and a dump agree: the lookup does not see
//! sockets bound to an interface, a dump may miss one whose hash chain changed.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::peers::{self, Peer};
use super::sockets::Sockets;
use crate::clock::Clock;
use crate::item::{DiagSocket, Netns};
use crate::tcp::{State, Tuple};
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

/// Peers that a dump has shown beside suspects, by their ends, where it was to show them.
pub(super) type Beside = HashMap<Netns, HashMap<Tuple, Peer>>;

/// Looks at every suspect once, namespace by namespace; the answers are in their order.
/// Where a dump is made that may show peers too, they go to `beside`: a walk over all
/// sockets of the host costs more than what it shows.
pub(super) fn sights(
    sockets: &mut Sockets,
    suspects: &[Suspect],
    mut beside: Option<&mut Beside>,
) -> Vec<Sight> {
    let mut by_netns = BTreeMap::<Netns, Vec<usize>>::new();
    for (i, suspect) in suspects.iter().enumerate().filter(|(_, s)| s.kind == SuspectKind::Stuck) {
        by_netns.entry(suspect.netns).or_default().push(i);
    }
    let mut seen = vec![None; suspects.len()];
    // Why those not seen there may be there all the same.
    let looked: BTreeMap<_, _> = by_netns
        .into_iter()
        .map(|(netns, which)| {
            let mut group = Group { suspects, which, seen: &mut seen };
            (netns, in_netns(sockets, netns, &mut group, beside.as_deref_mut()))
        })
        .collect();
    let sight = |(suspect, look): (&Suspect, Option<Look>)| match (look, looked.get(&suspect.netns)) {
        _ if suspect.kind != SuspectKind::Stuck => {
            Sight::Unseen("a closed socket is in no table that the kernel shows".into())
        }
        (_, Some(Err(reason))) => Sight::Unseen(reason.clone()),
        (Some(look), _) if look.socket.state == State::CloseWait => Sight::Here(look),
        (Some(look), _) => Sight::Left(Some(look.socket.state)),
        (None, Some(Ok(Some(reason)))) => Sight::Unseen(reason.clone()),
        (None, _) => Sight::Left(None),
    };
    suspects.iter().zip(seen).map(sight).collect()
}

/// The suspects of one namespace.
struct Group<'a> {
    suspects: &'a [Suspect],
    /// Which of them.
    which: Vec<usize>,
    /// What was seen of all suspects.
    seen: &'a mut [Option<Look>],
}

impl Group<'_> {
    /// Looks at those not yet seen.
    fn each<E>(&mut self, mut look: impl FnMut(&Suspect) -> Result<Option<Look>, E>) -> Result<(), E> {
        for &i in &self.which {
            if let (Some(suspect), Some(seen @ None)) = (self.suspects.get(i), self.seen.get_mut(i)) {
                *seen = look(suspect)?;
            }
        }
        Ok(())
    }

    fn all_seen(&self) -> bool {
        self.which.iter().all(|&i| self.seen.get(i).is_some_and(Option::is_some))
    }

    /// Whether the peer of one of them must be in the same namespace.
    fn have_peers(&self) -> bool {
        let mut all = self.which.iter().filter_map(|&i| self.suspects.get(i));
        all.any(|suspect| suspect.tuple.remote.ip.to_canonical().is_loopback())
    }
}

fn in_netns(
    sockets: &mut Sockets,
    netns: Netns,
    group: &mut Group<'_>,
    beside: Option<&mut Beside>,
) -> Result<Option<String>, String> {
    let few = group.which.len() <= LOOKUPS_MAX;
    if few {
        look_up(sockets, netns, group)?;
    }
    let incomplete = if group.all_seen() { None } else { find_in_dump(sockets, netns, group, beside)? };
    if !few {
        look_up(sockets, netns, group)?;
    }
    Ok(incomplete)
}

/// Looks up one by one those not yet seen. MPTCP sockets have no lookup by tuple.
fn look_up(sockets: &mut Sockets, netns: Netns, group: &mut Group<'_>) -> Result<(), String> {
    group.each(|suspect| {
        let found = if suspect.mptcp { None } else { sockets.one(netns, suspect.tuple)? };
        Ok(found.map(|socket| Look { at: Clock::mono_now(), socket }))
    })
}

/// Finds those not yet seen in a dump; returns why the dump may lack some.
fn find_in_dump(
    sockets: &mut Sockets,
    netns: Netns,
    group: &mut Group<'_>,
    beside: Option<&mut Beside>,
) -> Result<Option<String>, String> {
    const STUCK: State = State::CloseWait;
    let beside = beside.filter(|_| group.have_peers());
    let states = [STUCK, peers::STATES[0], peers::STATES[1]];
    let mut listed = sockets.list(netns, if beside.is_some() { &states } else { &states[..1] })?;
    if let Some(beside) = beside {
        let others = listed.sockets.iter().filter(|socket| socket.state != STUCK && !socket.mptcp);
        let by_ends = others.map(|s| (s.tuple.canonical(), (s.state, s.inode))).collect();
        // A peer that falls into a hole would be taken to be no more: then it is looked for anew.
        if listed.incomplete.is_none() {
            beside.insert(netns, by_ends);
        }
        listed.sockets.retain(|socket| socket.state == STUCK);
    }
    let mut shown = Shown { sockets: &listed.sockets, next: 0, by_ends: None };
    group.each(|suspect| {
        let found = shown.find(suspect).cloned();
        Ok::<_, String>(found.map(|socket| Look { at: listed.ended, socket }))
    })?;
    Ok(listed.incomplete)
}

/// Finds suspects in a dump. Those that an earlier dump has shown mostly come in its
/// order, which is that of this one: then nothing needs to be hashed.
struct Shown<'a> {
    sockets: &'a [DiagSocket],
    next: usize,
    by_ends: Option<HashMap<(Tuple, bool), usize>>,
}

impl<'a> Shown<'a> {
    fn find(&mut self, suspect: &Suspect) -> Option<&'a DiagSocket> {
        let ends = |tuple: Tuple, mptcp| (tuple.canonical(), mptcp);
        let wanted = ends(suspect.tuple, suspect.mptcp);
        let all = self.sockets;
        let is_wanted = |s: &DiagSocket| ends(s.tuple, s.mptcp) == wanted;
        let place = if all.get(self.next).is_some_and(is_wanted) {
            self.next
        } else {
            let by_ends = self.by_ends.get_or_insert_with(|| {
                all.iter().enumerate().map(|(place, s)| (ends(s.tuple, s.mptcp), place)).collect()
            });
            *by_ends.get(&wanted)?
        };
        self.next = place + 1;
        all.get(place)
    }
}
