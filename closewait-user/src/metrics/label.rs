//! Label values. Whoever owns a process chooses its name and often its container's: a value
//! becomes inert and short here; quotes and backslashes of the format are its encoder's.

use crate::report::escape::escape;

/// Characters of a value. Container ids and unit names are shorter; a cgroup may be called
/// anything, up to 4 KiB.
pub(super) const MAX_CHARS: usize = 128;

/// `text` as a label value: nothing hidden, at most [`MAX_CHARS`] characters, the last of
/// which is an ellipsis where something was cut off.
pub(super) fn label(text: &str) -> String {
    // What is cut off here anyway is not worth escaping; an escape only makes it longer.
    let head = match text.char_indices().nth(MAX_CHARS + 1) {
        Some((at, _)) => text.get(..at).unwrap_or(text),
        None => text,
    };
    let inert = escape(head);
    if inert.chars().count() <= MAX_CHARS {
        return inert.into_owned();
    }
    inert.chars().take(MAX_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_inert_and_short() {
        assert_eq!(label("nginx"), "nginx");
        assert_eq!(label(""), "");
        assert_eq!(label("a\nb\"c\\d"), "a\\nb\"c\\\\d");
        assert_eq!(label("abc\u{202e}gpj.exe\u{1b}[2J"), "abc\\u{202e}gpj.exe\\u{1b}[2J");
        assert_eq!(label(&String::from_utf8_lossy(b"\xffbad")), "\u{fffd}bad");
        let longest = "x".repeat(MAX_CHARS);
        assert_eq!(label(&longest), longest);
        for long in ["x".repeat(4096), "\u{1b}".repeat(4096), "日".repeat(4096), "\n".repeat(MAX_CHARS)] {
            let value = label(&long);
            assert_eq!(value.chars().count(), MAX_CHARS, "{value}");
            assert!(value.ends_with('…'));
        }
    }
}
