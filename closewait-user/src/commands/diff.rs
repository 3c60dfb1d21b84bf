//! `diff A B`: which causes are new, grown, shrunk or gone from one run to another.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::replay;
use super::reporting::{say, settle};
use crate::cli::{DiffArgs, OutputFormat};
use crate::diagnostics;
use crate::error::Failure;
use crate::exit::Exit;
use crate::privileges::{Work, as_caller};
use crate::progress;
use crate::report::compare::{Causes, Change, Sockets};
use crate::report::text::style::plural;

/// Compares two recordings or JSON reports.
pub fn run(args: &DiffArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.verbose);
    settle(Work::Replay { opens: true });
    progress::allow(args.output == OutputFormat::Json);
    let (before, after) = (causes(&args.before, args.threshold)?, causes(&args.after, args.threshold)?);
    let compared = before.compared_with(after);
    let shown = compared.iter().filter(|difference| args.all || difference.change != Change::Same);
    let mut out = io::stdout().lock();
    for difference in shown {
        let written = match args.output {
            OutputFormat::Text => writeln!(out, "{difference}"),
            OutputFormat::Json => serde_json::to_writer(&mut out, difference)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| Failure::new(format!("cannot write to stdout: {error}")))?,
        }
    }
    let recognised: u64 = compared.iter().map(|difference| difference.recognised).sum();
    if recognised > 0 {
        say(&format!(
            "{} {} in both runs under another cause, for one of these knows less of them, as when it began after \
             they were opened: counted by the cause that the other has (\"recognised\")",
            plural(recognised, "socket"),
            if recognised == 1 { "is" } else { "are" }
        ));
    }
    let worse = compared.iter().any(|difference| matches!(difference.change, Change::New | Change::Grown));
    if compared.iter().all(|difference| difference.change == Change::Same) {
        say("no cause is new, grown, shrunk or gone");
    }
    Ok(if args.fail_on_growth && worse { Exit::Stuck } else { Exit::Fine })
}

/// The causes in a file of either kind.
fn causes(path: &Path, threshold: Option<Duration>) -> Result<Causes, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot compare {}: {error}", path.display()));
    let mut start = [0];
    let mut file = as_caller(|| File::open(path)).map_err(|error| failed(&error))?;
    let read = file.read(&mut start).map_err(|error| failed(&error))?;
    if read == 0 {
        return Err(failed(&"the file is empty"));
    }
    if start != *b"{" {
        let sockets = Sockets::default();
        let (summary, incomplete) = replay::summary(path, threshold, Box::new(sockets.clone()))?;
        for text in incomplete {
            say(&text);
        }
        return Ok(Causes::of(&summary, &sockets));
    }
    let reader = BufReader::new(start.as_slice().chain(file));
    let lines: Vec<_> = reader.lines().collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    let (causes, unread) = Causes::of_lines(lines.iter().map(String::as_str));
    if unread > 0 {
        say(&format!("{}: {unread} lines are no reports and were left out", path.display()));
    }
    Ok(causes)
}
