//! How the cost of one look grows: with network namespaces, processes, stuck sockets and
//! healthy sockets, each alone. CPU time of a snapshot; the exponent is fitted.

use super::{
    fit::Fit,
    pile::{Heap, Pile},
    spread::{Spread, some},
    starts::{cpu_of, snapshot},
};
use crate::{netns::Netns, stopwatch::Stopwatch};
use anyhow::Result;
use serde::Serialize;
use std::{fmt::Write as _, path::Path, process::Command, time::Duration};

/// One curve.
#[derive(Serialize)]
pub(super) struct Curve {
    what: &'static str,
    /// ms of CPU where there is one, of namespaces with those that are there anyway
    base: Spread,
    /// How many, and ms of CPU
    points: Vec<(u32, Spread)>,
    /// Why the rest was not measured
    missing: Option<String>,
    fit: Option<Fit>,
}

const SETTLE: Duration = Duration::from_secs(2);

/// What is varied.
#[derive(Clone, Copy)]
enum Axis {
    Heap(fn(u32) -> Heap),
    Namespaces,
}

const AXES: [(&str, Axis, u32); 4] = [
    ("network namespaces", Axis::Namespaces, 1000),
    ("processes", Axis::Heap(|children| Heap { children, stuck: 0, healthy: 0 }), 10_000),
    ("stuck sockets", Axis::Heap(|stuck| Heap { stuck, children: 0, healthy: 0 }), 100_000),
    ("healthy connections", Axis::Heap(|healthy| Heap { healthy, children: 0, stuck: 0 }), 100_000),
];

/// All curves, to `most` of a kind, or what the kind allows.
pub(super) fn measure(tool: &Path, pile: &Path, most: u32, rounds: u32) -> Result<Vec<Curve>> {
    AXES.iter().map(|(what, axis, limit)| curve(tool, pile, what, *axis, most.min(*limit), rounds)).collect()
}

fn curve(tool: &Path, pile: &Path, what: &'static str, axis: Axis, most: u32, rounds: u32) -> Result<Curve> {
    let net = Netns::with_all_ports("bench")?;
    let look = || match axis {
        Axis::Heap(_) => snapshot(tool, &net),
        // As it is started: all namespaces.
        Axis::Namespaces => {
            let mut command = Command::new(tool);
            command.arg("snapshot");
            command
        }
    };
    let cost = || -> Result<Spread> {
        let runs = (0..rounds).map(|_| cpu_of(&mut look())).collect::<Result<Vec<_>>>()?;
        some(&runs)
    };
    // The kernel takes its time to be rid of what the last curve had.
    Stopwatch::pause(SETTLE);
    let base = match axis {
        // The first one brings steps of its own (naming, a second look): they are no growth.
        Axis::Heap(heap) => Pile::new(&net, pile, heap(1)).and_then(|_one| cost())?,
        Axis::Namespaces => cost()?,
    };
    let (mut points, mut missing, mut namespaces) = (Vec::new(), None, Vec::new());
    for count in counts(most) {
        eprintln!("bench: scale, {count} {what}");
        let made = match axis {
            Axis::Heap(heap) => Pile::new(&net, pile, heap(count)).map(Some),
            Axis::Namespaces => {
                while u32::try_from(namespaces.len())? < count {
                    namespaces.push(Netns::with_all_ports("bench")?);
                }
                Ok(None)
            }
        };
        match made {
            Ok(_pile) => points.push((count, cost()?)),
            Err(error) => {
                missing = Some(format!("{count}: {error:#}"));
                break;
            }
        }
    }
    let medians: Vec<(f64, f64)> =
        points.iter().map(|(count, cost)| (f64::from(*count), cost.median)).collect();
    Ok(Curve { what, base, fit: Fit::of(&medians, base.median), points, missing })
}

/// Powers of about 3 up to `most`.
fn counts(most: u32) -> Vec<u32> {
    [10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000].into_iter().filter(|it| *it <= most).collect()
}

impl Curve {
    fn markdown(&self) -> String {
        let Self { what, base, points, missing, fit } = self;
        let points = points.iter().map(|(count, cost)| format!("{count}: {:.1}", cost.median));
        let mut shown = points.collect::<Vec<_>>().join(", ");
        if let Some(why) = missing {
            let _ = write!(shown, "; not run: {why}");
        }
        format!("| {what} | {:.1} | {shown} | {} |\n", base.median, Fit::shown(*fit))
    }
}

/// A row for each curve.
pub(super) fn markdown(curves: &[Curve]) -> String {
    let mut text = String::from(
        "\n**How a look grows** (CPU of a snapshot, ms; the exponent is of what is above the cost of one)\n\n\
         | with the number of | one | cost at | |\n|---|---|---|---|\n",
    );
    text.extend(curves.iter().map(Curve::markdown));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_points_for_a_fit_even_when_it_is_short() {
        assert_eq!(counts(100), [10, 30, 100]);
        assert_eq!(counts(5000).last(), Some(&3000));
        assert!(AXES.iter().all(|(_, _, limit)| counts(*limit).len() >= 3));
    }
}
