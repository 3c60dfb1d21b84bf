//! Text for people: grouped by cause, worst first, under 100 columns.
//!
//! In: reports. Out: reports on `out`; notices and losses on `notes`. The full
//! report is the first screen; then a block for each cause that is new or has
//! doubled, at most one screen per two seconds; the full report again at the end.
//! Without grouping, a block per socket as it is found.

#![expect(
    clippy::format_push_string,
    reason = "`write!` to a String leaves an error to ignore, and this is not hot"
)]

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use crate::clock::MonoNs;

use super::cause::CauseId;
use super::escape::escape;
use super::ledger::Cause;
use super::model::{FirstLook, Level, Report};
use super::pace::Pace;
use super::summary::Summary;
use super::{Moment, Sink};

pub(crate) mod block;
pub mod doctor;
pub mod kill;
pub(crate) mod outlook;
pub(crate) mod place;
mod socket;
pub(crate) mod stack;
pub(crate) mod style;
pub(crate) mod totals;

pub use style::{ColorWhen, LEAST, Style, WIDEST, color_choice};
pub use totals::lost_what;

/// What the user chose about text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextOptions {
    /// Colour and width.
    pub style: Style,
    /// The threshold, which the text names.
    pub threshold: Duration,
    /// One block per cause, not per socket.
    pub group: bool,
    /// Causes shown; the rest are counted.
    pub limit: usize,
    /// Repeat the full report this often instead of on change.
    pub interval: Option<Duration>,
    /// One report, at the end: causes are not told as they are found.
    pub once: bool,
}

/// Writes text.
pub struct TextSink {
    out: Box<dyn Write>,
    notes: Box<dyn Write>,
    options: TextOptions,
    pace: Pace,
    /// When the full report is due by `interval`.
    repeat: Option<MonoNs>,
    looked: bool,
}

impl TextSink {
    /// Writes reports to `out`, notices and losses to `notes`.
    pub fn new(out: Box<dyn Write>, notes: Box<dyn Write>, options: TextOptions) -> Self {
        Self { out, notes, options, pace: Pace::default(), repeat: None, looked: false }
    }

