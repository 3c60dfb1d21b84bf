//! The storm: slices of it, with and without a tracer, in turn.

use super::{Args, net::Net, spread::Spread, tracer::Tracer};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Stdio},
};

pub(super) struct Storm<'a> {
    pub(super) net: &'a Net,
    pub(super) program: PathBuf,
    pub(super) args: &'a Args,
}

/// What one tracer did to the storm.
#[derive(Serialize)]
pub(super) struct Row {
    name: &'static str,
    /// Why it was not run.
    missing: Option<String>,
    per_second: Option<Spread>,
    /// Against the bare slices beside it, pair by pair.
    ratio: Option<Spread>,
    /// CPU of its process, parts of a core.
    cpu: Option<Spread>,
    /// Records lost in all slices; `None`: it does not say.
    lost: Option<u64>,
}

struct Slice {
    per_second: f64,
    cpu: f64,
    lost: Option<u64>,
}

/// The port of the storm's server.
pub(super) const PORT: u16 = 970;

impl Storm<'_> {
    /// A row for each tracer, after the control.
    pub(super) fn measure(&self, tracers: &[Tracer]) -> Result<Vec<Row>> {
        let mut rows = vec![self.row("bare (control)", None, None)?];
        for tracer in tracers {
            rows.push(match &tracer.missing {
                Some(why) => Row::missing(tracer.name, why),
                None => match self.row(tracer.name, Some(tracer), None) {
                    Ok(row) => row,
                    // A peer that fails is a row; ours failing is a failure.
                    Err(error) if tracer.name == "tcpstates" || tracer.name == "bpftrace" => {
                        Row::missing(tracer.name, &format!("{error:#}"))
                    }
                    Err(error) => return Err(error),
                },
            });
        }
        let named = |name| tracers.iter().find(|tracer| tracer.name == name);
        if let (Some(tracing), Some(recording)) = (named("closewait-trace"), named("record")) {
            rows.push(self.row("record, against closewait-trace", Some(recording), Some(tracing))?);
        }
        Ok(rows)
    }

    /// `beside`: what it is compared with, instead of nothing.
    fn row(&self, name: &'static str, tracer: Option<&Tracer>, beside: Option<&Tracer>) -> Result<Row> {
        let (mut rates, mut ratios, mut cpu, mut lost) = (Vec::new(), Vec::new(), Vec::new(), None);
        for round in 0..self.args.rounds {
            eprintln!("bench: {name}, round {} of {}", round + 1, self.args.rounds);
            let order = [beside, tracer, tracer, beside].map(|tracer| self.slice(tracer));
            let [before, first, second, after] = order;
            let (before, after) = (before?.per_second, after?.per_second);
            for (traced, beside) in [(first?, before), (second?, after)] {
                rates.push(traced.per_second);
                ratios.push(traced.per_second / beside);
                cpu.push(traced.cpu);
                if let Some(more) = traced.lost {
                    *lost.get_or_insert(0) += more;
                }
            }
        }
        Ok(Row {
            name,
            missing: None,
            per_second: Spread::of(&rates),
            ratio: Spread::of(&ratios),
            cpu: Spread::of(&cpu).filter(|_| tracer.is_some()),
            lost,
        })
    }

    fn slice(&self, tracer: Option<&Tracer>) -> Result<Slice> {
        let running = tracer.map(|tracer| tracer.start(self.net, PORT)).transpose()?;
        let (connections, ms) = self.blow(self.args.seconds, self.args.stay)?;
        let cost = running.map(super::tracer::Running::stop).transpose()?;
        let seconds = ms / 1000.0;
        Ok(Slice {
            per_second: connections / seconds,
            cpu: cost.as_ref().map_or(0.0, |cost| cost.cpu.as_secs_f64() / seconds),
            lost: cost.and_then(|cost| cost.lost),
        })
    }

    /// Runs the storm once; how many connections, in how many milliseconds.
    pub(super) fn blow(&self, seconds: u32, stay: u32) -> Result<(f64, f64)> {
        let Args { closes, pairs, .. } = self.args;
        let mut command = self.net.inside(&self.program);
        command.args(["--closes", closes]).args(["--port", &PORT.to_string()]);
        for (option, value) in [("--seconds", &seconds), ("--pairs", pairs), ("--stay", &stay)] {
            command.args([option, &value.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the storm")?;
        let said = done(&mut child);
        let status = child.wait().context("cannot wait for the storm")?;
        said.with_context(|| format!("the storm ended with {status} and no figures"))
    }
}

fn done(child: &mut Child) -> Option<(f64, f64)> {
    let stdout: ChildStdout = child.stdout.take()?;
    let line = BufReader::new(stdout).lines().map_while(Result::ok).find(|line| line.starts_with("done "))?;
    let number = |key: &str| {
        let (_, value) = line.split_once(key)?;
        value.split_whitespace().next()?.parse().ok()
    };
    Some((number("connections=")?, number("ms=")?))
}

impl Row {
    fn missing(name: &'static str, why: &str) -> Self {
        Self { name, missing: Some(why.to_owned()), per_second: None, ratio: None, cpu: None, lost: None }
    }

    /// A row of the table.
    pub(super) fn markdown(&self) -> String {
        if let Some(why) = &self.missing {
            return format!("| {} | not run: {why} | | | |", self.name);
        }
        let rate = self.per_second.map_or_else(|| "-".into(), |rate| format!("{:.0}", rate.median));
        let ratio = self.ratio.map_or_else(
            || "-".into(),
            |ratio| format!("{:.3} ({:.3} to {:.3})", ratio.median, ratio.lower, ratio.upper),
        );
        let cpu = self.cpu.map_or_else(|| "-".into(), |cpu| format!("{:.1}", cpu.median * 100.0));
        let lost = self.lost.map_or_else(|| "-".into(), |lost| lost.to_string());
        format!("| {} | {rate} | {ratio} | {cpu} | {lost} |", self.name)
    }
}
