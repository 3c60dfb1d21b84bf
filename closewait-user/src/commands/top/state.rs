//! What is shown, and what keys change of it. Pure: the model comes in, actions come in, and
//! the view reads what is here.

use std::collections::VecDeque;
use std::time::Duration;

use super::keys::{Action, Sort};
use super::model::{Detail, Model, Row};
use crate::enrich::states::ByState;
use crate::fact::Fact;
use crate::report::CauseId;
use crate::report::history::History;

/// Notices that are kept to be shown.
const NOTICES: usize = 50;

/// Which page is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Page {
    /// All causes.
    #[default]
    Causes,
    /// The sockets of the selected one.
    Sockets,
    /// Its stacks.
    Stacks,
    /// The keys.
    Help,
}

/// What the user wants beside another picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Leave.
    Quit,
    /// Everything is to be drawn anew.
    Redraw,
    /// A recording, so many steps later.
    Step(i32),
}

/// See the module.
#[derive(Debug)]
pub struct Top {
    /// What there is.
    pub model: Model,
    /// The number of stuck sockets over the time.
    pub history: History,
    /// Counts of TCP states.
    pub states: Fact<ByState>,
    /// What the selected cause is about, once it was asked for.
    pub detail: Option<Detail>,
    /// What was said about the tool itself, the newest last.
    pub notices: VecDeque<String>,
    /// Where it comes from: `tracing`, `snapshots only`, `recording`.
    pub source: String,
    /// Of a recording: where its time stands, of all of it.
    pub place: Option<(Duration, Duration)>,
    /// The page.
    pub page: Page,
    /// What the causes are sorted by.
    pub sort: Sort,
    /// Causes that do not fit it are hidden.
    pub filter: String,
    /// It is being typed.
    pub typing: bool,
    /// The picture stands still.
    pub paused: bool,
    /// The first line of a page that is longer than the screen.
    pub scroll: usize,
    /// The selected socket.
    pub socket: usize,
    /// Columns and lines of the screen.
    pub size: (u16, u16),
    /// The cause that the user went to; the first one, before that.
    selected: Option<CauseId>,
    /// The places in the model of the causes that are shown, in order.
    order: Vec<usize>,
    /// The page before the help.
    behind: Page,
}

impl Top {
    /// Nothing is known yet.
    pub fn new(source: &str) -> Self {
        Self {
            model: Model::default(),
            history: History::default(),
            states: Fact::unknown("not counted yet"),
            detail: None,
            notices: VecDeque::new(),
            source: source.into(),
            place: None,
            page: Page::Causes,
            sort: Sort::Growth,
            filter: String::new(),
            typing: false,
            paused: false,
            scroll: 0,
            socket: 0,
            size: (80, 24),
            selected: None,
            order: Vec::new(),
            behind: Page::Causes,
        }
    }

    /// Takes a newer model.
    pub fn update(&mut self, model: Model) {
        self.model = model;
        self.arrange();
    }

    /// Keeps a notice to be shown.
    pub fn notice(&mut self, text: String) {
        self.notices.push_back(text);
        if self.notices.len() > NOTICES {
            self.notices.pop_front();
        }
    }

