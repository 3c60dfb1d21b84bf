//! What was counted against what is committed. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Figures by what they are of.
pub(super) type Counted = BTreeMap<String, u64>;

/// How far a figure may grow, in percent, before it has to be accepted.
const MARGIN_PERCENT: u64 = 5;

/// What has moved, a line each.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Moved {
    /// Grown past the margin, new, or gone
    pub(super) failures: Vec<String>,
    /// Shrunk past the margin: good, and to be kept
    pub(super) smaller: Vec<String>,
}

impl Moved {
    pub(super) fn append(&mut self, other: &mut Self) {
        self.failures.append(&mut other.failures);
        self.smaller.append(&mut other.smaller);
    }
}

/// `what` stands before each name.
pub(super) fn compare(what: &str, committed: &Counted, here: &Counted) -> Moved {
    let mut moved = Moved::default();
    for name in committed.keys().chain(here.keys()).collect::<BTreeSet<_>>() {
        match (committed.get(name), here.get(name)) {
            (Some(&old), Some(&new)) => {
                let line = || format!("{what} {name}: {old} committed, {new} here");
                if new.saturating_sub(old) * 100 > old * MARGIN_PERCENT {
                    moved.failures.push(format!("{} (at most {MARGIN_PERCENT} % more)", line()));
                } else if old.saturating_sub(new) * 100 > old * MARGIN_PERCENT {
                    moved.smaller.push(line());
                }
            }
            (Some(_), None) => moved.failures.push(format!("{what} {name}: committed, and not here")),
            (None, _) => moved.failures.push(format!("{what} {name}: here, and not committed")),
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(figures: &[(&str, u64)]) -> Counted {
        figures.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_figure_may_grow_by_its_margin_and_no_more() {
        let committed = of(&[("edge", 1000), ("eof", 20)]);
        assert_eq!(compare("of", &committed, &of(&[("edge", 1050), ("eof", 21)])), Moved::default());
        let moved = compare("of", &committed, &of(&[("edge", 1051), ("eof", 22)]));
        assert_eq!(moved.failures.len(), 2, "{moved:?}");
        assert_eq!(moved.failures[0], "of edge: 1000 committed, 1051 here (at most 5 % more)");
    }

    #[test]
    fn what_shrinks_is_told_and_no_failure() {
        let moved = compare("of", &of(&[("edge", 1000)]), &of(&[("edge", 900)]));
        assert_eq!((moved.failures.len(), moved.smaller.len()), (0, 1));
    }

    #[test]
    fn what_is_new_or_gone_has_to_be_accepted() {
        let moved = compare("of", &of(&[("edge", 10)]), &of(&[("path", 10)]));
        assert_eq!(moved.failures, ["of edge: committed, and not here", "of path: here, and not committed"]);
    }

    #[test]
    fn from_none_every_growth_is_too_much() {
        assert_eq!(compare("of", &of(&[("edge", 0)]), &of(&[("edge", 1)])).failures.len(), 1);
    }
}
