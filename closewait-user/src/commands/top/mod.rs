//! `top`: the causes of stuck sockets on a live screen, or those of a recording.
//!
//! One more sink of the reporter keeps the state of the screen; keys change it; both run in
//! the one event loop, and a thread takes the pictures to the terminal: one that takes no output
//! holds up that thread only. When it ends, the terminal is as it was, and the full
//! report is printed on it.

pub mod keys;
pub mod model;
mod painter;
mod recorded;
pub mod sink;
pub mod state;
pub mod terminal;
pub mod view;
mod way;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_core::Stream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::reporting::{Repeat, color, ended, files, filter_here, listen, runtime, text_options};
use super::trace::{Found, metrics, prepare};
use crate::cli::{OutputFormat, TopArgs};
use crate::diagnostics;
use crate::driver::Stop;
use crate::enrich::states::StateCounter;
use crate::error::Failure;
use crate::exit::Exit;
use crate::report::escape::escape;
use crate::report::{Sink, TextOptions};
use keys::action;
use sink::{Shared, TopSink};
use state::Wish;
use terminal::{Screen, present};
use view::Looks;

/// How often the screen is renewed, unless the user says.
const RENEW: Duration = Duration::from_secs(1);

/// Shows a screen until the user leaves it.
pub fn run(args: &TopArgs) -> Result<Exit, Failure> {
    if args.trace.config.is_some() || args.trace.check_config {
        return Err(Failure::new("--config and --check-config are for live tracing, not for top"));
    }
    diagnostics::start(args.trace.report.verbose);
    if args.trace.report.output == OutputFormat::Json {
        return Err(Failure::new("top is a screen, and knows no --output json")
            .hint("`closewait-trace -o json` reports the same as lines"));
    }
    present()?;
    if !args.files.is_empty() {
        return runtime()?.block_on(recorded::show(args));
    }
    runtime()?.block_on(live(args))
}

async fn live(args: &TopArgs) -> Result<Exit, Failure> {
    let args = &args.trace;
    let filter = filter_here(&args.report.filter)?;
    let mut signals = Signals::listen()?;
    let shared = Shared::new("traced");
    // Both may refuse, and sinks empty the files that they write to.
    let found = Found::new(args, &filter)?;
    let mut sinks = files(&args.report)?;
    let counter = StateCounter::spawn(filter.netns.clone());
    let metrics = metrics(args, &mut sinks).await?;
    let driver = prepare(args, filter, found, metrics, |degraded| {
        let mut top = shared.top.borrow_mut();
        if degraded.iter().any(|line| line.starts_with("tracing cannot run")) {
            top.source = "snapshots only,".into();
        }
        for line in degraded {
            top.notice(escape(line).into_owned());
        }
        let sink = TopSink::new(shared.clone(), Some(args.interval.unwrap_or(RENEW)), text_at_end(args));
        let sink: Box<dyn Sink> = match counter {
            Ok(counter) => Box::new(sink.counting(counter)),
            Err(_) => Box::new(sink),
        };
        sinks.push(sink);
        Ok(sinks)
    })?;
    open(&shared, &args.report)?;
    let (mut stop, quit) = Stop::by_hand();
    let over = Notify::new();
    let screen = async {
        let shown = watch(&shared, &mut signals, &over).await;
        drop(shared.screen.borrow_mut().take());
        quit.notify_one();
        shown
    };
    let work = async {
        let outcome = Box::pin(driver.run(&mut stop)).await;
        over.notify_one();
        outcome
    };
    let (shown, (summary, written)) = tokio::join!(screen, work);
    shown.map_err(|error| Failure::new(format!("the terminal failed: {error}")))?;
    ended(&args.report, &summary, written)
}

/// How the report at the end looks.
fn text_at_end(args: &crate::cli::TraceArgs) -> TextOptions {
    text_options(&args.report, Repeat::OnChange)
}

/// Takes the terminal over.
fn open(shared: &Shared, args: &crate::cli::ReportArgs) -> Result<(), Failure> {
    let looks = Looks { color: color(args.color), unicode: has_unicode(|name| std::env::var(name).ok()) };
    let screen = Screen::enter(looks)
        .map_err(|error| Failure::new(format!("cannot take the terminal over: {error}")))?;
    *shared.screen.borrow_mut() = Some(screen);
    Ok(())
}

/// Whether the terminal shows more than ASCII, by the first of these that is set (setlocale(3)).
fn has_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Draws what changes and follows the keys, until the user leaves or it is `over`.
async fn watch(shared: &Shared, signals: &mut Signals, over: &Notify) -> io::Result<()> {
    let mut events = EventStream::new();
    let free = shared.screen.borrow().as_ref().map(Screen::free);
    let Some(free) = free else { return Ok(()) };
    loop {
        if !draw(shared)? {
            return Ok(());
        }
        tokio::select! {
            () = free.notified() => {}
            event = next(&mut events) => match event {
                // The terminal is gone.
                None => return Ok(()),
                Some(event) => match follow(shared, &event?) {
                    Some(Wish::Quit) => return Ok(()),
                    Some(Wish::Redraw) => clear(shared)?,
                    Some(Wish::Step(_)) | None => {}
                },
            },
            () = shared.changed.notified() => {}
            () = signals.wait() => return Ok(()),
            () = over.notified() => return Ok(()),
        }
    }
}

/// Draws the picture; false when there is no screen any more.
fn draw(shared: &Shared) -> io::Result<bool> {
    match shared.screen.borrow_mut().as_mut() {
        Some(screen) => screen.draw(&mut shared.top.borrow_mut()).map(|()| true),
        None => Ok(false),
    }
}

fn clear(shared: &Shared) -> io::Result<()> {
    shared.screen.borrow_mut().as_mut().map_or(Ok(()), Screen::clear)
}

/// Does what an event stands for.
fn follow(shared: &Shared, event: &Event) -> Option<Wish> {
    let mut top = shared.top.borrow_mut();
    match event {
        Event::Key(key) => action(key, top.typing).and_then(|action| top.act(action)),
        // A new size: the next picture has it.
        _ => None,
    }
}

async fn next(events: &mut EventStream) -> Option<io::Result<Event>> {
    poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await
}

/// What ends the screen from outside.
struct Signals {
    stop: Stop,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let hangup = signal(SignalKind::hangup());
        let hangup = hangup.map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
        Ok(Self { stop: listen()?, hangup })
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.stop.wait() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_tells_whether_bars_can_be_drawn() {
        let table = [
            (vec![("LANG", "en_US.UTF-8")], true),
            (vec![("LANG", "C.utf8")], true),
            (vec![("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
            (vec![("LANG", "C"), ("LC_CTYPE", "C.UTF-8"), ("LC_ALL", "")], true),
            (vec![("LANG", "de_DE.ISO-8859-1")], false),
            (vec![], false),
        ];
        for (set, want) in table {
            let variable = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(has_unicode(variable), want, "{set:?}");
        }
    }
}
