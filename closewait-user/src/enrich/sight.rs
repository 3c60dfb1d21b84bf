//! One look at each of many suspects.
//!
//! In: suspects. Out: a look at each that is in CLOSE_WAIT. Absence is believed
//! only when the kernel's lookup and a dump agree: the lookup does not see
//! sockets bound to an interface, a dump may miss one whose hash chain changed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};

use super::peers::{self, Peer};
use super::sockets::Sockets;
use crate::clock::{Clock, MonoNs};
use crate::item::{DiagSocket, Netns};
use crate::tcp::{State, Tuple};
use crate::tracker::{Suspect, SuspectKind, is_later_life};
use crate::verdict::{Look, PackedLook};

/// Up to so many suspects of one namespace are looked up one by one (2-3 us
/// each); more are found in one dump, which walks all sockets of the host.
pub(super) const LOOKUPS_MAX: usize = 32;

const STUCK: State = State::CloseWait;
/// What a dump shows where suspects and their peers are looked for.
pub(super) const STUCK_AND_PEERS: [State; 3] = [STUCK, peers::STATES[0], peers::STATES[1]];

/// One suspect, looked at.
pub(super) enum Sight {
    /// It is in CLOSE_WAIT.
    Here(PackedLook),
    /// It is not; its state, when its ends still have a socket.
    Left(Option<State>),
    /// It could not be looked at, and why.
    Unseen(String),
}

/// Many suspects, looked at.
pub(super) struct Sights {
    seen: Vec<Option<PackedLook>>,
    /// Places of those that are over: a later connection between their ends was seen.
    over: HashSet<u32>,
    /// Why those of a namespace that were not seen may be there all the same.
    looked: BTreeMap<Netns, Result<Option<String>, String>>,
}

/// Peers that a dump has shown beside suspects, by their ends, where it was to show them.
pub(super) type Beside = HashMap<Netns, HashMap<Tuple, Peer>>;

/// Looks at every suspect once, namespace by namespace.
/// Where a dump is made that may show peers too, they go to `beside`: a walk over all
/// sockets of the host costs more than what it shows.
pub(super) fn sights<S: Borrow<Suspect>>(
    sockets: &mut Sockets,
    suspects: &[S],
    mut beside: Option<&mut Beside>,
) -> Sights {
    let mut by_netns = BTreeMap::<Netns, Vec<u32>>::new();
    for (i, suspect) in (0..).zip(suspects).map(|(i, suspect)| (i, suspect.borrow())) {
        if suspect.kind == SuspectKind::Stuck {
            by_netns.entry(suspect.netns).or_default().push(i);
        }
    }
    let mut seen = vec![None; suspects.len()];
    let mut over = HashSet::new();
    let looked = by_netns.into_iter().map(|(netns, which)| {
        let mut group = Group { suspects, which, seen: &mut seen, began: Clock::last_tick() };
        let looked = in_netns(sockets, netns, &mut group, beside.as_deref_mut());
        over.extend(group.which.iter().filter(|&&i| group.is_over(i)));
        (netns, looked)
    });
    let looked = looked.collect();
    Sights { seen, over, looked }
}

impl Sights {
    /// What was seen of the suspect at this place in CLOSE_WAIT.
    pub(super) fn here(&self, place: usize) -> Option<&PackedLook> {
        let seen = self.seen.get(place)?.as_ref();
        seen.filter(|look| look.state() == State::CloseWait && !self.is_over(place))
    }

    fn is_over(&self, place: usize) -> bool {
        u32::try_from(place).is_ok_and(|place| self.over.contains(&place))
    }

