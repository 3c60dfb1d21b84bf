//! What becomes of it: counts the stuck sockets of each process and pool as their
//! evidence comes in, and adds what that says to the evidence, before the verdict.

use std::time::Duration;

use hashbrown::HashMap;

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::growth::{Growth, Place, Watch};
use crate::report::{Age, entered, owner};
use crate::tracker::{SocketId, Suspect, since_fin};
use crate::verdict::{Evidence, Pool, Role};

/// See the module.
#[derive(Default)]
pub(super) struct Outlook {
    watch: Watch,
    threshold: Duration,
    /// When the first of all were counted.
    from: Option<MonoNs>,
}

impl Outlook {
    /// A socket is stuck when it has been in CLOSE_WAIT for so long.
    pub(super) fn new(threshold: Duration) -> Self {
        Self { threshold, ..Self::default() }
    }

    /// Counts one that is stuck. Those that are judged together are all counted before any of
    /// them is judged.
    pub(super) fn count(&mut self, suspect: &Suspect, evidence: &Evidence, now: MonoNs) {
        let from = *self.from.get_or_insert(now);
        let Fact::Known(place) = place(suspect, evidence) else { return };
        let idle = idle_before_fin(suspect, evidence);
        let (_, earliest) = entered(suspect);
        if earliest.unwrap_or_default() + self.threshold <= from {
            self.watch.was_there(suspect.id, place, idle, now);
        } else {
            self.watch.seen(suspect.id, place, idle, now);
        }
    }

    /// Adds `pool` and `growth` to the evidence of one of them.
    pub(super) fn add_to(
        &mut self,
        (suspect, evidence): &mut (Suspect, Evidence),
        known: &mut Outlooks,
        now: MonoNs,
    ) {
        match place(suspect, evidence) {
            Fact::Known(place) => {
                let Known { pool, growth, of_server } =
                    known.0.entry(place).or_insert_with(|| Known::of(&mut self.watch, place, now));
                (evidence.pool, evidence.growth) = (pool.clone(), growth.clone());
                if let Fact::Known(ports) = &mut evidence.ports {
                    ports.growth = *of_server;
                }
            }
            Fact::Unknown(reason) => {
                evidence.pool = Fact::Unknown(reason.clone());
                evidence.growth = Fact::Unknown(reason);
            }
        }
    }

    /// A socket that was stuck goes on as a ghost.
    pub(super) fn haunts(&mut self, before: SocketId, ghost: SocketId, now: MonoNs) {
        self.watch.renamed(before, ghost, now);
    }

    /// It ended.
    pub(super) fn ended(&mut self, id: SocketId, now: MonoNs) {
        self.watch.ended(id, now);
    }
}

/// What was found out for sockets that are judged together: those of one place have one outlook.
#[derive(Default)]
pub(super) struct Outlooks(HashMap<Place, Known>);

/// What is known of the sockets of one place.
struct Known {
    pool: Fact<Pool>,
    growth: Fact<Growth>,
    of_server: Option<Growth>,
}

impl Known {
    fn of(watch: &mut Watch, place: Place, now: MonoNs) -> Self {
        let pool = watch.pool(place, now);
        let growth = watch.of_process(place.pid, now);
        Self {
            pool: pool.map_or_else(|| Fact::unknown("it is not known to be a client's"), Fact::Known),
            growth: growth.map_or_else(|| Fact::unknown("not watched for a minute yet"), Fact::Known),
            of_server: watch.of_server(place, now),
        }
    }
}

fn place(suspect: &Suspect, evidence: &Evidence) -> Fact<Place> {
    let is_client = evidence.role.known() == Some(&Role::Client);
    match owner(evidence) {
        Fact::Known(owner) => Fact::Known(Place {
            pid: owner.pid,
            netns: suspect.netns,
            server: is_client.then_some(suspect.tuple.remote),
        }),
        Fact::Unknown(reason) => Fact::Unknown(reason),
    }
}

