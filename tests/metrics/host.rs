//! A host made up for metrics: so many stuck sockets in so many processes, some of which
//! end and are followed by others. Everything else is the tool's own: reporter, ledger,
//! sample, exposition.
#![allow(clippy::expect_used, dead_code, reason = "made up for tests, which use what they need of it")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use closewait_trace::clock::{Clock, MonoNs};
use closewait_trace::fact::Fact;
use closewait_trace::item::{Gap, Netns};
use closewait_trace::metrics::{Answers, Ask, Own, Sample, Seen, Tally, sample};
use closewait_trace::report::{Cost, Ending, Finding, Release, Report, Reporter, Totals};
use closewait_trace::tcp::{Endpoint, State, Tuple};
use closewait_trace::tracker::{Released, Since, SocketId, Suspect, SuspectKind, TrackerStats};
use closewait_trace::verdict::{Code, Confidence, Evidence, Holder, Nofile, PortUse, Process, Role, Verdict};

/// Eleven days after boot.
pub(crate) const NOW: MonoNs = MonoNs(1_000_000_000_000_000);

const VERDICTS: [(Code, Option<bool>); 4] = [
    (Code::EofIgnored, Some(true)),
    (Code::NotReading, Some(true)),
    (Code::IdlePool, Some(false)),
    (Code::EofConsumed, None),
];

/// See the module.
pub(crate) struct Host {
    reporter: Reporter,
    /// Counts births.
    pub(crate) tally: Tally,
    clock: Clock,
    processes: Vec<Arc<Process>>,
    stats: TrackerStats,
    now: MonoNs,
    next: u32,
    oldest: u32,
}

impl Host {
    /// With so many processes, none of which has stuck sockets yet.
    pub(crate) fn new(processes: u32) -> Self {
        let tally = Tally::default();
        Self {
            reporter: Reporter::new(vec![Box::new(tally.clone())]),
            tally,
            clock: Clock::fixed(NOW, SystemTime::UNIX_EPOCH + Duration::from_hours(498_666)),
            processes: (0..processes).map(|number| Arc::new(process(number))).collect(),
            stats: TrackerStats::default(),
            now: NOW,
            next: 0,
            oldest: 0,
        }
    }

    /// One more socket is stuck. Of each process they differ in verdict, role and port.
    pub(crate) fn leak(&mut self) {
        let finding = self.finding(self.next);
        self.next += 1;
        self.stats.entered += 1;
        self.stats.tracked += 1;
        self.reporter.report(Report::Stuck(Box::new(finding)), &self.clock, self.now).expect("a tally");
    }

    /// The oldest is closed.
    pub(crate) fn close(&mut self) {
        let Finding { suspect, .. } = self.finding(self.oldest);
        self.oldest += 1;
        self.stats.left += 1;
        self.stats.tracked -= 1;
        self.stats.dwell.record(Duration::from_millis(u64::from(self.oldest) * 37 % 90_000));
        let released = Released {
            id: suspect.id,
            netns: suspect.netns,
            tuple: suspect.tuple,
            since: suspect.since,
            not_before: None,
            at: self.now,
            to: Some(State::LastAck),
            by: None,
            was_suspect: true,
        };
        let release = Release {
            released,
            how: Fact::Known(Ending::Closed),
            closer: Fact::unknown("made up"),
            before: None,
            cause: None,
        };
        self.reporter.report(Report::Released(Box::new(release)), &self.clock, self.now).expect("a tally");
    }

    /// When it was started.
    pub(crate) fn began(&self) -> SystemTime {
        self.clock.pair().1
    }

    /// Time passes; what the tool costs grows with it.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// What a scrape shows now.
    pub(crate) fn sample(&self) -> Sample {
        sample(&Seen {
            now: self.now,
            clock: &self.clock,
            totals: &self.totals(),
            ledger: self.reporter.ledger(),
            births: &self.tally.births(),
            own: self.own(),
            started: self.began(),
            last_took: Some(Duration::from_micros(120)),
        })
    }

