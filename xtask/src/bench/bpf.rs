//! What the BPF programs take of the CPU at the storm, by the kernel's statistics: each
//! program, a run and a connection, with stacks and without, beside a program that does
//! nothing. And what tracing takes in all, against the load's own CPU time.

use super::{
    budget::{Line, Measured},
    floor::Floor,
    process::Usage,
    programs::{self, Counting, Ran},
    spread::{Spread, some},
    storm::{Kind, PORT, Storm},
    tracer,
};
use crate::netns::Netns;
use anyhow::{Context, Result};
use serde::Serialize;
use std::{collections::BTreeSet, fmt::Write as _, path::Path};

/// As its section names it.
const ITERATOR: &str = "iter_task_file";

#[derive(Serialize)]
pub(super) struct Bpf {
    modes: Vec<Mode>,
    /// What counting adds to each run: what the empty program seems to take, ns
    floor_ns: Spread,
}

/// One way to run the tool.
#[derive(Serialize)]
struct Mode {
    name: &'static str,
    line: Option<Line>,
    programs: Vec<Program>,
    /// us of all programs, counting taken off
    per_connection: Spread,
    /// % of the load's CPU: programs and process
    share: Spread,
}

#[derive(Serialize)]
struct Program {
    name: String,
    /// In a connection
    runs: Spread,
    /// ns, counting taken off
    per_run: Option<Spread>,
    /// ns, counting taken off
    per_connection: Spread,
}

/// What one storm shows.
struct Slice {
    ran: Vec<Ran>,
    floor_ns: f64,
    connections: f64,
    tool_ns: f64,
    load_ns: f64,
}

impl Bpf {
    /// Blows a storm for each mode, in turn, as many times as there are rounds of slices.
    pub(super) fn measure(tool: &Path, storm: &Storm) -> Result<Self> {
        // The last two watch nothing of the storm: one leaves it out in the kernel, the other, whose
        // filter the kernel does not know, in userspace.
        let elsewhere = Netns::with_all_ports("bench")?;
        let net = storm.net;
        let modes: [(_, _, &[&str], &Netns); 4] = [
            ("stacks on", Some(Line::BpfPerConnection), &[], net),
            ("stacks off", Some(Line::BpfPerConnectionNoStacks), &["--stacks", "off"], net),
            ("only another namespace asked for", None, &[], &elsewhere),
            ("only another port asked for", None, &["--local-port", "1"], net),
        ];
        let mut slices: [Vec<Slice>; 4] = Default::default();
        let _counting = Counting::start()?;
        for round in 0..2 * storm.args.rounds {
            eprintln!("bench: bpf, round {} of {}", round + 1, 2 * storm.args.rounds);
            for ((name, _, options, net), slices) in modes.iter().zip(&mut slices) {
                slices.push(slice(&tracer::ours(name, tool, options), net, storm)?);
            }
        }
        let floors: Vec<f64> = slices.iter().flatten().map(|slice| slice.floor_ns).collect();
        let modes = modes.into_iter().zip(&slices);
        let modes = modes.map(|((name, line, ..), slices)| Mode::of(name, line, slices));
        Ok(Self { modes: modes.collect::<Result<_>>()?, floor_ns: some(&floors)? })
    }

    pub(super) fn measured(&self) -> Vec<Measured> {
        let mut found = Vec::new();
        for (mode, line) in self.modes.iter().filter_map(|mode| Some((mode, mode.line?))) {
            let counting = Some(self.floor_ns.times(0.001));
            found.push(Measured::new(line, mode.per_connection).beside("taken off each run:", counting));
        }
        if let [on, off, ..] = &self.modes[..] {
            found.push(Measured::new(Line::StormShare, on.share).beside("with stacks off", Some(off.share)));
        }
        found
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "\n**BPF run time at the storm** (an empty program on the same hook seems to take {} ns a run, which is \
             what counting costs; it is taken off)\n",
            self.floor_ns.shown(0)
        );
        for Mode { name, programs, per_connection, share, .. } in &self.modes {
            let _ = writeln!(
                text,
                "\n{name}: {} us a connection; with the process {} % of the load's CPU\n\n\
                 | program | runs a connection | ns a run | ns a connection |\n|---|---|---|---|",
                per_connection.shown(2),
                share.shown(1)
            );
            for Program { name, runs, per_run, per_connection } in programs {
                let _ = writeln!(
                    text,
                    "| {name} | {:.2} | {} | {} |",
                    runs.median,
                    super::spread::shown(*per_run, 0),
                    per_connection.shown(0)
                );
            }
        }
        text
    }
}