    /// The causes that are shown, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.order.iter().map(|&at| &self.model.rows[at])
    }

    /// The place of the selected cause among them.
    pub fn cursor(&self) -> usize {
        self.rows().position(|row| Some(row.id) == self.selected).unwrap_or(0)
    }

    /// The selected cause.
    pub fn selected(&self) -> Option<&Row> {
        self.rows().nth(self.cursor())
    }

    fn id_at(&self, place: usize) -> Option<CauseId> {
        self.rows().nth(place).map(|row| row.id)
    }

    /// The cause that is looked at, and for how many columns it is to be told.
    pub fn wants(&self) -> Option<(CauseId, u16)> {
        Some((self.selected()?.id, self.size.0))
    }

    /// The same, unless it is told already.
    pub fn asks(&self) -> Option<(CauseId, u16)> {
        let told = self.detail.as_ref().map(|detail| (detail.id, detail.columns));
        self.wants().filter(|&wanted| told != Some(wanted))
    }

    /// The detail of the selected cause.
    pub fn told(&self) -> Option<&Detail> {
        let selected = self.selected()?.id;
        self.detail.as_ref().filter(|detail| detail.id == selected)
    }

    /// Sorts and filters.
    fn arrange(&mut self) {
        let rows = &self.model.rows;
        let mut order: Vec<_> = (0..rows.len()).filter(|&at| rows[at].fits(&self.filter)).collect();
        // The model's order, worst first, decides among equals.
        order.sort_by_cached_key(|&at| std::cmp::Reverse(rank(&rows[at], self.sort)));
        self.order = order;
        if self.page == Page::Causes && !self.rows().any(|row| Some(row.id) == self.selected) {
            self.selected = None;
        }
    }

    /// Does what a key stands for.
    pub fn act(&mut self, action: Action) -> Option<Wish> {
        match action {
            Action::Quit => return Some(Wish::Quit),
            Action::Redraw => return Some(Wish::Redraw),
            Action::Step(steps) => return Some(Wish::Step(steps)),
            Action::Move(lines) => self.go(lines),
            Action::Page(pages) => self.go(pages * i32::from(self.size.1.saturating_sub(8).max(1))),
            Action::First => self.go(i32::MIN),
            Action::Last => self.go(i32::MAX),
            Action::Open => self.open(),
            Action::Back => self.back(),
            Action::Sort(sort) => self.sort_by(sort),
            Action::NextSort => self.sort_by(self.sort.next()),
            Action::Pause => self.paused = !self.paused,
            Action::Help if self.page == Page::Help => self.back(),
            Action::Help => {
                self.behind = std::mem::replace(&mut self.page, Page::Help);
                self.scroll = 0;
            }
            Action::Filter if self.page == Page::Causes => self.typing = true,
            Action::Filter => {}
            Action::Accept => self.typing = false,
            Action::Type(c) => self.edit(|filter| filter.push(c)),
            Action::Erase => self.edit(|filter| {
                filter.pop();
            }),
            Action::Clear => {
                self.typing = false;
                self.edit(String::clear);
            }
        }
        None
    }

    fn edit(&mut self, change: impl FnOnce(&mut String)) {
        change(&mut self.filter);
        self.arrange();
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.arrange();
    }

    fn open(&mut self) {
        self.scroll = 0;
        self.page = match self.page {
            Page::Causes if self.selected().is_some() => {
                self.socket = 0;
                self.selected = self.id_at(self.cursor());
                Page::Sockets
            }
            Page::Sockets => Page::Stacks,
            Page::Help => self.behind,
            page => page,
        };
    }

    fn back(&mut self) {
        self.scroll = 0;
        self.page = match self.page {
            Page::Stacks => Page::Sockets,
            Page::Sockets => Page::Causes,
            Page::Help => self.behind,
            Page::Causes => {
                self.edit(String::clear);
                Page::Causes
            }
        };
        if self.page == Page::Causes {
            self.arrange();
        }
    }

    fn go(&mut self, lines: i32) {
        let moved = |from: usize, count: usize| {
            let to = i64::try_from(from).unwrap_or(i64::MAX).saturating_add(lines.into());
            usize::try_from(to.max(0)).unwrap_or(0).min(count.saturating_sub(1))
        };
        match self.page {
            Page::Causes => {
                let to = moved(self.cursor(), self.order.len());
                // The first line is whatever is worst.
                self.selected = self.id_at(to).filter(|_| to > 0);
            }
            Page::Sockets => {
                self.socket = moved(self.socket, self.told().map_or(0, |detail| detail.sockets.len()));
            }
            // The view knows how many lines there are, and stops at the last.
            Page::Stacks | Page::Help => self.scroll = moved(self.scroll, 10_000),
        }
    }
}

/// Greater comes first: what is there before what has ended, leaks before the harmless, then
/// by the key that was asked for.
fn rank(row: &Row, sort: Sort) -> (bool, bool, i64, u64) {
    let (there, matters) = (row.sockets > 0, row.leak != Some(false));
    let (first, second) = match sort {
        Sort::Growth => (row.change.unwrap_or(0), row.born),
        Sort::Sockets => (0, row.sockets),
        Sort::Age => (0, row.oldest.map_or(0, |age| u64::try_from(age.min.as_millis()).unwrap_or(u64::MAX))),
        Sort::Fds => (0, row.fullness().unwrap_or(0)),
    };
    (there, matters, first, second)
}

#[cfg(test)]
mod tests;
