//! Leaks as workflow commands of GitHub Actions, which it shows at the line of code that
//! opened the socket.

use std::io::{self, Write};
use std::path::Path;

use super::model::Finding;
use super::story;

/// Writes one command for each cause; `workspace` is where the source code is.
pub fn write(out: &mut impl Write, leaked: &[&Finding], workspace: Option<&Path>) -> io::Result<()> {
    for story in story::by_cause(leaked, workspace) {
        let mut place = String::new();
        if let Some((file, line)) = &story.place {
            place = format!("file={},line={line},", property(file));
        }
        let title = property(&format!("closewait-trace {}", story.code));
        let text = message(&format!("{}\n{}", story.title, story.lines.join("\n")));
        writeln!(out, "::error {place}title={title}::{text}")?;
    }
    Ok(())
}

/// The escapes of the runner (`escapeData` of its toolkit).
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for a property.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_end_no_command() {
        assert_eq!(message("100%\r\n::error::x"), "100%25%0D%0A::error::x");
        assert_eq!(property("a:b,c\n"), "a%3Ab%2Cc%0A");
    }
}
