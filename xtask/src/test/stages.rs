//! The stages of `cargo xtask test`: what each runs, and how long it may take on
//! two cores. The budgets sum to less than what CI has; `setup` takes the rest.

use crate::{
    aarch64,
    build::{self, Executables},
    command,
    counts::{Counts, Passed, Tally},
    deny, dist, ebpf, figures, fleet, image, privilege, vm, workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    env,
    process::{Command, Stdio},
};

pub(super) struct Stage {
    pub(super) name: &'static str,
    /// Minutes on two cores with nothing compiled before
    pub(super) budget_min: u32,
    pub(super) run: fn() -> Result<Done>,
}

/// What a stage that did not fail has to say.
pub(super) enum Done {
    /// Passed, and no test that can be counted
    Checked,
    Tested(Passed),
    /// Passed, and what was checked
    Told(String),
    /// Not done, or not all of it, and why: an optional tool or what it asks is missing
    Left(String),
}

/// In order: what the others need, and what fails quickly, comes first.
pub(super) const STAGES: [Stage; 12] = [
    Stage { name: "format", budget_min: 1, run: format },
    Stage { name: "BPF object from source", budget_min: 1, run: bpf_object },
    Stage { name: "lints", budget_min: 2, run: lints },
    Stage { name: "licences, advisories", budget_min: 1, run: dependencies },
    Stage { name: "aarch64, compiled", budget_min: 1, run: other_machine },
    Stage { name: "unit, property, golden, schema", budget_min: 2, run: unit },
    Stage { name: "release build, counts, image", budget_min: 3, run: release },
    Stage { name: "live, this kernel", budget_min: 9, run: live },
    Stage { name: "metrics, Prometheus", budget_min: 1, run: metrics },
    Stage { name: "packages, a bare Debian", budget_min: 2, run: packages },
    Stage { name: "incidents of real software", budget_min: 5, run: incidents },
    Stage { name: "live, VM kernels", budget_min: 15, run: vms },
];

#[cfg(test)]
#[test]
fn all_of_it_fits_into_what_ci_has() {
    let stages: u32 = STAGES.iter().map(|stage| stage.budget_min).sum();
    assert!(stages + super::SETUP_BUDGET_MIN <= 45, "{stages} and the setup");
}

fn format() -> Result<Done> {
    command::run(in_workspace().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")?;
    Ok(Done::Checked)
}

fn bpf_object() -> Result<Done> {
    ebpf::check(None)?;
    Ok(Done::Checked)
}

fn lints() -> Result<Done> {
    let mut clippy = against_built_object();
    command::run(clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Done::Checked)
}

fn dependencies() -> Result<Done> {
    let checked = deny::check()?;
    Ok(if checked.left.is_none() { Done::Told(checked.to_string()) } else { Done::Left(checked.to_string()) })
}

fn other_machine() -> Result<Done> {
    aarch64::check()?;
    Ok(Done::Checked)
}

fn unit() -> Result<Done> {
    // The live tests are a stage of their own, with root.
    let passed = counted(&["--skip", "live::"], |args| {
        let mut cargo = against_built_object();
        cargo.args(["test", "--workspace", "--locked", "--no-fail-fast", "--"]).args(args);
        Ok(cargo)
    })?;
    Ok(Done::Tested(passed))
}

/// What users install, and what the machines run; what of it can be counted; and it as an image.
fn release() -> Result<Done> {
    let tool = dist::build(Some(&ebpf::built_object()))?;
    figures::check(&tool)?;
    image::of(&tool)?;
    Ok(Done::Checked)
}

/// Some of each kind, for the tool with no more capabilities than it keeps: all of them would
/// take as long again.
const WITH_KEPT: [&str; 9] = [
    "live::doctor",
    "live::fallbacks",
    "live::ghosts",
    "live::gone",
    "live::kept",
    "live::kill::",
    "live::kinds",
    "live::owners",
    "live::starts",
];

fn live() -> Result<Done> {
    let built = Executables::build(&["test", "--no-run", "--test", "live"], Some(&ebpf::built_object()))?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let run = |tests: &[&str], more: &[(&str, &str)]| {
        counted(tests, |args| {
            let mut live = privilege::command(built.get("live")?)?;
            live.env("CLOSEWAIT_TRACE_BIN", built.get("closewait-trace")?);
            live.env("CLOSEWAIT_SCENARIOS", &scenarios).envs(more.iter().copied());
            live.args(args).current_dir(workspace::root());
            Ok(live)
        })
    };
    let mut passed = run(&[], &[])?;
    passed += run(&WITH_KEPT, &[("CLOSEWAIT_KEPT_ONLY", "1")])?;
    Ok(Done::Tested(passed))
}

/// Alert rules, and a leak that fires one.
fn metrics() -> Result<Done> {
    let built = Executables::build(&["build", "--bin", "closewait-trace"], Some(&ebpf::built_object()))?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let left = fleet::check(built.get("closewait-trace")?, &scenarios)?;
    Ok(left.map_or(Done::Checked, Done::Left))
}

/// The packages, and one of them in a bare Debian.
fn packages() -> Result<Done> {
    let left = dist::check(&ebpf::built_object())?;
    Ok(left.map_or(Done::Checked, Done::Left))
}

/// The cases of tests/corpus, most of them waiting at any time.
fn incidents() -> Result<Done> {
    let tool = dist::build(Some(&ebpf::built_object()))?;
    let mut corpus = Command::new(env::current_exe().context("cannot find this program")?);
    corpus.args(["corpus", "--second-attempt", "--jobs", "8"]);
    corpus.env("CLOSEWAIT_TRACE_BIN", tool);
    let mut passed = Passed::default();
    let ended = command::run_seen(corpus.stdin(Stdio::null()), |line| {
        if let Some(counts) = Counts::in_line(line) {
            passed.counts += counts;
        } else if let Some(names) = line.strip_prefix("ONLY IN A SECOND ATTEMPT: ") {
            passed.second_attempt.extend(names.split(", ").map(str::to_owned));
        }
    });
    ended?;
    ensure!(passed.counts.passed > 0, "no case was played");
    Ok(Done::Tested(passed))
}

fn vms() -> Result<Done> {
    vm::run(&vm::Args::whole_matrix(ebpf::built_object())).map(Done::Tested)
}

/// Runs what `tests` makes of libtest's arguments, printing as it goes, and counts it. A
/// few that fail get a second attempt.
fn counted(first: &[&str], tests: impl Fn(&[&str]) -> Result<Command>) -> Result<Passed> {
    let attempt = |args: &[&str]| -> Result<(Tally, Result<()>)> {
        let mut tally = Tally::default();
        let ended = command::run_seen(tests(args)?.stdin(Stdio::null()), |line| tally.read(line));
        Ok((tally, ended))
    };
    let (tally, ended) = attempt(first)?;
    let passed = match (ended, tally.again()) {
        (Ok(()), _) => Passed { counts: tally.counts, ..Passed::default() },
        (Err(error), None) => return Err(error),
        (Err(error), Some(again)) => {
            let (second, _) = attempt(&again.iter().map(String::as_str).collect::<Vec<_>>())?;
            Passed::after(tally, &second).ok_or(error)?
        }
    };
    ensure!(passed.counts.passed > 0, "no test ran");
    Ok(passed)
}

/// Cargo, embedding the object that this run has built from source.
fn against_built_object() -> Command {
    let mut cargo = in_workspace();
    cargo.env("CLOSEWAIT_BPF_OBJECT", ebpf::built_object());
    cargo
}

fn in_workspace() -> Command {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root());
    cargo
}
