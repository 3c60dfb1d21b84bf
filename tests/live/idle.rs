//! A regression check that does not time: how often the tool wakes up where nothing
//! happens. The limit is in `tests/counts.json`.

use std::fs;
use std::time::Duration;

use closewait_trace::clock::Clock;
use rustix::process::Signal;

use super::netns::Netns;
use super::tool::Tool;
use super::waiting::{show, until};

/// How long is counted, and how often: other tests may wake a busy machine's tool once.
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 3;

/// Voluntary context switches of all threads so far (proc_pid_status(5)).
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let of_task = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let counts = of_task.map(|status| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).expect("the kernel counts them")
    });
    counts.sum()
}

/// Stacks are off, because a copied stack wakes it, and other tests on this machine make some.
#[test]
fn an_idle_tool_wakes_up_no_oftener_than_is_committed() {
    let committed: serde_json::Value = serde_json::from_str(include_str!("../counts.json")).unwrap();
    let limit = committed["limits"]["idle_wakeups_per_second"].as_f64().expect("a limit");
    let net = Netns::new();
    let tool = Tool::trace(&net, &["--stacks", "off"]);
    let rates = (0..LOOKS).map(|_| {
        let (began, before) = (Clock::mono_now(), wakeups(tool.pid()));
        let passed = until("some time goes by", || {
            let passed = Clock::mono_now().since(began);
            (passed >= LOOK).then_some(passed)
        });
        let after = wakeups(tool.pid());
        f64::from(u32::try_from(after - before).expect("a few")) / passed.as_secs_f64()
    });
    let least = rates.fold(f64::INFINITY, f64::min);
    show(&format!("an idle tool wakes up {least:.1} times a second"));
    assert!(least > 1.0, "it drains the ring by a timer: {least}");
    assert!(least <= limit, "{least:.1} wake-ups a second, the limit is {limit}: see tests/counts.json");
    tool.signal(Signal::INT).exits(0);
}
