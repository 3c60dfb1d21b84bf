//! Growth: how many stuck sockets a process has, to whom, and whether they become
//! more. Counts lie when they are looked at as a slope; what is counted here are
//! births (a socket became aged and stuck, or a ghost) and closes.
//!
//! In: each stuck socket at each look, each end, and the time. Out: [`Pool`]s and
//! [`Growth`]s, with intervals. Pure: no clock, no I/O; memory is bounded by the
//! sockets that are stuck and by `TALLIES_AT_REST`.

mod idle;
mod interval;
mod rings;

use std::time::Duration;

use hashbrown::HashMap;

use crate::clock::MonoNs;
use crate::item::Netns;
use crate::tcp::Endpoint;
use crate::tracker::SocketId;
use crate::verdict::Pool;

use idle::IdleTimes;
use rings::Rings;

/// So many tallies are kept in any case, half a KiB each: of more, those without a stuck socket are
/// forgotten, most of whose processes have ended.
const TALLIES_AT_REST: usize = 1_000;

/// With fewer sockets to one address, those of all addresses behind the same port
/// are one pool: the address may be one of many of a service.
const FEW_OF_A_SHARD: u64 = 3;

/// Births and time without which nobody's exhaustion is foretold.
const BIRTHS_TO_FORETELL: u64 = 10;
const TIME_TO_FORETELL: Duration = Duration::from_mins(10);

/// How fast stuck sockets become more. Per minute: births less closes.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Growth {
    /// For how long they were counted.
    pub watched: Duration,
    /// How many got stuck in that time.
    pub births: u64,
    /// How many stuck ones ended in that time.
    pub closes: u64,
    /// As counted.
    pub per_minute: f64,
    /// Lower bound (95 %, two-sided); above 0 means that they do become more.
    pub at_least: f64,
    /// Upper bound.
    pub at_most: f64,
}

impl Growth {
    /// How long until `left` more are there, at least and at most; `None` when too
    /// little was counted to say, or when it is not certain that they become more.
    pub fn time_to(&self, left: u64) -> Option<(Duration, Duration)> {
        let certain = self.births >= BIRTHS_TO_FORETELL && self.watched >= TIME_TO_FORETELL;
        let time = |rate: f64| {
            let left = interval::f64_of(left);
            Duration::try_from_secs_f64(left / rate * 60.0).unwrap_or(Duration::MAX)
        };
        (certain && self.at_least > 0.0).then(|| (time(self.at_most), time(self.at_least)))
    }
}

/// Whose a stuck socket is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Its owner.
    pub pid: u32,
    /// Its network namespace.
    pub netns: Netns,
    /// What it is connected to; `None` unless it is a client's.
    pub server: Option<Endpoint>,
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    /// All of a process.
    Process(u32),
    /// A client's to one address and port.
    Server(u32, Netns, Endpoint),
    /// A client's to one port, whatever the address.
    Port(u32, Netns, u16),
}

#[derive(Debug)]
struct Tally {
    rings: Rings,
    idle: IdleTimes,
}

#[derive(Debug)]
struct Member {
    place: Place,
    /// Its idle time has been counted.
    idle_known: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Watch {
    tallies: HashMap<Key, Tally>,
    /// With so many tallies it is time to forget some.
    forget_at: usize,
    members: HashMap<SocketId, Member>,
}

impl Watch {
    /// A socket that is stuck was looked at. `idle`: how long it had been idle when
    /// its peer closed it, when that is known.
    pub fn seen(&mut self, id: SocketId, place: Place, idle: Option<Duration>, now: MonoNs) {
        self.counted(id, place, idle, now, |tally| tally.rings.birth(now));
    }

    /// The same of one that was stuck before anything was counted, if it is looked at for the
    /// first time: of so many that they are looked at one after the other, none is born by that.
    pub fn was_there(&mut self, id: SocketId, place: Place, idle: Option<Duration>, now: MonoNs) {
        self.counted(id, place, idle, now, |tally| tally.rings.join());
    }

    fn counted(
        &mut self,
        id: SocketId,
        place: Place,
        idle: Option<Duration>,
        now: MonoNs,
        first: impl FnMut(&mut Tally),
    ) {
        let known = self.members.get(&id).map(|member| (member.place, member.idle_known));
        match known {
            Some((before, _)) if before == place => {}
            Some((before, _)) => {
                self.each(before, now, |tally| tally.rings.leave());
                self.each(place, now, |tally| tally.rings.join());
            }
            None => self.each(place, now, first),
        }
        let counted = known.is_some_and(|(before, counted)| counted && before == place);
        if let Some(idle) = idle.filter(|_| !counted) {
            self.each(place, now, |tally| tally.idle.add(idle));
        }
        self.members.insert(id, Member { place, idle_known: counted || idle.is_some() });
    }