/// `net` is what the tool is to watch.
fn slice(tracer: &tracer::Tracer, net: &Netns, storm: &Storm) -> Result<Slice> {
    let running = tracer.start_ours(net, PORT)?;
    let floor = Floor::attach()?;
    let before = Usage::of_children()?;
    let blown = storm.blow(&Kind::default(), storm.args.seconds, 0)?;
    let load = Usage::of_children()? - before;
    let ran = programs::of_process(running.pid())?;
    let empty = programs::of_ids(&BTreeSet::from([floor.id]))?;
    let floor_ns = empty.first().and_then(programs::per_run).context("the empty program did not run")?;
    let cost = running.stop()?;
    Ok(Slice {
        ran,
        floor_ns,
        connections: blown.connections,
        tool_ns: cost.used.cpu.as_secs_f64() * 1e9,
        load_ns: load.cpu.as_secs_f64() * 1e9,
    })
}

impl Mode {
    fn of(name: &'static str, line: Option<Line>, slices: &[Slice]) -> Result<Self> {
        let each = |of: &dyn Fn(&Slice) -> f64| slices.iter().map(of).collect::<Vec<f64>>();
        let us_of =
            |ran: &[Ran], it: &Slice| programs::net_us_per_connection(ran, it.floor_ns, it.connections);
        // The iterator runs for looks, which come with the time, not with connections.
        let us = |it: &Slice| {
            let ran: Vec<Ran> = it.ran.iter().filter(|ran| ran.name != ITERATOR).cloned().collect();
            us_of(&ran, it)
        };
        let share =
            |it: &Slice| (us_of(&it.ran, it) * 1000.0 * it.connections + it.tool_ns) / it.load_ns * 100.0;
        let names: BTreeSet<&String> = slices.iter().flat_map(|it| &it.ran).map(|ran| &ran.name).collect();
        let programs = names.into_iter().map(|name| Program::of(name, slices));
        Ok(Self {
            name,
            line,
            programs: programs.collect::<Result<_>>()?,
            per_connection: some(&each(&us))?,
            share: some(&each(&share))?,
        })
    }
}

impl Program {
    #[expect(clippy::cast_precision_loss, reason = "a count of runs")]
    fn of(name: &str, slices: &[Slice]) -> Result<Self> {
        let (mut runs, mut per_run, mut per_connection) = (Vec::new(), Vec::new(), Vec::new());
        for slice in slices {
            // Some kernels list a program under two descriptors, and some programs share a name.
            for ran in slice.ran.iter().filter(|ran| ran.name == name) {
                let ns = programs::net_ns(ran, slice.floor_ns);
                runs.push(ran.runs as f64 / slice.connections);
                per_connection.push(ns / slice.connections);
                if ran.runs > 0 {
                    per_run.push(ns / ran.runs as f64);
                }
            }
        }
        Ok(Self {
            name: name.to_owned(),
            runs: some(&runs)?,
            per_run: Spread::of(&per_run),
            per_connection: some(&per_connection)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(runs: u64, ns: u64) -> Slice {
        let ran = [("edge", runs, ns), ("eof", 0, 0), (ITERATOR, 0, 20_000)];
        let ran = ran.map(|(name, runs, ns)| Ran { name: name.into(), runs, ns }).to_vec();
        Slice { ran, floor_ns: 20.0, connections: 100.0, tool_ns: 4000.0, load_ns: 1_000_000.0 }
    }

    #[test]
    fn a_mode_is_what_its_slices_show() {
        let slices = [slice(200, 104_000), slice(200, 204_000), slice(200, 154_000)];
        let mode = Mode::of("on", Some(Line::BpfPerConnection), &slices).unwrap();
        assert!((mode.per_connection.median - 1.5).abs() < 1e-9, "{:?}", mode.per_connection);
        assert!((mode.share.median - 17.4).abs() < 1e-9, "{:?}", mode.share);
        let [edge, eof, _] = &mode.programs[..] else { panic!("three programs") };
        assert!((edge.per_run.unwrap().median - 750.0).abs() < 1e-9);
        assert!((edge.runs.median - 2.0).abs() < 1e-9);
        assert_eq!((eof.per_run, eof.per_connection.median), (None, 0.0));
    }
}