    /// As the driver counts.
    fn totals(&self) -> Totals {
        let ran = self.now.since(NOW);
        Totals {
            began: NOW,
            ended: self.now,
            running: None,
            threshold: Duration::from_secs(10),
            watched: self.stats.lives(),
            tracker: self.stats.clone(),
            lost: Gap::default(),
            degraded: Vec::new(),
            cost: Cost {
                // Of one core, a thousandth.
                cpu: Some(Duration::from_millis(200) + ran / 1000),
                rss: Some(11_010_048 + u64::from(self.next) * 256 / 4096 * 4096),
                bpf: None,
                stacks: None,
            },
        }
    }

    /// As the driver knows itself: it reconciles every 10 s.
    fn own(&self) -> Own {
        let last = MonoNs(self.now.0 / 10_000_000_000 * 10_000_000_000);
        Own { tracing: true, reconciled: Some(last), swept: true }
    }

    /// Answers a scrape as the driver does.
    pub(crate) fn answer(&self, answers: &mut Answers, ask: Ask) {
        answers.answer(ask, self.now, &self.clock, &self.totals(), self.reporter.ledger(), self.own());
    }

    fn finding(&self, number: u32) -> Finding {
        let count = u32::try_from(self.processes.len()).expect("few");
        let process = &self.processes[(number % count) as usize];
        let kind = number / count;
        let (code, leak) = VERDICTS[kind as usize % VERDICTS.len()];
        let is_client = code == Code::IdlePool;
        let port = |number: u32| u16::try_from(number).expect("small");
        let passing = port(32_768 + number % 28_000);
        // Each server listens on two ports.
        let service = port(1024 + process.pid % 1000 * 2 + kind / 4 % 2);
        let (local, remote) = if is_client { (passing, service) } else { (service, passing) };
        let end = |host, port| Endpoint { ip: [10, 0, 0, host].into(), port };
        let suspect = Suspect {
            missed: false,
            id: SocketId::from_parts(number, 1),
            sk: None,
            netns: Netns(4_026_531_840),
            tuple: Tuple { local: end(1, local), remote: end(2, remote) },
            kind: SuspectKind::Stuck,
            since: Since::Seen(self.now - Duration::from_secs(11)),
            not_before: None,
            mptcp: false,
            tainted: false,
        };
        let evidence = Evidence {
            holders: Fact::Known(vec![Holder {
                process: Arc::clone(process),
                fd: 10 + kind,
                cloexec: Fact::Known(true),
            }]),
            role: Fact::Known(if is_client { Role::Client } else { Role::Server }),
            ports: if is_client {
                Fact::Known(PortUse { used: 100 + kind, total: 28_232, growth: None })
            } else {
                Fact::unknown("it is not a client's")
            },
            ..Evidence::unknown()
        };
        Finding::new(
            self.now,
            suspect,
            evidence,
            Verdict { code, also: Vec::new(), confidence: Confidence::High, leak },
        )
    }
}

fn process(number: u32) -> Process {
    let names = ["java", "nginx", "python3", "node", "postgres", "envoy"];
    let comm =
        names.get(number as usize).map_or_else(|| format!("worker-{number}"), |name| (*name).to_owned());
    Process {
        pid: 1000 + number,
        comm: comm.into(),
        program: None,
        exe: Fact::unknown("made up"),
        cmdline: Fact::unknown("made up"),
        uid: Fact::Known(1000),
        cgroups: Vec::new(),
        began: Fact::unknown("made up"),
        execed: Fact::unknown("made up"),
        parent: Fact::unknown("made up"),
        container: Some(format!("docker {:012x}", 0x4f_81c2_0000_u64 + u64::from(number)).into()),
        pod: None,
        nofile: Fact::Known(Nofile { used: 300 + u64::from(number), soft: 65_536 }),
    }
}
