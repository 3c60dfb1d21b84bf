//! `cargo xtask vm`: the live tests on other kernels, in emulated machines.
//!
//! matrix -> fetch the kernel -> initramfs with tool, tests and modules -> boot ->
//! one verdict line per kernel on stdout. A kernel that cannot be downloaded is
//! told apart from a test that fails.

mod boot;
mod console;
mod cpio;
mod initramfs;
mod kernel;
mod matrix;
mod payload;

use crate::{counts::Passed, progress, stopwatch::Stopwatch, workspace};
use anyhow::{Context, Result, bail};
use console::Console;
use matrix::{Kernel, Machine, Matrix};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Names from tests/vm/matrix.toml; all without any
    kernels: Vec<String>,
    /// Run this shell command instead of the live tests; the tool is on its PATH
    #[arg(long)]
    command: Option<String>,
    /// How many machines run at the same time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The BPF object that the tool is to embed, instead of the committed one
    #[arg(long)]
    object: Option<PathBuf>,
    /// Set an environment variable for what runs there
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Arguments for the live tests, such as part of a test's name; those of the matrix when absent
    #[arg(last = true)]
    filter: Vec<String>,
}

impl Args {
    /// The tests of the matrix on all kernels, with a tool that embeds `object`. Each machine
    /// runs on one core, of which there are two.
    pub(crate) fn whole_matrix(object: PathBuf) -> Self {
        Self {
            kernels: Vec::new(),
            command: None,
            jobs: 2,
            object: Some(object),
            env: Vec::new(),
            filter: Vec::new(),
        }
    }
}

/// Time that a machine has for booting and shutting down beside its tests, in seconds.
const BOOT_S: u64 = 60;

/// What came of one kernel.
enum Outcome {
    /// It ran; what passed, unless a test failed or there is no verdict
    Ran(Console, Option<Passed>),
    /// The kernel could not be had
    NotFetched(anyhow::Error),
    /// This machine could not run it
    NotBooted(anyhow::Error),
}

/// Runs the matrix; what passed, all kernels together. A few tests that fail on a
/// kernel get a second attempt there.
///
/// # Errors
/// When a test failed, a machine gave no verdict, or a kernel could not be had:
/// the error says how many of each.
pub(crate) fn run(args: &Args) -> Result<Passed> {
    let matrix = Matrix::read()?;
    let kernels = matrix.select(&args.kernels)?;
    let cache = workspace::target_dir().join("vm");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;

    let filter = if args.filter.is_empty() { &matrix.machine.tests } else { &args.filter };
    let common = |filter: &[String]| {
        let (instead, object) = (args.command.as_deref(), args.object.as_deref());
        let payload = payload::payload(instead, filter, &args.env, object, &cache)?;
        initramfs::common(&payload, matrix.machine.deadline_s.saturating_sub(BOOT_S))
    };
    let first = common(filter)?;
    eprintln!("initramfs: {} MB and the modules", first.len() / 1_000_000);
    let attempt = |kernel: &Kernel, common: &[u8], log: &Path| {
        let clock = Stopwatch::start();
        let outcome = one(kernel, &matrix.machine, common, log, &cache);
        progress::aside(|| report(kernel, &outcome, clock, log, args.command.is_some()));
        outcome
    };

    let queue = Mutex::new(kernels.iter());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, kernels.len()) {
            scope.spawn(|| {
                loop {
                    // Not `while let`: it would hold the lock until the machine has ended.
                    let Some(kernel) = locked(&queue).next() else { break };
                    let log = |attempt| cache.join(format!("{}.{attempt}log", kernel.name));
                    let outcome = attempt(kernel, &first, &log(""));
                    let outcome =
                        second_attempt(outcome, |again| Ok(attempt(kernel, &common(again)?, &log("again."))));
                    locked(&outcomes).push(outcome);
                }
            });
        }
    });
    conclude(&locked(&outcomes))
}

