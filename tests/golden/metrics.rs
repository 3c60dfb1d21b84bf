//! The exposition, compared with tests/golden/metrics.txt; its bound; and names that
//! would break it.
#![expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "counts, which are exact")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use closewait_trace::clock::Clock;
use closewait_trace::item::Gap;
use closewait_trace::metrics::exposition::text;
use closewait_trace::metrics::families::{ALL, Kind};
use closewait_trace::metrics::{Own, SERIES_BOUND, Seen, Tally, sample};
use closewait_trace::report::{ByLeak, Copies, Cost, Report, Totals};
use closewait_trace::verdict::{Code, Confidence};
use serde_json::Value;

use crate::desk::{Desk, golden, totals};
use crate::host::Host;
use crate::made::{Case, NOW, holder, hostile, incident, of, verdict};

const TRACING: Own = Own { tracing: true, reconciled: Some(NOW), swept: true };

/// What a scrape shows after these reports.
fn scrape(reports: Vec<Report>, totals: &Totals, own: Own) -> String {
    let tally = Tally::default();
    let counts = tally.clone();
    let mut desk = Desk::with(|_, _| Box::new(counts));
    desk.all(reports);
    let births = tally.births();
    let (_, started) = desk.clock.pair();
    let seen = Seen {
        now: NOW,
        clock: &desk.clock,
        totals,
        ledger: desk.reporter.ledger(),
        births: &births,
        own,
        started: started - Duration::from_mins(2),
        last_took: Some(Duration::from_micros(850)),
    };
    text(sample(&seen)).unwrap()
}

fn everything() -> String {
    let mut totals = totals(NOW);
    totals.lost = Gap { enter: 7, recursion: 5, missed: 2, ..Gap::default() };
    totals.degraded = vec!["no stacks of sockets opened before this trace".into()];
    totals.cost = Cost {
        cpu: Some(Duration::from_millis(812)),
        rss: Some(11_010_048),
        bpf: Some(Duration::from_millis(31)),
        stacks: Some(Copies { copied: 42, put_off: 3, lost: 0 }),
    };
    // The hash of the BPF object is another one wherever it was built.
    scrape(incident(), &totals, TRACING).replace(env!("CLOSEWAIT_BPF_SHA256"), "SHA256")
}

/// Series by name and labels. Panics on what is not OpenMetrics, as far as it is used here.
fn series(text: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let mut lines = text.lines();
    assert_eq!(lines.next_back(), Some("# EOF"));
    for line in lines.filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {name}");
    }
    series
}

#[test]
fn an_incident_is_counted_as_it_is_reported() {
    let text = everything();
    golden("metrics.txt", &text);
    let mut leak = ByLeak::default();
    let (mut stuck, mut ghosts) = (0.0, 0.0);
    for report in incident() {
        match report {
            Report::Stuck(finding) => {
                leak.count(finding.verdict.leak);
                stuck += 1.0;
            }
            Report::Ghost(finding) => {
                leak.count(finding.verdict.leak);
                ghosts += 1.0;
            }
            _ => unreachable!(),
        }
    }
    let series = series(&text);
    let sum = |name: &str| -> f64 {
        series.iter().filter(|(series, _)| series.starts_with(&format!("{name}{{"))).map(|(_, n)| n).sum()
    };
    assert_eq!((sum("closewait_stuck_sockets"), sum("closewait_ghost_sockets")), (stuck, ghosts));
    assert_eq!(series["closewait_births_total"], stuck);
    assert_eq!(sum("closewait_ghost_births_total"), ghosts);
    assert_eq!(series["closewait_stuck_age_seconds_gcount"], stuck);
    for (label, count) in [("true", leak.yes), ("false", leak.no), ("null", leak.unclear)] {
        assert_eq!(series[&format!("closewait_reported_sockets{{leak=\"{label}\"}}")], count as f64);
    }
    assert_eq!(sum("closewait_leaked_sockets"), leak.yes as f64);
    assert_eq!(series["closewait_series"], series.len() as f64);
}

