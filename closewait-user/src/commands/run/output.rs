//! Where the report goes: stderr or a file, a JUnit file, annotations.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::collect::Collected;
use super::gate::{Outcome, Reported};
use super::user::User;
use crate::cli::{OutputFormat, RunArgs};
use crate::clock::Clock;
use crate::commands::reporting::{flame_sink, html_sink};
use crate::error::Failure;
use crate::files;
use crate::report::{
    JsonSink, Notice, Report, Reporter, Sink, Style, TextOptions, TextSink, Totals, annotations,
    color_choice, entered, junit,
};

/// The open files.
pub(super) struct Outputs {
    report: Option<File>,
    junit: Option<File>,
    flames: Vec<Box<dyn Sink>>,
    html: Option<Box<dyn Sink>>,
}

impl Outputs {
    /// Opens them before the command starts: a wrong path costs no test run. What is new
    /// belongs to `user`.
    pub(super) fn open(args: &RunArgs, user: Option<&User>) -> Result<Self, Failure> {
        let open = |option: &str, path: &Path| {
            let cannot = |error| Failure::new(format!("{option} {}: {error}", path.display()));
            let created = files::create(path, 0o666, user.map(User::uid)).map_err(cannot)?;
            match user {
                Some(user) if created.is_new => user.own(&created.file).map_err(cannot)?,
                _ => {}
            }
            Ok::<File, Failure>(created.file)
        };
        Ok(Self {
            report: args.report_file.as_deref().map(|path| open("--report", path)).transpose()?,
            junit: args.junit.as_deref().map(|path| open("--junit", path)).transpose()?,
            flames: args
                .report
                .flame
                .iter()
                .map(|path| Ok(flame_sink(path, open("--flame", path)?)))
                .collect::<Result<_, Failure>>()?,
            html: match &args.report.html {
                Some(path) => Some(html_sink(open("--html", path)?)),
                None => None,
            },
        })
    }

    /// Writes everything.
    pub(super) fn write(
        self,
        args: &RunArgs,
        outcome: &Outcome,
        collected: &Collected,
        totals: Totals,
    ) -> Result<(), Failure> {
        let cannot = |error| Failure::new(format!("cannot write the report: {error}"));
        let counted: Vec<_> = outcome.counted.iter().map(|reported| &*reported.finding).collect();
        if let Some(mut file) = self.junit {
            junit::write(&mut file, &counted).map_err(cannot)?;
        }
        if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            // The runner reads them on either stream.
            let workspace = std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
            let workspace = workspace.or_else(|| std::env::current_dir().ok());
            annotations::write(&mut io::stderr(), &counted, workspace.as_deref()).map_err(cannot)?;
        }
        let mut files = self.flames;
        files.extend(self.html);
        write(files, false, outcome, collected, totals.clone()).map_err(cannot)?;
        let to_file = self.report.is_some();
        if !to_file && counted.is_empty() && outcome.others.is_empty() && collected.notices.is_empty() {
            return Ok(());
        }
        let sink = sink(args, self.report, totals.threshold);
        let with_ends = args.report.output == OutputFormat::Json;
        write(vec![sink], with_ends, outcome, collected, totals).map_err(cannot)
    }
}

/// `with_ends`: what has ended is said to have. (In text that would hide it among the
/// causes of which nothing is left.)
fn write(
    sinks: Vec<Box<dyn Sink>>,
    with_ends: bool,
    outcome: &Outcome,
    collected: &Collected,
    totals: Totals,
) -> io::Result<()> {
    let mut reporter = Reporter::new(sinks);
    reporter.set_apart(outcome.apart);
    let (clock, now) = (Clock::read(), totals.ended);
    reporter.tick(&clock, totals.began)?;
    for notice in &collected.notices {
        let Notice { level, text, hint } = notice.clone();
        reporter.report(Report::Notice(Notice { level, text, hint }), &clock, now)?;
    }
    for (gap, at) in &collected.losses {
        reporter.report(Report::Loss(*gap), &clock, *at)?;
    }
    // As it came about, not when it was looked at last: a page shows that over the time.
    let stuck_at = |reported: &Reported| {
        let (entered, _) = entered(&reported.finding.suspect);
        (entered + totals.threshold).min(reported.finding.at)
    };
    let mut all: Vec<_> = outcome.counted.iter().chain(&outcome.others).collect();
    all.sort_by_key(|reported| stuck_at(reported));
    for reported in all {
        let Reported { finding, release } = reported;
        let ghost = finding.suspect.kind != crate::tracker::SuspectKind::Stuck;
        let report = if ghost { Report::Ghost(finding.clone()) } else { Report::Stuck(finding.clone()) };
        reporter.report(report, &clock, stuck_at(reported))?;
        if let (true, Some(release)) = (with_ends, release) {
            reporter.report(Report::Released(release.clone()), &clock, release.released.at)?;
        }
    }
    reporter.finish(totals, &clock).1
}

/// The sink that the options ask for.
fn sink(args: &RunArgs, file: Option<File>, threshold: Duration) -> Box<dyn Sink> {
    let style = match &file {
        Some(_) => Style { color: false, width: 99 },
        None => Style {
            color: color_choice(
                args.report.color,
                io::IsTerminal::is_terminal(&io::stderr()),
                std::env::var("NO_COLOR").ok().as_deref(),
            ),
            width: 99,
        },
    };
    let out: Box<dyn Write> = match file {
        Some(file) => Box::new(io::BufWriter::new(file)),
        None => Box::new(io::stderr()),
    };
    match args.report.output {
        OutputFormat::Json => Box::new(JsonSink::new(out, args.report.group)),
        OutputFormat::Text => {
            let options = TextOptions {
                style,
                threshold,
                group: !args.report.no_group,
                limit: args.report.limit,
                interval: None,
                once: true,
            };
            Box::new(TextSink::new(out, Box::new(io::stderr()), options))
        }
    }
}
