//! `cargo xtask CHORE`: everything a developer or a CI machine does around the
//! tool. One file or directory per chore; this one only parses and dispatches.
//!
//! A chore says what it runs, and on failure what failed, why, and what to do.
//! Talk goes to stderr; stdout is for what a caller may want to read.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "chores talk to the terminal")]

mod command;
mod ebpf;
mod stopwatch;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of closewait-trace", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the BPF object from source, check the committed one, or replace it
    Ebpf(ebpf::Args),
    /// Run the live tests on other kernels, in emulated machines
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().chore {
        Chore::Ebpf(args) => ebpf::run(&args),
        Chore::Vm(args) => vm::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
