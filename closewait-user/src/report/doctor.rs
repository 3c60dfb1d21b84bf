//! What `doctor` found out: the model that its text and its JSON line are made of. Words
//! for the reader, from whoever knows them; nothing here asks anything. Pure.

use std::time::Duration;

use crate::fact::Fact;
use crate::text::Text;

/// The findings.
#[derive(Clone, PartialEq, Debug)]
pub struct Findings {
    /// Of the tool.
    pub version: &'static str,
    /// The kernel and its limits.
    pub kernel: Kernel,
    /// Whether Kubernetes pods can be named here.
    pub pods: Fact<Text>,
    /// Every capability that there is use for.
    pub capabilities: Fact<Vec<Capability>>,
    /// How to get those that are missing; `None` when none is, or they are not known.
    pub capabilities_from: Option<Remedy>,
    /// What serves each purpose; or why nothing can be traced.
    pub tracing: Result<Tracing, Cannot>,
}

/// What helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remedy {
    /// In words.
    pub what: String,
    /// A command that does it.
    pub command: Option<String>,
}

/// Facts about the running kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// As `uname -r` has it.
    pub release: String,
    /// The machine that the tool was built for, such as x86_64.
    pub machine: &'static str,
    /// `none`, `integrity` or `confidentiality`.
    pub lockdown: Fact<Text>,
    /// The file that its types were read from.
    pub btf: Fact<Text>,
    /// Where tracefs is.
    pub tracefs: Fact<Text>,
    /// Whether it has kprobes.
    pub kprobes: bool,
    /// Whether its programs can ask for a task's registers; `false`, too, without the privilege to ask.
    pub task_registers: bool,
}

/// A capability, and whether this process has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// As capabilities(7) writes it.
    pub name: &'static str,
    /// Whether it counts for this process now, or one that does as well.
    pub had: bool,
    /// What for.
    pub used_for: &'static str,
    /// What is lost without it.
    pub lost: &'static str,
}

/// Why nothing can be traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cannot {
    /// What is missing.
    pub what: String,
    /// What helps.
    pub hint: String,
    /// What is lost by it.
    pub lost: &'static str,
}

/// What can be traced, and by what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracing {
    /// Each purpose.
    pub purposes: Vec<Purpose>,
    /// Instructions that the kernel's verifier has gone through for each program; empty before 5.16.
    pub verified: Vec<(String, u32)>,
}

/// How one purpose is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purpose {
    /// In words.
    pub name: &'static str,
    /// The hook that serves it.
    pub by: Option<&'static str>,
    /// It needs no hook, because that of another purpose serves it.
    pub covered: bool,
    /// Hooks that were not tried or were refused, and why.
    pub refused: Vec<(&'static str, String)>,
    /// What is lost, if anything.
    pub lost: Option<&'static str>,
    /// What this way costs that a better one does not.
    pub cost: Option<&'static str>,
    /// What would serve it better, where something is lost or costs more.
    pub remedies: Vec<String>,
}

/// What came of `--self-test`.
#[derive(Clone, PartialEq, Debug)]
pub enum SelfTest {
    /// It could not be made, and why.
    NotRun(String),
    /// The leak was not reported within this time.
    NotFound(Duration),
    /// It was reported.
    Found {
        /// After so long.
        after: Duration,
        /// Its verdict.
        verdict: String,
        /// What was compared with what is true.
        checks: Vec<Check>,
    },
}

impl SelfTest {
    /// Whether the leak was found, and nothing that was told of it is wrong.
    pub fn passed(&self) -> bool {
        match self {
            Self::NotRun(_) | Self::NotFound(_) => false,
            Self::Found { checks, .. } => checks.iter().all(|check| check.right != Fact::Known(false)),
        }
    }
}

/// One thing that was told of the leak.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Which.
    pub what: &'static str,
    /// Whether it is right; unknown when it was not told, and why.
    pub right: Fact<bool>,
    /// Frames of its stack; `None` where there is none to tell, or it is not known.
    pub frames: Option<usize>,
    /// What was told with it: why there is no stack, or no holder.
    pub remark: Option<String>,
}
