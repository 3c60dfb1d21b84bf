//! `cargo xtask CHORE`: everything a developer or a CI machine does around the
//! tool. One file or directory per chore; this one only parses and dispatches.
//!
//! A chore says what it runs, and on failure what failed, why, and what to do.
//! Talk goes to stderr; stdout is for what a caller may want to read.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "chores talk to the terminal")]

mod aarch64;
mod bench;
mod build;
mod command;
mod compare;
mod corpus;
mod counts;
mod debian;
mod demo;
mod deny;
mod dist;
mod ebpf;
mod figures;
mod fleet;
mod generate;
mod image;
mod netns;
mod privilege;
mod progress;
mod run;
mod setup;
mod soak;
mod stopwatch;
mod test;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of closewait-trace", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Bring what the other chores need and this machine lacks
    Setup(setup::Args),
    /// Build the tool and run it as root
    Run(run::Args),
    /// Leak sockets on purpose and watch the tool find them
    Demo,
    /// Build the BPF object from source, check the committed one, or replace it
    Ebpf(ebpf::Args),
    /// Compile the tool for aarch64, without linking or running it
    Aarch64,
    /// Compare what can be counted (instructions, bytes) with what is committed
    Counts(figures::Args),
    /// Run everything that CI runs
    Test(test::Args),
    /// Check the dependencies: lock files, licences, sources, advisories
    Deny(deny::Args),
    /// Write the files that are made from code: the JSON Schema, man pages, completions
    Generate,
    /// Measure what tracing costs, beside its peers, in one run
    Bench(bench::Args),
    /// Trace beside more sockets, descriptors and namespaces than a host should have
    Bounds(bench::bounds::Args),
    /// Drive real software into incidents, and see whether the tool tells the truth of them
    Corpus(corpus::Args),
    /// Make what is given away: a static executable, a .deb, an .rpm, their checksums
    Dist(dist::Args),
    /// Let Prometheus scrape 200 made-up hosts: what 10,000 would send and store; and see an alert fire
    Fleet(fleet::Args),
    /// Ask this tool and others the same questions about a leak
    Compare,
    /// Make a container image of the tool, without a container engine
    Image(image::Args),
    /// Hold the tool against the truth, under a mixed load with random faults, for as long as wanted
    Soak(soak::Args),
    /// Run the live tests on other kernels, in emulated machines
    Vm(vm::Args),
}

fn main() -> ExitCode {
    heed_sigint();
    let done = match Args::parse().chore {
        Chore::Setup(args) => setup::run(&args),
        Chore::Run(args) => run::run(&args),
        Chore::Demo => demo::run(),
        Chore::Aarch64 => aarch64::check(),
        Chore::Ebpf(args) => ebpf::run(&args),
        Chore::Counts(args) => figures::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Bounds(args) => bench::bounds::run(&args),
        Chore::Corpus(args) => corpus::run(&args),
        Chore::Dist(args) => dist::run(&args),
        Chore::Fleet(args) => fleet::run(&args),
        Chore::Compare => compare::run(),
        Chore::Image(args) => image::run(&args),
        Chore::Soak(args) => soak::run(&args),
        Chore::Vm(args) => vm::run(&args).map(drop),
        Chore::Deny(args) => deny::run(&args),
        Chore::Generate => generate::run(),
        Chore::Test(args) => match test::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A shell has its jobs in the background ignore SIGINT, and whatever they start inherits that:
/// tracers that a benchmark ends by it, commands whose end a test looks at.
fn heed_sigint() {
    // SAFETY: the default action is no handler of ours, whose demands could be violated.
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) };
}
