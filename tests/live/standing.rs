//! The gate stands between a command and whoever started both: users, signals, the terminal.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::gate::Gate;
use super::kept::takes_more;
use super::lines::Lines;
use super::netns::Netns;
use super::tool::binary;
use super::waiting::{Deadline, until};

#[test]
fn signals_reach_the_command() {
    let net = Netns::new();
    for name in ["HUP", "INT", "TERM", "USR1", "USR2", "WINCH"] {
        let script = format!("trap 'echo got; exit 3' {name}; echo ready; while :; do sleep 0.02; done");
        let gate = Gate::around(&net, &[], &["sh", "-c", &script]);
        assert_eq!(gate.hear(), "ready");
        let signal = match name {
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "TERM" => Signal::TERM,
            "USR1" => Signal::USR1,
            "USR2" => Signal::USR2,
            _ => Signal::WINCH,
        };
        kill_process(Pid::from_child(&gate.child), signal).expect("it runs");
        let passed = gate.end();
        passed.exits(3);
        assert_eq!(passed.printed, ["got"], "SIG{name}");
    }
}

#[test]
fn a_stopped_command_is_continued() {
    let net = Netns::new();
    let gate = Gate::around(&net, &[], &["sh", "-c", "echo $$; kill -STOP $$; echo on; exit 4"]);
    let pid = gate.hear();
    until("the command stops", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    });
    kill_process(Pid::from_child(&gate.child), Signal::CONT).expect("it runs");
    let passed = gate.end();
    passed.exits(4);
    assert_eq!(passed.printed, ["on"]);
}

#[test]
fn a_signal_is_passed_on_once() {
    let net = Netns::new();
    let script = "trap 'echo got' USR1; echo ready; until read line; do :; done; echo $line";
    let mut gate = Gate::around(&net, &[], &["sh", "-c", script]);
    assert_eq!(gate.hear(), "ready");
    for _ in 0..5 {
        kill_process(Pid::from_child(&gate.child), Signal::USR1).expect("it runs");
        assert_eq!(gate.hear(), "got");
    }
    gate.stdin.as_mut().expect("piped").write_all(b"end\n").expect("it reads");
    let passed = gate.end();
    passed.exits(0);
    assert_eq!(passed.printed, ["end"]);
}

/// The terminal sends its signals to the gate and to the command; the command hears of it
/// once, and reads from the terminal as it would without the gate.
#[test]
fn the_terminal_is_the_commands() {
    let net = Netns::new();
    let script = "trap \"echo got\" INT; echo ready; until read line; do :; done; echo $line; \
                  read -r pid name state parent group session tty owner rest < /proc/$$/stat; \
                  test $group = $owner && echo foreground";
    // By `exec`: a shell in between would hear of Ctrl-C too, and some then end by it.
    let line = format!("exec {} run -- sh -c '{script}'", binary().display());
    let mut command = net.command("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of util-linux");
    let screen = Lines::of(child.stdout.take().expect("piped"));
    let mut keys = child.stdin.take().expect("piped");
    let mut seen = Vec::new();
    let mut see = |words: &str| {
        while !seen.last().is_some_and(|line: &String| line.contains(words)) {
            seen.push(screen.next(Deadline::patient()).expect("more on the screen"));
        }
    };
    see("ready");
    keys.write_all(b"\x03").expect("Ctrl-C");
    see("got");
    keys.write_all(b"end\n").expect("a line");
    see("exit 0");
    let status = until("the end of the terminal", || child.try_wait().expect("our own child"));
    assert!(status.success(), "{seen:?}");
    let lines = |words: &str| seen.iter().filter(|line| line.contains(words)).count();
    assert_eq!((lines("got"), lines("foreground")), (1, 1), "{seen:?}");
}

#[test]
fn it_runs_as_another_user() {
    takes_more("run --user: CAP_SETUID, CAP_SETGID", "takes CAP_SETUID", || {
        let net = Netns::new();
        let gate = Gate::around(&net, &["--user", "nobody"], &["sh", "-c", "id -u; id -g; echo $USER"]);
        let passed = gate.end();
        passed.exits(0);
        let ids = std::fs::read_to_string("/etc/passwd").expect("there are users");
        let entry = ids.lines().find(|line| line.starts_with("nobody:")).expect("nobody is one");
        let words: Vec<_> = entry.split(':').collect();
        assert_eq!(passed.printed, [words[2], words[3], "nobody"]);
    });
}

/// Root by sudo, with the environment that sudo leaves.
#[test]
fn it_runs_as_the_user_behind_sudo() {
    takes_more("run under sudo, which makes it root", "[\"65534\"", || {
        let net = Netns::new();
        let run = |uid: &str, gid: &str| {
            let mut command = net.command(binary());
            command.env("SUDO_UID", uid).env("SUDO_GID", gid).args(["run", "--", "sh", "-c"]);
            let passed = Gate::spawn(command.arg("id -u; id -g; id -G")).end();
            passed.exits(0);
            passed.printed
        };
        // Neither needs to be anybody's.
        assert_eq!(run("64321", "64322"), ["64321", "64322", "64322"]);
        let own = Command::new("id").arg("-u").output().expect("it runs").stdout;
        assert_eq!(run("0", "0")[0], String::from_utf8_lossy(&own).trim());
    });
}
