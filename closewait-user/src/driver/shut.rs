//! Sockets that had been reported and went to LAST_ACK while their descriptor stayed: a
//! `shutdown()`, and no close. When their peer has answered they are ghosts, and never were
//! released; until then their release is held back. In: such releases, and whether their
//! descriptor is still there. Out: those that are due after all. Pure.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::tracker::{Released, SocketId};

/// Whoever closes a moment later has closed, and a peer's answer takes a round trip. One that
/// does not answer leaves the socket in LAST_ACK, which then is told as it is.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The releases that are held back.
#[derive(Default)]
pub(super) struct Shut(Vec<(Released, MonoNs)>);

impl Shut {
    /// Holds back a release.
    pub(super) fn hold(&mut self, released: Released, now: MonoNs) {
        self.0.push((released, now + ANSWERS_WITHIN));
    }

    /// It turned ghost.
    pub(super) fn take(&mut self, id: SocketId) -> Option<Released> {
        let at = self.0.iter().position(|(released, _)| released.id == id)?;
        Some(self.0.swap_remove(at).0)
    }

    /// What is held back no longer, and whether its descriptor is still there: closed by now,
    /// or not answered in time. With `last`, all.
    pub(super) fn due(
        &mut self,
        now: MonoNs,
        last: bool,
        is_held: impl Fn(SocketId) -> bool,
    ) -> Vec<(Released, bool)> {
        let mut due = Vec::new();
        self.0.retain(|(released, until)| {
            let is_held = is_held(released.id);
            let waits = is_held && !last && now < *until;
            if !waits {
                due.push((released.clone(), is_held));
            }
            waits
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Netns;
    use crate::tcp::{Endpoint, State, Tuple};
    use crate::tracker::Since;

    fn released(slot: u32) -> Released {
        let end = Endpoint { ip: [127, 0, 0, 1].into(), port: 1 };
        Released {
            id: SocketId::from_parts(slot, 1),
            netns: Netns(1),
            tuple: Tuple { local: end, remote: end },
            since: Since::Seen(MonoNs(1)),
            not_before: None,
            at: MonoNs(2),
            to: Some(State::LastAck),
            by: None,
            was_suspect: true,
        }
    }

    #[test]
    fn a_release_is_told_when_its_descriptor_is_closed_or_its_peer_silent() {
        let at = |ms| MonoNs(0) + Duration::from_millis(ms);
        let mut shut = Shut::default();
        (0..3).for_each(|slot| shut.hold(released(slot), at(0)));
        let slots = |due: Vec<(Released, bool)>| -> Vec<_> {
            due.iter().map(|(released, is_held)| (released.id.slot, *is_held)).collect()
        };
        assert_eq!(slots(shut.due(at(100), false, |_| true)), []);
        assert_eq!(shut.take(released(1).id).map(|ghost| ghost.id.slot), Some(1));
        assert_eq!(slots(shut.due(at(200), false, |id| id.slot != 0)), [(0, false)]);
        assert_eq!(slots(shut.due(at(1999), false, |_| true)), []);
        assert_eq!(slots(shut.due(at(2000), false, |_| true)), [(2, true)]);
        shut.hold(released(4), at(3000));
        assert_eq!(slots(shut.due(at(3001), true, |_| true)), [(4, true)]);
        assert!(shut.take(released(4).id).is_none());
    }
}
