//! How many tests ran, by libtest's own result lines. Pure.

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
}
