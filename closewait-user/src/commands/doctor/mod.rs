//! `doctor`: what this kernel offers, what will be used for each purpose, and what
//! is lost. It loads and attaches everything for a moment, because a kernel's
//! refusal cannot be predicted. With `--self-test` the tool is also run on a leak made for it.

mod findings;
mod leak;
mod self_test;

use std::io::{self, Write};
use std::path::Path;

use super::reporting::width;
use crate::cli::{DoctorArgs, OutputFormat};
use crate::clock::Clock;
use crate::enrich::pods;
use crate::error::Failure;
use crate::exit::Exit;
use crate::kernel::load::{self, Settings};
use crate::kernel::plan;
use crate::kernel::support::{BTF_PATH, Support};
use crate::progress;
use crate::report::doctor::{Findings, SelfTest};
use crate::report::json;
use crate::report::text::doctor::Paper;

use findings::{Asker, findings};

/// Prints the findings; 77 when tracing cannot run, and 1 when the self-test fails.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    progress::allow(args.output == OutputFormat::Json);
    let btf = args.kernel.btf.as_deref().unwrap_or_else(|| Path::new(BTF_PATH));
    let support = Support::probe(btf);
    // Kept for as long as it takes to ask: the self-test attaches programs of its own.
    let loaded = plan::plan(&support, &args.kernel.without)
        .and_then(|plan| load::load(&support, &plan, &Settings::default()))
        .map(|loaded| (loaded.served.clone(), loaded.instructions()));
    let program = std::env::current_exe().ok();
    let asker = Asker { is_root: rustix::process::geteuid().is_root(), program: program.as_deref() };
    let found = findings(&support, btf, &loaded, &asker, &pods::outlook(Path::new("/")));
    let mut out = io::stdout().lock();
    let (told, tested) = match args.output {
        OutputFormat::Text => in_text(&mut out, args, &found),
        OutputFormat::Json => in_json(&mut out, args, &found),
    };
    match (told, tested) {
        // Who closed the pipe has seen enough; what was found is in the exit code.
        (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {error}")))
        }
        (_, Some(Err(failure))) if found.tracing.is_ok() => Err(failure),
        (_, tested) => Ok(exit(&found, tested.and_then(Result::ok).as_ref())),
    }
}

fn exit(found: &Findings, tested: Option<&SelfTest>) -> Exit {
    match (&found.tracing, tested) {
        (Err(_), _) => Exit::CannotTrace,
        (Ok(_), Some(test)) if !test.passed() => Exit::Stuck,
        (Ok(_), _) => Exit::Fine,
    }
}

/// What came of the self-test; an error when it could not be run.
type Tested = Option<Result<SelfTest, Failure>>;

/// The findings first, because the self-test takes a second or two. It is made whether or not
/// they could be written.
fn in_text(out: &mut impl Write, args: &DoctorArgs, found: &Findings) -> (io::Result<()>, Tested) {
    let width = width();
    let told = Paper { out, width }.findings(found).and_then(|()| out.flush());
    let tested = test(args, found);
    let told = told.and_then(|()| match &tested {
        Some(tested) => Paper { out, width }.self_test(&shown(tested)),
        None => Ok(()),
    });
    (told, tested)
}

fn in_json(out: &mut impl Write, args: &DoctorArgs, found: &Findings) -> (io::Result<()>, Tested) {
    let tested = test(args, found);
    let shown = tested.as_ref().map(shown);
    let told = json::examined::doctor(out, found, shown.as_ref(), &Clock::read(), Clock::mono_now());
    (told, tested)
}

fn shown(tested: &Result<SelfTest, Failure>) -> SelfTest {
    match tested {
        Ok(test) => test.clone(),
        Err(failure) => SelfTest::NotRun(failure.what.clone()),
    }
}

fn test(args: &DoctorArgs, found: &Findings) -> Tested {
    args.self_test.then(|| match &found.tracing {
        Ok(_) => {
            let _waiting = progress::begin("waiting for the tool to find its own leak", None);
            self_test::run(&args.kernel)
        }
        Err(cannot) => Err(Failure::new(format!("tracing cannot run here: {}", cannot.what))),
    })
}
