//! What is counted as it passes: births, which the ledger forgets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use crate::report::{Moment, Report, Sink, Summary};
use crate::verdict::Code;

/// Births since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Births {
    /// Sockets reported stuck for the first time.
    pub stuck: u64,
    /// Ghosts reported for the first time, by kind.
    pub ghosts: BTreeMap<Code, u64>,
}

/// A sink that counts them.
#[derive(Clone, Default)]
pub struct Tally(Rc<RefCell<Births>>);

impl Tally {
    /// What it has counted so far.
    pub fn births(&self) -> Births {
        self.0.borrow().clone()
    }
}

impl Sink for Tally {
    fn report(&mut self, report: &Report, _: Moment<'_>) -> io::Result<()> {
        let mut births = self.0.borrow_mut();
        match report {
            Report::Stuck(finding) if !finding.update => births.stuck += 1,
            Report::Ghost(finding) if !finding.update => {
                *births.ghosts.entry(finding.verdict.code).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary, _: Moment<'_>) -> io::Result<()> {
        Ok(())
    }
}
