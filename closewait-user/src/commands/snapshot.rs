//! `snapshot`: one look at what is stuck now. It needs no BPF; ages are intervals, and
//! openers and stacks are unknown.

use std::time::Duration;

use super::named;
use super::reporting::{
    Repeat, cannot_spawn, ended, enricher, filter_here, listen, runtime, say_lost, settle, sinks,
};
use crate::cli::{OutputFormat, ReportArgs};
use crate::diagnostics;
use crate::driver::{Driver, Ends, Parts};
use crate::error::Failure;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::privileges::Work;
use crate::progress;
use crate::report::{Notice, Reporter, Sink};
use crate::stack::Stacks;

/// Looks once, which takes two looks half a second apart.
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.verbose);
    progress::allow(args.output == OutputFormat::Json);
    let filter = filter_here(&args.filter)?;
    // It may refuse, and sinks empty the files that they write to.
    let notices = named::check(&filter)?;
    let sinks = sinks(args, Repeat::Never)?;
    runtime()?.block_on(async {
        let mut stop = listen()?;
        let driver = prepare(Work::Look, sinks, filter, notices, args.threshold())?;
        let _looking = progress::begin("looking at sockets and who holds them", None);
        let (summary, written) = Box::pin(driver.run(&mut stop)).await;
        ended(args, &summary, written)
    })
}

/// Everything that one look needs, for the `work` of this thread.
pub(super) fn prepare(
    work: Work,
    sinks: Vec<Box<dyn Sink>>,
    filter: Filter,
    notices: Vec<Notice>,
    threshold: Duration,
) -> Result<Driver, Failure> {
    let stacks = Stacks::spawn().map_err(cannot_spawn)?;
    let enricher = enricher()?;
    let degraded = say_lost(work);
    settle(work);
    Ok(Driver::new(Parts {
        loaded: None,
        source: None,
        enricher,
        stacks,
        reporter: Reporter::new(sinks),
        filter,
        threshold,
        ends: Ends::AfterFirstLook,
        degraded,
        recorder: None,
        only: None,
        metrics: None,
        notices,
    }))
}
