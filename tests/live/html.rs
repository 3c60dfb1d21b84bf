//! `--html`: a page about what leaked, live, by `run`, and from a recording.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::kept;
use super::netns::{Netns, output};
use super::tool::{Tool, binary};
use super::workload::{SERVER, Workload};

/// Those that were there before are not said to have become stuck, nor forgotten.
#[test]
fn a_page_tells_who_was_stuck_before_it_was_watched() {
    let net = Netns::new();
    let dir = kept::dir();
    let page = dir.path().join("page.html").to_str().expect("text").to_owned();
    let _before = Workload { leak: 5, ..SERVER }.run(&net, &net);
    let mut tool = Tool::trace(&net, &["--html", &page]);
    tool.has_reported("stuck", 5);
    let _since = SERVER.run(&net, &net);
    tool.has_reported("stuck", 8);
    tool.signal(Signal::INT).exits(0);
    let page = fs::read_to_string(&page).expect("it was written");
    let words = "5 were in CLOSE_WAIT before it was watched, 3 became stuck since and 0 ended";
    assert!(page.contains(words), "{page}");
}

#[test]
fn a_page_is_written_live_and_from_a_recording() {
    let net = Netns::new();
    let dir = kept::dir();
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let (live, again, recording) = (path("live.html"), path("again.html"), path("recording"));
    let mut tool = Tool::trace(&net, &["--html", &live, "--record", &recording]);
    let leaked = SERVER.run(&net, &net);
    tool.has_reported("stuck", SERVER.leak);
    tool.signal(Signal::INT).exits(0);
    output(Command::new(binary()).args(["replay", &recording, "--html", &again]));
    for file in [live, again] {
        let page = fs::read_to_string(&file).expect("it was written");
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        roxmltree::Document::parse_with_options(&page, options).expect("well-formed");
        for words in ["3 sockets in CLOSE_WAIT", "In all 3 became stuck and 0 ended", "EOF_IGNORED (high)"] {
            assert!(page.contains(words), "{words} is not in {file}");
        }
        // In the whole stack, in the flame graph.
        for function in leaked.functions {
            assert!(page.matches(function).count() > 1, "{function} is not in {file}");
        }
        assert_eq!(page.matches("<td>leaky_server[").count(), SERVER.leak, "a row of each in {file}");
    }
}
