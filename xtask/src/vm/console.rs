//! What PID 1 of a test machine says on the serial console (tests/vm/init.sh),
//! line by line. Pure: no process, no clock.

use crate::counts::{Counts, Tally};

/// All that was understood of a console so far.
#[derive(Default, Debug)]
pub(crate) struct Console {
    /// `uname -r` and the seconds from power-on until PID 1 was ready
    pub(crate) booted: Option<(String, String)>,
    pub(crate) tests: Vec<Ran>,
    /// Whether all tests passed; `None` until the machine says so
    pub(crate) verdict: Option<bool>,
    lines: Vec<String>,
}

/// One test on the machine.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) name: String,
    /// Its exit code; `None` while it runs
    pub(crate) code: Option<i32>,
    /// libtest's counts, where it printed them
    pub(crate) counts: Option<Counts>,
    first_line: usize,
    end_line: usize,
}

/// Lines of context around a failure that nothing better is known about.
const TAIL: usize = 40;

impl Console {
    /// Takes the next line.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        let at = self.lines.len();
        self.lines.push(line.to_owned());
        if let (Some(counts), Some(test)) = (Counts::in_line(line), self.tests.last_mut()) {
            test.counts = Some(counts);
        }
        // A test may leave a line unfinished, so ours need not begin one.
        let Some(said) = line.find("VM-").and_then(|at| line.get(at..)) else { return };
        let words: Vec<&str> = said.split_whitespace().collect();
        match *words {
            ["VM-BOOTED", release, seconds] => self.booted = Some((release.to_owned(), seconds.to_owned())),
            ["VM-START", name] => self.tests.push(Ran {
                name: name.to_owned(),
                code: None,
                counts: None,
                first_line: at + 1,
                end_line: at + 1,
            }),
            ["VM-END", name, code] => {
                if let Some(test) = self.tests.iter_mut().rfind(|test| test.name == name) {
                    test.code = code.parse().ok();
                    test.end_line = at;
                }
            }
            ["VM-VERDICT", verdict] => self.verdict = Some(verdict == "ok"),
            _ => {}
        }
    }

    /// What the reader of a verdict wants to see: libtest's own list of failures,
    /// else the end of what was printed.
    pub(crate) fn output(&self) -> Vec<&str> {
        let failed = self.tests.iter().find(|test| test.code.is_some_and(|code| code != 0));
        let lines = match failed {
            Some(test) => self.lines.get(test.first_line..test.end_line).unwrap_or_default(),
            None => &self.lines,
        };
        let from = lines.iter().position(|line| line == "failures:");
        let from = from.unwrap_or_else(|| lines.len().saturating_sub(TAIL));
        lines.get(from..).unwrap_or_default().iter().map(String::as_str).collect()
    }

    /// The last words, such as a panic's; empty when it printed nothing.
    pub(crate) fn last_line(&self) -> &str {
        let panic = self.lines.iter().find(|line| line.contains("Kernel panic"));
        panic.or(self.lines.last()).map_or("", String::as_str)
    }

    /// What libtest printed in all tests; empty when a test did not end.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        if self.verdict.is_some() {
            self.lines.iter().for_each(|line| tally.read(line));
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> Console {
        let mut console = Console::default();
        text.lines().for_each(|line| console.read(line));
        console
    }

    #[test]
    fn a_machine_that_passes() {
        let console = console(
            "Linux starts\nVM-BOOTED 5.10.0-32 3.1\nVM-START live\nnoise\n\
             test result: ok. 31 passed; 0 failed; 2 ignored; 0 measured\r\nunfinishedVM-END live 0\r\nVM-VERDICT ok\n",
        );
        assert_eq!(console.booted, Some(("5.10.0-32".to_owned(), "3.1".to_owned())));
        assert_eq!(console.verdict, Some(true));
        assert_eq!(console.tests[0].code, Some(0));
        assert_eq!(console.tests[0].counts, Some(Counts { passed: 31, failed: 0, ignored: 2 }));
    }

    #[test]
    fn a_failure_shows_libtests_own_list() {
        let console = console(
            "VM-START live\ntest a ... FAILED\nfailures:\n---- a ----\nwrong pid\n\
             VM-END live 101\nVM-VERDICT failed\nreboot: Power down\n",
        );
        assert_eq!(console.verdict, Some(false));
        assert_eq!(console.output(), ["failures:", "---- a ----", "wrong pid"]);
    }

    #[test]
    fn a_machine_that_dies_has_no_verdict_and_shows_its_last_words() {
        let console = console("VM-START live\nKernel panic - not syncing\n");
        assert_eq!(console.verdict, None);
        assert_eq!(console.tests[0].code, None);
        assert_eq!(console.output(), ["VM-START live", "Kernel panic - not syncing"]);
    }
}
