//! What `doctor` found out, as text: facts of the kernel, capabilities, purposes, and in the
//! last line what follows. Pure.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use crate::fact::Fact;
use crate::report::doctor::{Cannot, Capability, Findings, Kernel, Purpose, SelfTest, Tracing};
use crate::report::escape::escape;

use super::style::{plural, wrap};

/// Columns before what belongs to a purpose, and to a capability.
const PURPOSE: usize = 6;
const CAPABILITY: usize = 30;
/// A column that has fewer is none: what belongs there begins on a line of its own.
const COLUMN: usize = 24;

/// Where it is written, in lines of so many columns. No sentence of `doctor` is cut: nothing in it
/// can be had elsewhere.
pub struct Paper<'a> {
    /// Where to.
    pub out: &'a mut dyn Write,
    /// Columns of a line.
    pub width: usize,
}

impl Paper<'_> {
    /// Writes all but the self-test.
    pub fn findings(&mut self, found: &Findings) -> io::Result<()> {
        let what = format!("closewait-trace {} on kernel {}", found.version, found.kernel.release);
        self.hanging(0, "", &what)?;
        self.kernel(&found.kernel)?;
        match &found.pods {
            Fact::Known(names) => self.hanging(2, "pods: ", names)?,
            Fact::Unknown(why) => self.hanging(2, "pods: no names, only ids: ", why)?,
        }
        self.title("capabilities")?;
        match &found.capabilities {
            Fact::Known(all) => all.iter().try_for_each(|one| self.capability(one))?,
            Fact::Unknown(why) => self.hanging(2, "unknown: ", why)?,
        }
        if let Some(from) = &found.capabilities_from {
            self.hanging(2, "to get what is missing: ", &from.what)?;
            if let Some(command) = &from.command {
                // Whole, so that it can be copied.
                writeln!(self.out, "    {}", escape(command))?;
            }
        }
        writeln!(self.out)?;
        match &found.tracing {
            Ok(tracing) => self.purposes(tracing),
            Err(cannot) => self.nothing(cannot),
        }
    }

    fn title(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "\n{title}")
    }

    fn kernel(&mut self, kernel: &Kernel) -> io::Result<()> {
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
            match fact {
                Fact::Known(value) => self.row(12, name, value)?,
                Fact::Unknown(why) => self.row(12, name, &format!("unknown: {why}"))?,
            }
        }
        Ok(())
    }

    fn capability(&mut self, one: &Capability) -> io::Result<()> {
        let had = if one.had { "yes" } else { "no" };
        self.row(CAPABILITY - 3, &format!("{:<22} {had:<4}", one.name), one.used_for)?;
        if one.had { Ok(()) } else { self.hanging(self.column(CAPABILITY), "lost: ", one.lost) }
    }

    fn nothing(&mut self, cannot: &Cannot) -> io::Result<()> {
        self.hanging(0, "tracing cannot run here: ", &cannot.what)?;
        self.hanging(2, "lost: ", cannot.lost)?;
        self.hanging(2, "hint: ", &cannot.hint)
    }

    fn purposes(&mut self, tracing: &Tracing) -> io::Result<()> {
        writeln!(self.out, "tracing")?;
        tracing.purposes.iter().try_for_each(|served| self.purpose(served))?;
        if !tracing.verified.is_empty() {
            self.title("verified instructions")?;
            for (name, count) in &tracing.verified {
                self.row(30, name, &count.to_string())?;
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
        writeln!(self.out)?;
        self.hanging(0, "", &end)
    }

    fn purpose(&mut self, served: &Purpose) -> io::Result<()> {
        let by = match served.by {
            Some(hook) => hook,
            None if served.covered => "covered by another purpose's hook",
            None => "off",
        };
        self.row(30, served.name, by)?;
        for (hook, why) in &served.refused {
            self.hanging(PURPOSE, &format!("not {hook}: "), why)?;
        }
        if let Some(lost) = served.lost {
            self.hanging(PURPOSE, "lost: ", lost)?;
        }
        if let Some(cost) = served.cost {
            self.hanging(PURPOSE, "cost: ", cost)?;
        }
        if let Some((first, more)) = served.remedies.split_first() {
            self.hanging(PURPOSE, "get it by: ", first)?;
            for remedy in more {
                self.hanging(PURPOSE, "or by: ", remedy)?;
            }
        }
        Ok(())
    }

    /// Writes what came of the self-test.
    pub fn self_test(&mut self, test: &SelfTest) -> io::Result<()> {
        writeln!(self.out)?;
        self.hanging(0, "", "self-test: a leak of its own, in a namespace of its own")?;
        match test {
            SelfTest::NotRun(why) => self.hanging(2, "not run: ", why),
            SelfTest::NotFound(within) => {
                self.hanging(2, "FAILED: ", &format!("not found within {} s", within.as_secs()))
            }
            SelfTest::Found { after, verdict, checks } => {
                self.row(30, "found", &format!("after {:.1} s, as {verdict}", after.as_secs_f64()))?;
                for check in checks {
                    let right = match &check.right {
                        Fact::Known(true) => "right".to_owned(),
                        Fact::Known(false) => "WRONG".to_owned(),
                        Fact::Unknown(why) => format!("unknown: {why}"),
                    };
                    let remark = check.remark.as_deref().map(|remark| format!(" ({remark})"));
                    self.row(30, check.what, &format!("{right}{}", remark.unwrap_or_default()))?;
                    if let Some(frames) = check.frames {
                        self.row(30, "  its stack", &plural(frames as u64, "frame"))?;
                    }
                }
                let end = if test.passed() { "passed" } else { "FAILED: something that it told is wrong" };
                self.hanging(2, "", end)
            }
        }
    }

    /// A name, and in a column of its own, behind `wide` columns, what belongs to it.
    fn row(&mut self, wide: usize, name: &str, text: &str) -> io::Result<()> {
        let text = escape(text);
        let line = format!("  {name:<wide$} {text}");
        if line.width() <= self.width {
            return writeln!(self.out, "{line}");
        }
        let under = self.column(wide + 3);
        let mut lines = wrap(&text, self.width - under, usize::MAX).into_iter();
        let fits = under > PURPOSE && name.width() <= wide;
        let first = if fits { lines.next() } else { None };
        match first {
            Some(first) => writeln!(self.out, "  {name:<wide$} {first}")?,
            None => writeln!(self.out, "  {}", name.trim_end())?,
        }
        lines.try_for_each(|line| writeln!(self.out, "{:under$}{line}", ""))
    }

    /// Where what would begin in a column begins, if that leaves enough of the line.
    fn column(&self, column: usize) -> usize {
        if column + COLUMN <= self.width { column } else { PURPOSE }
    }

    /// `label` and `text` behind `indent` blanks; further lines of it begin below the text.
    fn hanging(&mut self, indent: usize, label: &str, text: &str) -> io::Result<()> {
        let under = indent + 2;
        let whole = format!("{label}{}", escape(text));
        let mut lines = wrap(&whole, self.width - under, usize::MAX).into_iter();
        if let Some(first) = lines.next() {
            writeln!(self.out, "{:indent$}{first}", "")?;
        }
        lines.try_for_each(|line| writeln!(self.out, "{:under$}{line}", ""))
    }
}
