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
mod mirror;
mod payload;
mod suite;

use crate::{counts::Counts, stopwatch::Stopwatch, workspace};
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
    /// Arguments for the live tests, such as part of a test's name; those of the matrix when absent
    #[arg(last = true)]
    filter: Vec<String>,
}

impl Args {
    /// The tests of the matrix on all kernels, with a tool that embeds `object`.
    pub(crate) fn whole_matrix(object: PathBuf) -> Self {
        Self { kernels: Vec::new(), command: None, jobs: 1, object: Some(object), filter: Vec::new() }
    }
}

/// Time that a machine has for booting and shutting down beside its tests, in seconds.
const BOOT_S: u64 = 60;

/// What came of one kernel.
enum Outcome {
    Ran(Console),
    /// The kernel could not be had
    NotFetched(anyhow::Error),
    /// This machine could not run it
    NotBooted(anyhow::Error),
}

/// Runs the matrix; how many tests ran, all kernels together.
///
/// # Errors
/// When a test failed, a machine gave no verdict, or a kernel could not be had:
/// the error says how many of each.
pub(crate) fn run(args: &Args) -> Result<Counts> {
    let matrix = Matrix::read()?;
    let kernels = matrix.select(&args.kernels)?;
    let cache = workspace::target_dir().join("vm");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;

    let filter = if args.filter.is_empty() { &matrix.machine.tests } else { &args.filter };
    let payload = payload::payload(args.command.as_deref(), filter, args.object.as_deref(), &cache)?;
    let tests_deadline = matrix.machine.deadline_s.saturating_sub(BOOT_S);
    let common = initramfs::common(&payload, tests_deadline)?;
    eprintln!("initramfs: {} MB and the modules", common.len() / 1_000_000);

    let queue = Mutex::new(kernels.iter());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, kernels.len()) {
            scope.spawn(|| {
                loop {
                    // Not `while let`: it would hold the lock until the machine has ended.
                    let Some(kernel) = locked(&queue).next() else { break };
                    let clock = Stopwatch::start();
                    let outcome = one(kernel, &matrix.machine, &common, &cache);
                    report(kernel, &outcome, clock, &cache, args.command.is_some());
                    locked(&outcomes).push(outcome);
                }
            });
        }
    });
    conclude(&locked(&outcomes))
}

fn one(kernel: &Kernel, machine: &Machine, common: &[u8], cache: &Path) -> Outcome {
    let unpacked = match kernel::fetch(kernel, cache) {
        Ok(unpacked) => unpacked,
        Err(error) => return Outcome::NotFetched(error),
    };
    let booted = || -> Result<Console> {
        let initrd = cache.join(format!("{}.cpio", kernel.name));
        let modules = initramfs::modules(&unpacked, &machine.modules)?;
        fs::write(&initrd, [common, &modules].concat())?;
        eprintln!("{}: booting {}", kernel.name, unpacked.release);
        boot::boot(&unpacked.image, &initrd, machine, &log(kernel, cache))
    };
    booted().map_or_else(Outcome::NotBooted, Outcome::Ran)
}

fn log(kernel: &Kernel, cache: &Path) -> PathBuf {
    cache.join(format!("{}.log", kernel.name))
}

/// The verdict line; what a failure needs is printed above it.
fn report(kernel: &Kernel, outcome: &Outcome, clock: Stopwatch, cache: &Path, show: bool) {
    if let Outcome::Ran(console) = outcome
        && (show || console.verdict != Some(true))
    {
        for line in console.output() {
            eprintln!("{:>6} | {line}", kernel.name);
        }
        eprintln!("the whole console: {}", log(kernel, cache).display());
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
            Self::Ran(console) => console,
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

fn conclude(outcomes: &[Outcome]) -> Result<Counts> {
    let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Ran(console) if console.verdict != Some(true)));
    let not_fetched = count(|outcome| matches!(outcome, Outcome::NotFetched(_)));
    let not_booted = count(|outcome| matches!(outcome, Outcome::NotBooted(_)));
    if failed + not_fetched + not_booted > 0 {
        bail!(
            "of {} kernels {failed} failed, {not_fetched} could not be fetched (no fault of the tool: \
             look at the network or apt's sources), {not_booted} could not be booted here",
            outcomes.len()
        );
    }
    let mut counts = Counts::default();
    for outcome in outcomes {
        if let Outcome::Ran(console) = outcome {
            console.tests.iter().filter_map(|test| test.counts).for_each(|more| counts += more);
        }
    }
    Ok(counts)
}

/// The queue and the outcomes stay usable when another machine's thread panicked.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