/// Every family, exactly as it is declared; also what the man page, rules and dashboard are
/// checked against.
#[test]
fn every_family_is_there_with_its_type_and_nothing_else_is() {
    let text = everything();
    let mut families = BTreeSet::new();
    for family in ALL {
        let name = family.full_name();
        let kind = match family.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::GaugeHistogram => "gaugehistogram",
            Kind::Info => "info",
        };
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} {kind}");
        assert!(text.contains(&format!("# HELP {name} {}\n", family.help)), "{name}");
        assert!(!family.help.contains(['\\', '"', '\n']), "{name}: would have to be escaped");
        assert!(families.insert(name.clone()), "{name} twice");
        for series in family.series() {
            let found = text
                .lines()
                .find(|line| line.strip_prefix(&series).is_some_and(|rest| rest.starts_with(['{', ' '])));
            let found = found.unwrap_or_else(|| panic!("no series {series}"));
            for label in family.labels.iter().filter(|label| **label != "le") {
                assert!(found.contains(&format!("{label}=\"")), "{series} without {label}");
            }
        }
    }
    assert_eq!(text.matches("# TYPE ").count(), families.len());
}

/// Names of metrics, and labels beside them, in the rules and in the dashboard: those that
/// the endpoint gives.
#[test]
fn rules_and_dashboard_name_what_there_is() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let known: BTreeMap<_, _> =
        ALL.iter().flat_map(|family| family.series().into_iter().map(|name| (name, family.labels))).collect();

    let dashboard: Value = serde_json::from_str(&read("closewait.dashboard.json")).unwrap();
    let mut queries = Vec::new();
    strings(&dashboard, &["expr", "query", "definition"], &mut queries);
    assert!(queries.len() > 30, "{queries:?}");
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(panel["type"] == "row" || !panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
    let rules = read("closewait.rules.yml");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    queries.extend(alerts.map(str::to_owned));
    assert_eq!(rules.matches("- alert: ").count(), rules.matches(" expr: ").count());

    let mut used = BTreeSet::new();
    for query in &queries {
        for (at, _) in query.match_indices("closewait_") {
            let rest = &query[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let labels = known.get(name).unwrap_or_else(|| panic!("no series {name}: {query}"));
            used.insert(name.to_owned());
            let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(all, _)| all);
            for matcher in matchers.into_iter().flat_map(|all| all.split("\",")) {
                let label = matcher.split(['=', '!', '~']).next().unwrap();
                assert!(
                    label == "instance" || labels.contains(&label),
                    "{name} has no label {label}: {query}"
                );
            }
        }
    }
    // Everything has a place, but for what others may want to divide by.
    let unused: Vec<_> = known.keys().filter(|name| !used.contains(*name)).map(String::as_str).collect();
    let known_unused =
        ["entries_total", "start_time_seconds", "stuck_age_seconds_gcount", "stuck_age_seconds_gsum"];
    let prefixed: Vec<_> = known_unused.iter().map(|name| format!("closewait_{name}")).collect();
    assert_eq!(unused, [&prefixed[..], &["closewait_threshold_seconds".to_owned()]].concat());
}

/// The strings under these keys, at any depth.
fn strings(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => found.push(text.clone()),
                    _ => strings(value, keys, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, keys, found)),
        _ => {}
    }
}

#[test]
fn what_is_not_known_is_absent() {
    let own = Own { tracing: false, reconciled: None, swept: false };
    let text = scrape(Vec::new(), &totals(NOW), own);
    for absent in [
        "stuck_sockets",
        "ghost_sockets",
        "lost",
        "cpu",
        "resident",
        "bpf_run",
        "close_latency",
        "owner",
        "last_reconcile",
    ] {
        assert!(!text.contains(&format!("closewait_{absent}")), "{absent}:\n{text}");
    }
    assert!(text.contains("closewait_tracing 0\n"));
}

