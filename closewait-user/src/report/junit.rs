//! Leaks as a JUnit XML file, which CI systems show beside their tests: a failed test
//! case for each cause, or one that passed.

use std::io::{self, Write};

use super::model::Finding;
use super::story::{self, Story};

/// Writes the file.
pub fn write(out: &mut impl Write, leaked: &[&Finding]) -> io::Result<()> {
    let stories = story::by_cause(leaked, None);
    let (tests, failures) = (stories.len().max(1), stories.len());
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, r#"<testsuites tests="{tests}" failures="{failures}">"#)?;
    let counts = format!(r#"tests="{tests}" failures="{failures}" errors="0" skipped="0""#);
    writeln!(out, r#"  <testsuite name="closewait-trace" {counts}>"#)?;
    if stories.is_empty() {
        writeln!(out, r#"    <testcase classname="closewait-trace" name="no socket leaked"/>"#)?;
    }
    for Story { cause, title, lines, code, .. } in &stories {
        writeln!(out, r#"    <testcase classname="closewait-trace" name="cause {cause}">"#)?;
        writeln!(out, r#"      <failure type="{code}" message="{}">"#, xml(title))?;
        for line in lines {
            writeln!(out, "{}", xml(line))?;
        }
        writeln!(out, "      </failure>\n    </testcase>")?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}

/// Text as XML takes it. Characters that XML 1.0 does not have, not even as references,
/// become U+FFFD.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\t' | '\n' => safe.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_break_no_markup() {
        assert_eq!(xml("a<b> & \"c\"\u{1b}[0m"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}[0m");
    }

    #[test]
    fn nothing_leaked_is_one_test_passed() {
        let mut out = Vec::new();
        write(&mut out, &[]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#"tests="1" failures="0""#), "{text}");
        assert!(text.contains(r#"name="no socket leaked"/>"#), "{text}");
    }
}
