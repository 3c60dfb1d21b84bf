//! `cargo xtask test`: everything CI runs, in stages, with times against budgets.
//!
//! The first stage that fails ends the run; the table says which, and the last
//! line is a result line like libtest's, summed over all stages.

mod stages;

use crate::{counts::Counts, deny, stopwatch::Stopwatch};
use anyhow::Result;
use stages::{Done, STAGES, Stage};
use std::{env, process::ExitCode, time::Duration};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install cargo-deny too, which takes minutes, so that its stage runs
    #[arg(long)]
    full: bool,
}

/// What .ci/run may take before it calls this chore; with the stages' budgets it
/// stays below the 45 minutes that CI has.
const SETUP_BUDGET_MIN: u32 = 2;

/// One line of the table.
struct Row {
    stage: &'static Stage,
    /// How long it took; `None` when an earlier stage failed
    took: Option<Duration>,
    outcome: String,
}

/// Runs all stages. A failure is printed here, so that the result line stays the last.
///
/// # Errors
/// When cargo-deny was asked for and cannot be installed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.full {
        deny::install()?;
    }
    let mut counts = Counts::default();
    let mut failure = None;
    let mut rows = Vec::new();
    for stage in &STAGES {
        if failure.is_some() {
            rows.push(Row { stage, took: None, outcome: "not run".to_owned() });
            continue;
        }
        eprintln!("\n=== {} ===", stage.name);
        let clock = Stopwatch::start();
        let outcome = match (stage.run)() {
            Ok(Done::Checked) => "ok".to_owned(),
            Ok(Done::Tested(tested)) => {
                counts += tested.counts;
                format!("ok: {tested}")
            }
            Ok(Done::Told(what)) => format!("ok: {what}"),
            Ok(Done::Left(why)) => format!("left out: {why}"),
            Err(error) => {
                failure = Some(format!("stage `{}` failed: {error:#}", stage.name));
                "FAILED".to_owned()
            }
        };
        rows.push(Row { stage, took: Some(clock.elapsed()), outcome });
    }
    table(&rows);
    match failure {
        None => {
            println!("test result: ok. {counts}");
            Ok(ExitCode::SUCCESS)
        }
        Some(failure) => {
            println!("\nerror: {failure}");
            println!("test result: FAILED. {counts}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn table(rows: &[Row]) {
    println!("\n{:<32} {:>8} {:>8}  outcome", "stage", "took", "budget");
    let mut took = Duration::ZERO;
    let mut budget = 0;
    // .ci/run tells how long it took before us.
    if let Some(setup_s) = env::var("CLOSEWAIT_CI_SETUP_S").ok().and_then(|setup| setup.parse().ok()) {
        took = Duration::from_secs(setup_s);
        budget = SETUP_BUDGET_MIN;
        println!("{:<32} {:>8} {:>8}  ok", "setup", seconds(took), seconds(minutes(budget)));
    }
    for Row { stage, took: stage_took, outcome } in rows {
        let over = stage_took.is_some_and(|took| took > minutes(stage.budget_min));
        let shown = stage_took.map_or_else(|| "-".to_owned(), seconds);
        let note = if over { ", OVER BUDGET" } else { "" };
        println!("{:<32} {shown:>8} {:>8}  {outcome}{note}", stage.name, seconds(minutes(stage.budget_min)));
        took += stage_took.unwrap_or_default();
        budget += stage.budget_min;
    }
    println!("{:<32} {:>8} {:>8}", "all", seconds(took), seconds(minutes(budget)));
}

fn minutes(minutes: u32) -> Duration {
    Duration::from_mins(minutes.into())
}

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}
