//! The sockets that were reported and have not ended, counted by their labels.

use std::borrow::Cow;
use std::cmp::Ordering;

use hashbrown::HashMap;

use crate::clock::MonoNs;
use crate::report::{Age, ByLeak, Finding, Ledger, Member, Owner, PortsLeft};
use crate::tracker::SuspectKind;
use crate::verdict::{Code, Nofile, Role};

use super::families::{self as of, Family};
use super::groups::{OTHER, bounded, bounded_counts};
use super::histogram::{Ages, Buckets};
use super::label::label;
use super::sample::{Sample, Value, one};

/// Groups of stuck sockets that keep their labels; what is added up besides is at most one
/// for each verdict and role.
pub(super) const STUCK_GROUPS: usize = 400;
/// Owners, and groups of ghosts, that keep their labels, in each family.
pub(super) const OWNERS: usize = 40;

/// See the module.
pub(super) struct Groups<'a> {
    stuck: HashMap<Stuck<'a>, u64>,
    ghosts: HashMap<(Code, Option<&'a Owner>), u64>,
    leaked: HashMap<Option<&'a Owner>, u64>,
    fds: HashMap<u32, (MonoNs, &'a Owner, Nofile)>,
    ports: HashMap<&'a Owner, Left>,
    leak: ByLeak,
    ages: Ages,
}

/// What stuck sockets are counted by. Labels are made of it when they were counted: there
/// are thousands of sockets to a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Stuck<'a> {
    verdict: Code,
    owner: Option<&'a Owner>,
    role: Option<Role>,
    local_port: Option<u16>,
}

/// What is left of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Left {
    left: u64,
    of: u64,
}

impl Ord for Left {
    /// The smaller part comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: &Self, b: &Self| u128::from(a.left) * u128::from(b.of);
        cross(self, other).cmp(&cross(other, self)).then((self.left, self.of).cmp(&(other.left, other.of)))
    }
}

impl PartialOrd for Left {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Groups<'a> {
    pub(super) fn of(ledger: &'a Ledger, now: MonoNs) -> Self {
        let mut groups = Self {
            stuck: HashMap::new(),
            ghosts: HashMap::new(),
            leaked: HashMap::new(),
            fds: HashMap::new(),
            ports: HashMap::new(),
            leak: ByLeak::default(),
            ages: Ages::new(),
        };
        for socket in ledger.sockets() {
            if let Some(exemplar) = ledger.exemplar(socket.cause) {
                groups.add(exemplar, socket, now);
            }
        }
        groups
    }

    fn add(&mut self, exemplar: &Finding, socket: &'a Member, now: MonoNs) {
        let (verdict, owner) = (exemplar.verdict.code, socket.owner.as_deref());
        if exemplar.suspect.kind == SuspectKind::Stuck {
            let role = exemplar.evidence.role.known().copied();
            let local_port = (role == Some(Role::Server)).then_some(socket.tuple.local.port);
            *self.stuck.entry(Stuck { verdict, owner, role, local_port }).or_default() += 1;
            let (latest, earliest) = socket.entered;
            self.ages.add(Age::between(latest, earliest, now).min);
        } else {
            *self.ghosts.entry((verdict, owner)).or_default() += 1;
        }
        self.leak.count(socket.leak);
        if socket.leak == Some(true) {
            *self.leaked.entry(owner).or_default() += 1;
        }
        let Some(owner) = owner else { return };
        if let (Some(pid), Some(nofile)) = (socket.pid, socket.nofile) {
            let known = self.fds.entry(pid).or_insert((socket.at, owner, nofile));
            if (socket.at, nofile.used) > (known.0, known.2.used) {
                *known = (socket.at, owner, nofile);
            }
        }
        if let Some(PortsLeft { left, total }) = socket.ports {
            let left = Left { left: left.into(), of: total.into() };
            let known = self.ports.entry(owner).or_insert(left);
            *known = left.min(*known);
        }
    }