#[test]
fn hostile_names_stay_in_their_label() {
    let mut reports = hostile();
    let names = [
        "a\"} 1\nclosewait_stuck_sockets{verdict=\"X",
        "back\\",
        "cr\rlf\n",
        "\u{202e}gnp",
        "\u{1b}[2J",
        "\u{0}",
        "",
        "# EOF",
        "\u{2028}",
        "\u{fffd}\u{fffd}",
    ];
    let long = "é".repeat(2048);
    for (id, name) in (90_000..).zip(names.into_iter().chain([long.as_str()])) {
        let leaks = verdict(Code::EofIgnored, Confidence::High, Some(true), &[], "");
        let mut held = holder(id, name, "/bin/x", 5);
        of(&mut held).container = Some(format!("unit {name}").into());
        reports.push(Case::new(id, 60, leaks).held(vec![held]).report());
    }
    let text = scrape(reports, &totals(NOW), TRACING);
    let count = series(&text)["closewait_series"];
    assert_eq!(count, series(&text).len() as f64);
    assert!(text.ends_with("\n# EOF\n") && !text.trim_end().contains("\n# EOF\n"));
    for line in text.lines() {
        assert!(line.chars().all(|c| !closewait_trace::report::escape::is_hidden(c)), "{line:?}");
        assert!(line.starts_with("# ") || line.starts_with("closewait_"), "{line:?}");
        assert!(line.starts_with("# HELP") || line.len() < 1500, "{line}");
    }
    // What the format escapes is escaped once more than what makes a name inert.
    assert!(text.contains(r#"comm="back\\\\","#), "{text}");
    assert!(text.contains(r#"comm="a\"} 1\\nclosewait_stuck_sockets{verdict=\"X","#), "{text}");
}

/// 100,000 stuck sockets in 500 processes, with churn: the bound holds, and no socket is
/// missing.
#[test]
fn series_are_bounded_whatever_is_stuck() {
    for (sockets, processes) in [(0, 1), (100, 3), (100_000, 500), (5_000, 5_000)] {
        let mut host = Host::new(processes);
        (0..sockets).for_each(|_| host.leak());
        for _ in 0..sockets / 100 {
            host.close();
            host.leak();
        }
        let taken = host.sample();
        assert!(taken.series() <= SERIES_BOUND, "{} series of {sockets} in {processes}", taken.series());
        let text = text(taken).unwrap();
        let series = series(&text);
        assert_eq!(series["closewait_series"], series.len() as f64);
        let stuck = series.iter().filter(|(name, _)| name.starts_with("closewait_stuck_sockets{"));
        assert_eq!(stuck.map(|(_, n)| n).sum::<f64>(), f64::from(sockets));
        assert_eq!(series["closewait_births_total"], f64::from(sockets + sockets / 100));
        let others = series.keys().any(|name| name.contains("comm=\"other\",container=\"other\""));
        assert_eq!(others, processes >= 500);
        let told = "at most 1,000";
        assert!(text.contains(told) && SERIES_BOUND == 1000);
        assert!(text.len() < 256 * 1024, "{} bytes", text.len());
    }
}

#[test]
fn the_first_exposition_has_no_time_of_one_before() {
    let (tally, clock) = (Tally::default(), Clock::fixed(NOW, SystemTime::UNIX_EPOCH));
    let counts = tally.clone();
    let desk = Desk::with(|_, _| Box::new(counts));
    let (_, started) = clock.pair();
    let (births, totals) = (tally.births(), totals(NOW));
    let ledger = desk.reporter.ledger();
    let seen = Seen {
        now: NOW,
        clock: &clock,
        totals: &totals,
        ledger,
        births: &births,
        own: TRACING,
        started,
        last_took: None,
    };
    assert!(!text(sample(&seen)).unwrap().contains("closewait_exposition"));
}
