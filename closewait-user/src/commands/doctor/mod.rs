//! `doctor`: what this kernel offers, what will be used for each purpose, and what
//! is lost. It loads and attaches everything for a moment, because a kernel's
//! refusal cannot be predicted. With `--self-test` the tool is also run on a leak made for it.

mod leak;
mod self_test;

use std::io::{self, Write};
use std::path::Path;

use rustix::thread::CapabilitySet;

use crate::cli::DoctorArgs;
use crate::error::Failure;
use crate::exit::Exit;
use crate::fact::Fact;
use crate::kernel::load::{self, Loaded, Settings};
use crate::kernel::plan::{self, CannotTrace};
use crate::kernel::support::{BTF_PATH, Support};
use crate::privileges::NEEDS;

/// Prints the findings; 77 when tracing cannot run, and 1 when the self-test fails.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let btf = args.kernel.btf.as_deref().unwrap_or_else(|| Path::new(BTF_PATH));
    let support = Support::probe(btf);
    let loaded = plan::plan(&support, &args.kernel.without)
        .and_then(|plan| load::load(&support, &plan, &Settings::default()));
    let mut out = io::stdout().lock();
    match print(&mut out, &support, btf, loaded.as_ref()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {error}")))
        }
        _ if loaded.is_err() => Ok(Exit::CannotTrace),
        _ if args.self_test => {
            // The test attaches programs of its own.
            drop(loaded);
            self_test::run(&args.kernel, &mut out)
        }
        _ => Ok(Exit::Fine),
    }
}

fn print(
    out: &mut impl Write,
    support: &Support,
    btf: &Path,
    loaded: Result<&Loaded, &CannotTrace>,
) -> io::Result<()> {
    writeln!(out, "kernel {}", support.release)?;
    line(out, "lockdown", &support.lockdown, Clone::clone)?;
    line(out, "BTF", &support.offsets, |_| btf.display().to_string())?;
    line(out, "tracefs", &support.tracefs, ToString::to_string)?;
    writeln!(out, "  {:<12} {}", "kprobes", if support.kprobes { "yes" } else { "no" })?;
    privileges(out, &support.capabilities)?;
    writeln!(out)?;
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(cannot) => {
            writeln!(out, "tracing cannot run here: {}", cannot.what)?;
            return writeln!(out, "  hint: {}", cannot.hint);
        }
    };
    writeln!(out, "tracing can run here")?;
    for served in &loaded.served {
        let by = match served.by {
            Some(hook) => hook.name(),
            None if served.covered => "covered by the accept opener's hook",
            None => "off",
        };
        writeln!(out, "  {:<30} {by}", served.purpose.name())?;
        for (hook, why) in &served.refused {
            writeln!(out, "  {:<30}   not {hook}: {why}", "")?;
        }
        if served.degraded().is_some() {
            writeln!(out, "  {:<30}   lost: {}", "", served.purpose.lost())?;
        }
    }
    let instructions = loaded.instructions();
    if instructions.iter().any(|(_, count)| count.is_some()) {
        writeln!(out, "\nverified instructions")?;
        for (name, count) in instructions {
            if let Some(count) = count {
                writeln!(out, "  {name:<30} {count}")?;
            }
        }
    }
    Ok(())
}

/// Each capability that there is use for.
fn privileges(out: &mut impl Write, effective: &Fact<CapabilitySet>) -> io::Result<()> {
    writeln!(out, "\ncapabilities")?;
    let effective = match effective {
        Fact::Known(effective) => *effective,
        Fact::Unknown(why) => return writeln!(out, "  unknown: {why}"),
    };
    for need in &NEEDS {
        let missing = need.is_missing(effective);
        writeln!(out, "  {:<22} {:<4} {}", need.name, if missing { "no" } else { "yes" }, need.used_for)?;
        if missing {
            writeln!(out, "  {:<22}      lost: {}", "", need.lost)?;
        }
    }
    Ok(())
}

fn line<T>(out: &mut impl Write, name: &str, fact: &Fact<T>, show: impl Fn(&T) -> String) -> io::Result<()> {
    let text = match fact {
        Fact::Known(value) => show(value),
        Fact::Unknown(why) => format!("unknown: {why}"),
    };
    writeln!(out, "  {name:<12} {text}")
}
