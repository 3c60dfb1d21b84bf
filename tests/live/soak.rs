//! A mixed load with random faults, held all along against the truth that the load keeps:
//! no wrong owner, no false leak, nothing missed after a reconcile, no memory that grows.
//!
//! `CLOSEWAIT_SOAK_SECS` says for how long the load goes on (25 s without it),
//! `CLOSEWAIT_SOAK_SEED` which load and faults (an even seed has a ring of 16 KiB, which
//! overflows), and `CLOSEWAIT_SOAK_RESULTS` names a file to which what has come out is
//! appended, a line of JSON every minute. `cargo xtask soak` sets all three.

mod judge;
mod room;
mod truth;

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::age::is_emulated;
use super::netns::Netns;
use super::scenario::Scenario;
use super::tool::Tool;
use super::waiting::{Deadline, show};
use judge::{Judge, in_time};
use room::{Memory, Room};
use truth::Truth;

/// A run that lasts this long says how memory grows.
const LONG_S: u64 = 600;
/// And in one that lasts this long it must not by more than a killed owner a minute and eight
/// new call paths leave: counts of half a KiB and eight keys of stacks that are kept already.
const FILLED_S: u64 = 2400;
const FLAT_KIB_PER_MIN: f64 = 16.0;

/// Faults, at random moments; the same for the same seed.
struct Faults {
    random: u64,
    next: MonoNs,
    continues: Option<MonoNs>,
    stops: u64,
}

impl Faults {
    fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { random, next: Clock::mono_now() + Duration::from_secs(6), continues: None, stops: 0 }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    /// Stops the tool, perhaps while there is a storm, and lets it go on after one to five seconds.
    fn stop_and_go(&mut self, tool: &Tool, load: &mut Scenario, now: MonoNs) {
        let pid = Pid::from_raw(i32::try_from(tool.pid()).expect("a pid")).expect("a pid");
        match self.continues {
            Some(at) if now >= at => {
                kill_process(pid, Signal::CONT).expect("it is stopped");
                self.continues = None;
                self.next = now + Duration::from_secs(15 + self.below(45));
            }
            None if now >= self.next => {
                kill_process(pid, Signal::STOP).expect("it runs");
                self.stops += 1;
                if self.stops % 2 == 1 {
                    load.tell("storm");
                }
                self.continues = Some(now + Duration::from_millis(1000 + self.below(4000)));
            }
            _ => {}
        }
    }

    /// Lets it go on.
    fn end(&mut self, tool: &Tool, load: &mut Scenario) {
        if self.continues.is_some() {
            self.stop_and_go(tool, load, MonoNs(u64::MAX >> 1));
        }
    }
}

/// Everything of one run.
struct Soak {
    seed: u64,
    run: String,
    began: MonoNs,
    /// Until it is ended.
    tool: Option<Tool>,
    load: Scenario,
    truth: Truth,
    judge: Judge,
    room: Room,
    faults: Faults,
    /// Lines that are too young to be judged: the truth may not have been told yet.
    young: VecDeque<(MonoNs, Value)>,
    lost: u64,
}

#[test]
fn the_truth_is_told_under_load_and_faults() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let seconds = number("CLOSEWAIT_SOAK_SECS").unwrap_or(25);
    let seed = number("CLOSEWAIT_SOAK_SEED").unwrap_or(2);
    let net = Netns::new();
    let mut soak = Soak::start(&net, seed);
    let until = soak.began + Duration::from_secs(seconds);
    let (mut next_look, mut next_word) = (soak.began, soak.began + Duration::from_mins(1));
    while Clock::mono_now() < until {
        soak.turn();
        let now = Clock::mono_now();
        let Some(tool) = &soak.tool else { break };
        soak.faults.stop_and_go(tool, &mut soak.load, now);
        if now >= next_look {
            soak.room.look(tool.pid());
            next_look = now + Duration::from_secs(if seconds >= LONG_S { 5 } else { 1 });
        }
        if now >= next_word {
            soak.append(seconds >= LONG_S);
            next_word = now + Duration::from_mins(1);
        }
    }
    soak.finish(seconds >= LONG_S);
}

impl Soak {
    fn start(net: &Netns, seed: u64) -> Self {
        let ring: &[&str] = if seed.is_multiple_of(2) { &["--room", "RECORDS=16384"] } else { &[] };
        let tool = Tool::trace(net, ring);
        let load = Scenario::start(net, "soak", &[&seed.to_string()]);
        let began = Clock::mono_now();
        Self {
            seed,
            run: format!("{}-{}", humantime::format_rfc3339_seconds(Clock::read().wall(began)), tool.pid()),
            began,
            tool: Some(tool),
            load,
            truth: Truth::default(),
            judge: Judge::default(),
            room: Room::default(),
            faults: Faults::new(seed),
            young: VecDeque::new(),
            lost: 0,
        }
    }

