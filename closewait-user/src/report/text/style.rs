//! How text is laid out: colour, width, wrapping, and the units people read.
//! Pure: whether there is a terminal is the caller's to find out.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::model::Age;

/// What the output may look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Use ANSI colours.
    pub color: bool,
    /// Columns a line may take; at least [`LEAST`] are used.
    pub width: usize,
}

/// Columns of what is no terminal: under 100, as tickets and mail have it.
pub const WIDEST: usize = 99;
/// Fewer columns than these are not kept to: a terminal breaks lines by itself.
pub const LEAST: usize = 40;

impl Default for Style {
    /// No colour, no terminal.
    fn default() -> Self {
        Self { color: false, width: WIDEST }
    }
}

/// `--color`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether to use colour. `no_color` is the value of NO_COLOR: any value but the
/// empty one forbids colour (no-color.org), unless the user asked for it by option.
pub fn color_choice(when: ColorWhen, is_tty: bool, no_color: Option<&str>) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => is_tty && no_color.is_none_or(str::is_empty),
    }
}

/// What a piece of text is, for colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    /// Names the culprit.
    Owner,
    Leak,
    Unclear,
    /// Harmless, and whatever matters less.
    Dim,
}

impl Style {
    pub(crate) fn columns(&self) -> usize {
        self.width.max(LEAST)
    }

    /// How many lines a text may take that may take `lines` of the widest: where they hold less,
    /// more of them.
    pub(crate) fn lines(&self, lines: usize) -> usize {
        const BEFORE: usize = super::block::BODY;
        lines.max((lines * (WIDEST - BEFORE)).div_ceil(self.columns() - BEFORE))
    }

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Owner => "1",
            Paint::Leak => "1;31",
            Paint::Unclear => "35",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// `text`, shortened in the middle to `width` columns: of a path or a symbol the
/// two ends tell most.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(1);
    let head = take_columns(text.chars(), keep / 3);
    let tail: String = take_columns(text.chars().rev(), keep - keep / 3).chars().rev().collect();
    format!("{head}…{tail}")
}

fn take_columns(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(1);
            used <= width
        })
        .collect()
}

/// The longest words that are never shortened, but broken where a line is shorter: addresses.
const ADDRESS: usize = 47;

/// A word in pieces that fit `width` columns.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let word = shorten(word, width.max(ADDRESS));
    let mut pieces = Vec::new();
    let mut rest = word.as_str();
    while rest.width() > width {
        let piece = take_columns(rest.chars(), width);
        if piece.is_empty() {
            break;
        }
        rest = &rest[piece.len()..];
        pieces.push(piece);
    }
    pieces.push(rest.to_owned());
    pieces
}

/// `text` in one line, as it is, if that has room for it; else broken at blanks, what follows
/// further in.
pub(crate) fn fitted(text: String, style: &Style) -> Vec<String> {
    within(text, style.columns())
}

/// The same for so many columns.
pub(crate) fn within(text: String, columns: usize) -> Vec<String> {
    const INDENT: usize = 4;
    if text.width() <= columns {
        return vec![text];
    }
    let lines = wrap(&text, columns - INDENT, usize::MAX);
    let indent = |(i, line)| if i == 0 { line } else { format!("{:INDENT$}{line}", "") };
    lines.into_iter().enumerate().map(indent).collect()
}

/// Breaks `text` at blanks into at most `lines` lines of `width` columns. What
/// does not fit ends in `…`; a word longer than a line and than any address is shortened.
pub(crate) fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let words = text.split(' ').filter(|w| !w.is_empty()).flat_map(|w| pieces(w, width));
    for word in words {
        let full = out.len() == lines;
        match out.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(last) if full => {
                *last =
                    format!("{}…", take_columns(last.chars(), width - 1).trim_end_matches([' ', ';', ',']));
                break;
            }
            _ => out.push(word),
        }
    }
    out
}

/// `61202` as `61,202`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 socket`, `4,812 sockets`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A time span in the two units that matter: `450ms`, `12.2s`, `4m10s`, `5h02m`, `3d04h`.
/// Rounded down: a lower bound stays one.
pub(crate) fn span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 if d.subsec_nanos() == 0 => "0s".into(),
        0 if d.as_millis() == 0 => "<1ms".into(),
        0 => format!("{}ms", d.as_millis()),
        1..60 if d.subsec_millis() < 100 => format!("{s}s"),
        1..60 => format!("{s}.{}s", d.subsec_millis() / 100),
        60..3600 if s.is_multiple_of(60) => format!("{}m", s / 60),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The same, rounded up: an upper bound stays one.
