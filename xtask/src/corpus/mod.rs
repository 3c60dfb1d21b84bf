//! `cargo xtask corpus`: incidents of real software, each driven in a network
//! namespace of its own, and whether the tool tells the truth of them.
//!
//! A case is a label in tests/corpus/cases and a driver in tests/corpus/drivers (see
//! tests/corpus/README.md). Needs root. Fails when anything was not right.

mod install;
mod judge;
mod label;
mod program;
mod room;
mod scene;
mod table;

use crate::{build::Executables, command, privilege, stopwatch::Stopwatch, workspace};
use anyhow::{Context, Result, bail, ensure};
use install::Installed;
use label::Case;
use std::{
    env,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};
use table::Row;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name contains this
    name: Option<String>,
    /// Install what the cases need, and play none
    #[arg(long)]
    install: bool,
    /// List the cases, and play none
    #[arg(long)]
    list: bool,
    /// Cases played at a time: most of a case is waiting
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
}

/// # Errors
/// When software is missing, an incident could not be made, or the tool was wrong.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = label::all(&workspace::root().join("tests/corpus/cases"))?;
    let is_chosen = |case: &&Case| args.name.as_ref().is_none_or(|name| case.name.contains(name.as_str()));
    let mut cases: Vec<&Case> = all.iter().filter(is_chosen).collect();
    ensure!(!cases.is_empty(), "no case has that name; `cargo xtask corpus --list` lists them");
    if args.list {
        for case in cases {
            println!("{:<28} {}", case.name, case.label.title);
        }
        return Ok(());
    }
    let installed = Installed::here();
    if args.install {
        return installed.install(&cases);
    }
    let tool = tool()?;
    if !privilege::is_root() {
        return as_root(&tool, args);
    }
    // The longest first, so that they do not wait for the others.
    cases.sort_by_key(|case| std::cmp::Reverse(case.label.watch_s));
    let began = Stopwatch::start();
    let mut rows = play_all(&cases, args.jobs, &tool, &installed);
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    print!("{}", table::table(&rows));
    println!("{}", table::summary(&rows, began.elapsed()));
    let wrong = rows.iter().filter(|row| !row.is_right()).count();
    ensure!(wrong == 0, "{wrong} of {} cases are not right", rows.len());
    Ok(())
}

fn play_all(cases: &[&Case], jobs: u8, tool: &Path, installed: &Installed) -> Vec<Row> {
    let left = Mutex::new(cases.iter());
    let rows = Mutex::new(Vec::new());
    let next = || left.lock().ok()?.next().copied();
    let work = || {
        while let Some(case) = next() {
            let row = Row::new(case, play(case, tool, installed));
            eprintln!("{}", row.line());
            if let Ok(mut rows) = rows.lock() {
                rows.push(row);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    rows.into_inner().unwrap_or_default()
}

fn play(case: &Case, tool: &Path, installed: &Installed) -> Result<scene::Outcome> {
    let missing = installed.missing(&case.label.needs);
    if !missing.is_empty() {
        bail!("not installed: {}; run `cargo xtask corpus --install`", missing.join(", "));
    }
    scene::play(case, tool, installed)
}

/// The tool: `CLOSEWAIT_TRACE_BIN`, else built as people run it.
fn tool() -> Result<PathBuf> {
    if let Some(tool) = env::var_os("CLOSEWAIT_TRACE_BIN") {
        return Ok(tool.into());
    }
    let built = Executables::build(&["build", "--release", "--bin", "closewait-trace"], None)?;
    Ok(built.get("closewait-trace")?.to_owned())
}

/// The same chore again, through sudo.
fn as_root(tool: &Path, args: &Args) -> Result<()> {
    let this = env::current_exe().context("cannot find this program")?;
    let mut command = privilege::command("env")?;
    command.arg(format!("CLOSEWAIT_TRACE_BIN={}", tool.display()));
    command.arg(format!("CARGO_TARGET_DIR={}", workspace::target_dir().display()));
    command.arg(this).args(["corpus", "--jobs", &args.jobs.to_string()]).args(&args.name);
    command::run(&mut command)
}
