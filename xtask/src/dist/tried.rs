//! The .deb in a bare Debian, used as somebody would who has just installed it: self-test,
//! manual, completion, the service with Prometheus on it, an alert on a leak; then removed again.
//!
//! All of it happens in mount and network namespaces of its own, in memory, and in a cgroup of
//! its own: nothing is left behind.

use super::{Made, completes, root, services::System};
use crate::{
    build, command,
    fleet::{Leak, Programs, Prometheus, shortened},
    privilege, progress,
    stopwatch::Stopwatch,
    workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const UNIT: &str = "closewait-trace.service";
const CONFIG: &str = "etc/closewait-trace.toml";
/// Where the service is to serve metrics, in a network namespace of our own.
const METRICS: &str = "127.0.0.1:9435";
/// Sockets that leak at first, and then: more than the rule for growth asks for.
const FIRST: usize = 3;
const LATER: usize = 8;
/// For any one thing to come about.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the bare system writes of its own accord.
const ITS_OWN: [&str; 12] = [
    "etc/machine-id",
    "etc/.updated",
    "var/.updated",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/lib/systemd",
    "var/log",
    "dev",
    "proc",
    "sys",
    "run",
];

/// Tries the .deb. Some: what that takes cannot be had (packages come from a mirror, which is no
/// fault of ours).
///
/// # Errors
/// Names what is not as it should be.
pub(super) fn run(made: &Made) -> Result<Option<String>> {
    let (bare, prometheus) = match root::bare().and_then(|bare| Ok((bare, Programs::find()?))) {
        Ok(both) => both,
        Err(error) => {
            eprintln!("{error:#}");
            return Ok(Some("packages of a bare Debian, or of Prometheus, cannot be had (see above)".into()));
        }
    };
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    // Made by whoever runs this, and so theirs to remove.
    fs::create_dir_all(space(&bare))?;
    let mut unshare = privilege::command("unshare")?;
    unshare.args(["--mount", "--net", "--propagation", "private", "--"]);
    unshare.arg(env::current_exe().context("cannot find this program")?);
    unshare
        .args(["dist", "--inside"])
        .arg(bare)
        .args([&made.deb, &made.rpm])
        .arg(scenarios)
        .arg(prometheus.dir());
    command::run(unshare.stdin(Stdio::null()))?;
    Ok(None)
}

/// The rest of it, as root, in namespaces of its own.
///
/// # Errors
/// Names what is not as it should be.
pub(super) fn inside(bare: &Path, [deb, rpm]: [&Path; 2], scenarios: &Path, prometheus: &Path) -> Result<()> {
    command::output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let root = Root::over(bare)?;
    fs::copy(deb, root.path("srv/closewait-trace.deb"))?;
    for name in ["leaky_server", "leaky_client"] {
        fs::copy(scenarios.join(name), root.path("usr/local/bin").join(name))?;
    }
    let before = root.files()?;
    let install = ["apt-get", "install", "--quiet", "--yes", "/srv/closewait-trace.deb"];
    tried("apt installs it", || root.output(&install).map(drop))?;
    tried("doctor --self-test", || self_test(&root))?;
    tried("man", || manual(&root))?;
    tried("completion in bash", || completes::bash(&root))?;
    tried("completion in zsh", || completes::zsh(&root))?;
    tried("completion in fish", || completes::fish(&root))?;
    tried("systemd-analyze verify", || verify(&root))?;

    let config = fs::read_to_string(root.path(CONFIG))?;
    let config = config.replace("threshold = \"1m\"", "threshold = \"1s\"")
        + &format!("\nnetns = \"self\"\nmetrics-listen = \"{METRICS}\"\n");
    fs::write(root.path(CONFIG), &config)?;
    let system = System::boot(&root.0)?;
    tried("the service starts", || service(&system))?;
    tried("an alert fires on a leak", || alert(&root, &system, prometheus))?;
    tried("an upgrade restarts it, with its configuration", || {
        let first = system.property(UNIT, "MainPID")?;
        system.output("apt-get", &[&["install", "--reinstall"], &install[2..]].concat())?;
        ensure!(fs::read_to_string(root.path(CONFIG))? == config, "the configuration was written over");
        active(&system)?;
        ensure!(system.property(UNIT, "MainPID")? != first, "the old one still runs");
        Ok(())
    })?;
    tried("dpkg removes it", || removed(&root, &system, &before))?;
    drop(system);
    tried("rpm installs and removes it", || by_rpm(&root, rpm, &before))
}

/// Says what is tried and how long it took.
fn tried(what: &str, it: impl FnOnce() -> Result<()>) -> Result<()> {
    let clock = Stopwatch::start();
    let chore = progress::begin("trying");
    chore.does(what);
    it().with_context(|| format!("tried in a bare Debian: {what}"))?;
    drop(chore);
    println!("tried: {what} ({:.1} s)", clock.elapsed().as_secs_f64());
    Ok(())
}

/// It makes a leak in a network namespace and finds it, with holder, opener and reader.
fn self_test(root: &Root) -> Result<()> {
    let said = root.output(&["closewait-trace", "doctor", "--self-test"])?;
    progress::aside(|| eprintln!("{said}"));
    Ok(())
}

/// Found by name, and all sections are there.
fn manual(root: &Root) -> Result<()> {
    let page = root.output(&["man", "closewait-trace"])?;
    for section in ["NAME", "OPTIONS", "VERDICTS", "EXIT STATUS", "EXAMPLES"] {
        ensure!(page.lines().any(|line| line == section), "the manual has no {section}");
    }
    let page = root.output(&["man", "closewait-trace-kill"])?;
    ensure!(page.contains("--older-than"), "the manual of kill has no --older-than");
    Ok(())
}

/// Not a word against the unit, and it is not started by the mere installation.
fn verify(root: &Root) -> Result<()> {
    let mut verify = root.command(&["systemd-analyze", "verify", UNIT]);
    let said = verify.output()?;
    let complaints = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success() && complaints.is_empty(), "of the unit: {complaints}");
    let state = root.command(&["systemctl", "is-enabled", UNIT]).output()?;
    let state = String::from_utf8_lossy(&state.stdout);
    ensure!(state.trim() == "disabled", "the service is {state}");
    Ok(())
}

