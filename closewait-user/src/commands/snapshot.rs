//! `snapshot`: one look at what is stuck now. It needs no BPF; ages are intervals, and
//! openers and stacks are unknown.

use super::named;
use super::reporting::{
    Repeat, cannot_spawn, ended, enricher, filter_here, listen, runtime, say_lost, settle, sinks,
};
use crate::cli::{OutputFormat, ReportArgs};
use crate::diagnostics;
use crate::driver::{Driver, Ends, Parts};
use crate::error::Failure;
use crate::exit::Exit;
use crate::privileges::Work;
use crate::progress;
use crate::report::Reporter;
use crate::stack::Stacks;

/// Looks once, which takes two looks half a second apart.
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    diagnostics::start(args.verbose);
    progress::allow(args.output == OutputFormat::Json);
    let filter = filter_here(&args.filter)?;
    let notices = named::check(&filter)?;
    let sinks = sinks(args, Repeat::Never)?;
    runtime()?.block_on(async {
        let mut stop = listen()?;
        let stacks = Stacks::spawn().map_err(cannot_spawn)?;
        let enricher = enricher()?;
        let degraded = say_lost(Work::Look);
        settle(Work::Look);
        let driver = Driver::new(Parts {
            loaded: None,
            source: None,
            enricher,
            stacks,
            reporter: Reporter::new(sinks),
            filter,
            threshold: args.threshold(),
            ends: Ends::AfterFirstLook,
            degraded,
            recorder: None,
            only: None,
            metrics: None,
            notices,
        });
        let _looking = progress::begin("looking at sockets and who holds them", None);
        let (summary, written) = driver.run(&mut stop).await;
        ended(args, &summary, written)
    })
}