    fn lines(&mut self, lines: &[String]) -> io::Result<()> {
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// The full report.
    fn screen(&mut self, look: FirstLook, running: Option<Duration>, at: Moment<'_>) -> io::Result<()> {
        let threshold = totals::Threshold { least: self.options.threshold, running };
        let causes = at.ledger.causes();
        let style = &self.options.style;
        let lines = if causes.is_empty() {
            totals::nothing(look, threshold, at.ledger.apart(), style)
        } else {
            let mut lines = totals::headline(&causes, threshold, at, style);
            let shown: Vec<_> = causes.iter().map(|cause| (cause, 0)).collect();
            lines.extend(self.blocks(&shown, at.now));
            lines
        };
        self.repeat = self.options.interval.map(|every| at.now + every);
        self.lines(&lines)
    }

    /// Only the causes that are due.
    fn change(&mut self, due: &HashMap<CauseId, u64>, at: Moment<'_>) -> io::Result<()> {
        let causes = at.ledger.causes();
        let shown: Vec<_> = causes.iter().filter_map(|c| Some((c, *due.get(&c.id)?))).collect();
        let doubled = shown.iter().filter(|(_, before)| *before > 0).count();
        let plural = |n: usize, what| style::plural(n as u64, what);
        let what = match (shown.len() - doubled, doubled) {
            (new, 0) => plural(new, "new cause"),
            (0, doubled) => format!("{} doubled", plural(doubled, "cause")),
            (new, doubled) => format!("{}, {doubled} doubled", plural(new, "new cause")),
        };
        let stuck: u64 = causes.iter().map(|c| c.now.total()).sum();
        let what =
            format!("-- {}  {what}; {} stuck in all", totals::time(at), style::plural(stuck, "socket"));
        let mut lines = vec![String::new()];
        lines.extend(style::fitted(what, &self.options.style));
        lines.extend(self.blocks(&shown, at.now));
        self.lines(&lines)
    }

    /// Causes under their owners, the first `limit` of them; the rest counted.
    fn blocks(&self, causes: &[(&Cause<'_>, u64)], now: MonoNs) -> Vec<String> {
        let style = &self.options.style;
        let (shown, rest) = causes.split_at(causes.len().min(self.options.limit));
        // Owners in the order of their worst cause.
        let mut owners: Vec<(_, Vec<(&Cause<'_>, u64)>)> = Vec::new();
        for &(cause, before) in shown {
            let key = block::owner_key(cause.exemplar);
            match owners.iter_mut().find(|(known, _)| *known == key) {
                Some((_, causes)) => causes.push((cause, before)),
                None => owners.push((key, vec![(cause, before)])),
            }
        }
        let mut lines = Vec::new();
        for (_, causes) in owners {
            lines.push(String::new());
            let of_owner: Vec<_> = causes.iter().map(|(cause, _)| *cause).collect();
            lines.extend(block::owner_lines(&of_owner, style));
            for (cause, before) in causes {
                lines.extend(block::cause_lines(cause, before, now, style));
            }
        }
        if !rest.is_empty() {
            let mut sockets = super::counts::ByLeak::default();
            for (cause, _) in rest {
                sockets.add(cause.now);
            }
            lines.push(String::new());
            let more = format!(
                "... and {} with {}: {} (--limit {} shows all)",
                style::plural(rest.len() as u64, "more cause"),
                style::plural(sockets.total(), "socket"),
                totals::leaks(sockets),
                causes.len()
            );
            lines.extend(style::fitted(more, style));
        }
        lines
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.notes, "closewait-trace: {text}")?;
        self.notes.flush()
    }
}

impl Sink for TextSink {
    fn report(&mut self, report: &Report, at: Moment<'_>) -> io::Result<()> {
        match report {
            Report::Stuck(finding) | Report::Ghost(finding) if self.options.group => {
                self.pace.found(finding.cause, at);
                Ok(())
            }
            Report::Stuck(finding) | Report::Ghost(finding) => {
                let lines = socket::finding(finding, at.clock, &self.options.style);
                self.lines(&lines)
            }
            Report::Released(_) if self.options.group => Ok(()),
            Report::Released(release) => {
                let lines = socket::release(release, at.clock, &self.options.style);
                self.lines(&lines)
            }
            Report::FirstLook(look) => {
                self.looked = true;
                self.pace.looked(at.now);
                self.pace.take(at);
                if self.options.group || at.ledger.is_empty() { self.screen(*look, None, at) } else { Ok(()) }
            }
            Report::Loss(gap) => self.note(&format!(
                "lost {}; the sockets concerned are confirmed before they are reported",
                lost_what(gap)
            )),
            Report::Notice(notice) => {
                let level = if notice.level == Level::Warning { "warning: " } else { "" };
                self.note(&format!("{level}{}", escape(&notice.text)))?;
                notice.hint.as_ref().map_or(Ok(()), |hint| self.note(&format!("  hint: {}", escape(hint))))
            }
        }
    }

    fn tick(&mut self, at: Moment<'_>) -> io::Result<()> {
        if self.options.once {
            return Ok(());
        }
        if let Some(repeat) = self.repeat {
            if at.now < repeat {
                return Ok(());
            }
            self.pace.take(at);
            self.lines(&[String::new()])?;
            return self.screen(at.ledger.watching(), None, at);
        }
        match self.pace.take(at) {
            Some(due) => self.change(&due, at),
            None => Ok(()),
        }
    }

    fn deadline(&self) -> Option<MonoNs> {
        if self.options.once { None } else { self.repeat.or_else(|| self.pace.deadline()) }
    }

    fn finish(&mut self, summary: &Summary, at: Moment<'_>) -> io::Result<()> {
        if self.looked {
            self.lines(&[String::new()])?;
        }
        if self.options.group || at.ledger.is_empty() {
            let look = FirstLook { watched: summary.totals.watched, young: summary.young() };
            self.screen(look, summary.totals.running, at)?;
        }
        let mut lines = vec![String::new()];
        lines.extend(totals::summary(summary, &self.options.style));
        self.lines(&lines)
    }
}