    /// Takes in what both have said for a moment, and judges what is old enough.
    fn turn(&mut self) {
        let soon = Deadline(Clock::mono_now() + Duration::from_millis(200));
        let now = Clock::mono_now();
        let tool = self.tool.as_mut().expect("it runs");
        for line in tool.reports_until(soon) {
            self.take(line, now);
        }
        let at_once = Deadline(MonoNs(0));
        while let Some(said) = self.load.hear_before(at_once) {
            self.truth.hear(&said);
        }
        let old = now - Duration::from_secs(if is_emulated() { 60 } else { 15 });
        while self.young.front().is_some_and(|(at, _)| *at < old) {
            let Some((_, line)) = self.young.pop_front() else { break };
            self.judge.judge(&line, &mut self.truth);
        }
        self.judge.find_missing(&mut self.truth, old);
    }

    fn take(&mut self, line: Value, now: MonoNs) {
        if line["kind"] == "loss" {
            self.lost += line["lost"]["total"].as_u64().unwrap_or_default();
        }
        self.young.push_back((now, line));
    }

    /// Ends the load, waits for what must still be said, and ends the tool.
    fn finish(mut self, is_long: bool) {
        self.faults.end(self.tool.as_ref().expect("it runs"), &mut self.load);
        self.load.tell("stop");
        while self.truth.done.is_none() {
            self.turn();
        }
        let lasts = Clock::mono_now() + in_time();
        let is_said = |soak: &Self| {
            let said = |line: &Value| (line["kind"] == "ghost", super::situation::ends(line));
            let young: Vec<_> = soak.young.iter().map(|(_, line)| said(line)).collect();
            let mut standing = soak.truth.stays.iter().filter(|stay| stay.gone.is_none());
            standing.all(|stay| stay.is_told() || young.contains(&(stay.ghost.is_some(), stay.ends)))
        };
        while !is_said(&self) && Clock::mono_now() < lasts {
            self.turn();
        }
        let done = Clock::mono_now();
        let tool = self.tool.take().expect("it runs");
        self.room.look(tool.pid());
        let ended = tool.signal(Signal::INT);
        ended.exits(0);
        for line in &ended.reports {
            self.take(line.clone(), done);
        }
        for (_, line) in std::mem::take(&mut self.young) {
            self.judge.judge(&line, &mut self.truth);
        }
        // The load has stood still for as long as may pass: whatever is left is missing.
        self.judge.find_missing(&mut self.truth, done);
        for stay in self.truth.stays.iter().filter(|stay| stay.gone.is_none() && !stay.is_told()) {
            let text = format!("at the end: {stay:?}");
            self.judge.complain("a stuck socket was missed", stay.ends, &text);
        }
        let words = self.append(is_long);
        show(&words);
        assert!(self.judge.complaints.is_empty(), "{words}\n{:#?}", self.judge.complaints);
        assert!(self.judge.lines.get("stuck").is_some_and(|lines| *lines > 7), "nothing to see: {words}");
        let is_filled = Clock::mono_now().since(self.began).as_secs() >= FILLED_S;
        let slope = self.room.own.slope().filter(|_| is_filled);
        assert!(slope.is_none_or(|slope| slope < FLAT_KIB_PER_MIN), "memory grows: {words}");
    }

    /// What has come out so far, as a line of JSON; also to the file of results.
    fn append(&self, is_long: bool) -> String {
        let count = |what: &str| self.judge.lines.get(what).copied().unwrap_or_default();
        let complaints: serde_json::Map<_, _> = self
            .judge
            .complaints
            .iter()
            .map(|(what, texts)| ((*what).to_owned(), json!({"count": texts.len(), "first": texts[0]})))
            .collect();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let slope =
            |memory: &Memory| memory.slope().filter(|_| is_long).map(|slope| (slope * 10.0).round() / 10.0);
        let Room { resident, own, .. } = &self.room;
        let line = json!({
            "run": self.run,
            "seed": self.seed,
            "kernel": kernel.trim(),
            "secs": Clock::mono_now().since(self.began).as_secs(),
            "stays": self.truth.stays.len(),
            "stuck": count("stuck"),
            "ghost": count("ghost"),
            "released": count("released"),
            "records_lost": self.lost,
            "tool_stopped": self.faults.stops,
            "complaints": complaints,
            "rss_kib": resident.last_kib(),
            "rss_kib_most": resident.most_kib,
            "rss_kib_per_min": slope(resident),
            "own_kib": own.last_kib(),
            "own_kib_most": own.most_kib,
            "own_kib_per_min": slope(own),
            "fds_most": self.room.most_fds,
            "threads_most": self.room.most_threads,
        })
        .to_string();
        if let Some(path) = std::env::var_os("CLOSEWAIT_SOAK_RESULTS") {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
            writeln!(file, "{line}").expect("room on the disk");
        }
        line
    }
}
