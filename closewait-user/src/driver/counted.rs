//! Of sockets that are only counted, for want of room or of time: where most of them are, and
//! what those are that were reported there. In: their ends, and the ledger. Out: a clause. Pure.

use hashbrown::HashMap;

use crate::item::Netns;
use crate::report::Ledger;
use crate::report::escape::escape;
use crate::tcp::{Endpoint, Tuple};

/// So many places are told.
const TOLD: usize = 5;
/// And so many are counted: a server's sockets have a million remote ends.
const PLACES: usize = 50_000;

/// What sockets have in common that are stuck for one reason.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Place {
    /// Of a server.
    LocalPort(Netns, u16),
    /// Of a client.
    Remote(Netns, Endpoint),
}

fn places(netns: Netns, tuple: Tuple) -> [Place; 2] {
    [Place::LocalPort(netns, tuple.local.port), Place::Remote(netns, tuple.remote)]
}

/// As in `40,000 to 10.0.0.1:443, as EOF_IGNORED of java[7]`; empty when each is somewhere else.
pub(super) fn where_most_are(all: impl Iterator<Item = (Netns, Tuple)>, ledger: &Ledger) -> String {
    let mut counts = HashMap::<Place, u64>::new();
    for place in all.flat_map(|(netns, tuple)| places(netns, tuple)) {
        // There are no more local ports than that.
        let is_port = matches!(place, Place::LocalPort(..));
        if is_port || counts.len() < PLACES || counts.contains_key(&place) {
            *counts.entry(place).or_default() += 1;
        }
    }
    let mut most: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    most.sort_unstable_by_key(|&(place, count)| (std::cmp::Reverse(count), place));
    most.truncate(TOLD);
    let told = most.into_iter().map(|(place, count)| {
        let at = match place {
            Place::LocalPort(_, port) => format!("{count} on local port {port}"),
            Place::Remote(_, remote) => format!("{count} to {remote}"),
        };
        match like(place, ledger) {
            Some(known) => format!("{at} (others there: {known})"),
            None => at,
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What was reported of another socket in the same place.
fn like(place: Place, ledger: &Ledger) -> Option<String> {
    let known = ledger.sockets().find(|known| places(known.netns, known.tuple).contains(&place))?;
    let code = ledger.exemplar(known.cause)?.verdict.code.name();
    Some(match (&known.owner, known.pid) {
        (Some(owner), Some(pid)) => format!("{code} of {}[{pid}]", escape(&owner.comm)),
        _ => code.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_server_and_of_a_client_are_told_by_what_they_share() {
        let end = |last, port| Endpoint { ip: [10, 0, 0, last].into(), port };
        let of = |local, remote| (Netns(1), Tuple { local, remote });
        let server = (0..30).map(|n| of(end(1, 8080), end(9, 40_000 + n)));
        let client = (0..20).map(|n| of(end(1, 50_000 + n), end(2, 443)));
        let lone = [of(end(1, 1), end(3, 1))];
        let ledger = Ledger::default();
        let told = where_most_are(server.chain(client).chain(lone), &ledger);
        assert_eq!(told, "30 on local port 8080, 20 to 10.0.0.2:443");
        assert_eq!(where_most_are(lone.into_iter(), &ledger), "");
    }
}
