//! Names from the system are written by whoever owns the process: a comm may hold
//! terminal escapes, a path may end the line. [`escape`] makes them inert text of
//! a known width. Every string that is not this tool's own goes through here.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// Whether a terminal would act on `c`, hide it, or draw it over its neighbours:
/// control characters, line separators, bidi controls, zero-width and combining
/// characters, blanks other than the space.
pub fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        _ => {
            c.is_control()
                || c.is_whitespace()
                || c.width().is_none_or(|w| w == 0)
                || matches!(c, '\u{ad}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
        }
    }
}

/// `text` with hidden characters as `\u{1b}` (`\n`, `\t` for the common ones) and
/// the backslash doubled, so that nothing can pretend to be an escape.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c == '\\' || is_hidden(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_inert() {
        for (name, inert) in [
            ("nginx", "nginx"),
            ("tmux: server", "tmux: server"),
            ("(sd-pam)", "(sd-pam)"),
            ("naïve-日本", "naïve-日本"),
            ("", ""),
            ("a\nb\tc\r", "a\\nb\\tc\\u{d}"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{7f}\0", "\\u{7f}\\u{0}"),
            ("abc\u{202e}gpj.exe", "abc\\u{202e}gpj.exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("soft\u{ad}hyphen", "soft\\u{ad}hyphen"),
            ("line\u{2028}sep\u{85}", "line\\u{2028}sep\\u{85}"),
            ("nb\u{a0}sp\u{3000}", "nb\\u{a0}sp\\u{3000}"),
            ("e\u{301}", "e\\u{301}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("lossy\u{fffd}", "lossy\u{fffd}"),
            ("back\\slash\\u{1b}", "back\\\\slash\\\\u{1b}"),
        ] {
            assert_eq!(escape(name), inert, "{name:?}");
        }
    }

    #[test]
    fn whatever_goes_in_every_character_that_comes_out_is_visible_and_has_a_width() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = c.to_string();
            let out = escape(&text);
            assert!(out.chars().all(|c| c == ' ' || (!c.is_control() && c.width() > Some(0))), "{c:?}");
        }
    }
}
