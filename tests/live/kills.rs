//! Killed at any moment, by SIGKILL, it leaves nothing: no program, no map, no mount, no
//! namespace, no process.
//!
//! `CLOSEWAIT_KILLS` says how often; 25 times without it. Every moment of a life is hit: while
//! it attaches, while it looks and waits, and while it ends after Ctrl-C.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use closewait_trace::clock::Clock;
use closewait_trace::kernel::load::OBJECT;
use rustix::process::{Pid, Signal, kill_process};

use super::bpf::{maps_of, programs_of};
use super::netns::Netns;
use super::tool::{Tool, binary, json_of};
use super::waiting::{let_pass, show, until};
use super::workload::SERVER;

/// What is left in the kernel of instances of the tool that are no more.
#[derive(PartialEq, Eq, Debug)]
struct Left {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

/// Programs and maps with names of ours that no process has: whatever else runs on this
/// machine, beside this test, has its own.
fn left() -> Left {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let held: BTreeSet<u32> = pids.iter().flat_map(|pid| programs_of(*pid)).collect();
    let mut held_maps: BTreeSet<u32> = pids.iter().flat_map(|pid| maps_of(*pid)).collect();
    let mut programs = BTreeSet::new();
    for program in loaded_programs().filter_map(Result::ok) {
        if held.contains(&program.id()) {
            held_maps.extend(program.map_ids().ok().flatten().unwrap_or_default());
        } else if program.name_as_str().is_some_and(is_ours) {
            programs.insert(program.id());
        }
    }
    let maps = loaded_maps().filter_map(Result::ok);
    let ours = maps.filter(|map| map.name_as_str().is_some_and(is_ours)).map(|map| map.id());
    Left { programs, maps: ours.filter(|id| !held_maps.contains(id)).collect() }
}

/// Whether the object has something of this name; the kernel cuts them to 15 bytes.
fn is_ours(name: &str) -> bool {
    let name = name.as_bytes();
    name.len() > 4 && OBJECT.windows(name.len()).any(|window| window == name)
}

/// What the tool could have mounted; other tests make and remove namespaces meanwhile.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let is_kind = |line: &&str| [" - tracefs ", " - debugfs ", " - bpf "].iter().any(|it| line.contains(it));
    table.lines().filter(is_kind).map(str::to_owned).collect()
}

/// Processes that were started with this argument.
fn processes_with(argument: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    let with = lines.filter(|line| line.contains("--threshold") && line.split('\0').any(|it| it == argument));
    with.collect()
}

#[test]
fn at_any_moment_it_leaves_nothing() {
    let times = std::env::var("CLOSEWAIT_KILLS").ok().and_then(|times| times.parse().ok()).unwrap_or(25_u32);
    let net = Netns::new();
    let leaked = SERVER.run(&net, &net);
    let mounted = mounts();
    let command = || {
        let mut command = Command::new(binary());
        command.args(json_of(&net));
        command
    };

    let began = Clock::mono_now();
    let mut tool = Tool::spawn(&mut command());
    tool.attached();
    let start = Clock::mono_now().since(began);
    let programs = programs_of(tool.pid()).len();
    assert!(programs > 3, "a tracing tool has programs");
    tool.signal(Signal::INT).exits(0);

    let mut random = Random(u64::from(std::process::id()) | 1);
    let (mut attaching, mut tracing, mut ending) = (0, 0, 0);
    for _ in 0..times {
        let mut tool = Tool::spawn(&mut command());
        match random.below(3) {
            0 => {
                attaching += 1;
                let_pass(start.mul_f64(f64::from(random.below(1000)) / 1000.0));
            }
            1 => {
                tracing += 1;
                tool.attached();
                let_pass(Duration::from_millis(random.below(800).into()));
            }
            _ => {
                ending += 1;
                tool.attached();
                let pid = Pid::from_raw(i32::try_from(tool.pid()).expect("a pid")).expect("a pid");
                kill_process(pid, Signal::INT).expect("it runs");
                let_pass(Duration::from_micros(random.below(60_000).into()));
            }
        }
        // Dropped, it is killed.
        drop(tool);
    }
    let lasted = Clock::mono_now().since(began);
    until("the kernel lets go of the programs", || {
        let left = left();
        (left.programs.is_empty() && left.maps.is_empty()).then_some(())
    });
    assert_eq!(mounts(), mounted, "the mount table has changed");
    assert_eq!(processes_with(&net.path()), Vec::<String>::new(), "processes are left");
    leaked.agree_with_ss();
    show(&format!(
        "{times} times SIGKILL in {} s ({attaching} while attaching, {tracing} tracing, {ending} ending): \
         0 programs, maps, mounts, processes left",
        lasted.as_secs()
    ));
}

/// What nobody has must be seen as left, or the test above is worth nothing: a map that is
/// held by its number only.
#[test]
fn what_nobody_has_would_be_seen() {
    assert!(is_ours("enter_raw") && is_ours("RECORDS") && !is_ours("no_such_program"));
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let (programs, maps) = (programs_of(tool.pid()), maps_of(tool.pid()));
    let ours = loaded_programs().filter_map(Result::ok).filter(|program| programs.contains(&program.id()));
    for program in ours {
        let name = program.name_as_str().unwrap_or_default();
        assert!(is_ours(name), "{name:?} would not be missed");
    }
    let ours = loaded_maps().filter_map(Result::ok).filter(|map| maps.contains(&map.id()));
    let named = ours.filter(|map| map.name_as_str().is_some_and(is_ours)).count();
    assert!(named >= 5, "{named} maps would be missed");
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).unwrap_or_default()
    }
}