/// With a notification, that is; and reloaded once.
fn service(system: &System) -> Result<()> {
    system.output("systemctl", &["enable", "--now", UNIT]).with_context(|| journal(system))?;
    active(system)?;
    system.output("systemctl", &["reload", UNIT])?;
    active(system)?;
    let kind = system.property(UNIT, "Type")?;
    ensure!(kind == "notify", "the service is of type {kind}");
    Ok(())
}

fn active(system: &System) -> Result<()> {
    let state = system.property(UNIT, "ActiveState")?;
    ensure!(state == "active", "the service is {state}: {}", journal(system));
    Ok(())
}

/// What the service has said.
fn journal(system: &System) -> String {
    let lines = ["--no-pager", "--output", "cat", "--lines", "30", "--unit", UNIT];
    system.output("journalctl", &lines).unwrap_or_else(|error| format!("{error:#}"))
}

/// Prometheus with the rules that are installed, of which none has to wait.
fn alert(root: &Root, system: &System, programs: &Path) -> Result<()> {
    let rules = root.path("usr/share/doc/closewait-trace/examples/closewait.rules.yml");
    let rules = shortened(&fs::read_to_string(rules)?);
    let dir = root.0.with_file_name("prometheus");
    let prometheus =
        Prometheus::start(&Programs::in_dir(programs), dir, &[METRICS.to_owned()], Some(&rules))?;
    // systemd is process 1 of a pid namespace, where the tool does not trace: it repeats
    // snapshots, says so, and an alert does.
    prometheus.comes_to("closewait_tracing == 0", PATIENCE).with_context(|| journal(system))?;
    let degraded = "ALERTS{alertname=\"ClosewaitTraceDegraded\",alertstate=\"firing\"}";
    prometheus.comes_to(degraded, PATIENCE)?;
    let quiet = prometheus.query("ALERTS{alertname!=\"ClosewaitTraceDegraded\",alertstate=\"firing\"}")?;
    ensure!(quiet.is_empty(), "alerts before there is a reason: {quiet:?}");
    let [server, client] =
        ["leaky_server", "leaky_client"].map(|name| Path::new("/usr/local/bin").join(name));
    // A snapshot tells that nothing is read, not that an EOF was.
    let inside = |program: &Path| {
        let mut command = system.command(program);
        if program == server {
            command.args(["--read", "none"]);
        }
        Ok(command)
    };
    let leak = |sockets| Leak::start(inside, &server, &client, sockets);
    let first = leak(FIRST)?;
    let leaked = format!("closewait_leaked_sockets{{comm=\"leaky_server\"}} == {FIRST}");
    prometheus.comes_to(&leaked, PATIENCE).with_context(|| journal(system))?;
    let later = leak(LATER)?;
    let firing = "ALERTS{alertname=\"ClosewaitLeakGrowing\",alertstate=\"firing\"}";
    let labels = prometheus.comes_to(firing, PATIENCE).with_context(|| journal(system))?;
    ensure!(labels["comm"] == "leaky_server", "the alert names another process: {labels}");
    drop((first, later));
    Ok(())
}

