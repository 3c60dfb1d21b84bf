//! Every metric: its name, its labels and what it means. The exposition, the man page and
//! the checks of rules and dashboard are made of this one list.

use prometheus_client::registry::Unit;

/// What a family is to OpenMetrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows; the name of its series ends in `_total`.
    Counter,
    /// Counts of what has happened, by size.
    Histogram,
    /// Counts of what there is now, by size.
    GaugeHistogram,
    /// Always 1; its labels are what it says.
    Info,
}

/// What a value is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum In {
    Seconds,
    Bytes,
}

/// A family of series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// Without the prefix, the unit and what its kind adds.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its values are measured in; `None` for counts.
    pub unit: Option<In>,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means: one sentence or two, without quotes and backslashes.
    pub help: &'static str,
}

/// What all names begin with.
pub const PREFIX: &str = "closewait";

impl Family {
    const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, unit: None, labels, help }
    }

    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, unit: None, labels, help }
    }

    const fn of(self, unit: In) -> Self {
        Self { unit: Some(unit), ..self }
    }

    pub(super) fn encoder_unit(&self) -> Option<Unit> {
        self.unit.map(|unit| match unit {
            In::Seconds => Unit::Seconds,
            In::Bytes => Unit::Bytes,
        })
    }

    /// Its name as the exposition declares it.
    pub fn full_name(&self) -> String {
        let unit = match self.unit {
            Some(In::Seconds) => "_seconds",
            Some(In::Bytes) => "_bytes",
            None => "",
        };
        format!("{PREFIX}_{}{unit}", self.name)
    }

    /// The names of its series, as queries use them.
    pub fn series(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Kind::Gauge => &[""],
            Kind::Counter => &["_total"],
            Kind::Histogram => &["_bucket", "_count", "_sum"],
            Kind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Kind::Info => &["_info"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.full_name())).collect()
    }
}

const OWNER: &[&str] = &["comm", "container"];

pub(super) static STUCK_SOCKETS: Family = Family::gauge(
    "stuck_sockets",
    &["verdict", "comm", "container", "local_port", "role"],
    "Sockets in CLOSE_WAIT for the threshold or longer, by what closewait-trace says of them. local_port is that of \
     a server; a client gets another one each time, and has an empty one here. The largest 400 groups keep comm, \
     container and local_port; the rest is added up as other.",
);
pub(super) static GHOST_SOCKETS: Family = Family::gauge(
    "ghost_sockets",
    &["verdict", "comm", "container"],
    "Descriptors still held on sockets that TCP has ended, which ss does not show. The largest 40 groups keep comm \
     and container; the rest is added up as other.",
);
pub(super) static REPORTED_SOCKETS: Family = Family::gauge(
    "reported_sockets",
    &["leak"],
    "Stuck sockets and ghosts together, by whether they are a leak: true, false, or null where the evidence cannot \
     tell.",
);
pub(super) static LEAKED_SOCKETS: Family = Family::gauge(
    "leaked_sockets",
    OWNER,
    "Stuck sockets and ghosts that are a leak, by the process to blame. The largest 40 groups keep their labels; the \
     rest is added up as other.",
);
pub(super) static STUCK_AGE: Family = Family {
    name: "stuck_age",
    kind: Kind::GaugeHistogram,
    unit: Some(In::Seconds),
    labels: &["le"],
    help: "How long the stuck sockets of now have been in CLOSE_WAIT, at least.",
};
pub(super) static UNREPORTED: Family = Family::gauge(
    "unreported_sockets",
    &[],
    "Sockets that are old enough to be reported and are only counted so far: they wait for their turn, or there is \
     no room for them in memory.",
);
pub(super) static TRACKED_SOCKETS: Family =
    Family::gauge("tracked_sockets", &[], "Sockets in CLOSE_WAIT now, however young.");
pub(super) static ENTRIES: Family = Family::counter(
    "entries",
    &[],
    "Sockets that were in CLOSE_WAIT, closed in time or not: entries that were seen, and sockets found there later.",
);
pub(super) static BIRTHS: Family = Family::counter(
    "births",
    &[],
    "Sockets reported as stuck, those that were when the tool began included: each is counted once, when it is first reported.",
);
pub(super) static GHOST_BIRTHS: Family =
    Family::counter("ghost_births", &["verdict"], "Ghosts, counted when they are first reported.");
pub(super) static RELEASES: Family = Family::counter(
    "releases",
    &["how"],
    "Reported sockets and ghosts that have ended: closed late, aborted by the program, exited with their process, \
     destroyed (reset, timed out, or ended from outside); unknown where the end was not seen.",
);
pub(super) static FINALIZER_CLOSES: Family = Family::counter(
    "finalizer_closes",
    &[],
    "Of these, closed by the finalizer of a garbage collector: the code path leaks, the collector cleans up.",
);
pub(super) static CLOSE_LATENCY: Family = Family {
    name: "close_latency",
    kind: Kind::Histogram,
    unit: Some(In::Seconds),
    labels: &["le"],
    help: "Time from CLOSE_WAIT to LAST_ACK of every socket of which both were seen, healthy ones too: how long \
           programs take to close what their peer has closed.",
};
pub(super) static FDS_LEFT: Family = Family::gauge(
    "owner_fds_left",
    OWNER,
    "Descriptors that a process with stuck sockets can still open, by its soft limit; of processes with the same \
     labels, of the one with the smallest part left. Those with the smallest part left keep their labels, 40 of them.",
);
pub(super) static FDS_LIMIT: Family =
    Family::gauge("owner_fds_limit", OWNER, "The soft limit of descriptors of the same process.");
