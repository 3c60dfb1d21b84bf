//! Keys: what was pressed, and what that means. Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What causes are sorted by; the harmless always come last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// Those that become more the fastest.
    #[default]
    Growth,
    /// Most sockets.
    Sockets,
    /// The oldest socket.
    Age,
    /// The fewest descriptors left.
    Fds,
}

impl Sort {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Growth => "growth",
            Self::Sockets => "sockets",
            Self::Age => "age",
            Self::Fds => "fds",
        }
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Growth => Self::Sockets,
            Self::Sockets => Self::Age,
            Self::Age => Self::Fds,
            Self::Fds => Self::Growth,
        }
    }
}

/// What the user wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Leave.
    Quit,
    /// So many lines down, or up if negative.
    Move(i32),
    /// So many screens down, or up if negative.
    Page(i32),
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// Into what is selected.
    Open,
    /// Out of it again.
    Back,
    /// Sort by this.
    Sort(Sort),
    /// Sort by the next key.
    NextSort,
    /// Stop, or go on again.
    Pause,
    /// Show the keys, or hide them.
    Help,
    /// Begin to type a filter.
    Filter,
    /// One more character of the filter.
    Type(char),
    /// One less.
    Erase,
    /// The filter is complete.
    Accept,
    /// No filter.
    Clear,
    /// A recording: to an earlier or a later time.
    Step(i32),
    /// Draw everything anew.
    Redraw,
}

/// What a key means; `typing`: a filter is being typed.
pub fn action(key: &KeyEvent, typing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('u') if typing => Some(Action::Clear),
            _ => None,
        };
    }
    match key.code {
        KeyCode::Up => return Some(Action::Move(-1)),
        KeyCode::Down => return Some(Action::Move(1)),
        KeyCode::PageUp => return Some(Action::Page(-1)),
        KeyCode::PageDown => return Some(Action::Page(1)),
        KeyCode::Home => return Some(Action::First),
        KeyCode::End => return Some(Action::Last),
        _ => {}
    }
    if typing {
        return match key.code {
            KeyCode::Enter => Some(Action::Accept),
            KeyCode::Esc => Some(Action::Clear),
            KeyCode::Backspace => Some(Action::Erase),
            KeyCode::Char(c) => Some(Action::Type(c)),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Char('j') => Action::Move(1),
        KeyCode::Enter | KeyCode::Right => Action::Open,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Action::Back,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('g') => Action::Sort(Sort::Growth),
        KeyCode::Char('n') => Action::Sort(Sort::Sockets),
        KeyCode::Char('a') => Action::Sort(Sort::Age),
        KeyCode::Char('f') => Action::Sort(Sort::Fds),
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char('[' | '<' | ',') => Action::Step(-1),
        KeyCode::Char(']' | '>' | '.') => Action::Step(1),
        _ => return None,
    })
}

/// The keys, for those who ask.
pub const HELP: [(&str, &str); 12] = [
    ("up down, j k", "select; PgUp PgDn Home End go further"),
    ("Enter, right", "open: cause -> its sockets -> their stacks"),
    ("Esc, left", "back; on the first page: no filter"),
    ("s", "sort by the next of growth, sockets, age, fds"),
    ("g n a f", "sort by growth, number of sockets, age, fds"),
    ("/", "filter as you type: process, verdict, address, container, cause"),
    ("p, space", "pause the screen; tracing goes on"),
    ("[ ]", "of a recording: an earlier or a later time"),
    ("Ctrl-L", "draw everything anew"),
    ("? or h", "this page"),
    ("q, Ctrl-C", "leave; the full report is printed then"),
    ("", "closewait-trace explain CODE tells what a verdict means"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_means_one_thing_and_text_while_a_filter_is_typed() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        for (key, idle, typing) in [
            (plain(KeyCode::Char('q')), Some(Action::Quit), Some(Action::Type('q'))),
            (plain(KeyCode::Char('/')), Some(Action::Filter), Some(Action::Type('/'))),
            (plain(KeyCode::Char(' ')), Some(Action::Pause), Some(Action::Type(' '))),
            (plain(KeyCode::Esc), Some(Action::Back), Some(Action::Clear)),
            (plain(KeyCode::Enter), Some(Action::Open), Some(Action::Accept)),
            (plain(KeyCode::Backspace), Some(Action::Back), Some(Action::Erase)),
            (plain(KeyCode::Up), Some(Action::Move(-1)), Some(Action::Move(-1))),
            (plain(KeyCode::Char('x')), None, Some(Action::Type('x'))),
            (plain(KeyCode::F(1)), None, None),
            (control('c'), Some(Action::Quit), Some(Action::Quit)),
            (control('u'), None, Some(Action::Clear)),
            (control('x'), None, None),
        ] {
            assert_eq!(action(&key, false), idle, "{key:?}");
            assert_eq!(action(&key, true), typing, "{key:?}, typing");
        }
        let released = KeyEvent { kind: KeyEventKind::Release, ..plain(KeyCode::Char('q')) };
        assert_eq!(action(&released, false), None);
    }

    #[test]
    fn all_sort_keys_come_round() {
        let (mut sort, mut names) = (Sort::default(), Vec::new());
        loop {
            names.push(sort.name());
            sort = sort.next();
            if sort == Sort::default() {
                break;
            }
        }
        assert_eq!(names, ["growth", "sockets", "age", "fds"]);
    }
}
