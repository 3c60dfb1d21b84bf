//! `explain CODE`: what a verdict means, its proof, the fix, and what does not help.

use std::io::{self, Write};

use clap::ValueEnum;

use crate::error::Failure;
use crate::exit::Exit;
use crate::verdict::{Code, explain};

/// Explains one verdict, or all of them.
pub fn run(code: Option<&str>) -> Result<Exit, Failure> {
    let codes = match code {
        None => Code::value_variants().to_vec(),
        Some(word) => vec![parse(word)?],
    };
    let mut out = io::stdout().lock();
    for (index, code) in codes.into_iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let explanation = explain(code);
        let mut text = format!("{gap}{code}\n");
        for (what, said) in [
            ("meaning", explanation.meaning),
            ("proof", explanation.proof),
            ("fix", explanation.fix),
            ("does not help", explanation.no_help),
        ] {
            paragraph(&mut text, what, said);
        }
        match out.write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| Failure::new(format!("cannot write to stdout: {error}")))?,
        }
    }
    Ok(Exit::Fine)
}

/// Under this many columns.
const WIDTH: usize = 100;
/// Where what is said begins.
const MARGIN: usize = 17;

/// Words in lines, beside what they are about.
fn paragraph(text: &mut String, what: &str, said: &str) {
    text.push_str("  ");
    text.push_str(what);
    let mut column = what.len() + 2;
    let mut next = MARGIN;
    for word in said.split(' ') {
        let width = word.chars().count();
        if next > MARGIN && next + width >= WIDTH {
            text.push('\n');
            (column, next) = (0, MARGIN);
        }
        text.extend(std::iter::repeat_n(' ', next - column));
        text.push_str(word);
        column = next + width;
        next = column + 1;
    }
    text.push('\n');
}

/// Digits of a cause's name.
const CAUSE: usize = 8;

/// The code called `word`, in any case.
fn parse(word: &str) -> Result<Code, Failure> {
    Code::value_variants()
        .iter()
        .copied()
        .find(|code| code.to_string().eq_ignore_ascii_case(word))
        .ok_or_else(|| {
            if word.len() == CAUSE && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Failure::new(format!("{word} is a cause, and explain takes the code of a verdict")).hint(
                    "the report of that cause names its verdict behind the number of sockets, as in `explain \
                     EOF_IGNORED`; `top` shows all that is known of a cause, `-o json --group` prints it",
                );
            }
            let all: Vec<_> = Code::value_variants().iter().map(ToString::to_string).collect();
            Failure::new(format!("there is no verdict {word:?}")).hint(format!("one of {}", all.join(", ")))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_no_verdict_and_told_so() {
        assert_eq!(parse("eof_ignored").unwrap(), Code::EofIgnored);
        let refused = parse("7906a363").unwrap_err();
        assert!(refused.what.contains("is a cause"), "{refused}");
        assert!(parse("LEAK").unwrap_err().what.contains("there is no verdict"));
    }

    #[test]
    fn lines_are_as_wide_as_a_terminal() {
        let mut text = String::new();
        paragraph(&mut text, "fix", ["four"; 40].join(" ").as_str());
        paragraph(&mut text, "does not help", "Guessing.");
        assert!(text.lines().all(|line| line.len() < WIDTH), "{text}");
        assert!(text.starts_with("  fix            four "), "{text}");
        assert!(text.ends_with("\n  does not help  Guessing.\n"), "{text}");
        assert_eq!(text.matches("four").count(), 40, "{text}");
    }
}
