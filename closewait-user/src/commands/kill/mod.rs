//! `kill`: destroys stuck sockets (SOCK_DESTROY), and says what that did not do: it frees
//! no descriptor unless the owner reacts.
//!
//! One snapshot with its verdicts, exactly as `snapshot` makes it; then `choice` decides
//! (pure), `destroy` acts, `owners` looks at descriptors before and after, `output` tells.

mod choice;
mod destroy;
mod output;
mod owners;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::named;
use super::reporting::{filter_here, listen, runtime, say};
use super::run::collect::{Collected, Collector};
use super::snapshot;
use crate::cli::{KillArgs, OutputFormat};
use crate::clock::Clock;
use crate::diagnostics;
use crate::driver::Stop;
use crate::error::Failure;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::privileges::Work;
use crate::progress;
use crate::report::escape::escape;
use crate::report::kill::{Killed, Outcome};
use crate::report::text::kill::Told;
use crate::report::{Apart, Finding, Sink};
use crate::verdict::Code;
pub use choice::Remote;
use choice::{Choice, Wanted};
pub use destroy::Destroyer;
use output::Output;
use owners::Owners;

/// Destroys what the options choose, or says what it would destroy.
pub fn run(args: &KillArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.verbose);
    progress::allow(args.output == OutputFormat::Json);
    let filter = filter_here(&args.filter)?;
    destroy::is_possible()?;
    runtime()?.block_on(kill(args, filter))
}

async fn kill(args: &KillArgs, filter: Filter) -> Result<Exit, Failure> {
    let mut stop = listen()?;
    let (collected, apart) = Box::pin(look(args, filter.clone(), &mut stop)).await?;
    for notice in &collected.notices {
        say(&escape(&notice.text));
        notice.hint.iter().for_each(|hint| say(&format!("  hint: {}", escape(hint))));
    }
    let wanted = Wanted {
        remotes: args.remote.clone(),
        older_than: args.older_than.unwrap_or(args.threshold),
        verdicts: args.verdict.clone(),
    };
    let (mut chosen, mut spared) = (Vec::new(), Vec::new());
    for socket in collected.sockets.values().filter(|socket| socket.release.is_none()) {
        match wanted.choose(&socket.finding) {
            Choice::Destroy => chosen.push(&*socket.finding),
            Choice::Spare(why) => spared.push((&*socket.finding, why)),
            Choice::Not => {}
        }
    }
    let mut output = Output::new(args.output);
    let acted = act(args, filter, &chosen, &mut stop, &mut output).await;
    let interrupted = match acted.and_then(|interrupted| output.spared(spared).map(|()| interrupted)) {
        // A dry run has no more to tell than its reader wants to know.
        Err(error) if !args.yes && error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Fine),
        Err(error) => {
            return Err(Failure::new(format!("cannot write what was done: {error}"))
                .hint("it has stopped there: what was destroyed after the last line is one socket at most"));
        }
        Ok(interrupted) => interrupted,
    };
    let failed =
        output.finish(!args.yes, apart).map_err(|error| Failure::new(format!("cannot write: {error}")))?;
    if interrupted {
        return Err(Failure::new("interrupted: the rest was let be"));
    }
    if failed == 0 {
        return Ok(Exit::Fine);
    }
    let are = if failed == 1 { "socket is" } else { "sockets are" };
    Err(Failure::new(format!("{failed} {are} not destroyed, for the reason beside each")))
}

/// Destroys, unless it is a dry run, and tells of each. Returns whether it was interrupted.
async fn act(
    args: &KillArgs,
    filter: Filter,
    chosen: &[&Finding],
    stop: &mut Stop,
    output: &mut Output,
) -> io::Result<bool> {
    let mut destroyer = Destroyer::new(filter.netns);
    let mut owners = Owners::of(chosen);
    let mut done = Vec::new();
    let mut interrupted = false;
    for &finding in chosen {
        let mut killed = Killed { at: Clock::mono_now(), finding, outcome: Outcome::WouldDestroy };
        if let (true, Some(cookie)) = (args.yes, killed.cookie()) {
            killed.outcome = destroyer.destroy(finding.suspect.netns, finding.suspect.tuple, cookie);
        }
        if killed.outcome == Outcome::Destroyed {
            done.push(finding);
        }
        output.killed(&killed)?;
        interrupted = tokio::select! {
            biased;
            () = stop.wait() => true,
            () = tokio::task::yield_now() => false,
        };
        if interrupted {
            break;
        }
    }
    let told: &[&Finding] = if args.yes { &done } else { chosen };
    owners.keep(told);
    let owners = if args.yes {
        let _waiting = progress::begin("waiting for what the owners make of it", None);
        owners.after().await
    } else {
        owners.before()
    };
    if told.is_empty() {
        return Ok(interrupted);
    }
    let unaccepted = told.iter().any(|finding| finding.verdict.code == Code::NotAccepted);
    let unknown = told.iter().any(|finding| finding.evidence.holders.known().is_none());
    output.owners(&owners, Told { dry: !args.yes, unknown, unaccepted })?;
    Ok(interrupted)
}

/// What is stuck now, judged, and what that was not found out of.
async fn look(args: &KillArgs, filter: Filter, stop: &mut Stop) -> Result<(Collected, Apart), Failure> {
    let collected = Rc::new(RefCell::new(Collected::default()));
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Collector(Rc::clone(&collected)))];
    let notices = named::check(&filter)?;
    let driver = snapshot::prepare(Work::Kill, sinks, filter, notices, args.threshold)?;
    let _looking = progress::begin("looking at sockets and who holds them", None);
    let interrupt = stop.interrupt().clone();
    let mut by_nobody = Stop::by_nobody(interrupt.clone());
    let interrupted = || Failure::new("interrupted before anything was destroyed");
    let (summary, written) = tokio::select! {
        biased;
        () = stop.wait() => return Err(interrupted()),
        ran = driver.run(&mut by_nobody) => ran,
    };
    // What was not looked at because of that is not to be taken for all there is.
    if interrupt.is_raised() {
        return Err(interrupted());
    }
    written.map_err(|error| Failure::new(format!("cannot look: {error}")))?;
    Ok((collected.take(), summary.apart))
}
