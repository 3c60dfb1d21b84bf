//! `replay`: the same reports from a recording, by today's rules, on any machine.

use std::fs::File;
use std::io;
use std::path::Path;

use super::reporting::{ended, filter, say, sink};
use crate::cli::{Moment, ReplayArgs};
use crate::clock::{Clock, MonoNs};
use crate::diagnostics;
use crate::error::Failure;
use crate::exit::Exit;
use crate::recording::replay::{Replay, Wanted};
use crate::recording::{Damage, Header, Recording};
use crate::report::Reporter;

/// Reads the files, in the order in which they were written.
pub fn run(args: &ReplayArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.report.verbose);
    let filter = filter(&args.report.filter)?;
    let mut files = args
        .files
        .iter()
        .map(|path| Ok((path.as_path(), open(path)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    files.sort_by_key(|(_, recording)| recording.header().map_or(0, |header| header.part));
    let Some((header, clock)) =
        files.iter().find_map(|(_, file)| Some((file.header()?.clone(), file.clock()?)))
    else {
        return Err(
            Failure::new("the recording has no readable header").hint("it was cut off at its very beginning")
        );
    };
    let wanted = Wanted {
        threshold: args.report.threshold.unwrap_or(header.threshold),
        filter,
        from: args.from.map_or(MonoNs(0), |moment| at(moment, &header, &clock)),
        to: args.to.map_or(MonoNs(u64::MAX), |moment| at(moment, &header, &clock)),
    };
    let mut shown = args.report.clone();
    shown.threshold = Some(wanted.threshold);
    let mut replay = Replay::new(wanted, header, clock, Reporter::new(vec![sink(&shown, None)]));
    let mut incomplete = Vec::new();
    for (path, mut file) in files {
        if let Err(error) = feed(&mut replay, &mut file) {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(Exit::Fine),
                _ => Err(Failure::new(format!("{}: {error}", path.display()))),
            };
        }
        incomplete.extend(missing(path, file.damage()));
    }
    if replay.dropped() > 0 {
        incomplete.push(format!(
            "{} entries were dropped when it was recorded: the disk was too slow",
            replay.dropped()
        ));
    }
    for text in &incomplete {
        say(text);
    }
    let (summary, written) = replay.finish(incomplete);
    ended(&shown, &summary, written)
}

fn open(path: &Path) -> Result<Recording<File>, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot replay {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut recording = Recording::open(file).map_err(|error| failed(&error))?;
    recording.read_header().map_err(|error| failed(&error))?;
    Ok(recording)
}

fn feed(replay: &mut Replay, file: &mut Recording<File>) -> io::Result<()> {
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
