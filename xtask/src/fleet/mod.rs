//! `cargo xtask fleet`: what many hosts would send and store, measured on a few hundred
//! made-up ones that a real Prometheus scrapes on loopback; and whether an alert fires when
//! a program leaks.

mod alert;
mod hosts;
mod prometheus;
mod table;

pub(crate) use alert::{Leak, shortened};
pub(crate) use prometheus::{Programs, Prometheus};

use crate::{
    build::{self, Executables},
    workspace,
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Hosts to make up
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(3..=1000))]
    hosts: u32,
    /// Seconds for which they are scraped, once a second
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=3600))]
    seconds: u64,
    /// Seconds between two scrapes in the fleet that is extrapolated to
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,
    /// Only check the rules, and that an alert fires
    #[arg(long)]
    alert_only: bool,
    /// Write the tables to this file, too
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Measures, and prints two tables.
///
/// # Errors
/// When Prometheus cannot be had, a host does not answer, or an alert does not fire.
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = Programs::find().context("no Prometheus")?;
    programs.check_rules()?;
    let what = ["build", "--release", "--bin", "closewait-trace", "--example", "made_up_hosts"];
    let built = Executables::build(&what[..if args.alert_only { 4 } else { 6 }], None)?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let lines = alert::fires(&programs, built.get("closewait-trace")?, &scenarios)?;
    eprintln!("alerts fire on a leak, and when the tool is gone");
    if args.alert_only {
        return Ok(());
    }
    let time = Duration::from_secs(args.seconds);
    let scraped = hosts::scraped(&programs, built.get("made_up_hosts")?, args.hosts, time)?;
    let hosts: usize = scraped.kinds.iter().map(|kind| kind.hosts).sum();
    let text = format!(
        "{hosts} hosts, scraped once a second for {} s: the slowest scrape took {:.0} ms, {:.0} failed. {}",
        args.seconds,
        scraped.slowest * 1e3,
        scraped.failed,
        table::markdown(&scraped.kinds, &scraped.disk, Some(&lines), args.interval.into()),
    );
    println!("{text}");
    if let Some(out) = &args.out {
        fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}

/// For CI: the rules, and one alert from a leak to the end. `None` when there is no
/// Prometheus to be had, with the reason.
///
/// # Errors
/// When a rule is wrong or an alert does not fire.
pub(crate) fn check(tool: &Path, scenarios: &Path) -> Result<Option<String>> {
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("no Prometheus: {error:#}");
            return Ok(Some(
                "Prometheus is not installed, and its package cannot be had (see above)".to_owned(),
            ));
        }
    };
    programs.check_rules()?;
    alert::fires(&programs, tool, scenarios)?;
    Ok(None)
}
