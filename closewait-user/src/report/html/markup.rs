//! Text of HTML. Pure.

use std::borrow::Cow;

use crate::report::escape::escape;

/// Text that is inert already: what would be markup is text, and there is no character that
/// XML lacks.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let special = |c| matches!(c, '&' | '<' | '>' | '"' | '\'' | '\u{fffe}' | '\u{ffff}');
    if !text.contains(special) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out.into()
}

/// A name from the system, made inert and made text.
pub(super) fn inert(name: &str) -> String {
    text(&escape(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_markup() {
        for (name, want) in [
            ("nginx", "nginx"),
            ("</script><b a='1' c=\"2\">&", "&lt;/script&gt;&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;"),
            ("\u{202e}x\u{0}\n\u{fffe}", "\\u{202e}x\\u{0}\\n\u{fffd}"),
        ] {
            assert_eq!(inert(name), want);
        }
    }
}