    /// It goes on under another name (it turned ghost): neither an end nor a birth. Under that name
    /// it may have been found already.
    pub fn renamed(&mut self, before: SocketId, after: SocketId, now: MonoNs) {
        let Some(member) = self.members.remove(&before) else { return };
        if self.members.contains_key(&after) {
            self.each(member.place, now, |tally| tally.rings.leave());
        } else {
            self.members.insert(after, member);
        }
    }

    /// It ended.
    pub fn ended(&mut self, id: SocketId, now: MonoNs) {
        if let Some(member) = self.members.remove(&id) {
            self.each(member.place, now, |tally| tally.rings.close(now));
        }
    }

    /// The pool of a client's socket.
    pub fn pool(&mut self, place: Place, now: MonoNs) -> Option<Pool> {
        let server = place.server?;
        let one = Key::Server(place.pid, place.netns, server);
        let sharded = self.tallies.get(&one)?.rings.stock() < FEW_OF_A_SHARD;
        let key = if sharded { Key::Port(place.pid, place.netns, server.port) } else { one };
        let tally = self.tallies.get_mut(&key)?;
        // The growth that is most certain: a leak shows first in the ring that fits its pace.
        let growth = tally.rings.growth(now).max_by(|a, b| a.at_least.total_cmp(&b.at_least));
        Some(Pool {
            stuck: u32::try_from(tally.rings.stock()).unwrap_or(u32::MAX),
            idle_before_fin: tally.idle.typical(),
            watched: tally.rings.watched(now),
            growth,
        })
    }

    /// How fast the stuck sockets of a process become more: over the shortest time
    /// that foretells something, else over the shortest that tells anything. `None`:
    /// not watched for a minute yet.
    pub fn of_process(&self, pid: u32, now: MonoNs) -> Option<Growth> {
        self.growth(Key::Process(pid), now)
    }

    /// The same for a client's sockets to one address and port.
    pub fn of_server(&self, place: Place, now: MonoNs) -> Option<Growth> {
        self.growth(Key::Server(place.pid, place.netns, place.server?), now)
    }

    fn growth(&self, key: Key, now: MonoNs) -> Option<Growth> {
        let all: Vec<_> = self.tallies.get(&key)?.rings.growth(now).collect();
        let foretells = all.iter().find(|growth| growth.time_to(1).is_some());
        foretells.or(all.first()).copied()
    }

