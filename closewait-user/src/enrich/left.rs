//! What dumps have just shown, kept for a moment for the first look at what they showed, which
//! then needs no dump of its own.
//!
//! In: the sockets of dumps, as they come. Out: those of a dump, once, unless they were too
//! many to be kept or too much time has passed. No effects.

use std::time::Duration;

use hashbrown::HashMap;

use super::sockets::Listed;
use crate::clock::MonoNs;
use crate::item::{DiagSocket, Netns};
use crate::tcp::State;

/// So many are kept, of all namespaces: beside more, a dump more is what takes least.
const MOST: usize = 50_000;
/// For so long.
const FRESH: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Left {
    dumps: HashMap<Netns, Kept>,
    /// Sockets in all of them.
    kept: usize,
}

struct Kept {
    /// What was asked for.
    states: Vec<State>,
    listed: Listed,
}

/// The sockets of one dump, as long as there is room for all of them.
pub(super) struct Copies {
    sockets: Vec<DiagSocket>,
    room: Option<usize>,
}

impl Copies {
    /// One more; with the first for which there is no room, all are let go.
    pub(super) fn add(&mut self, socket: &DiagSocket) {
        match self.room {
            Some(room) if self.sockets.len() < room => self.sockets.push(socket.clone()),
            Some(_) => *self = Self { sockets: Vec::new(), room: None },
            None => {}
        }
    }
}

impl Left {
    /// For a dump that begins now.
    pub(super) fn copies(&self) -> Copies {
        Copies { sockets: Vec::new(), room: Some(MOST.saturating_sub(self.kept)) }
    }

    /// Leaves all that a dump has shown, if it was kept, to whoever looks next at it.
    pub(super) fn leave(&mut self, netns: Netns, states: &[State], copies: Copies, dump: &Listed) {
        self.remove(netns);
        if copies.room.is_some() {
            let &Listed { began, ended, ref incomplete, .. } = dump;
            let (sockets, incomplete) = (copies.sockets, incomplete.clone());
            self.kept += sockets.len();
            let listed = Listed { began, ended, sockets, incomplete };
            self.dumps.insert(netns, Kept { states: states.to_vec(), listed });
        }
    }

    /// What was left of a namespace a moment ago, and the states of those of which nothing is known.
    pub(super) fn shown(&self, netns: Netns, now: MonoNs) -> (&[DiagSocket], Vec<State>) {
        let kept = self.dumps.get(&netns).filter(|kept| kept.is_fresh(now));
        let is_other = |state: &State| kept.is_none_or(|kept| !kept.states.contains(state));
        let others = State::WITH_SOCKET.into_iter().filter(is_other).collect();
        (kept.map_or(&[], |kept| &kept.listed.sockets), others)
    }

    /// What was left of a namespace a moment ago, once.
    pub(super) fn take(&mut self, netns: Netns, now: MonoNs) -> Option<Listed> {
        self.remove(netns).filter(|kept| kept.is_fresh(now)).map(|kept| kept.listed)
    }

    fn remove(&mut self, netns: Netns) -> Option<Kept> {
        let kept = self.dumps.remove(&netns)?;
        self.kept -= kept.listed.sockets.len();
        Some(kept)
    }
}

impl Kept {
    fn is_fresh(&self, now: MonoNs) -> bool {
        now.since(self.listed.ended) < FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::{Endpoint, Tuple};

    const HERE: Netns = Netns(1);
    const STATES: [State; 2] = [State::CloseWait, State::FinWait2];

    fn leave(left: &mut Left, netns: Netns, sockets: usize) {
        let end = Endpoint { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 1 };
        let socket = DiagSocket {
            tuple: Tuple { local: end, remote: end },
            mptcp: false,
            state: State::CloseWait,
            inode: 7,
            cookie: None,
            uid: 0,
            recv_q: 0,
            send_q: 0,
            timer: crate::item::Timer::Off,
            retrans: 0,
            tcp: None,
        };
        let mut copies = left.copies();
        (0..sockets).for_each(|_| copies.add(&socket));
        let dump = Listed {
            began: MonoNs(1),
            ended: MonoNs(2),
            sockets: Vec::new(),
            incomplete: Some("holes".into()),
        };
        left.leave(netns, &STATES, copies, &dump);
    }

    #[test]
    fn what_was_left_is_taken_once_with_when_it_was_and_what_it_may_lack() {
        let mut left = Left::default();
        leave(&mut left, HERE, 2);
        let (shown, others) = left.shown(HERE, MonoNs(3));
        assert_eq!((shown.len(), others.len()), (2, State::WITH_SOCKET.len() - 2));
        assert!(others.iter().all(|other| !STATES.contains(other)));
        assert_eq!(left.shown(Netns(2), MonoNs(3)), (&[][..], State::WITH_SOCKET.to_vec()));
        let taken = left.take(HERE, MonoNs(3)).unwrap();
        assert_eq!((taken.sockets.len(), taken.ended), (2, MonoNs(2)));
        assert_eq!(taken.incomplete.as_deref(), Some("holes"));
        assert!(left.take(HERE, MonoNs(3)).is_none());
    }

    #[test]
    fn what_is_old_is_not_the_first_look() {
        let mut left = Left::default();
        leave(&mut left, HERE, 1);
        assert_eq!(left.shown(HERE, MonoNs(2) + FRESH).0.len(), 0);
        assert!(left.take(HERE, MonoNs(2) + FRESH).is_none());
    }

    #[test]
    fn more_than_there_is_room_for_are_not_kept_at_all() {
        let mut left = Left::default();
        leave(&mut left, HERE, MOST - 1);
        leave(&mut left, Netns(2), 2);
        assert!(left.take(Netns(2), MonoNs(3)).is_none(), "beside those of another namespace");
        leave(&mut left, Netns(2), 1);
        assert_eq!(left.take(Netns(2), MonoNs(3)).unwrap().sockets.len(), 1);
        assert_eq!(left.take(HERE, MonoNs(3)).unwrap().sockets.len(), MOST - 1);
        leave(&mut left, HERE, MOST + 1);
        assert!(left.take(HERE, MonoNs(3)).is_none());
    }
}
