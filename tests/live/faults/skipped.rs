//! Runs that the kernel skips: what it counts of them is what the tool says, wherever it says it.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use aya::programs::{ProgramFd, loaded_programs};
use closewait_trace::clock::Clock;
use rustix::process::Signal;
use serde_json::Value;

use super::super::bpf::programs_of;
use super::super::leaked::Leaked;
use super::super::metrics::{scrape, serving_with};
use super::super::netns::Netns;
use super::super::scenario::Scenario;
use super::super::tool::{Ended, Tool};
use super::super::veth::Veth;
use super::super::waiting::until;
use super::super::workload::SERVER;
use super::WITH_READER;
use super::row::Row;

/// The programs on the edges. Each does what the other is skipped for, if not both are.
const TRANSITIONS: [&str; 3] = ["enter_btf", "edge_btf", "edge_tp"];

/// The programs of a tool. They are held here, so that they are there when the tool is not.
struct Programs(Vec<(String, ProgramFd)>);

impl Programs {
    fn of(tool: &Tool) -> Self {
        let ids = programs_of(tool.pid());
        let programs = loaded_programs().filter_map(Result::ok).filter(|program| ids.contains(&program.id()));
        let held = programs.map(|program| {
            let name = program.name_as_str().expect("it has a name").to_owned();
            (name, program.fd().expect("it is loaded"))
        });
        Self(held.collect())
    }

    /// Skipped runs as the kernel counts them, of all programs and of those whose skipped runs
    /// nobody makes up for; `None` where it does not count (before 5.12; those of classic
    /// tracepoints before 6.7).
    fn skipped(&self) -> Option<[u64; 2]> {
        let counts = self.0.iter().filter_map(|(name, fd)| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
            let count = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
            Some((name.as_str(), count.trim().parse::<u64>().ok()?))
        });
        let counts: Vec<_> = counts.collect();
        let sure = counts.iter().filter(|(name, _)| !TRANSITIONS.contains(name));
        let sums = [counts.iter().map(|(_, count)| count).sum(), sure.map(|(_, count)| count).sum()];
        (!counts.is_empty()).then_some(sums)
    }
}

/// Ends the tool when its metrics say that at least so many runs were skipped. Lines, metrics and
/// summary agree; returns what they say was skipped, and how many entries only a look has shown.
fn end(row: &mut Row, tool: Tool, metrics: SocketAddr, sure: u64) -> (Ended, [u64; 2]) {
    let series = |kind: &str| format!("closewait_lost_total{{kind=\"{kind}\"}}");
    let scraped = until("the metrics have the loss", || {
        let scraped = scrape(metrics);
        let count = |kind: &str| -> Option<u64> { scraped.get(&series(kind))?.to_string().parse().ok() };
        let counts = [count("recursion")?, count("missed")?];
        (counts[0] >= sure).then_some(counts)
    });
    let ended = tool.signal(Signal::INT);
    let mut said = [0; 2];
    for ((kind, scraped), said) in ["recursion", "missed"].into_iter().zip(scraped).zip(&mut said) {
        let of = |line: &Value| line["lost"][kind].as_u64().expect("a count");
        *said = ended.of_kind("summary").map(of).next().expect("a summary");
        let lines: u64 = ended.of_kind("loss").map(of).sum();
        row.must(lines == *said, &format!("{kind}: {lines} in lines, {said} in the summary"));
        // Between them more may have been skipped.
        row.must(scraped <= *said, &format!("{kind}: {scraped} in the metrics, {said} in the summary"));
    }
    (ended, said)
}

/// How many of the sockets a look has found, not the trace. All others have their opener.
fn found_by_looks(row: &mut Row, leaked: &Leaked, ended: &Ended) -> u64 {
    let about = ended.of_kind("stuck").filter(|report| leaked.include(report));
    let (found, seen): (Vec<_>, Vec<_>) = about.partition(|report| report["missed"] == true);
    row.must(seen.iter().all(|report| leaked.opener_is_right(report)), "an opener");
    row.notes = format!("{} of {} entries found by a look", found.len(), found.len() + seen.len());
    found.len() as u64
}

/// Somebody else's use of BPF keeps classic tracepoints' programs from running on the CPU where
/// all packets are handled: so certain that nearly every entry is missed.
pub(super) fn by_a_neighbour(row: &mut Row) {
    let wire = Veth::steered_to_cpu_0();
    let neighbour = Scenario::start(&wire.server, "map_reader", &["--cpu", "0"]);
    neighbour.expect("ready");
    let (mut tool, metrics) = serving_with(&wire.server, &["--without", "raw_tp"]);
    let programs = Programs::of(&tool);
    let leaked = wire.leak_elsewhere(SERVER);
    drop(neighbour);
    let began = Clock::mono_now();
    tool.has_reported("stuck", leaked.leaks.len());
    row.heals(began);
    let [_, sure] = programs.skipped().unwrap_or_default();
    let (ended, [said, missed]) = end(row, tool, metrics, sure);
    let [_, most] = programs.skipped().unwrap_or_default();
    row.are_right(&leaked, &ended);
    row.says(&ended, "missed ");
    row.must((sure..=most).contains(&said), &format!("skipped: {said} said, the kernel: {sure} to {most}"));
    let found = found_by_looks(row, &leaked, &ended);
    row.must(found > 0, "no entry was missed: nothing was injected");
    row.must(found <= missed, &format!("{found} sockets are said to be missed, {missed} in the summary"));
}

/// Packets of a storm come as interrupts on the CPU where the programs run for the storm's own
/// calls. What one of them is skipped for the other does, so that less is lost than the kernel
/// counts.
pub(super) fn by_their_own_runs(row: &mut Row) {
    let net = Netns::new();
    net.steer_to_cpu_0("lo");
    let (mut tool, metrics) = serving_with(&net, &[]);
    let programs = Programs::of(&tool);
    let storm = || {
        let storm = Scenario::start(&net, "storm", &["--seconds", "1", "--pairs", "2", "--pin", "2"]);
        storm.expect("ready");
        storm
    };
    until("the kernel skips a run", || {
        storm().expect("done");
        // Where the kernel does not count them, there is nothing to wait for.
        programs.skipped().is_none_or(|[all, _]| all > 0).then_some(())
    });
    let beside = storm();
    let leaked = WITH_READER.run(&net, &net);
    beside.expect("done");
    let began = Clock::mono_now();
    tool.has_reported("stuck", WITH_READER.leak);
    row.heals(began);
    let [_, sure] = programs.skipped().unwrap_or_default();
    let (ended, [said, missed]) = end(row, tool, metrics, sure);
    let [all, _] = programs.skipped().unwrap_or_default();
    row.are_right(&leaked, &ended);
    row.must((sure..=all).contains(&said), &format!("skipped: {said} said, the kernel: {sure} to {all}"));
    let found = found_by_looks(row, &leaked, &ended);
    row.must(found <= missed, &format!("{found} sockets are said to be missed, {missed} in the summary"));
    row.reported = format!("of {all} skipped runs {said} that no other made up for");
}