    fn each(&mut self, place: Place, now: MonoNs, mut change: impl FnMut(&mut Tally)) {
        let Place { pid, netns, server } = place;
        let of_server = server
            .into_iter()
            .flat_map(|server| [Key::Server(pid, netns, server), Key::Port(pid, netns, server.port)]);
        for key in of_server.chain([Key::Process(pid)]) {
            if self.tallies.len() >= self.forget_at.max(TALLIES_AT_REST) && !self.tallies.contains_key(&key) {
                self.tallies.retain(|_, tally| tally.rings.stock() > 0);
                // Not before they are twice as many: of many that are stuck none can be forgotten.
                self.forget_at = 2 * self.tallies.len();
            }
            let new = || Tally { rings: Rings::new(now), idle: IdleTimes::default() };
            change(self.tallies.entry(key).or_insert_with(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> MonoNs {
        MonoNs((5_000 + second) * 1_000_000_000)
    }

    fn id(n: u32) -> SocketId {
        SocketId::from_parts(n, 1)
    }

    fn to(last: u8) -> Place {
        let server = Endpoint { ip: [10, 0, 0, last].into(), port: 443 };
        Place { pid: 7, netns: Netns(1), server: Some(server) }
    }

    #[test]
    fn a_pool_counts_its_own_and_each_socket_once() {
        let mut watch = Watch::default();
        for second in 0..200 {
            for n in 0..5 {
                watch.seen(id(n), to(1), Some(Duration::from_mins(1)), at(second));
            }
        }
        watch.seen(id(9), to(2), None, at(0));
        let pool = watch.pool(to(1), at(200)).unwrap();
        assert_eq!((pool.stuck, pool.watched), (5, Duration::from_secs(200)));
        assert_eq!(pool.idle_before_fin.map(|idle| (idle.sockets, idle.of)), Some((5, 5)));
        assert_eq!(pool.growth.map(|g| (g.births, g.closes)), Some((0, 0)));
        assert!(watch.of_process(7, at(200)).unwrap().at_least <= 0.0);
        assert_eq!(watch.of_process(8, at(200)), None);
        assert_eq!(watch.pool(Place { server: None, ..to(1) }, at(200)), None);
        assert_eq!(watch.pool(Place { pid: 8, ..to(1) }, at(200)), None);
    }

    #[test]
    fn the_addresses_of_a_service_are_one_pool_when_each_has_few() {
        let mut watch = Watch::default();
        for n in 0..100_u8 {
            let second = u64::from(n) * 2;
            watch.seen(id(n.into()), to(n), None, at(second));
        }
        let pool = watch.pool(to(7), at(200)).unwrap();
        assert_eq!(pool.stuck, 100);
        assert!(pool.growth.unwrap().at_least > 0.0, "{pool:?}");
        assert_eq!(watch.of_server(to(7), at(200)).unwrap().births, 0);
    }

    #[test]
    fn processes_that_have_ended_are_forgotten_and_those_with_stuck_sockets_are_not() {
        let mut watch = Watch::default();
        let of = |pid| Place { pid, netns: Netns(1), server: None };
        for pid in 0..10_000 {
            watch.seen(id(pid), of(pid), None, at(u64::from(pid)));
            if pid >= 3_000 {
                watch.ended(id(pid), at(u64::from(pid)));
            }
            assert!(watch.tallies.len() <= 6_000, "{} with {pid}", watch.tallies.len());
        }
        assert!((0..3_000).all(|pid| watch.tallies[&Key::Process(pid)].rings.stock() == 1));
    }

    #[test]
    fn a_ghost_that_was_found_before_its_stuck_life_was_over_is_there_once() {
        let mut watch = Watch::default();
        for n in [0, 1, 2, 100] {
            watch.seen(id(n), to(1), None, at(1));
        }
        watch.renamed(id(0), id(100), at(2));
        assert_eq!(watch.pool(to(1), at(3)).unwrap().stuck, 3);
        watch.ended(id(100), at(4));
        assert_eq!(watch.pool(to(1), at(5)).unwrap().stuck, 2);
    }

    #[test]
    fn ends_are_closes_and_a_ghost_is_not_born_twice() {
        let mut watch = Watch::default();
        for n in 0..20 {
            watch.seen(id(n), to(1), None, at(u64::from(n) * 5));
        }
        for n in 0..10 {
            watch.renamed(id(n), id(100 + n), at(0));
            watch.seen(id(100 + n), to(1), None, at(100));
            watch.ended(id(100 + n), at(101));
            watch.ended(id(n), at(101));
        }
        let pool = watch.pool(to(1), at(110)).unwrap();
        let growth = pool.growth.unwrap();
        assert_eq!((pool.stuck, growth.births, growth.closes), (10, 18, 10));
        // Another owner was found: it moves without being born or closed.
        watch.seen(id(19), Place { pid: 8, ..to(1) }, None, at(110));
        assert_eq!(watch.pool(to(1), at(110)).unwrap().stuck, 9);
        let moved = watch.pool(Place { pid: 8, ..to(1) }, at(200)).unwrap();
        assert_eq!((moved.stuck, moved.growth.map(|g| g.births)), (1, Some(0)));
    }

    #[test]
    fn exhaustion_is_foretold_only_from_enough() {
        let minutes = Duration::from_mins;
        let base = Growth {
            watched: minutes(10),
            births: 100,
            closes: 0,
            per_minute: 10.0,
            at_least: 8.0,
            at_most: 12.0,
        };
        let table = [
            (base, Some((minutes(80), minutes(120)))),
            (Growth { watched: minutes(9), ..base }, None),
            (Growth { births: 9, ..base }, None),
            (Growth { at_least: 0.0, ..base }, None),
            (Growth { at_least: -3.0, ..base }, None),
        ];
        for (growth, want) in table {
            assert_eq!(growth.time_to(960), want, "{growth:?}");
        }
        let slow = Growth { at_least: 1e-300, ..base };
        assert_eq!(slow.time_to(960), Some((minutes(80), Duration::MAX)));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut watch = Watch::default();
        for n in 0..50_000_u32 {
            let server = Endpoint { ip: std::net::Ipv4Addr::from(n).into(), port: 443 };
            watch.seen(id(n), Place { server: Some(server), ..to(1) }, None, at(0));
            watch.ended(id(n), at(1));
        }
        assert!(watch.tallies.len() <= TALLIES_AT_REST + 2 && watch.members.is_empty());
    }
}