/// How long the connection had been idle when the FIN came; `None` when that cannot
/// be told exactly.
fn idle_before_fin(suspect: &Suspect, evidence: &Evidence) -> Option<Duration> {
    let look = evidence.looks.last()?;
    let age = Age::of(suspect, look.at);
    let tcp = look.socket.tcp?;
    let (sent, received) = (tcp.last_data_sent_ms?, tcp.last_data_recv_ms?);
    // What is unread besides the FIN came with it: the peer's goodbye, not an activity.
    let ms = if look.socket.recv_q > 1 { sent } else { sent.min(received) };
    let first_probe = || evidence.keepalive.known()?.first_probe;
    let age = if age.is_exact() { age.min } else { since_fin(&look.socket, first_probe()?)? };
    Some(Duration::from_millis(ms.into()).saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{DiagSocket, Netns, TcpInfo, Timer};
    use crate::tcp::{Endpoint, State, Tuple};
    use crate::tracker::{Since, SuspectKind};
    use crate::verdict::{Holder, Keepalive, Look, Process};

    const NOW: MonoNs = MonoNs(500_000_000_000);

    fn case(id: u32, since: Since, recv_q: u32, (sent, received): (u32, u32)) -> (Suspect, Evidence) {
        let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
        let tuple = Tuple { local: end(40_000), remote: end(443) };
        let suspect = Suspect {
            missed: false,
            id: SocketId::from_parts(id, 1),
            sk: None,
            netns: Netns(1),
            tuple,
            kind: SuspectKind::Stuck,
            since,
            not_before: None,
            mptcp: false,
            tainted: false,
        };
        let tcp = TcpInfo {
            last_data_sent_ms: Some(sent),
            last_data_recv_ms: Some(received),
            ..TcpInfo::default()
        };
        let socket = DiagSocket {
            tuple,
            mptcp: false,
            state: State::CloseWait,
            inode: 9,
            cookie: None,
            uid: 0,
            recv_q,
            send_q: 0,
            timer: Timer::Off,
            retrans: 0,
            tcp: Some(tcp),
        };
        let holder = Holder { process: Process::unknown(7).into(), fd: 5, cloexec: Fact::unknown("test") };
        let evidence = Evidence {
            looks: vec![Look { at: NOW, socket }],
            holders: Fact::Known(vec![holder]),
            role: Fact::Known(Role::Client),
            ..Evidence::unknown()
        };
        (suspect, evidence)
    }

    #[test]
    fn idle_is_what_was_quiet_before_the_fin() {
        let seen = Since::Seen(NOW - Duration::from_secs(20));
        let table = [
            ("a request and its answer", seen, 1, (80_000, 79_950), Some(59_950)),
            ("a goodbye is no activity", seen, 25, (80_000, 20_000), Some(60_000)),
            ("younger than its age: no time", seen, 1, (10_000, 10_000), Some(0)),
            ("age not exact", Since::NoLaterThan(NOW), 1, (80_000, 80_000), None),
        ];
        for (what, since, recv_q, last, want) in table {
            let (suspect, evidence) = case(1, since, recv_q, last);
            let idle = idle_before_fin(&suspect, &evidence).map(|idle| idle.as_millis());
            assert_eq!(idle, want, "{what}");
        }
        // Older than the trace, and with keepalive: no probe can have been answered yet.
        let (suspect, mut evidence) = case(1, Since::NoLaterThan(NOW), 1, (80_000, 80_000));
        let socket = &mut evidence.looks[0].socket;
        socket.timer = Timer::Keepalive;
        if let Some(tcp) = &mut socket.tcp {
            (tcp.last_ack_recv_ms, tcp.rto_us) = (Some(20_000), Some(204_000));
            (tcp.bytes_acked, tcp.snd_wnd) = (Some(1), Some(65_536));
        }
        let idle = |first_probe| {
            let keepalive = Keepalive { on: true, ends_in: None, first_probe, note: "test".into() };
            let evidence = Evidence { keepalive: Fact::Known(keepalive), ..evidence.clone() };
            idle_before_fin(&suspect, &evidence)
        };
        assert_eq!(idle(Some(Duration::from_hours(2))), Some(Duration::from_mins(1)));
        assert_eq!(idle(Some(Duration::from_secs(80))), None);
        assert_eq!(idle(None), None);
        let (suspect, evidence) = case(1, seen, 1, (1, 1));
        assert_eq!(idle_before_fin(&suspect, &Evidence { looks: vec![], ..evidence }), None);
    }

    #[test]
    fn those_that_were_there_at_first_are_not_born_when_they_are_looked_at() {
        let old = Since::Seen(NOW - Duration::from_secs(20));
        let mut outlook = Outlook::new(Duration::from_secs(10));
        let mut births = |id, since, at: MonoNs| {
            let mut case = case(id, since, 1, (80_000, 80_000));
            outlook.count(&case.0, &case.1, at);
            outlook.add_to(&mut case, &mut Outlooks::default(), NOW + Duration::from_secs(61));
            case.1.growth.known().map(|growth| growth.births)
        };
        assert_eq!(births(1, old, NOW), Some(0));
        let later = NOW + Duration::from_secs(30);
        assert_eq!(births(2, old, later), Some(0), "its turn came later");
        assert_eq!(births(3, Since::NoLaterThan(NOW), later), Some(0), "nothing bounds its age");
        assert_eq!(births(4, Since::Seen(NOW), later), Some(1), "it got stuck meanwhile");
    }

    #[test]
    fn those_that_are_judged_together_are_counted_together() {
        let seen = Since::Seen(NOW - Duration::from_secs(20));
        let mut cases: Vec<_> = (0..5).map(|id| case(id, seen, 1, (80_000, 80_000))).collect();
        let mut nobodys = case(9, seen, 1, (1, 1));
        nobodys.1.holders = Fact::unknown("EACCES");
        cases.push(nobodys);
        let mut outlook = Outlook::default();
        let weigh = |outlook: &mut Outlook, cases: &mut [(Suspect, Evidence)], now| {
            for (suspect, evidence) in &*cases {
                outlook.count(suspect, evidence, now);
            }
            let mut known = Outlooks::default();
            for case in cases {
                outlook.add_to(case, &mut known, now);
            }
        };
        weigh(&mut outlook, &mut cases, NOW);
        for (_, evidence) in &cases[..5] {
            let pool = evidence.pool.known().unwrap();
            assert_eq!((pool.stuck, pool.idle_before_fin.unwrap().sockets), (5, 5));
            assert_eq!(evidence.growth.reason(), Some("not watched for a minute yet"));
        }
        assert_eq!(cases[5].1.pool.reason(), Some("EACCES"));
        outlook.haunts(SocketId::from_parts(0, 1), SocketId::from_parts(77, 1), NOW);
        outlook.ended(SocketId::from_parts(77, 1), NOW);
        cases.truncate(2);
        weigh(&mut outlook, &mut cases, NOW + Duration::from_mins(2));
        assert_eq!(cases[0].1.pool.known().unwrap().stuck, 5, "one ended, and one is there again");
    }
}
