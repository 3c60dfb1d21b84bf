//! Whether the sockets that a client keeps are bounded, as those of a pool are, or become
//! more: that is told when births and closes have been watched for a minute. So this takes
//! a good minute, and more where the processor is emulated.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::Value;

use super::netns::Netns;
use super::scenario::Scenario;
use super::situation::ends;
use super::tool::{Ended, Tool};
use super::waiting::show;

/// What is said of the sockets whose server listens on `port`, each in order.
fn told(ended: &Ended, port: &str) -> BTreeMap<u16, Vec<(String, Option<bool>)>> {
    let mut told = BTreeMap::<_, Vec<_>>::new();
    for line in ended.reports.iter().filter(|line| line["kind"] == "stuck") {
        let (local, remote) = ends(line);
        if remote.to_string() == port {
            let verdict = &line["verdict"];
            let code = verdict["code"].as_str().unwrap_or_default().to_owned();
            told.entry(local).or_default().push((code, verdict["leak"].as_bool()));
        }
    }
    told
}

/// Whether so many of them are, by what was said last, an idle pool that leaks or does not.
fn are_pool(ended: &Ended, port: &str, at_least: usize, leak: bool) -> bool {
    let last = |told: &Vec<(String, Option<bool>)>| told.last() == Some(&("IDLE_POOL".into(), Some(leak)));
    told(ended, port).values().filter(|told| last(told)).count() >= at_least
}

#[test]
fn are_bounded_or_grow_after_a_minute() {
    const BOUNDED: usize = 11;
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let bounded = Scenario::start(&net, "receiving", &["pool", "--count", &BOUNDED.to_string()]);
    let growing = Scenario::start(&net, "growing_pool", &[]);
    let (bounded_port, growing_port) = (bounded.port(), growing.port());
    tool.comes_to_print("11 that are bounded and 40 that become more", |ended| {
        are_pool(ended, &bounded_port, BOUNDED, false) && are_pool(ended, &growing_port, 40, true)
    });
    let ended = tool.signal(Signal::INT);
    ended.exits(0);

    let bounded = told(&ended, &bounded_port);
    let growing = told(&ended, &growing_port);
    show(&format!(
        "idle pools: {} bounded, {} of one that grows, of which {} were told to leak",
        bounded.len(),
        growing.len(),
        growing.values().filter(|told| told.last().is_some_and(|(_, leak)| *leak == Some(true))).count()
    ));
    assert_eq!(bounded.len(), BOUNDED, "{}", ended.everything());
    for told in bounded.values() {
        assert_eq!(told[0].1, None, "nothing can be told at first: {told:?}");
        assert!(told.iter().all(|(_, leak)| *leak != Some(true)), "called a leak: {told:?}");
    }
    for told in growing.values() {
        assert!(told.iter().all(|(_, leak)| *leak != Some(false)), "called harmless: {told:?}");
    }
    let evidence = |words: &str| ended.reports.iter().any(|line| says(line, words));
    assert!(evidence("bounded") && evidence("grows by at least"), "{}", ended.everything());
}

fn says(line: &Value, words: &str) -> bool {
    line["verdict"]["evidence"].to_string().contains(words)
}
