//! What an outage does to a host while the tool runs on it: the clock is set, the machine
//! sleeps, CPUs come and go, modules are unloaded, nothing can be written; and the tool in a
//! container that has the processes and the network of its host.
//!
//! What concerns the whole machine is tried in machines that are made for it: `cargo xtask vm`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::Value;

use super::age::is_emulated;
use super::netns::Netns;
use super::tool::{Ended, Tool, binary, executable, json_of};
use super::waiting::{let_pass, show, until};
use super::workload::{SERVER, Workload};

const MANY: Workload = Workload { leak: 101, close: 997, ..SERVER };

/// Whether this machine was made for these tests (tests/vm/init.sh).
fn is_ours(what: &str) -> bool {
    let ours = is_emulated() && Path::new("/modules/order").exists();
    if !ours {
        show(&format!("{what}: NOT RUN, it concerns the whole machine: cargo xtask vm"));
    }
    ours
}

fn set_clock(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let to = Timespec { tv_sec: now.tv_sec + seconds, ..now };
    clock_settime(ClockId::Realtime, to).expect("the clock can be set");
}

#[expect(clippy::disallowed_methods, reason = "the time of day is what is tested")]
fn time_of_day() -> SystemTime {
    SystemTime::now()
}

fn time(report: &Value, of: &str) -> SystemTime {
    humantime::parse_rfc3339(report[of].as_str().expect("a time")).expect("a time")
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

/// Reports of sockets that were made after the clock was set, and just before.
#[test]
fn the_clock_is_set() {
    if !is_ours("clock steps") {
        return;
    }
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let (mut all, mut times) = (Vec::new(), Vec::new());
    for step in [3600, -7200, 3600] {
        all.push(SERVER.run(&net, &net));
        set_clock(step);
        all.push(SERVER.run(&net, &net));
        tool.has_reported("stuck", all.len() * SERVER.leak);
        times.push((all.len() * SERVER.leak, time_of_day()));
    }
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let reports: Vec<_> = ended.of_kind("stuck").collect();
    assert_eq!(reports.len(), all.len() * SERVER.leak, "{}", ended.everything());
    let mut from = 0;
    for (to, at) in times {
        for report in &reports[from..to] {
            // Of this time of day, and its age is of a clock that nobody sets.
            assert!(apart(time(report, "ts"), at) < Duration::from_mins(2), "{report}");
            let age = Duration::from_millis(report["age_ms"]["max"].as_u64().expect("an age"));
            assert!((2000..120_000).contains(&age.as_millis()), "{report}");
            let told = apart(time(report, "ts"), time(report, "since"));
            assert!(apart_by(told, age) < Duration::from_millis(5), "{report}");
        }
        from = to;
    }
    for leaked in &all {
        let about = reports.iter().filter(|report| leaked.include(report));
        assert!(about.clone().count() >= SERVER.leak && about.clone().all(|it| leaked.opener_is_right(it)));
    }
}

fn apart_by(one: Duration, other: Duration) -> Duration {
    one.abs_diff(other)
}

/// A file of the kernel in a machine of ours.
fn write(file: &str, value: &str) -> std::io::Result<()> {
    fs::write(file, value)
}

const SECOND_CPU: &str = "/sys/devices/system/cpu/cpu1/online";

/// CPUs go and come under traffic: every count stays right, and nothing is lost.
#[test]
fn a_cpu_goes_and_comes() {
    if !is_ours("CPU hotplug") {
        return;
    }
    // Attached when it is there, and when it is not, by the tracepoint with and without a record.
    for (there, more) in
        [(true, &[][..]), (false, &[]), (false, &["--without", "raw_tp"]), (true, &["--stacks", "fp"])]
    {
        write(SECOND_CPU, if there { "1" } else { "0" }).expect("CPUs can be taken away");
        let net = Netns::new();
        let tool = Tool::trace(&net, more);
        let done = AtomicBool::new(false);
        let ended = thread::scope(|scope| {
            scope.spawn(|| {
                let mut online = there;
                while !done.load(Ordering::Relaxed) {
                    online = !online;
                    write(SECOND_CPU, if online { "1" } else { "0" }).expect("CPUs can be taken away");
                    let_pass(Duration::from_millis(100));
                }
            });
            let leaked = MANY.run(&net, &net);
            done.store(true, Ordering::Relaxed);
            leaked.is_reported_by(tool)
        });
        write(SECOND_CPU, "1").expect("it comes back");
        // Skipped runs are what they are with all CPUs there: what neither program saw.
        let lost = &summary(&ended)["lost"];
        assert_eq!(lost["total"], lost["recursion"], "{more:?}: {}", ended.everything());
    }
}

fn summary(ended: &Ended) -> &Value {
    ended.of_kind("summary").next().expect("it ends with one")
}

/// The machine sleeps while sockets are stuck: they are reported, an age is the time that the
/// machine was awake, and `since` is when it was all the same.
#[test]
fn the_machine_sleeps() {
    if !is_ours("suspend") {
        return;
    }
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let before = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    // These are reported after it. The tool has looked at its clocks since they got stuck.
    let across = SERVER.run(&net, &net);
    let_pass(Duration::from_secs(1));
    let fell_asleep = time_of_day();
    let asleep = || {
        let [boot, awake] = [ClockId::Boottime, ClockId::Monotonic].map(clock_gettime);
        Duration::try_from(boot).expect("a time").saturating_sub(Duration::try_from(awake).expect("a time"))
    };
    let slept = asleep();
    if let Err(why) = sleep_a_while() {
        show(&format!("suspend: NOT RUN, {why}"));
        return;
    }
    let slept = asleep().saturating_sub(slept);
    assert!(slept >= Duration::from_secs(2), "it only slept for {slept:?}");
    tool.has_reported("stuck", 2 * SERVER.leak);
    let after = SERVER.run(&net, &net);
    tool.has_reported("stuck", 3 * SERVER.leak);
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let reports: Vec<_> = ended.of_kind("stuck").collect();
    let nothing = Duration::ZERO;
    let all = [(&before, nothing, true), (&across, slept, true), (&after, nothing, false)];
    for ((leaked, slept, is_older), reports) in all.into_iter().zip(reports.chunks(SERVER.leak)) {
        for report in reports {
            assert!(leaked.include(report) && leaked.opener_is_right(report), "{report}");
            let [ts, since] = ["ts", "since"].map(|of| time(report, of));
            let age = Duration::from_millis(report["age_ms"]["max"].as_u64().expect("an age"));
            // Both clocks are moved by what the battery's clock says.
            let apart = apart_by(apart(ts, since), age + slept);
            assert!(apart < Duration::from_millis(150), "{slept:?}: {report}");
            assert_eq!(since < fell_asleep, is_older, "{report}");
        }
    }
    assert_eq!(summary(&ended)["lost"]["total"], 0, "{}", ended.everything());
    show(&format!("suspend: the machine slept {:.1} s", slept.as_secs_f64()));
}

/// Until an alarm of the clock wakes it. Why not, if not.
fn sleep_a_while() -> Result<(), String> {
    let (power, alarm) = ("/sys/power/state", "/sys/class/rtc/rtc0/wakealarm");
    let states = fs::read_to_string(power).map_err(|error| format!("{power}: {error}"))?;
    if !states.split_whitespace().any(|state| state == "mem") {
        return Err(format!("this kernel offers only {states:?}"));
    }
    // Else the console hangs up on those who write to it, as the machine wakes.
    let console = "/sys/module/printk/parameters/console_suspend";
    // Long enough to fall asleep first, where a machine is slow.
    for (file, value) in [(console, "N"), (alarm, "0"), (alarm, "+8"), (power, "mem")] {
        write(file, value).map_err(|error| format!("{value:?} to {file}: {error}"))?;
    }
    Ok(())
}

/// Nobody needs inet_diag at that moment; later somebody does.
#[test]
fn modules_are_unloaded() {
    if !is_ours("module unload") {
        return;
    }
    let net = Netns::new();
    let mut tool = Tool::trace(&net, &[]);
    let first = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    let loaded = || fs::read_to_string("/proc/modules").expect("it is there");
    let is_loaded = |module: &str| loaded().lines().any(|line| line.starts_with(&format!("{module} ")));
    for module in ["mptcp_diag", "tcp_diag", "udp_diag", "raw_diag", "inet_diag"] {
        until(module, || {
            let _ = Command::new("rmmod").arg(module).output();
            (!is_loaded(module)).then_some(())
        });
    }
    let second = SERVER.run(&net, &net);
    tool.has_reported("stuck", 2 * SERVER.leak);
    let ended = tool.signal(Signal::INT);
    // Other tests want them.
    for module in fs::read_to_string("/modules/order").expect("it is there").lines() {
        let _ = Command::new("insmod").arg(format!("/modules/{module}")).output();
    }
    assert!(is_loaded("tcp_diag"), "{}", loaded());
    ended.exits(0);
    for leaked in [&first, &second] {
        let about: Vec<_> = ended.of_kind("stuck").filter(|report| leaked.include(report)).collect();
        assert_eq!(about.len(), SERVER.leak, "{}", ended.everything());
        assert!(about.iter().all(|it| leaked.holder_is_right(it) && leaked.opener_is_right(it)));
    }
    let degraded = summary(&ended)["degraded"].to_string();
    assert!(degraded.contains("inet_diag"), "nothing is said of it: {degraded}");
}

/// Each mount is read-only for it.
#[test]
fn where_nothing_can_be_written() {
    let net = Netns::new();
    let script = "while read -r _ at _; do mount -o remount,bind,ro \"$at\" 2>/dev/null; done </proc/self/mounts\n\
                  for dir in / /tmp /run; do ! touch $dir/closewait-written 2>/dev/null || exit 99; done\n\
                  exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(binary()).args(json_of(&net));
    let mut tool = Tool::spawn(&mut command);
    tool.attached();
    SERVER.run(&net, &net).is_reported_by(tool);
}

/// Its own root and mounts and cgroups, the host's processes and network: as a container with
/// `--pid=host --net=host --privileged`.
#[test]
fn in_a_container_with_the_processes_and_the_network_of_the_host() {
    let image = tempfile::tempdir().expect("a directory");
    let root = image.path();
    let program = root.join("closewait-trace");
    fs::copy(executable(), &program).expect("a copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    // What this test is linked with is what the tool is linked with.
    let maps = fs::read_to_string("/proc/self/maps").expect("it is there");
    let libraries: BTreeSet<_> = maps.split_whitespace().filter(|word| word.contains(".so")).collect();
    for dir in ["lib", "lib64"] {
        fs::create_dir_all(root.join(dir)).expect("a directory");
        for library in &libraries {
            let name = Path::new(library).file_name().expect("it is a file");
            fs::copy(library, root.join(dir).join(name)).expect("a copy");
        }
    }
    for dir in ["proc", "sys", "tmp", "run/netns"] {
        fs::create_dir_all(root.join(dir)).expect("a directory");
    }
    let net = Netns::new();
    let script = "root=$1; shift\n\
                  mount -t proc proc $root/proc && mount -t sysfs sys $root/sys || exit 99\n\
                  mount --rbind /run/netns $root/run/netns || exit 99\n\
                  exec chroot $root /closewait-trace \"$@\"";
    let mut command = Command::new("unshare");
    // The unshare of a test machine knows no cgroups.
    command.args((!is_emulated()).then_some("--cgroup"));
    command.args(["--mount", "--uts", "--ipc", "sh", "-c", script, "sh"]).arg(root);
    let mut tool = Tool::spawn(command.args(json_of(&net)));
    tool.attached();
    SERVER.run(&net, &net).is_reported_by(tool);
}
