//! The picture: state in, cells out. Pure. Only the terminal's own colours are used, so that
//! it can be read on light and on dark; without colour, words and bold tell the same.
//!
//! What there is room for: the causes first, then what is known of the selected one, then
//! numbers over the time and counts of states.

mod header;
mod pages;
mod spark;
mod table;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::state::{Page, Top};

/// What the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looks {
    /// Colours.
    pub color: bool,
    /// More than ASCII.
    pub unicode: bool,
}

/// What a piece of the picture is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Leak,
    Unclear,
    /// A heading, or the selected line.
    Bar,
}

impl Looks {
    fn style(self, ink: Ink) -> Style {
        let colored = |color| if self.color { Style::new().fg(color) } else { Style::new() };
        match ink {
            Ink::Plain => Style::new(),
            Ink::Bold => Style::new().add_modifier(Modifier::BOLD),
            Ink::Dim => Style::new().add_modifier(Modifier::DIM),
            Ink::Leak => colored(Color::Red).add_modifier(Modifier::BOLD),
            Ink::Unclear => colored(Color::Magenta),
            Ink::Bar => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    fn leak(leak: Option<bool>) -> Ink {
        match leak {
            Some(true) => Ink::Leak,
            None => Ink::Unclear,
            Some(false) => Ink::Dim,
        }
    }
}

/// Lines from the top down, until there is no room.
struct Pen<'a> {
    buf: &'a mut Buffer,
    looks: Looks,
    /// What is left.
    area: Rect,
}

impl Pen<'_> {
    /// Whether there is room for another line.
    fn has_room(&self) -> bool {
        self.area.height > 0 && self.area.width > 0
    }

    /// Writes pieces on the next line; what does not fit is cut off.
    fn line(&mut self, pieces: &[(Ink, &str)]) {
        if !self.has_room() {
            return;
        }
        let (mut x, y) = (self.area.x, self.area.y);
        for (ink, text) in pieces {
            let left = usize::from(self.area.right().saturating_sub(x));
            let text = self.fitted(text, left);
            x = self.buf.set_stringn(x, y, text, left, self.looks.style(*ink)).0;
        }
        self.area.y += 1;
        self.area.height -= 1;
    }

    /// The same on a ground that reaches to the edge.
    fn bar(&mut self, text: &str) {
        if !self.has_room() {
            return;
        }
        let line = Rect { height: 1, ..self.area };
        self.line(&[(Ink::Plain, text)]);
        self.buf.set_style(line, self.looks.style(Ink::Bar));
    }

    /// `text` as the terminal can show it, in at most `columns`.
    fn fitted(&self, text: &str, columns: usize) -> String {
        let text: String = if self.looks.unicode {
            text.into()
        } else {
            text.chars().map(|c| if c.is_ascii() { c } else { ascii(c) }).collect()
        };
        if text.width() <= columns {
            return text;
        }
        let mut used = 0;
        let kept = text.chars().take_while(|c| {
            used += c.width().unwrap_or(0);
            used < columns
        });
        let end = if self.looks.unicode { '…' } else { '~' };
        kept.chain([end]).collect()
    }

    /// The last line of what is left, to be written on later.
    fn keep_last(&mut self) -> Rect {
        let last = Rect { y: self.area.bottom().saturating_sub(1), height: 1, ..self.area };
        self.area.height = self.area.height.saturating_sub(1);
        last
    }
}

/// What stands for a character where only ASCII can be shown.
const fn ascii(c: char) -> char {
    match c {
        '…' => '~',
        '─' => '-',
        _ => '?',
    }
}

/// Draws everything.
pub fn draw(top: &Top, looks: Looks, area: Rect, buf: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let mut pen = Pen { buf, looks, area };
    if area.height < 8 || area.width < 40 {
        return table::tiny(top, &mut pen);
    }
    header::draw(top, &mut pen);
    let footer = pen.keep_last();
    match top.page {
        Page::Causes => table::draw(top, &mut pen),
        Page::Sockets => pages::sockets(top, &mut pen),
        Page::Stacks => pages::stacks(top, &mut pen),
        Page::Help => pages::help(top, &mut pen),
    }
    pen.area = footer;
    header::footer(top, &mut pen);
}
