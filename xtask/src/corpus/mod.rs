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
use anyhow::{Context, Result, ensure};
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
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// Only cases whose name contains this
    name: Option<String>,
    /// Install what the cases need, and play none
    #[arg(long)]
    install: bool,
    /// List the cases, and play none
    #[arg(long)]
    list: bool,
    /// Print what the tool says to people of one case, and judge nothing
    #[arg(long, requires = "name")]
    show: bool,
    /// Play a few cases that are not right once more, and say so
    #[arg(long)]
    second_attempt: bool,
    /// Cases played at a time: most of a case is waiting
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
}

/// Of so many cases or fewer a second attempt tells whether they were chance: software that
/// could not be started, or that was late, on a machine that has other things to do.
const FEW: usize = 8;
/// So many are played at a time then.
const JOBS_AGAIN: u8 = 3;

/// # Errors
/// When software is missing, an incident could not be made, or the tool was wrong.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = cases()?;
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
    if args.show {
        let exact = cases.iter().find(|case| Some(&case.name) == args.name.as_ref());
        let case = exact.or_else(|| cases.first().filter(|_| cases.len() == 1));
        let case = case.context("several cases have that in their names; `--show` is for one")?;
        installed.ensure(&case.label.needs)?;
        return scene::show(case, &tool, &installed);
    }
    // The longest first, so that they do not wait for the others.
    cases.sort_by_key(|case| std::cmp::Reverse(case.label.watch_s));
    let began = Stopwatch::start();
    let mut rows = play_all(&cases, args.jobs, &tool, &installed);
    if args.second_attempt {
        play_again(&mut rows, &cases, &tool, &installed);
    }
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

/// Plays what was not right once more, if it is little: named in the table.
fn play_again(rows: &mut Vec<Row>, cases: &[&Case], tool: &Path, installed: &Installed) {
    let wrong: Vec<&str> = rows.iter().filter(|row| !row.is_right()).map(|row| row.name.as_str()).collect();
    if wrong.is_empty() || wrong.len() > FEW {
        return;
    }
    let again: Vec<&Case> =
        cases.iter().copied().filter(|case| wrong.contains(&case.name.as_str())).collect();
    rows.retain(Row::is_right);
    for mut row in play_all(&again, JOBS_AGAIN, tool, installed) {
        row.second_attempt = true;
        rows.push(row);
    }
}

fn play(case: &Case, tool: &Path, installed: &Installed) -> Result<scene::Outcome> {
    installed.ensure(&case.label.needs)?;
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
    command.args(args.show.then_some("--show")).args(args.second_attempt.then_some("--second-attempt"));
    command::run(&mut command)
}

/// Everything that the cases need and this machine lacks.
pub(crate) fn missing() -> Result<Vec<String>> {
    let all = cases()?;
    let mut missing: Vec<String> =
        all.iter().flat_map(|case| Installed::here().missing(&case.label.needs)).collect();
    missing.sort();
    missing.dedup();
    Ok(missing)
}

/// Installs it.
pub(crate) fn install() -> Result<()> {
    let all = cases()?;
    Installed::here().install(&all.iter().collect::<Vec<_>>())
}

fn cases() -> Result<Vec<Case>> {
    label::all(&workspace::root().join("tests/corpus/cases"))
}
