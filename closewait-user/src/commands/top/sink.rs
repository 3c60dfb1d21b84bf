//! Where the reports go: into the state of the screen, and when the run ends, to stdout.
//!
//! The ledger is looked at once a second; less often with very many stuck sockets, so that
//! a screen nobody reads costs little.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::model::{Detail, Ends, Model};
use super::state::Top;
use super::terminal::Screen;
use super::way;
use crate::clock::MonoNs;
use crate::diagnostics;
use crate::enrich::states::StateCounter;
use crate::report::escape::escape;
use crate::report::text::totals;
use crate::report::{Level, Moment, Report, Sink, Summary, TextOptions, TextSink};

/// Between two looks passes at least so long for each stuck socket: at 100,000 five seconds.
const LOOK_PER_SOCKET: Duration = Duration::from_micros(50);

/// What the sink and the keys share.
#[derive(Clone)]
pub struct Shared {
    /// What is to be seen.
    pub top: Rc<RefCell<Top>>,
    /// The screen, until the end.
    pub screen: Rc<RefCell<Option<Screen>>>,
    /// There is something new to be seen.
    pub changed: Rc<Notify>,
    /// The ledger is to be looked at now.
    pub look: Rc<Cell<bool>>,
}

impl Shared {
    /// Nothing is known yet; `source` says where it will come from.
    pub fn new(source: &str) -> Self {
        Self {
            top: Rc::new(RefCell::new(Top::new(source))),
            screen: Rc::default(),
            changed: Rc::default(),
            look: Rc::default(),
        }
    }
}

/// See the module.
pub struct TopSink {
    shared: Shared,
    /// How often to look at the ledger; `None`: only when told to.
    every: Option<Duration>,
    next: MonoNs,
    ends: Ends,
    counter: Option<StateCounter>,
    /// What was there at first has been judged.
    looked: bool,
    text: TextOptions,
}

impl TopSink {
    /// A sink that looks at the ledger `every` so often, or (`None`) only when it is told to.
    /// `text`: how the report at the end looks.
    pub fn new(shared: Shared, every: Option<Duration>, text: TextOptions) -> Self {
        Self { shared, every, next: MonoNs(0), ends: Ends::default(), counter: None, looked: false, text }
    }

    /// Shows the counts of TCP states, too.
    #[must_use]
    pub fn counting(self, counter: StateCounter) -> Self {
        Self { counter: Some(counter), ..self }
    }

    fn is_due(&mut self, at: Moment<'_>) -> bool {
        let told = self.shared.look.take();
        let Some(every) = self.every.filter(|_| at.now >= self.next) else { return told };
        let sockets = u32::try_from(at.ledger.sockets().len()).unwrap_or(u32::MAX);
        self.next = at.now + every.max(LOOK_PER_SOCKET * sockets);
        // That nothing is stuck is not known before the first look.
        let is_known = self.looked || sockets > 0;
        told || (is_known && !self.shared.top.borrow().paused)
    }
}

/// Takes what would have been written over the screen.
fn hear(top: &mut Top) {
    for line in diagnostics::held_back() {
        top.notice(escape(&line).into_owned());
    }
}

impl Sink for TopSink {
    fn report(&mut self, report: &Report, at: Moment<'_>) -> io::Result<()> {
        let mut top = self.shared.top.borrow_mut();
        top.history.report(report, at);
        match report {
            Report::Released(release) => self.ends.add(release, at.now),
            Report::FirstLook(_) => {
                self.looked = true;
                self.shared.look.set(self.every.is_some());
            }
            Report::Loss(gap) => top.notice(format!("lost {}", totals::lost_what(gap))),
            Report::Notice(notice) => {
                let level = if notice.level == Level::Warning { "warning: " } else { "" };
                let hint =
                    notice.hint.as_deref().map_or_else(String::new, |hint| format!(" ({})", escape(hint)));
                top.notice(format!("{level}{}{hint}", escape(&notice.text)));
            }
            Report::Stuck(_) | Report::Ghost(_) => {}
        }
        Ok(())
    }

    fn tick(&mut self, at: Moment<'_>) -> io::Result<()> {
        let due = self.is_due(at);
        let mut top = self.shared.top.borrow_mut();
        top.history.reach(at);
        let mut asks = top.asks();
        if !due && asks.is_none() {
            return Ok(());
        }
        hear(&mut top);
        let causes = at.ledger.causes();
        if due {
            let began = top.history.began().unwrap_or(at.now);
            if let Some(counter) = &self.counter {
                top.states = counter.latest();
            }
            top.update(Model::new(at, &causes, began, self.text.threshold, &mut self.ends));
            asks = top.wants();
        }
        if let Some((id, columns)) = asks {
            top.detail = Some(Detail::new(id, columns, at, &causes));
        }
        self.shared.changed.notify_one();
        Ok(())
    }

    fn deadline(&self) -> Option<MonoNs> {
        self.every.map(|_| self.next)
    }

    fn finish(&mut self, summary: &Summary, at: Moment<'_>) -> io::Result<()> {
        hear(&mut self.shared.top.borrow_mut());
        // The terminal is the user's again, and keeps what was found and what was said.
        drop(self.shared.screen.borrow_mut().take());
        let mut top = self.shared.top.borrow_mut();
        // The summary says what was off.
        let is_in_summary =
            |notice: &String| summary.totals.degraded.iter().any(|line| notice.contains(&*escape(line)));
        top.notices.retain(|notice| !is_in_summary(notice));
        let mut notes = way::notes();
        for notice in &top.notices {
            // Whoever closed it wants none; the report comes all the same.
            let _ = writeln!(notes, "closewait-trace: {notice}");
        }
        TextSink::new(way::out(), notes, self.text).finish(summary, at)
    }
}