    /// The families that count sockets.
    pub(super) fn sockets(&self, sample: &mut Sample) {
        let mut stuck = HashMap::new();
        for (group, &count) in &self.stuck {
            let [comm, container] = owner(group.owner);
            let role = match group.role {
                Some(Role::Server) => "server",
                Some(Role::Client) => "client",
                None => "",
            };
            let port = group.local_port.map_or_else(String::new, |port| port.to_string());
            let labels = [group.verdict.name().into(), comm, container, port.into(), role.into()];
            *stuck.entry(labels).or_default() += count;
        }
        let stuck = bounded_counts(stuck, STUCK_GROUPS, |[verdict, .., role]| {
            [verdict.clone(), OTHER.into(), OTHER.into(), OTHER.into(), role.clone()]
        });
        sample.add(&of::STUCK_SOCKETS, counts(stuck));

        let mut ghosts = HashMap::new();
        for (&(verdict, who), &count) in &self.ghosts {
            let [comm, container] = owner(who);
            *ghosts.entry([verdict.name().into(), comm, container]).or_default() += count;
        }
        let ghosts =
            bounded_counts(ghosts, OWNERS, |[verdict, ..]| [verdict.clone(), OTHER.into(), OTHER.into()]);
        sample.add(&of::GHOST_SOCKETS, counts(ghosts));

        let ByLeak { yes, no, unclear } = self.leak;
        let by_leak = [("true", yes), ("false", no), ("null", unclear)];
        sample.add(&of::REPORTED_SOCKETS, by_leak.map(|(leak, count)| one(leak, count)));

        let mut leaked = HashMap::new();
        for (&who, &count) in &self.leaked {
            *leaked.entry(owner(who)).or_default() += count;
        }
        sample.add(&of::LEAKED_SOCKETS, counts(bounded_counts(leaked, OWNERS, |_| others())));
    }

    /// What the owners have left.
    pub(super) fn limits(&self, sample: &mut Sample) {
        let fds = self.fds.values().map(|&(_, owner, Nofile { used, soft })| {
            (owner, Left { left: soft.saturating_sub(used), of: soft })
        });
        limit(sample, [&of::FDS_LEFT, &of::FDS_LIMIT], fds);
        let ports = self.ports.iter().map(|(&owner, &left)| (owner, left));
        limit(sample, [&of::PORTS_LEFT, &of::PORTS_LIMIT], ports);
    }

    pub(super) fn ages(&self) -> Buckets {
        self.ages.buckets()
    }
}

/// The tightest of each owner.
fn limit<'a>(
    sample: &mut Sample,
    [left, total]: [&'static Family; 2],
    owners: impl Iterator<Item = (&'a Owner, Left)>,
) {
    let mut tightest = HashMap::new();
    for (who, left) in owners {
        let known = tightest.entry(owner(Some(who))).or_insert(left);
        *known = left.min(*known);
    }
    let tightest =
        bounded(tightest, OWNERS, |&left| left, |_| others(), |known, more| *known = more.min(*known));
    let value = |(owner, count): (&Pair, u64)| (owner.to_vec(), Value::Count(count));
    sample.add(left, tightest.iter().map(|(owner, at)| value((owner, at.left))));
    sample.add(total, tightest.iter().map(|(owner, at)| value((owner, at.of))));
}

type Pair = [Cow<'static, str>; 2];

/// comm and container; empty where there is none.
fn owner(owner: Option<&Owner>) -> Pair {
    match owner {
        Some(Owner { comm, container }) => [label(comm).into(), label(container).into()],
        None => [Cow::Borrowed(""), Cow::Borrowed("")],
    }
}

/// A container's own name begins with what it is (`docker`, `unit`), so this is nobody's.
fn others() -> Pair {
    [OTHER.into(), OTHER.into()]
}

fn counts<const N: usize>(
    groups: Vec<([Cow<'static, str>; N], u64)>,
) -> impl Iterator<Item = (Vec<Cow<'static, str>>, Value)> {
    groups.into_iter().map(|(labels, count)| (labels.into(), Value::Count(count)))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::metrics::SERIES_BOUND;
    use crate::metrics::families::Kind;

    #[test]
    fn the_bounds_are_those_that_are_told() {
        assert!(of::STUCK_SOCKETS.help.contains(&format!("largest {STUCK_GROUPS} groups")));
        let with_owner = [&of::GHOST_SOCKETS, &of::LEAKED_SOCKETS, &of::FDS_LEFT, &of::PORTS_LEFT];
        assert!(with_owner.iter().all(|family| family.help.contains(&format!(" {OWNERS} "))));
    }

    /// Even if every group were full at once.
    #[test]
    fn the_bounds_add_up() {
        let codes = Code::value_variants().len();
        let roles = 3;
        let grouped = STUCK_GROUPS + codes * roles + OWNERS + codes + 5 * (OWNERS + 1);
        let fixed: usize = of::ALL
            .iter()
            .map(|family| match family.kind {
                Kind::Histogram | Kind::GaugeHistogram => 20,
                _ if family.labels.is_empty() || family.kind == Kind::Info => 1,
                // One label of few values; what has owners is counted above.
                _ => 9,
            })
            .sum();
        assert!(grouped + fixed <= SERIES_BOUND, "{grouped} + {fixed}");
    }

    #[test]
    fn the_smaller_part_is_the_tighter_one() {
        let left = |left, of| Left { left, of };
        let sorted = [left(0, 10), left(0, 20), left(1, 10), left(2, 10), left(30, 100), left(4, 10)];
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert!(left(u64::MAX, u64::MAX) > left(1, u64::MAX));
    }
}
