//! Healthy traffic: nothing in it leaks, although much of it stays in CLOSE_WAIT for
//! longer than the threshold. Nothing may be called a leak, at any time.
//!
//! `CLOSEWAIT_HEALTHY_SECS` says for how long; 75 s without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use rustix::process::Signal;
use serde_json::Value;

use super::netns::Netns;
use super::scenario::Scenario;
use super::situation::ends;
use super::tool::{Ended, Tool};
use super::waiting::show;

/// What `scenarios/healthy.c` can do.
const LOADS: [&str; 6] = ["keepalive", "churn", "pool", "half-close", "slow", "forked"];

#[test]
fn no_leak_is_seen_in_healthy_traffic() {
    let seconds = std::env::var("CLOSEWAIT_HEALTHY_SECS").unwrap_or_else(|_| "75".into());
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let loads = LOADS.map(|load| (load, Scenario::start(&net, "healthy", &[load, &seconds])));
    let served: Vec<_> = loads.iter().map(|(load, scenario)| (*load, served(scenario))).collect();
    let ended = tool.signal(Signal::INT);
    ended.exits(0);

    let mut text = format!("healthy traffic for {seconds} s, served and then judged:\n");
    for (load, served) in &served {
        let _ = writeln!(text, "  {load:<12} {served}");
    }
    let said = Said::by(&ended);
    text.push_str(&said.words());
    show(&text);
    assert_eq!(said.leaks, Vec::<&Value>::new(), "called a leak\n{text}");
    assert!(said.sockets.len() > 7, "nothing was long in CLOSE_WAIT, so this proves nothing\n{text}");
    assert!(served.iter().all(|(_, served)| *served > 0), "a load did not run\n{text}");
}

/// How many connections a program has served by its end.
fn served(scenario: &Scenario) -> u32 {
    loop {
        let said = scenario.hear();
        match said.word.as_str() {
            "ready" | "beat" => {}
            "done" => return said.number("served"),
            _ => panic!("{said:?}"),
        }
    }
}

/// What was said of the sockets over the threshold.
struct Said<'a> {
    /// By their ends; port numbers come again, so a socket may be counted as one with an older one.
    sockets: BTreeSet<(u16, u16)>,
    /// How many lines of each code and `leak`.
    lines: BTreeMap<String, usize>,
    leaks: Vec<&'a Value>,
    unknown: usize,
    all: usize,
}

impl<'a> Said<'a> {
    fn by(ended: &'a Ended) -> Self {
        let mut said =
            Self { sockets: BTreeSet::new(), lines: BTreeMap::new(), leaks: Vec::new(), unknown: 0, all: 0 };
        let of_sockets = |line: &&Value| line["kind"] == "stuck" || line["kind"] == "ghost";
        for line in ended.reports.iter().filter(of_sockets) {
            let verdict = &line["verdict"];
            let words = format!("{} {}", verdict["code"].as_str().unwrap_or_default(), verdict["leak"]);
            said.sockets.insert(ends(line));
            *said.lines.entry(words).or_default() += 1;
            said.all += 1;
            said.unknown += usize::from(verdict["leak"].is_null());
            if verdict["leak"] == true {
                said.leaks.push(line);
            }
        }
        said
    }

    fn words(&self) -> String {
        let mut text = format!(
            "of {} lines about {} sockets over the threshold {} say leak, {} ({} %) leave it open:\n",
            self.all,
            self.sockets.len(),
            self.leaks.len(),
            self.unknown,
            (self.unknown * 100).checked_div(self.all).unwrap_or(0)
        );
        for (words, lines) in &self.lines {
            let _ = writeln!(text, "  {words:<24} {lines}");
        }
        text
    }
}