    /// Takes out what was seen of the suspect at this place.
    pub(super) fn take(&mut self, place: usize, suspect: &Suspect) -> Sight {
        let look = self.seen.get_mut(place).and_then(Option::take);
        match (look, self.looked.get(&suspect.netns)) {
            _ if suspect.kind != SuspectKind::Stuck => {
                Sight::Unseen("a closed socket is in no table that the kernel shows".into())
            }
            (_, Some(Err(reason))) => Sight::Unseen(reason.clone()),
            (Some(_), _) if self.is_over(place) => Sight::Left(None),
            (Some(look), _) if look.state() == State::CloseWait => Sight::Here(look),
            (Some(look), _) => Sight::Left(Some(look.state())),
            (None, Some(Ok(Some(reason)))) => Sight::Unseen(reason.clone()),
            (None, _) => Sight::Left(None),
        }
    }
}

/// The suspects of one namespace.
struct Group<'a, S> {
    suspects: &'a [S],
    /// Which of them.
    which: Vec<u32>,
    /// What was seen of all suspects.
    seen: &'a mut [Option<PackedLook>],
    /// None was seen before this.
    began: MonoNs,
}

impl<S: Borrow<Suspect>> Group<'_, S> {
    /// One of all suspects.
    fn at(&self, i: u32) -> Option<&Suspect> {
        self.suspects.get(i as usize).map(Borrow::borrow)
    }

    /// Notes a look at one, unless it was seen before.
    fn see(&mut self, i: u32, at: MonoNs, socket: DiagSocket) {
        let Some(tuple) = self.at(i).map(|suspect| suspect.tuple) else { return };
        if let Some(seen @ None) = self.seen.get_mut(i as usize) {
            *seen = Some(PackedLook::new(Look { at, socket }, tuple));
        }
    }

    fn is_seen(&self, i: u32) -> bool {
        self.seen.get(i as usize).is_some_and(Option::is_some)
    }

    /// Whether what was seen between the ends of one is not that, but a later connection.
    fn is_over(&self, i: u32) -> bool {
        let seen = self.seen.get(i as usize).and_then(Option::as_ref);
        let Some((seen, suspect)) = seen.zip(self.at(i)) else { return false };
        let look = seen.look(suspect.tuple);
        seen.state() == STUCK && is_later_life(&look.socket, (self.began, look.at), suspect.since)
    }

    fn all_seen(&self) -> bool {
        self.which.iter().all(|&i| self.is_seen(i))
    }

    /// Whether the peer of one of them must be in the same namespace.
    fn have_peers(&self) -> bool {
        let mut all = self.which.iter().filter_map(|&i| self.at(i));
        all.any(|suspect| suspect.tuple.remote.ip.to_canonical().is_loopback())
    }

    /// Says when those were seen that a dump has shown, which ended then.
    fn dump_ended(&mut self, ended: MonoNs) {
        for &i in &self.which {
            if let Some(Some(seen)) = self.seen.get_mut(i as usize)
                && seen.at() == NOT_ENDED
            {
                *seen = seen.clone().taken(ended);
            }
        }
    }
}

/// Of a look in a dump that was listed before; it was taken at its end.
const NOT_ENDED: MonoNs = MonoNs(u64::MAX);

