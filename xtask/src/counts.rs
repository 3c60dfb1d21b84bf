//! How many tests ran and which failed, by what libtest prints. Pure.

use std::{fmt, ops::AddAssign};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; nothing in any other line.
    pub(crate) fn in_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.trim().strip_prefix("test result: ")?.split([' ', ';']).collect();
        let count = |what: &str| words.windows(2).find(|pair| pair[1] == what)?[0].parse().ok();
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed; {} failed; {} ignored", self.passed, self.failed, self.ignored)
    }
}

/// What libtest has printed so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// Names, in the order of their binaries
    pub(crate) failed: Vec<String>,
    /// What came after the newest `failures:`, a list of names if a result line follows
    listed: Vec<String>,
}

/// Of this many failures or fewer, a second attempt says whether they were chance. It is
/// named in the result, never silent: a race in a test must not hide as one in the tool.
const FEW: usize = 2;

impl Tally {
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if line == "failures:" {
            self.listed.clear();
        } else if let Some(name) = line.strip_prefix("    ") {
            self.listed.push(name.to_owned());
        } else if let Some(counts) = Counts::in_line(line) {
            self.counts += counts;
            self.failed
                .extend(self.listed.drain(..).take(usize::try_from(counts.failed).unwrap_or_default()));
        }
    }

    /// libtest's arguments for a second attempt; `None` when there is nothing to try
    /// again, or too much to be chance.
    pub(crate) fn again(&self) -> Option<Vec<String>> {
        let few = (1..=FEW).contains(&self.failed.len()) && self.counts.failed == self.failed.len() as u64;
        few.then(|| {
            ["--test-threads=1", "--exact"]
                .into_iter()
                .map(str::to_owned)
                .chain(self.failed.clone())
                .collect()
        })
    }
}

/// Tests that passed, some of them perhaps not at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) counts: Counts,
    pub(crate) second_attempt: Vec<String>,
}

impl Passed {
    /// All of `first`, where those that failed did not fail in `second`.
    pub(crate) fn after(first: Tally, second: &Tally) -> Option<Self> {
        let tried = first.failed.len() as u64;
        (second.counts.failed == 0 && second.counts.passed == tried).then(|| Self {
            counts: Counts {
                passed: first.counts.passed + tried,
                failed: first.counts.failed - tried,
                ..first.counts
            },
            second_attempt: first.failed,
        })
    }
}

impl AddAssign for Passed {
    fn add_assign(&mut self, other: Self) {
        self.counts += other.counts;
        self.second_attempt.extend(other.second_attempt);
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.counts)?;
        if !self.second_attempt.is_empty() {
            write!(f, "; ONLY IN A SECOND ATTEMPT: {}", self.second_attempt.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_line_is_read_and_no_other() {
        let line = "test result: FAILED. 31 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.3s";
        assert_eq!(Counts::in_line(line), Some(Counts { passed: 31, failed: 2, ignored: 1 }));
        assert_eq!(Counts::in_line("the test result: ok. 1 passed"), None);
        assert_eq!(Counts::in_line("test result: odd"), None);
    }

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.read(line));
        tally
    }

    const TWO_BINARIES: &str = "\
        test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured\n\
        test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n    indented, failures:\n\n\n\
        failures:\n    a::b\n\ntest result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured\n";

    #[test]
    fn what_failed_is_tried_again_by_its_exact_name() {
        let first = tally(TWO_BINARIES);
        assert_eq!(first.counts, Counts { passed: 12, failed: 1, ignored: 1 });
        assert_eq!(first.again().unwrap(), ["--test-threads=1", "--exact", "a::b"]);
        let second = tally("test result: ok. 1 passed; 0 failed; 0 ignored; 12 filtered out\n");
        let passed = Passed::after(first, &second).unwrap();
        assert_eq!(passed.to_string(), "13 passed; 0 failed; 1 ignored; ONLY IN A SECOND ATTEMPT: a::b");
    }

    #[test]
    fn what_fails_twice_or_is_not_found_has_failed() {
        for second in [TWO_BINARIES, "", "test result: ok. 0 passed; 0 failed; 0 ignored\n"] {
            assert_eq!(Passed::after(tally(TWO_BINARIES), &tally(second)), None);
        }
    }

    #[test]
    fn nothing_and_too_much_are_not_tried_again() {
        assert_eq!(tally("test result: ok. 5 passed; 0 failed; 1 ignored\n").again(), None);
        assert_eq!(tally("").again(), None);
        let many = "failures:\n    a\n    b\n    c\n\ntest result: FAILED. 7 passed; 3 failed; 0 ignored\n";
        assert_eq!(tally(many).again(), None);
    }
}
