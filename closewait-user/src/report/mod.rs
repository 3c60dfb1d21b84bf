//! Reports: what the pipeline found, for people and for programs.
//!
//! In: [`Report`]s, with the time as an argument. Out: text or JSON lines on the
//! writers the sinks were given, and a [`Summary`]. The [`Reporter`] remembers
//! what was said, so that nothing is said twice; it reads no clock and opens no
//! file. An error from a writer goes up as it is: the caller knows that a broken
//! pipe is a reader who has seen enough.

use std::io;

use crate::clock::{Clock, MonoNs};
use crate::tracker::SocketId;

mod aggregate;
pub mod annotations;
pub mod cause;
pub mod compare;
pub mod counts;
pub mod doctor;
pub mod escape;
pub mod flame;
pub mod history;
pub mod html;
pub mod json;
pub mod junit;
pub mod kill;
pub mod ledger;
pub mod model;
mod pace;
mod present;
pub mod schema;
mod story;
pub mod summary;
pub mod text;

pub use cause::CauseId;
pub use counts::{Apart, ByEnding, ByLeak};
pub use flame::FlameSink;
pub use history::History;
pub use html::HtmlSink;
pub use json::JsonSink;
pub use ledger::Ledger;
pub use model::{Age, Closer, Ending, Finding, FirstLook, Level, Notice, Release, Report, entered, owner};
pub use present::{Member, Owner, PortsLeft};
pub use summary::{Copies, Cost, Summary, Totals, gate};
pub use text::{ColorWhen, Style, TextOptions, TextSink, color_choice, lost_what};

use ledger::News;

/// When it is, and what has been reported so far.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now.
    pub now: MonoNs,
    /// For wall time.
    pub clock: &'a Clock,
    /// All that was reported, this report included.
    pub ledger: &'a Ledger,
}

/// Where reports go.
pub trait Sink {
    /// Takes one report. Findings come here only when they are news.
    fn report(&mut self, report: &Report, at: Moment<'_>) -> io::Result<()>;

    /// Time has passed: writes what was held back until now, if it is due.
    fn tick(&mut self, _: Moment<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A socket that was reported is left out from now on, by another filter: it goes on.
    fn left_out(&mut self, _: Moment<'_>) {}

    /// When [`Sink::tick`] has something to do; `None` when nothing is held back, as in a
    /// sink that never does.
    fn deadline(&self) -> Option<MonoNs> {
        None
    }

    /// The end: writes everything that is left, and the summary.
    fn finish(&mut self, summary: &Summary, at: Moment<'_>) -> io::Result<()>;
}

/// Remembers what was reported and hands news to the sinks.
#[derive(Default)]
pub struct Reporter {
    ledger: Ledger,
    sinks: Vec<Box<dyn Sink>>,
}

impl Reporter {
    /// A reporter that has said nothing yet.
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { ledger: Ledger::default(), sinks }
    }

    /// Reports, unless it is a finding that says nothing new. Sets `update` of a
    /// finding whose socket was reported before.
    pub fn report(&mut self, report: Report, clock: &Clock, now: MonoNs) -> io::Result<()> {
        let report = match report {
            Report::Stuck(finding) => match self.remember(finding) {
                Some(finding) => Report::Stuck(finding),
                None => return Ok(()),
            },
            Report::Ghost(finding) => match self.remember(finding) {
                Some(finding) => Report::Ghost(finding),
                None => return Ok(()),
            },
            Report::Released(mut release) => {
                release.cause = self.ledger.release(&release);
                Report::Released(release)
            }
            Report::FirstLook(look) => {
                self.ledger.set_watching(look);
                Report::FirstLook(look)
            }
            other => other,
        };
        self.each(clock, now, |sink, at| sink.report(&report, at))
    }

    fn remember(&mut self, mut finding: Box<Finding>) -> Option<Box<Finding>> {
        let news = self.ledger.news(&finding);
        if news == News::Same {
            self.ledger.refresh(finding);
            return None;
        }
        finding.update = news == News::Changed;
        self.ledger.record(finding.clone());
        Some(finding)
    }

    /// Lets the sinks write what is due.
    pub fn tick(&mut self, clock: &Clock, now: MonoNs) -> io::Result<()> {
        self.each(clock, now, |sink, at| sink.tick(at))
    }

    /// When [`Reporter::tick`] has something to do.
    pub fn deadline(&self) -> Option<MonoNs> {
        self.sinks.iter().filter_map(|s| s.deadline()).min()
    }

    /// Writes the end of every sink, and returns the summary for the exit code.
    /// Every sink is finished, also after another one has failed.
    pub fn finish(&mut self, totals: Totals, clock: &Clock) -> (Summary, io::Result<()>) {
        let now = totals.ended;
        let summary = Summary::new(totals, &self.ledger);
        let written = self.each(clock, now, |sink, at| sink.finish(&summary, at));
        (summary, written)
    }

    /// Takes out a reported socket that goes on under another id: it turned ghost.
    pub fn forget(&mut self, id: SocketId) {
        self.ledger.forget(id);
    }

    /// Takes out a reported socket that a filter leaves out from now on.
    pub fn leave_out(&mut self, id: SocketId, clock: &Clock, now: MonoNs) {
        self.ledger.forget(id);
        let at = Moment { now, clock, ledger: &self.ledger };
        self.sinks.iter_mut().for_each(|sink| sink.left_out(at));
    }

    /// Tells what is counted apart from now on.
    pub fn set_apart(&mut self, apart: Apart) {
        self.ledger.set_apart(apart);
    }

    /// Tells what is watched from now on, for a screen that is repeated.
    pub fn set_watching(&mut self, watching: FirstLook) {
        self.ledger.set_watching(watching);
    }

    /// What has been reported so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Calls every sink, also after one has failed; the first error is returned.
    fn each(
        &mut self,
        clock: &Clock,
        now: MonoNs,
        mut call: impl FnMut(&mut dyn Sink, Moment<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let at = Moment { now, clock, ledger: &self.ledger };
        let mut result = Ok(());
        for sink in &mut self.sinks {
            result = result.and(call(sink.as_mut(), at));
        }
        result
    }
}
