//! What one call costs with the tool attached, against bare: a recv of 64 bytes, which the
//! EOF evidence looks at, and getppid, which has nothing to do with sockets. A tracepoint of
//! any `syscalls:*` event makes every call of every task dearer; where trampolines and
//! probes are refused, accept() is seen by one, and this is its price.

use super::{
    budget::{Line, Measured},
    spread::{Spread, some},
    storm::{PORT, Storm, number},
    tracer,
};
use crate::command;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Milliseconds of calls in a slice.
const SLICE_MS: u32 = 300;

/// One loop, bare and traced.
#[derive(Serialize)]
pub(super) struct Calls {
    call: &'static str,
    /// ns
    bare: Spread,
    modes: Vec<Mode>,
}

/// One way to run the tool.
#[derive(Serialize)]
struct Mode {
    name: &'static str,
    /// ns
    traced: Spread,
    /// ns more than the bare slice beside it
    more: Spread,
    /// The same in %
    percent: Spread,
}

/// Attached as a user would have it; without a program on a syscall event, which leaves
/// what the EOF evidence costs; and without both.
const MODES: [(&str, &[&str]); 3] = [
    ("as it is", &[]),
    ("without sys_exit_accept", &["--without", "sys_exit_accept"]),
    ("and without EOF evidence", &["--without", "sys_exit_accept", "--without", "sock_recv_length"]),
];

impl Calls {
    /// Slices bare, traced, traced, bare in each mode.
    pub(super) fn measure(tool: &Path, storm: &Storm, call: &'static str) -> Result<Self> {
        let (mut bare, mut modes) = (Vec::new(), Vec::new());
        for (name, options) in MODES {
            let tracer = tracer::ours(name, tool, options);
            let (mut with_tool, mut more, mut percent) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..storm.args.rounds {
                eprintln!("bench: {call} {name}, round {} of {}", round + 1, storm.args.rounds);
                let before = slice(storm, call)?;
                let running = tracer.start_ours(storm.net, PORT)?;
                let (first, second) = (slice(storm, call)?, slice(storm, call)?);
                running.stop()?;
                let after = slice(storm, call)?;
                for (with, beside) in [(first, before), (second, after)] {
                    bare.push(beside);
                    with_tool.push(with);
                    more.push(with - beside);
                    percent.push((with / beside - 1.0) * 100.0);
                }
            }
            modes.push(Mode {
                name,
                traced: some(&with_tool)?,
                more: some(&more)?,
                percent: some(&percent)?,
            });
        }
        Ok(Self { call, bare: some(&bare)?, modes })
    }

    pub(super) fn measured(&self) -> Option<Measured> {
        let line = if self.call == "recv" { Line::Recv } else { Line::Unrelated };
        let of = |mode: &Mode| if line == Line::Recv { mode.percent } else { mode.more };
        let (first, rest) = self.modes.split_first()?;
        let found = Measured::new(line, of(first));
        Some(rest.iter().fold(found, |found, mode| found.beside(mode.name, Some(of(mode)))))
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "\n**{}**: {} ns bare\n\n| the tool | ns | ns more | % more |\n|---|---|---|---|\n",
            self.call,
            self.bare.shown(1)
        );
        for Mode { name, traced, more, percent } in &self.modes {
            let _ =
                writeln!(text, "| {name} | {} | {} | {} |", traced.shown(1), more.shown(1), percent.shown(1));
        }
        text
    }
}

/// ns of a call.
fn slice(storm: &Storm, call: &str) -> Result<f64> {
    let mut command = storm.net.inside(storm.program("recv_loop"))?;
    command.args(["--call", call, "--ms", &SLICE_MS.to_string()]);
    if storm.pin > 0 {
        command.args(["--cpu", &(storm.pin - 1).to_string()]);
    }
    let said = command::output(&mut command)?;
    let figures = number(&said, "ns=").zip(number(&said, "calls="));
    figures.map(|(ns, calls)| ns / calls).with_context(|| format!("it said {said}"))
}