/// A machine that ends before its first process is the emulator's failure: it boots once more.
fn one(kernel: &Kernel, machine: &Machine, common: &[u8], log: &Path, cache: &Path) -> Outcome {
    let chore = progress::begin(&kernel.name);
    chore.does("fetching the kernel");
    let unpacked = match kernel::fetch(kernel, cache) {
        Ok(unpacked) => unpacked,
        Err(error) => return Outcome::NotFetched(error),
    };
    let booted = || -> Result<Console> {
        let initrd = cache.join(format!("{}.cpio", kernel.name));
        let modules = initramfs::modules(&unpacked, &machine.modules)?;
        fs::write(&initrd, [common, &modules].concat())?;
        progress::aside(|| eprintln!("{}: booting {}", kernel.name, unpacked.release));
        let boot = || boot::boot(&unpacked.image, &initrd, machine, log, |line| chore.does(line));
        let console = boot()?;
        if console.booted.is_some() {
            return Ok(console);
        }
        progress::aside(|| {
            eprintln!("{}: it ended before its first process: {}", kernel.name, console.last_line());
        });
        boot()
    };
    match booted() {
        Ok(console) => {
            let passed = (console.verdict == Some(true))
                .then(|| Passed { counts: console.tally().counts, ..Passed::default() });
            Outcome::Ran(console, passed)
        }
        Err(error) => Outcome::NotBooted(error),
    }
}

/// The outcome after what failed in `first` was tried again, when that makes sense.
fn second_attempt(first: Outcome, attempt: impl FnOnce(&[String]) -> Result<Outcome>) -> Outcome {
    let Outcome::Ran(console, None) = first else { return first };
    let tally = console.tally();
    let passed = tally.again().and_then(|again| match attempt(&again) {
        Ok(Outcome::Ran(second, Some(_))) => Passed::after(tally, &second.tally()),
        _ => None,
    });
    Outcome::Ran(console, passed)
}

/// The verdict line; what a failure needs is printed above it.
fn report(kernel: &Kernel, outcome: &Outcome, clock: Stopwatch, log: &Path, show: bool) {
    if let Outcome::Ran(console, passed) = outcome
        && (show || passed.is_none())
    {
        for line in console.output() {
            eprintln!("{:>6} | {line}", kernel.name);
        }
        eprintln!("the whole console: {}", log.display());
    }
    println!("VM {:<5} {outcome}  ({:.0} s)", kernel.name, clock.elapsed().as_secs_f64());
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let console = match self {
            Self::NotFetched(error) => {
                return write!(f, "NOT RUN: the kernel could not be fetched: {error:#}");
            }
            Self::NotBooted(error) => return write!(f, "NOT RUN: {error:#}"),
            Self::Ran(console, _) => console,
        };
        f.write_str(match console.verdict {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "FAILED: no verdict",
        })?;
        if let Some((release, seconds)) = &console.booted {
            write!(f, "  {release}, booted in {seconds} s")?;
        }
        for test in &console.tests {
            match (&test.counts, test.code) {
                (Some(counts), _) => write!(f, "  {}: {counts}", test.name)?,
                (None, Some(code)) => write!(f, "  {}: exit {code}", test.name)?,
                (None, None) => write!(f, "  {}: did not end", test.name)?,
            }
        }
        Ok(())
    }
}

fn conclude(outcomes: &[Outcome]) -> Result<Passed> {
    let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Ran(_, None)));
    let not_fetched = count(|outcome| matches!(outcome, Outcome::NotFetched(_)));
    let not_booted = count(|outcome| matches!(outcome, Outcome::NotBooted(_)));
    if failed + not_fetched + not_booted > 0 {
        bail!(
            "of {} kernels {failed} failed, {not_fetched} could not be fetched (no fault of the tool: \
             look at the network or apt's sources), {not_booted} could not be booted here",
            outcomes.len()
        );
    }
    let mut all = Passed::default();
    for outcome in outcomes {
        if let Outcome::Ran(_, Some(passed)) = outcome {
            all += passed.clone();
        }
    }
    Ok(all)
}

/// The queue and the outcomes stay usable when another machine's thread panicked.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
