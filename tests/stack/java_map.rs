//! JVMs asked to name their methods, and processes that must not be asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use closewait_trace::clock::Clock;
use closewait_trace::item::{Path, StackId};
use closewait_trace::privileges::{Work, settle};
use closewait_trace::stack::Stacks;
use closewait_trace::stack::attach::{PATIENCE, write_perf_map};

use crate::blocked::Blocked;
use crate::deep::{Map, check, named, source};
use crate::process::run;
use crate::waiting::show;
use crate::worker::block_on;

const SIX: [&str; 6] = ["leakHere", "takeOne", "handle", "dispatch", "serve", "runServer"];

/// A JVM six methods deep in a read, started through `before`.
fn jvm(before: &[&str], options: &[&str]) -> (Blocked, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("javac").arg("-d").arg(dir.path()).arg(source("Six.java")));
    // For whatever user it runs as.
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let words =
        [before, &["java", "-XX:CompileCommand=quiet", "-XX:CompileCommand=dontinline,Six::*"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(options).arg("-cp").arg(dir.path()).arg("Six");
    (Blocked::spawn(command), dir)
}

/// No file of the asking is left in /tmp, as process `pid` sees it.
fn nothing_is_left(pid: u32) {
    let names = fs::read_dir(format!("/proc/{pid}/root/tmp")).unwrap();
    let mut names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.find(|name| *name == format!(".attach_pid{pid}")), None);
}

#[test]
fn a_jvm_names_its_methods_when_asked() {
    let (blocked, _dir) = jvm(&[], &["-XX:+PreserveFramePointer"]);
    let pid = blocked.task.pid;
    let _map = Map::of(pid);
    let before = named(&blocked, &blocked.capture());
    assert!(before.note.as_ref().unwrap().contains("--jit-maps"), "{:?}", before.note);
    for what in ["first", "second"] {
        let began = Clock::mono_now();
        write_perf_map(pid).unwrap();
        show(&format!("Java 17: {what} perf map after {:?}", Clock::mono_now().since(began)));
    }
    check("Java 17, asked", &named(&blocked, &blocked.capture()), &SIX, &[], 6);
    nothing_is_left(pid);
}

#[test]
fn a_stack_is_named_again_when_its_socket_is_stuck() {
    let (blocked, _dir) = jvm(&[], &[]);
    let (pid, id) = (blocked.task.pid, StackId(7));
    let _map = Map::of(pid);
    let path = Path {
        at: Clock::mono_now(),
        task: blocked.task.clone(),
        stack: id,
        addrs: Vec::new(),
        copy: Some(blocked.capture()),
        python: None,
    };
    let patience = Duration::from_mins(1);
    for (wanted, least) in [(false, 0), (true, 5)] {
        let stacks = Stacks::spawn_with(wanted).unwrap();
        stacks.remember(path.clone());
        block_on(stacks.wait(pid, id, patience)).known().unwrap();
        assert!(!PathBuf::from(format!("/tmp/perf-{pid}.map")).exists(), "nothing is asked before");
        stacks.name_methods(pid, id);
        assert_eq!(stacks.is_pending(pid, id), wanted);
        let stack = block_on(stacks.wait(pid, id, patience));
        check(&format!("Java 17, --jit-maps {wanted}"), stack.known().unwrap(), &SIX, &[], least);
        stacks.name_methods(pid, id);
        assert!(!stacks.is_pending(pid, id), "once for each stack");
    }
}

#[test]
fn a_jvm_of_another_user_in_namespaces_of_its_own_is_asked() {
    let script = "mount -t tmpfs -o mode=1777 none /tmp && mount -t proc none /proc && \
                  exec setpriv --reuid 54321 --regid 54321 --clear-groups \"$@\"";
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    run(Command::new("javac").arg("-d").arg(dir.path()).arg(source("Six.java")));
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", "java"]);
    command.args(["-XX:CompileCommand=quiet", "-XX:CompileCommand=dontinline,Six::*"]);
    command.arg("-XX:+PreserveFramePointer").arg("-cp").arg(dir.path()).arg("Six");
    let blocked = Blocked::spawn(command);
    let pid = blocked.task.pid;
    // With what the thread that asks has kept.
    let asked = std::thread::spawn(move || {
        settle(Work::Jvms).unwrap();
        write_perf_map(pid)
    });
    asked.join().unwrap().unwrap();
    check("Java 17, in a container", &named(&blocked, &blocked.capture()), &SIX, &[], 6);
}

/// Asked in vain, within the time, and unharmed; returns why.
fn refused(blocked: &Blocked) -> String {
    let began = Clock::mono_now();
    let why = write_perf_map(blocked.task.pid).unwrap_err();
    assert!(Clock::mono_now().since(began) < PATIENCE + Duration::from_secs(2), "{why}");
    named(blocked, &blocked.capture());
    why
}

#[test]
fn what_would_harm_is_not_done() {
    // Without a handler SIGQUIT ends it.
    let (blocked, _dir) = jvm(&[], &["-Xrs"]);
    assert!(refused(&blocked).contains("SIGQUIT would end it"));
    let (blocked, _dir) = jvm(&[], &["-XX:+DisableAttachMechanism"]);
    assert!(refused(&blocked).contains("-XX:+DisableAttachMechanism"));
    // As root, it would write through the link of another user.
    let (blocked, dir) = jvm(&[], &[]);
    let map = format!("/tmp/perf-{}.map", blocked.task.pid);
    let _map = Map::of(blocked.task.pid);
    let precious = dir.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &map).unwrap();
    assert!(refused(&blocked).contains("is not a regular file"));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(&map).unwrap();
    // A socket of somebody else's, in place of its own.
    let socket = format!("/tmp/.java_pid{}", blocked.task.pid);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::chown(&socket, Some(54321), None).unwrap();
    assert!(refused(&blocked).contains("is not a socket of its user"));
    // One of root's, at which nobody answers.
    std::os::unix::fs::chown(&socket, Some(0), None).unwrap();
    assert!(refused(&blocked).contains("did not answer within"));
    drop(listener);
    fs::remove_file(&socket).unwrap();
    write_perf_map(blocked.task.pid).unwrap();
}
