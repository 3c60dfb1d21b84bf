//! What a run of the benchmark found, as JSON and as Markdown.

use super::{
    Args,
    bpf::Bpf,
    budget::{self, Judged},
    calls::Calls,
    gate::Gate,
    idle::Idle,
    scale,
    sizes::Sizes,
    stall::Stall,
    starts::Starts,
    storm,
    tracker::Tracker,
};
use anyhow::Result;
use serde::Serialize;
use std::fs;

/// Where and how it was run.
#[derive(Serialize)]
pub(super) struct Conditions {
    kernel: String,
    cpus: usize,
    load_before: String,
    rounds: u32,
    seconds: u32,
}

impl Conditions {
    pub(super) fn here(args: &Args, cpus: usize) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpus,
            load_before: read("/proc/loadavg"),
            rounds: args.rounds,
            seconds: args.seconds,
        }
    }
}

/// Each room's findings; what was not measured is absent.
#[derive(Serialize)]
pub(super) struct Results {
    conditions: Conditions,
    pub(super) storm: Vec<storm::Row>,
    pub(super) bpf: Option<Bpf>,
    pub(super) calls: Vec<Calls>,
    pub(super) starts: Option<Starts>,
    pub(super) idle: Option<Idle>,
    pub(super) stall: Option<Stall>,
    pub(super) gate: Option<Gate>,
    pub(super) sizes: Option<Sizes>,
    pub(super) scale: Vec<scale::Curve>,
    pub(super) tracker: Option<Tracker>,
    budgets: Vec<Judged>,
}

impl Results {
    pub(super) fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            storm: Vec::new(),
            bpf: None,
            calls: Vec::new(),
            starts: None,
            idle: None,
            stall: None,
            gate: None,
            sizes: None,
            scale: Vec::new(),
            tracker: None,
            budgets: Vec::new(),
        }
    }

    /// Judges what was measured.
    pub(super) fn judge(&mut self) -> Result<()> {
        let mut measured = storm::measured(&self.storm)?;
        measured.extend(self.bpf.iter().flat_map(Bpf::measured));
        measured.extend(self.calls.iter().filter_map(Calls::measured));
        measured.extend(self.starts.iter().flat_map(Starts::measured));
        measured.extend(self.idle.iter().flat_map(Idle::measured));
        if let Some(tracker) = &self.tracker {
            measured.extend(tracker.measured()?);
        }
        self.budgets = budget::judged(&measured);
        Ok(())
    }

    /// The table of the budgets last: it is what is looked for.
    pub(super) fn markdown(&self) -> String {
        let Conditions { kernel, cpus, load_before, rounds, seconds } = &self.conditions;
        let mut text = format!(
            "Linux {kernel}, {cpus} CPUs, load before {load_before}; {rounds} x ABBA of {seconds} s; figures are \
             medians with quartiles\n"
        );
        text.push_str(&storm::markdown(&self.storm));
        let rooms = [
            self.bpf.as_ref().map(Bpf::markdown),
            (!self.calls.is_empty()).then(|| self.calls.iter().map(Calls::markdown).collect()),
            self.starts.as_ref().map(Starts::markdown),
            self.idle.as_ref().map(Idle::markdown),
            self.stall.as_ref().map(Stall::markdown),
            self.gate.as_ref().map(Gate::markdown),
            self.sizes.as_ref().map(Sizes::markdown),
            (!self.scale.is_empty()).then(|| scale::markdown(&self.scale)),
            self.tracker.as_ref().map(Tracker::markdown),
        ];
        text.extend(rooms.into_iter().flatten());
        text.push_str("\n**Against the budgets**\n\n");
        text.push_str(&budget::table(&self.budgets));
        text
    }
}