/// While it runs: it is stopped first. What is left is the configuration, and then nothing.
fn removed(root: &Root, system: &System, before: &BTreeSet<String>) -> Result<()> {
    let left = |what: &str| -> Result<Vec<String>> {
        system.output("dpkg", &[what, "closewait-trace"])?;
        Ok(root.files()?.difference(before).cloned().collect())
    };
    let after = left("--remove")?;
    let state = system.property(UNIT, "ActiveState")?;
    ensure!(state == "inactive", "removed, the service is {state}");
    ensure!(after == [CONFIG, "var/lib/closewait-trace"], "removed, it leaves {after:?}");
    let after = left("--purge")?;
    ensure!(after.is_empty(), "purged, it leaves {after:?}");
    Ok(())
}

/// Another system's tool, on the same bare system.
fn by_rpm(root: &Root, package: &Path, before: &BTreeSet<String>) -> Result<()> {
    let rpm = |what: &[&str], of: &Path| {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(&root.0).args(["--dbpath", "/var/cache/rpm", "--nosignature"]);
        command::output(rpm.args(what).arg(of)).map(drop)
    };
    // (What it needs is /bin/sh, which this system has, and rpm's own base does not know of.)
    rpm(&["--install", "--nodeps"], package)?;
    let version = root.output(&["closewait-trace", "--version"])?;
    ensure!(version.starts_with("closewait-trace "), "of the .rpm: {version}");
    rpm(&["--erase"], Path::new("closewait-trace"))?;
    let left: Vec<_> = root.files()?.difference(before).cloned().collect();
    ensure!(left.is_empty(), "erased, the .rpm leaves {left:?}");
    Ok(())
}

/// The mount point of all that is tried.
fn space(bare: &Path) -> PathBuf {
    bare.with_file_name("tried")
}

/// The bare system, unpacked in memory.
pub(super) struct Root(PathBuf);

impl Root {
    fn over(bare: &Path) -> Result<Self> {
        // What is mounted is seen in one namespace only.
        let space = space(bare);
        let mount = |args: &[&str], at: &Path| command::output(Command::new("mount").args(args).arg(at));
        mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs"], &space)?;
        let root = space.join("root");
        fs::create_dir(&root)?;
        let unpack = ["--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--directory"];
        command::output(Command::new("tar").args(unpack).arg(&root).arg("--file").arg(bare))?;
        mount(&["-t", "proc", "proc"], &root.join("proc"))?;
        mount(&["-t", "sysfs", "sysfs"], &root.join("sys"))?;
        // A shell completes on a terminal only.
        let (terminals, ptmx) = (root.join("dev/pts"), root.join("dev/ptmx"));
        fs::create_dir_all(&terminals).with_context(|| format!("cannot make {}", terminals.display()))?;
        mount(&["-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts"], &terminals)?;
        let _ = fs::remove_file(&ptmx);
        symlink("pts/ptmx", &ptmx).with_context(|| format!("cannot make {}", ptmx.display()))?;
        Ok(Self(root))
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// A command in it, with nothing of our environment.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        command.args(["DEBIAN_FRONTEND=noninteractive", "MANWIDTH=100"]).args(words).stdin(Stdio::null());
        command
    }

    pub(super) fn output(&self, words: &[&str]) -> Result<String> {
        command::output(&mut self.command(words))
    }

    /// All files and directories, but for those that the system itself writes.
    fn files(&self) -> Result<BTreeSet<String>> {
        let found = command::output(Command::new("find").arg(&self.0).args([
            "-xdev",
            "-mindepth",
            "1",
            "-printf",
            "%P\\n",
        ]))?;
        Ok(found.lines().filter(|file| !is_its_own(file)).map(str::to_owned).collect())
    }
}

/// Whether the bare system writes `file` of its own accord.
fn is_its_own(file: &str) -> bool {
    ITS_OWN
        .iter()
        .any(|own| file.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_system_is_told_by_whole_names() {
        assert!(is_its_own("var/log") && is_its_own("var/log/apt/term.log") && is_its_own("etc/machine-id"));
        for other in
            ["var/logs", "etc/machine-ids", CONFIG, "var/lib/closewait-trace", "usr/bin/closewait-trace"]
        {
            assert!(!is_its_own(other), "{other}");
        }
    }
}