fn in_netns<S: Borrow<Suspect>>(
    sockets: &mut Sockets,
    netns: Netns,
    group: &mut Group<'_, S>,
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
fn look_up<S: Borrow<Suspect>>(
    sockets: &mut Sockets,
    netns: Netns,
    group: &mut Group<'_, S>,
) -> Result<(), String> {
    for place in 0..group.which.len() {
        let Some(&i) = group.which.get(place) else { continue };
        let Some(suspect) = group.at(i).filter(|suspect| !suspect.mptcp && !group.is_seen(i)) else {
            continue;
        };
        if let Some(socket) = sockets.one(netns, suspect.tuple)? {
            group.see(i, Clock::mono_now(), socket);
        }
    }
    Ok(())
}

/// Finds those not yet seen in a dump, of which nothing else is kept; returns why the dump
/// may lack some.
fn find_in_dump<S: Borrow<Suspect>>(
    sockets: &mut Sockets,
    netns: Netns,
    group: &mut Group<'_, S>,
    beside: Option<&mut Beside>,
) -> Result<Option<String>, String> {
    // Only a first look may be at what was listed before.
    let left = beside.is_some().then(|| sockets.left.take(netns, Clock::mono_now())).flatten();
    group.began = left.as_ref().map_or(group.began, |left| left.began.min(group.began));
    let beside = beside.filter(|_| group.have_peers());
    let states = if beside.is_some() { &STUCK_AND_PEERS[..] } else { &[STUCK] };
    let (mut wanted, mut peers, is_left) = (Wanted::default(), HashMap::new(), left.is_some());
    let mut each = |socket: DiagSocket| {
        if socket.state != STUCK {
            if !socket.mptcp {
                let ends = socket.tuple.canonical();
                // The peer of a socket in another namespace has an address of this one.
                let is_peer = wanted.has(group, (swapped(ends), false)) || !ends.local.ip.is_loopback();
                if is_peer {
                    peers.insert(ends, (socket.state, socket.inode));
                }
            }
        } else if let Some(i) = wanted.find(group, ends(socket.tuple, socket.mptcp)) {
            // What it says of time is as of now, which in a long dump is not its end.
            let at = if is_left { NOT_ENDED } else { Clock::mono_now() };
            group.see(i, at, socket);
        }
    };
    let listed = match left {
        Some(mut left) => {
            left.sockets.drain(..).for_each(each);
            left
        }
        None => sockets.list_each(netns, states, &mut each)?,
    };
    group.dump_ended(listed.ended);
    if let Some(beside) = beside
        // A peer that falls into a hole would be taken to be no more: then it is looked for anew.
        && listed.incomplete.is_none()
    {
        beside.insert(netns, peers);
    }
    Ok(listed.incomplete)
}

/// Both ends of a plain or an MPTCP socket, as they are compared.
type Ends = (Tuple, bool);

fn ends(tuple: Tuple, mptcp: bool) -> Ends {
    (tuple.canonical(), mptcp)
}

fn swapped(tuple: Tuple) -> Tuple {
    Tuple { local: tuple.remote, remote: tuple.local }
}

/// Which suspect of a group a dump shows. Those that an earlier dump has shown mostly come in
/// its order, which is that of this one: then nothing needs to be hashed.
#[derive(Default)]
struct Wanted {
    /// The place in the group of the one that is expected.
    next: usize,
    hasher: DefaultHashBuilder,
    /// By their ends, places in the group: numbers, since there may be a million.
    by_ends: Option<HashTable<u32>>,
}

impl Wanted {
    /// The suspect with these ends.
    fn find<S: Borrow<Suspect>>(&mut self, group: &Group<'_, S>, wanted: Ends) -> Option<u32> {
        let expected = group.which.get(self.next).copied();
        if let Some(i) = expected.filter(|&i| of(group, i) == Some(wanted)) {
            self.next += 1;
            return Some(i);
        }
        let place = self.place(group, wanted)?;
        self.next = place + 1;
        group.which.get(place).copied()
    }

    fn has<S: Borrow<Suspect>>(&mut self, group: &Group<'_, S>, wanted: Ends) -> bool {
        self.place(group, wanted).is_some()
    }

    fn place<S: Borrow<Suspect>>(&mut self, group: &Group<'_, S>, wanted: Ends) -> Option<usize> {
        let hasher = &self.hasher;
        let at = |place: u32| group.which.get(place as usize).and_then(|&i| of(group, i));
        let hash = |place: &u32| hasher.hash_one(at(*place));
        let by_ends = self.by_ends.get_or_insert_with(|| {
            let mut by_ends = HashTable::with_capacity(group.which.len());
            for (place, _) in (0..).zip(&group.which) {
                by_ends.insert_unique(hash(&place), place, hash);
            }
            by_ends
        });
        let found = by_ends.find(hasher.hash_one(Some(wanted)), |&place| at(place) == Some(wanted))?;
        Some(*found as usize)
    }
}

fn of<S: Borrow<Suspect>>(group: &Group<'_, S>, i: u32) -> Option<Ends> {
    group.at(i).map(|suspect| ends(suspect.tuple, suspect.mptcp))
}
