//! Groups of sockets that share labels, bounded: the largest keep their labels, the rest
//! are added up.

use std::cmp::Reverse;
use std::hash::Hash;

use hashbrown::HashMap;

/// The value of a label whose own was given up.
pub(super) const OTHER: &str = "other";

/// Leaves the `most` groups that come first by `rank` (smaller is better; the key decides
/// among equals, so that series do not change places) and merges what is left into the
/// groups that `other` names; it must name none that can have been there before. The result
/// is sorted by key.
pub(super) fn bounded<K: Ord + Hash + Clone, V, R: Ord>(
    groups: HashMap<K, V>,
    most: usize,
    rank: impl Fn(&V) -> R,
    other: impl Fn(&K) -> K,
    merge: impl Fn(&mut V, V),
) -> Vec<(K, V)> {
    let mut groups: Vec<(K, V)> = groups.into_iter().collect();
    groups.sort_by(|(a, x), (b, y)| rank(x).cmp(&rank(y)).then_with(|| a.cmp(b)));
    let rest = groups.split_off(most.min(groups.len()));
    for (key, value) in rest {
        let key = other(&key);
        match groups[most..].iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => merge(known, value),
            None => groups.push((key, value)),
        }
    }
    groups.sort_by(|(a, _), (b, _)| a.cmp(b));
    groups
}

/// Counted sockets: the largest groups first.
pub(super) fn bounded_counts<K: Ord + Hash + Clone>(
    groups: HashMap<K, u64>,
    most: usize,
    other: impl Fn(&K) -> K,
) -> Vec<(K, u64)> {
    bounded(groups, most, |&count| Reverse(count), other, |known, more| *known += more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_keep_their_labels_and_nothing_is_lost() {
        let groups: HashMap<(u32, u32), u64> =
            [((1, 1), 5), ((2, 1), 9), ((3, 2), 5), ((4, 1), 1), ((5, 1), 2), ((6, 2), 5)]
                .into_iter()
                .collect();
        let other = |&(_, kind): &(u32, u32)| (99, kind);
        let all = bounded_counts(groups.clone(), 6, other);
        assert_eq!(all.len(), 6);
        assert_eq!(
            bounded_counts(groups.clone(), 3, other),
            [((1, 1), 5), ((2, 1), 9), ((3, 2), 5), ((99, 1), 3), ((99, 2), 5),]
        );
        assert_eq!(bounded_counts(groups, 0, other), [((99, 1), 17), ((99, 2), 10)]);
        assert_eq!(bounded_counts(HashMap::new(), 3, other), []);
    }
}
