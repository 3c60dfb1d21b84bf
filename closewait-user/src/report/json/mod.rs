//! JSON lines: one object per line, in the shape users' scripts rely on.
//!
//! In: reports. Out: lines on the writer, flushed by the next tick, which a written
//! line makes due at once: a burst costs one flush, and a reader at the other end
//! of a pipe is never behind. With `group`, findings are held back and come out
//! as `cause` lines.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::clock::MonoNs;

use super::cause::CauseId;
use super::escape::is_hidden;
use super::model::Report;
use super::pace::Pace;
use super::summary::Summary;
use super::{Moment, Sink};

pub mod examined;
mod holders;
pub mod killed;
mod limits;
pub(super) mod line;
mod processes;
mod socket;
mod stuck;
mod tasks;
mod threads;
mod totals;
mod values;

use line::{Body, Line};
use stuck::{Released, Stuck};
use totals::{CauseLine, LossLine, NoticeLine, SummaryLine};

/// Writes JSON lines.
pub struct JsonSink {
    out: Box<dyn Write>,
    /// With `--group`: which causes are due.
    pace: Option<Pace>,
    /// When the first line that is not flushed yet was written.
    unflushed: Option<MonoNs>,
}

impl JsonSink {
    /// Writes to `out`; `group` makes `cause` lines of findings.
    pub fn new(out: Box<dyn Write>, group: bool) -> Self {
        Self { out, pace: group.then(Pace::default), unflushed: None }
    }

    fn line(&mut self, body: Body) -> io::Result<()> {
        write_line(&mut self.out, body)
    }

    fn causes(&mut self, at: Moment<'_>, wanted: impl Fn(CauseId) -> bool) -> io::Result<()> {
        for cause in at.ledger.causes().iter().filter(|c| wanted(c.id)) {
            self.line(Body::Cause(Box::new(CauseLine::new(cause, at))))?;
        }
        Ok(())
    }
}

impl Sink for JsonSink {
    fn report(&mut self, report: &Report, at: Moment<'_>) -> io::Result<()> {
        let body = match report {
            Report::Stuck(finding) | Report::Ghost(finding) => {
                if let Some(pace) = &mut self.pace {
                    pace.found(finding.cause, at);
                    return Ok(());
                }
                let line = Stuck::new(finding, at.clock);
                if matches!(report, Report::Ghost(_)) { Body::Ghost(line) } else { Body::Stuck(line) }
            }
            Report::Released(_) if self.pace.is_some() => return Ok(()),
            Report::Released(release) => Body::Released(Box::new(Released::new(release, at.clock))),
            Report::FirstLook(_) => {
                if let Some(pace) = &mut self.pace {
                    pace.looked(at.now);
                }
                return self.tick(at);
            }
            Report::Loss(gap) => Body::Loss(LossLine::new(gap, at)),
            Report::Notice(notice) => Body::Notice(NoticeLine::new(notice, at)),
        };
        self.unflushed.get_or_insert(at.now);
        self.line(body)
    }

    fn tick(&mut self, at: Moment<'_>) -> io::Result<()> {
        if let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(at)) {
            self.causes(at, |cause| due.contains_key(&cause))?;
        }
        self.unflushed = None;
        self.out.flush()
    }

    fn deadline(&self) -> Option<MonoNs> {
        let pace = self.pace.as_ref().and_then(Pace::deadline);
        self.unflushed.into_iter().chain(pace).min()
    }

    fn finish(&mut self, summary: &Summary, at: Moment<'_>) -> io::Result<()> {
        if self.pace.is_some() {
            self.causes(at, |_| true)?;
        }
        self.line(Body::Summary(Box::new(SummaryLine::new(summary, at))))?;
        self.out.flush()
    }
}

/// Writes one line.
fn write_line(out: &mut dyn Write, body: Body) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *out, Inert);
    Line::from(body).serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Compact JSON in which no character can act on a terminal: JSON itself allows
/// DEL, C1 controls and bidi controls to stand in a string as they are.
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}
