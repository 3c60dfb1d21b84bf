//! Failures of looks, one for each of many namespaces, which come and go: what is told of them
//! must not become more with every namespace that there ever was. Pure.

use hashbrown::HashSet;

/// So many are told one by one, each with its reason; of more, how many there are.
const NAMED: usize = 3;

/// Those of one look into all namespaces.
#[derive(Default)]
pub(super) struct Failures {
    /// Why, of the first of them.
    first: Vec<String>,
    count: u64,
}

/// What has been told of those of all looks.
#[derive(Default)]
pub(super) struct Told {
    /// What they were like.
    kinds: HashSet<String>,
    /// How many, in one sentence.
    count: u64,
}

impl Failures {
    pub(super) fn add(&mut self, why: &impl ToString) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(why.to_string());
        }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// What is to be told of them that has not been told: of a few, those of a kind that is new;
    /// of more, how many of `all` did what `what` says, if they are twice as many as before.
    pub(super) fn news(&self, told: &mut Told, all: usize, what: &str) -> Vec<String> {
        if self.count <= NAMED as u64 {
            let is_new = |why: &&String| told.kinds.insert(kind(why));
            return self.first.iter().filter(is_new).cloned().collect();
        }
        // How many there are now is counted.
        if self.count < told.count * 2 {
            return Vec::new();
        }
        told.count = self.count;
        let (count, first) = (self.count, self.first.first().map_or("", String::as_str));
        vec![format!("{count} of {all} network namespaces {what} ({first}, and others)")]
    }
}

/// A reason without what is of one namespace only: numbers, and paths to it.
fn kind(why: &str) -> String {
    let is_general = |word: &&str| !word.contains(|c: char| c.is_ascii_digit() || c == '/');
    why.split_whitespace().filter(is_general).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(netns: std::ops::Range<usize>) -> Failures {
        let mut failures = Failures::default();
        netns.for_each(|n| {
            failures.add(&format!("network namespace {n}: cannot open /proc/{n}/ns/net: EMFILE"));
        });
        failures
    }

    #[test]
    fn a_few_are_told_with_their_reasons_and_each_reason_once() {
        let mut told = Told::default();
        let first = refused(10..12).news(&mut told, 50, "failed");
        assert_eq!(first, ["network namespace 10: cannot open /proc/10/ns/net: EMFILE"]);
        for n in 20..200 {
            assert!(refused(n..n + 1).news(&mut told, 50, "failed").is_empty(), "the same, elsewhere");
        }
        let mut other = refused(10..11);
        other.add(&"network namespace 11: the dump has holes");
        assert_eq!(other.news(&mut told, 50, "failed"), ["network namespace 11: the dump has holes"]);
    }

    #[test]
    fn of_more_it_is_told_how_many_there_are_when_they_have_doubled() {
        let mut told = Told::default();
        let mut news = |n| refused(0..n).news(&mut told, 50, "failed");
        let said = "4 of 50 network namespaces failed (network namespace 0: cannot open /proc/0/ns/net: EMFILE, and \
                    others)";
        assert_eq!(news(4), [said]);
        assert!(news(4).is_empty() && news(7).is_empty());
        assert_eq!(news(8).len(), 1);
        assert!(news(0).is_empty());
    }
}
