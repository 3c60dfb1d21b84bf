//! `--flame`: the stacks of what leaked, in a file.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::kept;
use super::netns::{Netns, output};
use super::tool::{Tool, binary};
use super::workload::SERVER;

#[test]
fn stacks_are_drawn_live_and_from_a_recording() {
    let net = Netns::new();
    let dir = kept::dir();
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let (folded, image, recording) = (path("live.folded"), path("live.svg"), path("recording"));
    let mut tool = Tool::trace(&net, &["--flame", &folded, "--flame", &image, "--record", &recording]);
    let leaked = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    tool.signal(Signal::INT).exits(0);
    let text = fs::read_to_string(&folded).expect("it was written");
    let line = text.strip_suffix(&format!(";EOF_IGNORED {}\n", SERVER.leak));
    let line = line.unwrap_or_else(|| panic!("not one line of {} sockets: {text}", SERVER.leak));
    assert!(line.starts_with("leaky_server;"), "{line}");
    let mut frames = line.split(';');
    for function in leaked.functions.iter().rev() {
        assert!(frames.any(|frame| frame == *function), "{function} is not in its place: {line}");
    }
    assert!(fs::read_to_string(&image).expect("it was written").trim_end().ends_with("</svg>"));
    let again = path("again.folded");
    output(Command::new(binary()).args(["replay", &recording, "--flame", &again]));
    assert_eq!(fs::read_to_string(&again).expect("it was written"), text);
}
