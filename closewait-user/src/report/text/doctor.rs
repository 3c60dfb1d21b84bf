//! What `doctor` found out, as text: facts of the kernel, capabilities, purposes, and in the
//! last line what follows. Pure.

use std::io::{self, Write};

use crate::fact::Fact;
use crate::report::doctor::{Cannot, Capability, Findings, Kernel, Purpose, SelfTest, Tracing};
use crate::report::escape::escape;

use super::style::{plural, wrap};

/// Under this many columns.
const WIDTH: usize = 99;
/// Columns before what belongs to a purpose, and to a capability.
const PURPOSE: usize = 6;
const CAPABILITY: usize = 30;
/// No sentence of `doctor` is cut: nothing in it can be had elsewhere.
const ALL: usize = 64;

/// Writes all but the self-test.
pub fn findings(out: &mut dyn Write, found: &Findings) -> io::Result<()> {
    writeln!(out, "closewait-trace {} on kernel {}", found.version, escape(&found.kernel.release))?;
    kernel(out, &found.kernel)?;
    match &found.pods {
        Fact::Known(names) => hanging(out, 2, "pods: ", names)?,
        Fact::Unknown(why) => hanging(out, 2, "pods: no names, only ids: ", why)?,
    }
    writeln!(out, "\ncapabilities")?;
    match &found.capabilities {
        Fact::Known(all) => all.iter().try_for_each(|one| capability(out, one))?,
        Fact::Unknown(why) => writeln!(out, "  unknown: {}", escape(why))?,
    }
    if let Some(from) = &found.capabilities_from {
        hanging(out, 2, "to get what is missing: ", &from.what)?;
        if let Some(command) = &from.command {
            // Whole, so that it can be copied.
            writeln!(out, "    {}", escape(command))?;
        }
    }
    writeln!(out)?;
    match &found.tracing {
        Ok(tracing) => purposes(out, tracing),
        Err(cannot) => nothing(out, cannot),
    }
}

fn kernel(out: &mut dyn Write, kernel: &Kernel) -> io::Result<()> {
    let yes = |there: bool| Fact::Known(if there { "yes" } else { "no" }.into());
    let registers =
        if kernel.task_registers { yes(true) } else { Fact::Known("no, or no privilege to ask".into()) };
    for (name, fact) in [
        ("machine", &Fact::Known(kernel.machine.into())),
        ("lockdown", &kernel.lockdown),
        ("BTF", &kernel.btf),
        ("tracefs", &kernel.tracefs),
        ("kprobes", &yes(kernel.kprobes)),
        ("user regs", &registers),
    ] {
        let text = match fact {
            Fact::Known(value) => escape(value),
            Fact::Unknown(why) => format!("unknown: {}", escape(why)).into(),
        };
        writeln!(out, "  {name:<12} {text}")?;
    }
    Ok(())
}

fn capability(out: &mut dyn Write, one: &Capability) -> io::Result<()> {
    let had = if one.had { "yes" } else { "no" };
    writeln!(out, "  {:<22} {had:<4} {}", one.name, one.used_for)?;
    if one.had { Ok(()) } else { hanging(out, CAPABILITY, "lost: ", one.lost) }
}

fn nothing(out: &mut dyn Write, cannot: &Cannot) -> io::Result<()> {
    hanging(out, 0, "tracing cannot run here: ", &cannot.what)?;
    hanging(out, 2, "lost: ", cannot.lost)?;
    hanging(out, 2, "hint: ", &cannot.hint)
}

fn purposes(out: &mut dyn Write, tracing: &Tracing) -> io::Result<()> {
    writeln!(out, "tracing")?;
    tracing.purposes.iter().try_for_each(|served| purpose(out, served))?;
    if !tracing.verified.is_empty() {
        writeln!(out, "\nverified instructions")?;
        for (name, count) in &tracing.verified {
            writeln!(out, "  {name:<30} {count}")?;
        }
    }
    let lost = tracing.purposes.iter().filter(|served| served.lost.is_some()).count();
    let dear = tracing.purposes.iter().filter(|served| served.cost.is_some()).count();
    let mut end = String::from("tracing can run here");
    if lost > 0 {
        end = format!("{end}; something is lost of {}", plural(lost as u64, "purpose"));
    }
    if dear > 0 {
        end = format!("{end}; {} in a way that costs more", plural(dear as u64, "purpose"));
    }
    writeln!(out, "\n{end}")
}

fn purpose(out: &mut dyn Write, served: &Purpose) -> io::Result<()> {
    let by = match served.by {
        Some(hook) => hook,
        None if served.covered => "covered by another purpose's hook",
        None => "off",
    };
    writeln!(out, "  {:<30} {by}", served.name)?;
    for (hook, why) in &served.refused {
        hanging(out, PURPOSE, &format!("not {hook}: "), why)?;
    }
    if let Some(lost) = served.lost {
        hanging(out, PURPOSE, "lost: ", lost)?;
    }
    if let Some(cost) = served.cost {
        hanging(out, PURPOSE, "cost: ", cost)?;
    }
    if let Some((first, more)) = served.remedies.split_first() {
        hanging(out, PURPOSE, "get it by: ", first)?;
        for remedy in more {
            hanging(out, PURPOSE, "or by: ", remedy)?;
        }
    }
    Ok(())
}

/// Writes what came of the self-test.
pub fn self_test(out: &mut dyn Write, test: &SelfTest) -> io::Result<()> {
    writeln!(out, "\nself-test: a leak of its own, in a namespace of its own")?;
    match test {
        SelfTest::NotRun(why) => hanging(out, 2, "not run: ", why),
        SelfTest::NotFound(within) => writeln!(out, "  FAILED: not found within {} s", within.as_secs()),
        SelfTest::Found { after, verdict, checks } => {
            writeln!(out, "  {:<30} after {:.1} s, as {}", "found", after.as_secs_f64(), escape(verdict))?;
            for check in checks {
                let right = match &check.right {
                    Fact::Known(true) => "right".to_owned(),
                    Fact::Known(false) => "WRONG".to_owned(),
                    Fact::Unknown(why) => format!("unknown: {}", escape(why)),
                };
                let remark = check.remark.as_deref().map(|remark| format!(" ({})", escape(remark)));
                writeln!(out, "  {:<30} {right}{}", check.what, remark.unwrap_or_default())?;
                if let Some(frames) = check.frames {
                    writeln!(out, "  {:<30} {}", "  its stack", plural(frames as u64, "frame"))?;
                }
            }
            let end = if test.passed() { "passed" } else { "FAILED: something that it told is wrong" };
            writeln!(out, "  {end}")
        }
    }
}

/// `label` and `text` behind `indent` blanks; further lines of it begin below the text.
fn hanging(out: &mut dyn Write, indent: usize, label: &str, text: &str) -> io::Result<()> {
    let under = indent + 2;
    let whole = format!("{label}{}", escape(text));
    let mut lines = wrap(&whole, WIDTH - under, ALL).into_iter();
    if let Some(first) = lines.next() {
        writeln!(out, "{:indent$}{first}", "")?;
    }
    lines.try_for_each(|line| writeln!(out, "{:under$}{line}", ""))
}
