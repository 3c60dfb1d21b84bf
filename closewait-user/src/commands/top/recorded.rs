//! `top FILE`: a recording on the screen. It is played to its end at once; then its time can
//! be stepped through, for which it is played again up to there.

use std::io::{self, Write};

use super::super::replay::{Files, begun, open_all, play, reading};
use super::super::reporting::{ended, files, filter, settle};
use super::sink::{Shared, TopSink};
use super::state::Wish;
use super::terminal::Screen;
use super::way::Way;
use super::{Signals, clear, draw, follow, next, open, text_at_end, way};
use crate::cli::TopArgs;
use crate::clock::MonoNs;
use crate::error::Failure;
use crate::exit::Exit;
use crate::fact::Fact;
use crate::privileges::Work;
use crate::progress;
use crate::recording::replay::{Replay, Wanted};
use crate::report::{History, Reporter, Sink};
use crossterm::event::EventStream;

/// A recording's time is stepped through in so many steps.
const STEPS: i32 = 20;

/// What the numbers come from.
const SOURCE: &str = "recording";
const READING: &str = "reading it,";

/// Shows it until the user leaves.
pub(super) async fn show(args: &TopArgs) -> Result<Exit, Failure> {
    let report = &args.trace.report;
    let mut signals = Signals::listen()?;
    let shared = Shared::new(SOURCE);
    shared.top.borrow_mut().states = Fact::unknown("a recording does not have them");
    let at_end = files(report)?;
    settle(Work::Replay { opens: true });
    progress::allow(false);
    let (mut replay, mut incomplete) = played(args, &shared, MonoNs(u64::MAX), Vec::new())?;
    progress::forbid();
    let whole = Whole { began: replay.began(), ended: replay.now() };
    whole.place(&shared, &replay);
    let history = shared.top.borrow().history.clone();
    open(&shared, report)?;
    let mut events = EventStream::new();
    let free = shared.screen.borrow().as_ref().map(Screen::free);
    let Some(free) = free else { return Err(Failure::new("there is no screen")) };
    let mut step = STEPS;
    loop {
        let shown = renew(&shared, &mut replay);
        if !shown.map_err(|error| failed(&error))? {
            break;
        }
        let event = tokio::select! {
            // What could not be drawn at once.
            () = free.notified() => continue,
            event = next(&mut events) => event,
            () = signals.wait() => None,
        };
        let Some(event) = event else { break };
        match follow(&shared, &event.map_err(|error| failed(&error))?) {
            Some(Wish::Quit) => break,
            Some(Wish::Redraw) => clear(&shared).map_err(|error| failed(&error))?,
            Some(Wish::Step(steps)) => {
                let to = (step + steps).clamp(1, STEPS);
                if to != step {
                    step = to;
                    // Seen only where it takes its time.
                    shared.top.borrow_mut().source = READING.into();
                    draw(&shared).map_err(|error| failed(&error))?;
                    (replay, incomplete) = played(args, &shared, whole.moment(step), Vec::new())?;
                    whole.place(&shared, &replay);
                    shared.top.borrow_mut().source = SOURCE.into();
                    // The picture of the whole time stays.
                    shared.top.borrow_mut().history = history.clone();
                }
            }
            None => {}
        }
    }
    drop(shared.screen.borrow_mut().take());
    if step != STEPS || !at_end.is_empty() {
        // What is printed and written is about all of it.
        if Way::stdout().is_ok_and(Way::takes) {
            progress::allow(false);
        }
        (replay, incomplete) = played(args, &shared, MonoNs(u64::MAX), at_end)?;
    }
    for text in &incomplete {
        // Whoever closed it wants none.
        let _ = writeln!(way::notes(), "closewait-trace: {text}");
    }
    let (summary, written) = replay.finish(incomplete);
    ended(report, &summary, written)
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(format!("the terminal failed: {error}"))
}

/// Looks at the ledger if that is asked for, and draws.
fn renew(shared: &Shared, replay: &mut Replay) -> io::Result<bool> {
    let shown = draw(shared)?;
    if shared.top.borrow().asks().is_none() && !shared.look.get() {
        return Ok(shown);
    }
    replay.show()?;
    draw(shared)
}

/// Plays the recording up to a moment.
fn played(
    args: &TopArgs,
    shared: &Shared,
    to: MonoNs,
    mut sinks: Vec<Box<dyn Sink>>,
) -> Result<(Replay, Vec<String>), Failure> {
    let report = &args.trace.report;
    let _reading = reading(&args.files);
    let files: Files<'_> = open_all(&args.files)?;
    let (header, clock) = begun(&files)?;
    let wanted = Wanted {
        threshold: report.threshold.unwrap_or(header.threshold),
        filter: filter(&report.filter)?,
        from: MonoNs(0),
        to,
    };
    let mut text = text_at_end(&args.trace);
    text.threshold = wanted.threshold;
    shared.top.borrow_mut().history = History::default();
    sinks.push(Box::new(TopSink::new(shared.clone(), None, text)));
    let replay = Replay::new(wanted, header, clock, Reporter::new(sinks));
    let played = play(replay, files)?.ok_or_else(|| Failure::new("the reports could not be written"))?;
    shared.look.set(true);
    Ok(played)
}

/// All of a recording's time.
#[derive(Clone, Copy)]
struct Whole {
    began: MonoNs,
    ended: MonoNs,
}

impl Whole {
    /// The moment after so many steps.
    fn moment(self, step: i32) -> MonoNs {
        if step >= STEPS {
            return MonoNs(u64::MAX);
        }
        self.began + self.ended.since(self.began) / STEPS.unsigned_abs() * step.unsigned_abs()
    }

    /// Says where a replay stands.
    fn place(self, shared: &Shared, replay: &Replay) {
        let at = replay.now().since(self.began);
        shared.top.borrow_mut().place = Some((at, self.ended.since(self.began)));
    }
}
