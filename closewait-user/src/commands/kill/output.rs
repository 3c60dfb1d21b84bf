//! Where `kill` tells: stdout, as text or JSON lines. Each socket's line is written, and
//! flushed, before the next one is destroyed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::super::reporting::narrow;
use crate::cli::OutputFormat;
use crate::clock::Clock;
use crate::report::json::killed as json;
use crate::report::kill::{Fate, Killed, Outcome};
use crate::report::text::kill as text;
use crate::report::{Apart, Finding, Level, Notice};

pub(super) struct Output {
    format: OutputFormat,
    /// How many sockets came out how.
    counts: BTreeMap<&'static str, u64>,
    out: io::Stdout,
    /// Columns of a terminal that has few.
    narrow: Option<usize>,
}

impl Output {
    pub(super) fn new(format: OutputFormat) -> Self {
        Self { format, counts: BTreeMap::new(), out: io::stdout(), narrow: narrow() }
    }

    /// What became of one socket.
    pub(super) fn killed(&mut self, killed: &Killed<'_>) -> io::Result<()> {
        *self.counts.entry(killed.outcome.words()).or_default() += 1;
        match self.format {
            OutputFormat::Json => json::killed(&mut self.out, killed, &Clock::read())?,
            OutputFormat::Text => writeln!(self.out, "{}", text::told(text::line(killed), self.narrow))?,
        }
        self.out.flush()
    }

    /// What was let be, and why: in text by reason.
    pub(super) fn spared(&mut self, spared: Vec<(&Finding, String)>) -> io::Result<()> {
        let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
        for (finding, why) in spared {
            if self.format == OutputFormat::Json {
                self.killed(&Killed { at: Clock::mono_now(), finding, outcome: Outcome::Spared(why) })?;
            } else {
                *by_reason.entry(why).or_default() += 1;
            }
        }
        for (why, count) in by_reason {
            *self.counts.entry("spared").or_default() += count;
            writeln!(self.out, "{}", text::told(text::spared(count, &why), self.narrow))?;
        }
        self.out.flush()
    }

    /// Who held them, and what has become of their descriptors.
    pub(super) fn owners(&mut self, owners: &[Fate], told: text::Told) -> io::Result<()> {
        let aftermath = text::aftermath(owners, told);
        match self.format {
            OutputFormat::Json => {
                let (clock, now) = (Clock::read(), Clock::mono_now());
                for owner in owners {
                    json::owner(&mut self.out, owner, &clock, now)?;
                }
                let notice = Notice { level: Level::Note, text: aftermath, hint: None };
                json::notice(&mut self.out, &notice, &clock, now)?;
            }
            OutputFormat::Text => {
                if !owners.is_empty() {
                    write!(self.out, "\n{}", text::owners(owners, self.narrow))?;
                }
                writeln!(self.out, "\n{}", text::wrapped(&aftermath, self.narrow))?;
            }
        }
        self.out.flush()
    }

    /// The end, and where nobody could look. How many could not be destroyed.
    pub(super) fn finish(&mut self, dry: bool, apart: Apart) -> io::Result<u64> {
        let unread = text::unread(apart);
        let tally = text::tally(&self.counts, dry, apart);
        match self.format {
            OutputFormat::Json => {
                let text = std::iter::once(tally).chain(unread).collect::<Vec<_>>().join(" ");
                let notice = Notice { level: Level::Note, text, hint: None };
                json::notice(&mut self.out, &notice, &Clock::read(), Clock::mono_now())?;
            }
            OutputFormat::Text => {
                writeln!(self.out, "\n{}", text::told(tally, self.narrow))?;
                if let Some(unread) = unread {
                    writeln!(self.out, "{}", text::told(unread, self.narrow))?;
                }
            }
        }
        Ok(self.counts.get(Outcome::Failed(String::new()).words()).copied().unwrap_or(0))
    }
}
