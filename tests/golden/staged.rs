//! Recordings of what is rarely at hand, to be looked at in `top FILE` and `replay --html`:
//! `CLOSEWAIT_SCREENS=DIR cargo test --test golden -- --ignored staged` writes them to DIR.

use std::path::Path;
use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use closewait_trace::commands::top::sink::{Shared, TopSink};
use closewait_trace::recording::entry::{End, Entry, Header, Looked};
use closewait_trace::recording::{Recorder, Settings};
use closewait_trace::report::{Cost, Finding, FirstLook, Report};

use crate::desk::{Desk, THRESHOLD, totals};
use crate::made::{NOW, ago, incident};
use crate::top::many;

/// The time of a finding goes by in two minutes: those that came last were the last to be found.
fn found_at(at: usize, of: usize) -> MonoNs {
    let part = u32::try_from(at * 100 / of.max(1)).unwrap();
    ago(110) + Duration::from_secs(100) * part / 100
}

fn write(path: &Path, reports: Vec<Report>) {
    let clock = Desk::with(|_, _| Box::new(TopSink::new(Shared::new(""), None, crate::desk::OPTIONS))).clock;
    let header = Header {
        tool: closewait_trace::version::short().into(),
        kernel: "6.12.0-staged".into(),
        began: ago(120),
        threshold: THRESHOLD,
        degraded: Vec::new(),
        redacted: false,
        part: 1,
    };
    let settings = Settings { path: path.into(), max: None, redact: false };
    let mut recorder = Recorder::create(&settings, header).unwrap();
    put(&mut recorder, &clock, reports);
    let written = recorder.finish().unwrap();
    assert_eq!(written.dropped, 0);
}

fn put(recorder: &mut Recorder, clock: &Clock, reports: Vec<Report>) {
    let findings: Vec<Finding> = reports
        .into_iter()
        .filter_map(|report| match report {
            Report::Stuck(finding) | Report::Ghost(finding) => Some(*finding),
            _ => None,
        })
        .collect();
    let first = FirstLook { watched: findings.len() as u64, young: 0 };
    recorder.entry(Entry::FirstLook(first), ago(119), clock);
    for (at, finding) in findings.iter().enumerate() {
        let entry = Entry::Looked(Box::new(Looked::of(finding)));
        recorder.entry(entry, found_at(at, findings.len()), clock);
    }
    let totals = totals(NOW);
    let (stats, cost) = (totals.tracker, Cost::default());
    let (began, at, degraded) = (ago(120), NOW, Vec::new());
    let end = End { began, at, degraded, stats, cost, unread: 0, unreached: 0, failed_looks: 0 };
    recorder.entry(Entry::End(Box::new(end)), NOW, clock);
}

#[test]
#[ignore = "it writes recordings for somebody to look at"]
fn recordings_to_be_looked_at() {
    let dir = std::env::var_os("CLOSEWAIT_SCREENS").expect("CLOSEWAIT_SCREENS names the directory");
    let dir = Path::new(&dir);
    for (name, reports) in
        [("none", Vec::new()), ("one", many(1)), ("incident", incident()), ("thousands", many(5_000))]
    {
        write(&dir.join(format!("{name}.recording")), reports);
    }
}
