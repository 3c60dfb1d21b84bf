//! What is said where: reports on stdout, talk on stderr.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::bpf::programs_of;
use super::netns::Netns;
use super::tool::{Tool, binary};
use super::waiting::show;
use super::workload::{SERVER, Workload};

/// What the BPF programs log when a socket enters CLOSE_WAIT.
const LOGGED: &str = "entered CLOSE_WAIT in netns";

const THIRTEEN: Workload = Workload { leak: 13, ..SERVER };

#[test]
fn the_programs_log_with_vv_and_only_then() {
    let net = Netns::new();
    THIRTEEN.is_reported_by(Tool::trace(&net, &["-vv"]), &net).said(LOGGED);
    let net = Netns::new();
    let quiet = THIRTEEN.is_reported_by(Tool::trace(&net, &[]), &net);
    assert!(!quiet.talk.iter().any(|line| line.contains(LOGGED)), "{}", quiet.everything());
}

/// Log statements are code too, and a verifier may refuse it.
#[test]
fn logging_takes_no_program_away() {
    let net = Netns::new();
    let names = |options: &[&str]| {
        let tool = Tool::trace(&net, options);
        let mine = programs_of(tool.pid());
        let programs = aya::programs::loaded_programs().filter_map(Result::ok);
        programs
            .filter(|program| mine.contains(&program.id()))
            .map(|program| program.name_as_str().unwrap_or_default().to_owned())
            .collect::<BTreeSet<_>>()
    };
    let usual = names(&[]);
    assert!(usual.len() > 3, "{usual:?}");
    assert_eq!(names(&["-vv"]), usual);
}

#[test]
fn jq_finds_the_worst_processes() {
    if Command::new("jq").arg("--version").output().is_err() {
        show("jq on the reports: NOT RUN, jq is not installed");
        return;
    }
    let net = Netns::new();
    let tool = Tool::trace(&net, &[]);
    let leaked = THIRTEEN.run(&net, &net);
    let ended = leaked.is_reported_by(tool);
    let question = r#"[.[] | select(.kind == "stuck" and .update != true) | .holders[].pid]
                      | group_by(.)[] | select(length > 10) | "\(.[0]) \(length)""#;
    let mut jq = Command::new("jq")
        .args(["--slurp", "--raw-output", question])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("jq starts");
    let mut stdin = jq.stdin.take().expect("piped");
    stdin.write_all(ended.printed.join("\n").as_bytes()).expect("jq reads");
    drop(stdin);
    let answer = jq.wait_with_output().expect("jq answers");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), format!("{} 13\n", leaked.leaker.pid()));
}

#[test]
fn the_text_names_process_count_and_functions() {
    let net = Netns::new();
    let mut tool = Tool::spawn(Command::new(binary()).args(["--netns", &net.path(), "--threshold", "1s"]));
    tool.attached();
    let leaked = THIRTEEN.run(&net, &net);
    leaked.agree_with_ss();
    tool.has_printed("13 sockets");
    let ended = tool.signal(Signal::INT);
    ended.exits(0);
    let text = ended.printed.join("\n");
    for words in
        [&format!("leaky_server[{}]", leaked.leaker.pid()), "13 sockets", "accept_and_forget", "next:"]
    {
        assert!(text.contains(words), "nothing about {words:?}\n{}", ended.everything());
    }
}

/// The screen that is repeated is about the sockets of now, not of the first look.
#[test]
fn nothing_is_stuck_is_said_of_now() {
    let net = Netns::new();
    let mut command = Command::new(binary());
    command.args(["--netns", &net.path(), "--threshold", "1h", "--interval", "200ms"]);
    let mut tool = Tool::spawn(&mut command);
    tool.attached();
    tool.has_printed("0 watched, none is in CLOSE_WAIT now");
    let mut leaked = THIRTEEN.run(&net, &net);
    tool.has_printed("13 watched, 13 in CLOSE_WAIT now");
    leaked.leaker.tell("close");
    tool.has_printed("13 watched, none is in CLOSE_WAIT now");
    tool.signal(Signal::INT).exits(0);
}
