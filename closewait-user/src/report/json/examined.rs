//! The JSON line of `doctor`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Clock, MonoNs};
use crate::report::doctor::{Cannot, Capability, Check, Findings, Kernel, Purpose, SelfTest};
use crate::text::Text;

use super::line::Body;
use super::values::{millis, split, timestamp};

#[derive(Serialize, JsonSchema)]
pub(crate) struct DoctorLine {
    /// RFC 3339, UTC.
    pub ts: String,
    /// Of the tool.
    pub version: &'static str,
    pub kernel: KernelFacts,
    /// Which Kubernetes pods can be named here, in words.
    pub pods: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods_unknown: Option<Text>,
    pub capabilities: Vec<CapabilityFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities_unknown: Option<Text>,
    /// How to get the capabilities that are missing; null when none is.
    pub capabilities_from: Option<String>,
    /// A command that does it; null when there is none.
    pub capabilities_command: Option<String>,
    /// Whether everything that tracing takes could be loaded and attached.
    pub can_trace: bool,
    /// Why not; null if it could.
    pub cannot_trace: Option<CannotTrace>,
    /// How each purpose is served; empty when tracing cannot run.
    pub purposes: Vec<PurposeServed>,
    /// Instructions that the verifier has gone through; empty where the kernel does not tell (before 5.16).
    pub programs: Vec<VerifiedProgram>,
    /// Only with --self-test; null without.
    pub self_test: Option<SelfTested>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct KernelFacts {
    /// As `uname -r` prints it.
    pub release: String,
    /// The machine that the tool was built for, such as x86_64.
    pub machine: &'static str,
    /// none, integrity or confidentiality.
    pub lockdown: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockdown_unknown: Option<Text>,
    /// The file from which the kernel's types were read.
    pub btf: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub btf_unknown: Option<Text>,
    /// Where it is, in words.
    pub tracefs: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracefs_unknown: Option<Text>,
    pub kprobes: bool,
    /// Whether BPF programs can ask for a task's registers; false, too, without the privilege to ask.
    pub task_registers: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct CapabilityFact {
    /// As capabilities(7) writes it.
    pub name: &'static str,
    /// Whether this process has it, or one that does as well.
    pub had: bool,
    pub used_for: &'static str,
    /// What is lost without it; null when it is there.
    pub lost: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct CannotTrace {
    pub what: String,
    pub hint: String,
    /// What is lost by it.
    pub lost: &'static str,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct PurposeServed {
    pub purpose: &'static str,
    /// The hook that serves it; null: none (see `lost`), or that of another purpose (`covered`).
    pub by: Option<&'static str>,
    /// Only there when true: the hook of another purpose serves this one, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub covered: bool,
    /// Better hooks, or other ones, that are not used, and why.
    pub refused: Vec<RefusedHook>,
    /// What is lost; null when nothing is.
    pub lost: Option<&'static str>,
    /// What this way costs that a better one does not; null when nothing.
    pub cost: Option<&'static str>,
    /// What would serve it better, each by itself; empty unless there is a `lost` or a `cost`.
    pub get_by: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct RefusedHook {
    pub hook: &'static str,
    pub why: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct VerifiedProgram {
    pub name: String,
    pub verified_instructions: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct SelfTested {
    /// Whether its own leak was found, and nothing that was told of it is wrong.
    pub passed: bool,
    /// Why it could not be run; null when it was.
    pub not_run: Option<String>,
    /// From the leak to its report; null when it was not found.
    pub after_ms: Option<u64>,
    /// The verdict's code; null when it was not found.
    pub verdict: Option<String>,
    /// What was compared with what is true.
    pub checks: Vec<Checked>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// holder, opener or EOF read.
    pub what: &'static str,
    /// Null when it was not told.
    pub right: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_unknown: Option<Text>,
    /// Frames of its stack; null where there is none to tell.
    pub frames: Option<usize>,
    /// What the report gave as a reason, for want of a stack or of a holder.
    pub remark: Option<String>,
}

impl From<&Kernel> for KernelFacts {
    fn from(kernel: &Kernel) -> Self {
        let (lockdown, lockdown_unknown) = split(&kernel.lockdown, Clone::clone);
        let (btf, btf_unknown) = split(&kernel.btf, Clone::clone);
        let (tracefs, tracefs_unknown) = split(&kernel.tracefs, Clone::clone);
        Self {
            release: kernel.release.clone(),
            machine: kernel.machine,
            lockdown,
            lockdown_unknown,
            btf,
            btf_unknown,
            tracefs,
            tracefs_unknown,
            kprobes: kernel.kprobes,
            task_registers: kernel.task_registers,
        }
    }
}

impl From<&Capability> for CapabilityFact {
    fn from(one: &Capability) -> Self {
        Self { name: one.name, had: one.had, used_for: one.used_for, lost: (!one.had).then_some(one.lost) }
    }
}

impl From<&Cannot> for CannotTrace {
    fn from(cannot: &Cannot) -> Self {
        Self { what: cannot.what.clone(), hint: cannot.hint.clone(), lost: cannot.lost }
    }
}

impl From<&Purpose> for PurposeServed {
    fn from(served: &Purpose) -> Self {
        let refused = served.refused.iter().map(|(hook, why)| RefusedHook { hook, why: why.clone() });
        Self {
            purpose: served.name,
            by: served.by,
            covered: served.covered,
            refused: refused.collect(),
            lost: served.lost,
            cost: served.cost,
            get_by: served.remedies.clone(),
        }
    }
}

impl From<&SelfTest> for SelfTested {
    fn from(test: &SelfTest) -> Self {
        let mut line =
            Self { passed: test.passed(), not_run: None, after_ms: None, verdict: None, checks: Vec::new() };
        match test {
            SelfTest::NotRun(why) => line.not_run = Some(why.clone()),
            SelfTest::NotFound(_) => {}
            SelfTest::Found { after, verdict, checks } => {
                line.after_ms = Some(millis(*after));
                line.verdict = Some(verdict.clone());
                line.checks = checks.iter().map(Checked::from).collect();
            }
        }
        line
    }
}

impl From<&Check> for Checked {
    fn from(check: &Check) -> Self {
        let (right, right_unknown) = split(&check.right, |right| *right);
        Self { what: check.what, right, right_unknown, frames: check.frames, remark: check.remark.clone() }
    }
}

/// Writes the line.
pub fn doctor(
    out: &mut dyn Write,
    found: &Findings,
    self_test: Option<&SelfTest>,
    clock: &Clock,
    at: MonoNs,
) -> io::Result<()> {
    let (capabilities, capabilities_unknown) =
        split(&found.capabilities, |all| all.iter().map(CapabilityFact::from).collect());
    let tracing = found.tracing.as_ref().ok();
    let purposes = tracing.map(|it| it.purposes.iter().map(PurposeServed::from).collect());
    let programs = tracing.map(|it| {
        let named = |(name, count): &(String, u32)| VerifiedProgram {
            name: name.clone(),
            verified_instructions: *count,
        };
        it.verified.iter().map(named).collect()
    });
    let (pods, pods_unknown) = split(&found.pods, Clone::clone);
    let line = DoctorLine {
        ts: timestamp(clock, at),
        version: found.version,
        kernel: (&found.kernel).into(),
        pods,
        pods_unknown,
        capabilities: capabilities.unwrap_or_default(),
        capabilities_unknown,
        capabilities_from: found.capabilities_from.as_ref().map(|from| from.what.clone()),
        capabilities_command: found.capabilities_from.as_ref().and_then(|from| from.command.clone()),
        can_trace: tracing.is_some(),
        cannot_trace: found.tracing.as_ref().err().map(CannotTrace::from),
        purposes: purposes.unwrap_or_default(),
        programs: programs.unwrap_or_default(),
        self_test: self_test.map(SelfTested::from),
    };
    super::write_line(out, Body::Doctor(Box::new(line)))?;
    out.flush()
}