pub(super) static PORTS_LEFT: Family = Family::gauge(
    "owner_ports_left",
    OWNER,
    "Local ports that a client with stuck sockets can still use towards one server; of servers and processes with \
     the same labels, where the smallest part is left. Those with the smallest part left keep their labels, 40 of \
     them.",
);
pub(super) static PORTS_LIMIT: Family =
    Family::gauge("owner_ports_limit", OWNER, "The local ports there are towards the same server.");
pub(super) static LOST: Family = Family::counter(
    "lost",
    &["kind"],
    "What was lost, and healed by the next reconcile if it can be: records of entries (enter), exits (leave), ends \
     of life (destroy) and call paths (path) for which the ring was full, openers for which the map was (opener), \
     runs that the kernel skipped (recursion), records that could not be parsed (malformed) or whose socket could \
     not be read (unreadable), and sockets whose entry only a later look has shown (missed). Absent where nothing \
     is traced.",
);
pub(super) static UNREAD_NAMESPACES: Family = Family::gauge(
    "unread_namespaces",
    &[],
    "Network namespaces that the last look could not be taken in: what is stuck there is not known. \
     Absent until the first look has come to its end.",
);
pub(super) static FAILED_LOOKS: Family = Family::counter(
    "failed_namespace_looks",
    &[],
    "Looks into a network namespace that failed, or whose answer had holes, of all that were taken.",
);
pub(super) static STACK_COPIES: Family = Family::counter(
    "stack_copies",
    &["result"],
    "User stacks that were copied, put off because there were too many at once, or lost because the ring was full.",
);
pub(super) static DEGRADED: Family =
    Family::gauge("degraded", &[], "Features that are off, each with a reason that the tool has printed.");
pub(super) static TRACING: Family = Family::gauge(
    "tracing",
    &[],
    "1 while the programs are attached; 0 where snapshots are repeated instead.",
);
pub(super) static THRESHOLD: Family =
    Family::gauge("threshold", &[], "A socket is reported once it has been in CLOSE_WAIT this long.")
        .of(In::Seconds);
pub(super) static LAST_RECONCILE: Family = Family::gauge(
    "last_reconcile_timestamp",
    &[],
    "When the state was last compared with the kernel's own tables, in all network namespaces of interest.",
)
.of(In::Seconds);
pub(super) static START_TIME: Family =
    Family::gauge("start_time", &[], "When the trace began; counters count from here.").of(In::Seconds);
pub(super) static CPU: Family =
    Family::counter("cpu", &[], "CPU time of the tool's process, user and system.").of(In::Seconds);
pub(super) static MEMORY: Family =
    Family::gauge("resident_memory", &[], "Resident memory of the tool's process.").of(In::Bytes);
pub(super) static BPF_RUN: Family = Family::counter(
    "bpf_run",
    &[],
    "CPU time of the attached programs; absent while the kernel does not count it (sysctl kernel.bpf_stats_enabled).",
)
.of(In::Seconds);
pub(super) static SERIES: Family =
    Family::gauge("series", &[], "Series in this exposition; at most 1,000, whatever is stuck.");
pub(super) static EXPOSITION: Family = Family::gauge(
    "exposition",
    &[],
    "What the exposition before this one took to be made; absent in the first.",
)
.of(In::Seconds);
pub(super) static BUILD: Family = Family {
    name: "build",
    kind: Kind::Info,
    unit: None,
    labels: &["version", "bpf_sha256"],
    help: "Version of the tool, and the hash of the BPF object in it.",
};

/// All families, in the order of the exposition.
pub static ALL: [&Family; 32] = [
    &STUCK_SOCKETS,
    &GHOST_SOCKETS,
    &REPORTED_SOCKETS,
    &LEAKED_SOCKETS,
    &TRACKED_SOCKETS,
    &UNREPORTED,
    &ENTRIES,
    &BIRTHS,
    &GHOST_BIRTHS,
    &RELEASES,
    &FINALIZER_CLOSES,
    &CLOSE_LATENCY,
    &FDS_LEFT,
    &FDS_LIMIT,
    &PORTS_LEFT,
    &PORTS_LIMIT,
    &LOST,
    &UNREAD_NAMESPACES,
    &FAILED_LOOKS,
    &STACK_COPIES,
    &DEGRADED,
    &TRACING,
    &THRESHOLD,
    &LAST_RECONCILE,
    &START_TIME,
    &CPU,
    &MEMORY,
    &BPF_RUN,
    &SERIES,
    &EXPOSITION,
    &BUILD,
    &STUCK_AGE,
];
