//! `replay`: the same reports from a recording, by today's rules, on any machine.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::reporting::{Repeat, ended, filter, say, settle, sinks};
use crate::cli::{Moment, OutputFormat, ReplayArgs};
use crate::clock::{Clock, MonoNs};
use crate::diagnostics;
use crate::error::Failure;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::privileges::{Work, as_caller};
use crate::progress::{self, Counting, Progress};
use crate::recording::replay::{Replay, Wanted};
use crate::recording::{Damage, Header, Recording};
use crate::report::{Reporter, Sink, Summary};

/// Reads the files, in the order in which they were written.
pub fn run(args: &ReplayArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.report.verbose);
    progress::allow(args.report.output == OutputFormat::Json);
    let filter = filter(&args.report.filter)?;
    let _reading = reading(&args.files);
    let files = open_all(&args.files)?;
    let (header, clock) = begun(&files)?;
    let wanted = Wanted {
        threshold: args.report.threshold.unwrap_or(header.threshold),
        filter,
        from: args.from.map_or(MonoNs(0), |moment| at(moment, &header, &clock)),
        to: args.to.map_or(MonoNs(u64::MAX), |moment| at(moment, &header, &clock)),
    };
    let mut shown = args.report.clone();
    shown.threshold = Some(wanted.threshold);
    let replay = Replay::new(wanted, header, clock, Reporter::new(sinks(&shown, Repeat::OnChange)?));
    settle(Work::Replay { opens: false });
    let Some((replay, incomplete)) = play(replay, files)? else { return Ok(Exit::Fine) };
    for text in &incomplete {
        say(text);
    }
    let (summary, written) = replay.finish(incomplete);
    ended(&shown, &summary, written)
}

/// What a recording adds up to, reported to `sink` alone; and what of it could not be read.
pub(super) fn summary(
    path: &Path,
    threshold: Option<Duration>,
    sink: Box<dyn Sink>,
) -> Result<(Summary, Vec<String>), Failure> {
    let _reading = reading(std::slice::from_ref(&path));
    let files = open_all(std::slice::from_ref(&path))?;
    let (header, clock) = begun(&files)?;
    let wanted = Wanted {
        threshold: threshold.unwrap_or(header.threshold),
        filter: Filter::default(),
        from: MonoNs(0),
        to: MonoNs(u64::MAX),
    };
    let replay = Replay::new(wanted, header, clock, Reporter::new(vec![sink]));
    let Some((replay, incomplete)) = play(replay, files)? else {
        return Err(Failure::new("nobody listens, and still the pipe broke"));
    };
    let (summary, _) = replay.finish(incomplete.clone());
    Ok((summary, incomplete))
}

pub(super) type Files<'a> = Vec<(&'a Path, Recording<Counting>)>;

/// Opens the files of one recording and puts them in the order they were written in.
pub(super) fn open_all<P: AsRef<Path>>(paths: &[P]) -> Result<Files<'_>, Failure> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        files.push((path.as_ref(), open(path.as_ref())?));
    }
    files.sort_by_key(|(_, recording)| recording.header().map_or(0, |header| header.part));
    Ok(files)
}

pub(super) fn begun(files: &[(&Path, Recording<Counting>)]) -> Result<(Header, Clock), Failure> {
    let begun = files.iter().find_map(|(_, file)| Some((file.header()?.clone(), file.clock()?)));
    begun.ok_or_else(|| {
        Failure::new("the recording has no readable header").hint("it was cut off at its very beginning")
    })
}

/// Plays all of it; `None` when the reader of the reports went away.
pub(super) fn play(mut replay: Replay, files: Files<'_>) -> Result<Option<(Replay, Vec<String>)>, Failure> {
    let mut incomplete = Vec::new();
    for (path, mut file) in files {
        if let Err(error) = feed(&mut replay, &mut file) {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(None),
                _ => Err(Failure::new(format!("{}: {error}", path.display()))),
            };
        }
        incomplete.extend(missing(path, file.damage()));
    }
    let dropped = replay.dropped();
    if dropped > 0 {
        incomplete
            .push(format!("{dropped} entries were dropped when it was recorded: the disk was too slow"));
    }
    Ok(Some((replay, incomplete)))
}

fn open(path: &Path) -> Result<Recording<Counting>, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot replay {}: {error}", path.display()));
    let file = as_caller(|| File::open(path)).map_err(|error| failed(&error))?;
    let mut recording = Recording::open(Counting(file)).map_err(|error| failed(&error))?;
    recording.read_header().map_err(|error| failed(&error))?;
    Ok(recording)
}

/// Shows how much of the files has been read, from before the first of them is opened.
pub(super) fn reading<P: AsRef<Path>>(paths: &[P]) -> Progress {
    let size = |path: &P| Some(std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len());
    // Nobody knows how much a pipe has.
    progress::begin("reading the recording", paths.iter().map(size).sum())
}

fn feed(replay: &mut Replay, file: &mut Recording<Counting>) -> io::Result<()> {
    while let Some(reading) = file.next_entry()? {
        if !replay.take(reading)? {
            break;
        }
    }
    Ok(())
}

fn at(moment: Moment, header: &Header, clock: &Clock) -> MonoNs {
    match moment {
        Moment::After(after) => header.began + after,
        Moment::Wall(wall) => clock.mono(wall),
    }
}

/// What could not be read, in words.
fn missing(path: &Path, damage: Damage) -> Option<String> {
    let Damage { bytes, places, cut_off, entries } = damage;
    if !damage.is_any() {
        return None;
    }
    let path = path.display();
    let mut what = Vec::new();
    if places > 0 {
        what.push(format!("is damaged in {places} places"));
    }
    if cut_off {
        what.push("is cut off".to_owned());
    }
    if entries > 0 {
        what.push(format!("has {entries} entries of another version"));
    }
    Some(format!("{path} {}: {bytes} bytes could not be read; what is whole is shown", what.join(" and ")))
}