pub(crate) fn span_up(d: Duration) -> String {
    let unit = match d.as_secs() {
        0 if d.as_millis() == 0 => return span(d),
        0 => Duration::from_millis(1),
        1..60 => Duration::from_millis(100),
        60..3600 => Duration::from_secs(1),
        3600..86_400 => Duration::from_mins(1),
        _ => Duration::from_hours(1),
    };
    let units = d.as_nanos().div_ceil(unit.as_nanos());
    span(u32::try_from(units).map_or(d, |units| unit.saturating_mul(units)))
}

/// An age: exact, between two bounds, or at least.
pub(crate) fn age(age: Age) -> String {
    match age.max {
        Some(max) if span(max) == span(age.min) => span(age.min),
        Some(max) => format!("{} to {}", span(age.min), span_up(max)),
        None => format!(">={}", span(age.min)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_for_those_who_ask() {
        use ColorWhen::{Always, Auto, Never};
        for (when, tty, no_color, want) in [
            (Auto, true, None, true),
            (Auto, false, None, false),
            (Auto, true, Some("1"), false),
            (Auto, true, Some("0"), false),
            (Auto, true, Some(""), true),
            (Always, false, None, true),
            (Always, false, Some("1"), true),
            (Never, true, None, false),
        ] {
            assert_eq!(color_choice(when, tty, no_color), want, "{when:?} {tty} {no_color:?}");
        }
    }

    #[test]
    fn spans_read_as_people_say_them() {
        for (ns, want) in [
            (0, "0s"),
            (999_999, "<1ms"),
            (450_000_000, "450ms"),
            (999_999_999, "999ms"),
            (1_000_000_000, "1s"),
            (12_299_000_000, "12.2s"),
            (59_999_000_000, "59.9s"),
            (60_000_000_000, "1m"),
            (250_000_000_000, "4m10s"),
            (18_120_000_000_000, "5h02m"),
            (273_600_000_000_000, "3d04h"),
        ] {
            assert_eq!(span(Duration::from_nanos(ns)), want);
        }
    }

    #[test]
    fn an_upper_bound_is_not_rounded_below_what_it_bounds() {
        for (ns, want) in [
            (0, "0s"),
            (999_999, "<1ms"),
            (64_000_000, "64ms"),
            (999_000_001, "1s"),
            (2_000_000_000, "2s"),
            (4_096_000_000, "4.1s"),
            (8_192_000_000, "8.2s"),
            (59_999_000_000, "1m"),
            (65_536_000_000, "1m06s"),
            (3_599_000_000_001, "1h00m"),
            (18_120_000_000_001, "5h03m"),
            (273_600_000_000_001, "3d05h"),
        ] {
            assert_eq!(span_up(Duration::from_nanos(ns)), want);
        }
        let told = |min, max| {
            let ms = Duration::from_millis;
            age(Age { min: ms(min), max: Some(ms(max)) })
        };
        assert_eq!(told(1_290, 4_096), "1.2s to 4.1s");
        assert_eq!(told(1_290, 1_299), "1.2s");
    }

    #[test]
    fn text_is_broken_and_shortened_by_columns() {
        assert_eq!(wrap("aa bb cc", 5, 9), ["aa bb", "cc"]);
        assert_eq!(wrap("aa bb cc dd", 5, 2), ["aa bb", "cc dd"]);
        assert_eq!(wrap("aa bb; cc dd ee", 6, 2), ["aa bb;", "cc dd…"]);
        assert_eq!(wrap("aaaaaaaaaa b", 5, 9), ["aaaaa", "aaaaa", "b"]);
        assert_eq!(wrap("[2001:db8::7]:51334 b", 10, 9), ["[2001:db8:", ":7]:51334", "b"]);
        assert_eq!(wrap(&"x".repeat(99), 60, 9), [shorten(&"x".repeat(99), 60)]);
        assert_eq!(wrap("日本", 1, 9), ["日本"], "no room for any");
        assert_eq!(wrap("", 5, 9), Vec::<String>::new());
        assert_eq!(shorten("/very/long/path/to/java", 12), "/ve…/to/java");
        assert_eq!(shorten("日本日本日本", 7), "日…日本");
        assert_eq!(count(61_202), "61,202");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(999), "999");
    }
}
