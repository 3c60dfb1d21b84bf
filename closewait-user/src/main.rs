//! The `closewait-trace` binary: parse, run, exit code.

use std::io::Write;
use std::process::ExitCode;

use closewait_trace::cli::{self, Command};
use closewait_trace::commands;
use closewait_trace::config::{self, Config, Refused};
use closewait_trace::error::Failure;
use closewait_trace::exit::Exit;
use nix::sys::signal::{SigHandler, Signal, signal};

fn main() -> ExitCode {
    outlive_limits_of_files();
    let args: Vec<_> = std::env::args_os().collect();
    let config = match config::read(&args) {
        Ok(config) => config,
        Err(Refused::Usage(error)) => {
            // Help and version go to stdout and are success; a reader that went away is not an error.
            let _ = error.print();
            if let Some(hint) = cli::hint(&error, &args) {
                let _ = writeln!(std::io::stderr(), "\n  hint: {hint}");
            }
            return if error.use_stderr() { Exit::Error } else { Exit::Fine }.into();
        }
        Err(Refused::File(failure)) => return failed(&failure),
    };
    let Config { cli, used } = config;
    let outcome = match cli.command {
        Some(Command::Snapshot(args)) => commands::snapshot::run(&args),
        Some(Command::Run(args)) => commands::run::run(&args),
        Some(Command::Replay(args)) => commands::replay::run(&args),
        Some(Command::Diff(args)) => commands::diff::run(&args),
        Some(Command::Kill(args)) => commands::kill::run(&args),
        Some(Command::Top(args)) => commands::top::run(&args),
        Some(Command::Doctor(args)) => commands::doctor::run(&args),
        Some(Command::Explain { code }) => commands::explain::run(code.as_deref()),
        None if cli.trace.check_config => commands::service::check(&cli.trace, &used),
        None => commands::trace::run(&cli.trace, &used),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failed(&failure),
    }
}

/// Beyond RLIMIT_FSIZE a write fails, as on a full disk, and does not end the trace. By a function,
/// not by ignoring the signal: that would be handed on to the command of `run`.
fn outlive_limits_of_files() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the function does nothing, and nobody else cares for this signal.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::Handler(nothing)) };
}

fn failed(failure: &Failure) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "closewait-trace: {failure}");
    failure.exit.into()
}
