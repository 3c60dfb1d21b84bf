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
        let written = writeln!(
            out,
            "{gap}{code}\n  meaning        {}\n  proof          {}\n  fix            {}\n  does not help  {}",
            explanation.meaning, explanation.proof, explanation.fix, explanation.no_help
        );
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| Failure::new(format!("cannot write to stdout: {error}")))?,
        }
    }
    Ok(Exit::Fine)
}

/// The code called `word`, in any case.
fn parse(word: &str) -> Result<Code, Failure> {
    Code::value_variants()
        .iter()
        .copied()
        .find(|code| code.to_string().eq_ignore_ascii_case(word))
        .ok_or_else(|| {
            let all: Vec<_> = Code::value_variants().iter().map(ToString::to_string).collect();
            Failure::new(format!("there is no verdict {word:?}")).hint(format!("one of {}", all.join(", ")))
        })
}
