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
mod tests {
    use super::*;
    use crate::report::Age;
    use crate::verdict::{Code, Nofile};

    fn row(
        id: u32,
        owner: &str,
        leak: Option<bool>,
        sockets: u64,
        change: i64,
        minutes: u64,
        used: u64,
    ) -> Row {
        let age = Duration::from_mins(minutes);
        Row {
            id: CauseId(id),
            owner: owner.into(),
            container: String::new(),
            code: Code::EofIgnored,
            leak,
            sockets,
            change: Some(change),
            born: 0,
            oldest: Some(Age { min: age, max: Some(age) }),
            nofile: Some(Nofile { used, soft: 1000 }),
            rate: String::new(),
            place: "accepted on 10.0.0.1:8080 from 10.0.0.2".into(),
            port: ":8080".into(),
        }
    }

    fn four() -> Top {
        let mut top = Top::new("test");
        top.update(Model {
            rows: vec![
                row(1, "java[1]", Some(true), 90, 0, 30, 100),
                row(2, "nginx[2]", Some(true), 10, 7, 20, 900),
                row(3, "curl[3]", None, 50, -2, 60, 300),
                row(4, "pool[4]", Some(false), 500, 9, 90, 990),
            ],
            ..Model::default()
        });
        top
    }

    fn shown(top: &Top) -> Vec<u32> {
        top.rows().map(|row| row.id.0).collect()
    }

    #[test]
    fn the_harmless_come_last_whatever_is_sorted_by() {
        let mut top = four();
        for (action, want) in [
            (Action::Sort(Sort::Growth), [2, 1, 3, 4]),
            (Action::Sort(Sort::Sockets), [1, 3, 2, 4]),
            (Action::NextSort, [3, 1, 2, 4]),
            (Action::NextSort, [2, 3, 1, 4]),
        ] {
            top.act(action);
            assert_eq!(shown(&top), want, "{action:?}");
        }
    }

    #[test]
    fn a_filter_is_typed_and_taken_back() {
        let mut top = four();
        top.act(Action::Filter);
        for c in "NGI".chars() {
            top.act(Action::Type(c));
        }
        assert_eq!(shown(&top), [2]);
        top.act(Action::Erase);
        top.act(Action::Accept);
        assert!(!top.typing);
        assert_eq!((top.filter.as_str(), shown(&top)), ("NG", vec![2]));
        top.act(Action::Back);
        assert_eq!((top.filter.as_str(), shown(&top).len()), ("", 4));
        for c in "8080 leak".chars() {
            top.act(Action::Type(c));
        }
        assert_eq!(shown(&top), [2, 1], "all words must fit");
        top.act(Action::Type('x'));
        assert_eq!((shown(&top).len(), top.selected()), (0, None));
        assert_eq!(top.asks(), None);
        top.act(Action::Open);
        assert_eq!(top.page, Page::Causes, "there is nothing to open");
    }

    #[test]
    fn the_selection_stays_with_its_cause() {
        let mut top = four();
        top.act(Action::Move(1));
        assert_eq!(top.asks(), Some((CauseId(1), 80)));
        top.act(Action::Sort(Sort::Age));
        assert_eq!((top.cursor(), top.asks()), (1, Some((CauseId(1), 80))));
        top.act(Action::Last);
        assert_eq!(top.cursor(), 3);
        top.act(Action::Move(5));
        assert_eq!(top.cursor(), 3);
        top.act(Action::First);
        assert_eq!(top.cursor(), 0);
        top.act(Action::Page(-1));
        assert_eq!(top.cursor(), 0);
        top.act(Action::Sort(Sort::Sockets));
        assert_eq!(top.asks(), Some((CauseId(1), 80)), "the first line is whatever comes first");
        top.act(Action::Last);
        // The selected one is not there any more.
        let model = Model { rows: top.model.rows[..2].to_vec(), ..Model::default() };
        top.update(model);
        assert_eq!(top.cursor(), 0);
    }

    #[test]
    fn pages_open_into_each_other_and_back() {
        let mut top = four();
        for (action, page) in [
            (Action::Open, Page::Sockets),
            (Action::Open, Page::Stacks),
            (Action::Open, Page::Stacks),
            (Action::Help, Page::Help),
            (Action::Help, Page::Stacks),
            (Action::Back, Page::Sockets),
            (Action::Filter, Page::Sockets),
            (Action::Help, Page::Help),
            (Action::Back, Page::Sockets),
            (Action::Back, Page::Causes),
            (Action::Back, Page::Causes),
        ] {
            assert_eq!(top.act(action), None);
            assert_eq!((top.page, top.typing), (page, false), "{action:?}");
        }
        assert_eq!(top.act(Action::Step(-1)), Some(Wish::Step(-1)));
        assert_eq!(top.act(Action::Quit), Some(Wish::Quit));
    }

    #[test]
    fn notices_are_bounded() {
        let mut top = Top::new("test");
        (0..1000).for_each(|n| top.notice(n.to_string()));
        assert_eq!((top.notices.len(), top.notices.back().map(String::as_str)), (NOTICES, Some("999")));
    }
}
