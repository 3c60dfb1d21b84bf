//! One scrape's worth of numbers: from the ledger and the totals to a bounded set of series.
//! Pure.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, MonoNs};
use crate::item::Gap;
use crate::report::{ByEnding, Copies, Ending, Ledger, Totals};

use super::families::{self as of, Family};
use super::histogram::{Buckets, latency};
use super::present::Groups;
use super::tally::Births;

/// No exposition has more series than this: what is grouped is bounded below, and the rest
/// is fixed.
pub const SERIES_BOUND: usize = 1000;

/// What a scrape is made of.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Now.
    pub now: MonoNs,
    /// For wall time.
    pub clock: &'a Clock,
    /// Of the driver.
    pub totals: &'a Totals,
    /// What was reported.
    pub ledger: &'a Ledger,
    /// Births since the start.
    pub births: &'a Births,
    /// What the tool knows of itself.
    pub own: Own,
    /// When the trace began: a clock that is set later does not change it.
    pub started: SystemTime,
    /// What the exposition before this one took.
    pub last_took: Option<Duration>,
}

/// What the tool knows of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Own {
    /// Programs are attached.
    pub tracing: bool,
    /// The last reconcile in which every network namespace of interest was seen.
    pub reconciled: Option<MonoNs>,
    /// All network namespaces have been looked into at least once, or that was tried.
    pub swept: bool,
}

/// Values of labels, in the order of their family.
pub(super) type Labels = Vec<Cow<'static, str>>;

/// A value, or several that belong together.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    /// Exact: a count.
    Count(u64),
    /// Measured.
    Float(f64),
    /// A histogram.
    Buckets(Buckets),
}

impl Value {
    fn series(&self) -> usize {
        match self {
            Self::Count(_) | Self::Float(_) => 1,
            Self::Buckets(buckets) => buckets.counts.len() + 2,
        }
    }
}

/// Families with at least one series, in the order of the exposition.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sample {
    pub(super) families: Vec<(&'static Family, Vec<(Labels, Value)>)>,
}

impl Sample {
    /// How many series it has.
    pub fn series(&self) -> usize {
        self.families.iter().flat_map(|(_, series)| series).map(|(_, value)| value.series()).sum()
    }

    /// Adds a family; one of which nothing is known is left out.
    pub(super) fn add(&mut self, family: &'static Family, series: impl IntoIterator<Item = (Labels, Value)>) {
        let series: Vec<_> = series.into_iter().collect();
        if !series.is_empty() {
            self.families.push((family, series));
        }
    }

    fn count(&mut self, family: &'static Family, count: u64) {
        self.add(family, [(Labels::new(), Value::Count(count))]);
    }

    fn float(&mut self, family: &'static Family, value: Option<f64>) {
        self.add(family, value.map(|value| (Labels::new(), Value::Float(value))));
    }

    fn seconds(&mut self, family: &'static Family, value: Option<Duration>) {
        self.float(family, value.map(|value| value.as_secs_f64()));
    }
}

/// Takes a sample.
pub fn sample(seen: &Seen<'_>) -> Sample {
    let mut sample = Sample::default();
    let (groups, totals) = (Groups::of(seen.ledger, seen.now), seen.totals);
    groups.sockets(&mut sample);

    sample.count(&of::TRACKED_SOCKETS, totals.tracker.tracked);
    sample.count(&of::UNREPORTED, totals.tracker.waiting);
    sample.count(&of::ENTRIES, totals.entered());
    sample.count(&of::BIRTHS, seen.births.stuck);
    let ghosts = seen.births.ghosts.iter();
    sample.add(&of::GHOST_BIRTHS, ghosts.map(|(code, &count)| one(code.name(), count)));
    let endings = seen.ledger.endings();
    sample.add(&of::RELEASES, releases(endings));
    sample.count(&of::FINALIZER_CLOSES, endings.by_finalizer);
    if seen.own.tracing {
        let latency = Value::Buckets(latency(&totals.tracker.dwell));
        sample.add(&of::CLOSE_LATENCY, [(Labels::new(), latency)]);
    }
    groups.limits(&mut sample);
    own(&mut sample, seen);
    sample.add(&of::STUCK_AGE, [(Labels::new(), Value::Buckets(groups.ages()))]);
    // The number counts itself.
    let series = sample.series() + 1;
    let place = sample.families.iter().position(|(family, _)| family.name == of::BUILD.name);
    let place = place.unwrap_or(sample.families.len());
    sample.families.insert(place, (&of::SERIES, vec![(Labels::new(), Value::Count(series as u64))]));
    sample
}

/// What the tool has lost and what it costs.
fn own(sample: &mut Sample, seen: &Seen<'_>) {
    let (totals, own) = (seen.totals, seen.own);
    if own.tracing {
        sample.add(&of::LOST, losses(&totals.lost));
    }
    let apart = seen.ledger.apart();
    if own.swept {
        sample.count(&of::UNREAD_NAMESPACES, apart.unread);
    }
    sample.count(&of::FAILED_LOOKS, apart.failed_looks);
    if let Some(Copies { copied, put_off, lost }) = totals.cost.stacks {
        let results = [("copied", copied), ("put_off", put_off), ("lost", lost)];
        sample.add(&of::STACK_COPIES, results.map(|(result, count)| one(result, count)));
    }
    sample.count(&of::DEGRADED, totals.degraded.len() as u64);
    sample.count(&of::TRACING, own.tracing.into());
    sample.seconds(&of::THRESHOLD, Some(totals.threshold));
    sample.float(&of::LAST_RECONCILE, own.reconciled.map(|at| unix(seen.clock.wall(at))));
    sample.float(&of::START_TIME, Some(unix(seen.started)));
    sample.seconds(&of::CPU, totals.cost.cpu);
    sample.add(&of::MEMORY, totals.cost.rss.map(|bytes| (Labels::new(), Value::Count(bytes))));
    sample.seconds(&of::BPF_RUN, totals.cost.bpf);
    sample.seconds(&of::EXPOSITION, seen.last_took);
    let build = vec![crate::version::short().into(), env!("CLOSEWAIT_BPF_SHA256").into()];
    sample.add(&of::BUILD, [(build, Value::Count(1))]);
}

/// A count with one label.
pub(super) fn one(label: &'static str, count: u64) -> (Labels, Value) {
    (vec![label.into()], Value::Count(count))
}

fn releases(endings: ByEnding) -> impl Iterator<Item = (Labels, Value)> {
    let how = |how| match how {
        Ending::Closed => "closed",
        Ending::Aborted => "aborted",
        Ending::Exited => "exited",
        Ending::Destroyed => "destroyed",
    };
    let known = Ending::ALL.into_iter().map(move |ending| (how(ending), endings.get(ending)));
    known.chain([("unknown", endings.unknown)]).map(|(how, count)| one(how, count))
}

fn losses(gap: &Gap) -> impl Iterator<Item = (Labels, Value)> {
    // Every kind: a new one has to find its place here.
    let Gap { from: _, to: _, enter, leave, destroy, path, opener, recursion, malformed, unreadable, missed } =
        *gap;
    let kinds = [
        ("enter", enter),
        ("leave", leave),
        ("destroy", destroy),
        ("path", path),
        ("opener", opener),
        ("recursion", recursion),
        ("malformed", malformed),
        ("unreadable", unreadable),
        ("missed", missed),
    ];
    kinds.into_iter().map(|(kind, count)| one(kind, count))
}

/// Seconds since 1970, to the millisecond: two clocks are not read at the same moment, and a
/// value that seems to change is stored anew each time.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age are exact in 53 bits")]
fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1e3
}
