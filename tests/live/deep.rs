//! Stacks of programs without frame pointers, six functions deep: how many of the six
//! are named, in order, for who opened a socket and for who read its EOF. Printed as a
//! table; `tests/stack.rs` has one for more languages, without a kernel in it.

use std::fmt::Write;

use serde_json::Value;

use super::netns::Netns;
use super::tool::Tool;
use super::waiting::show;
use super::workload::{SERVER, Workload};

pub(super) const OPENER: [&str; 6] = ["leak_here", "take_one", "handle", "dispatch", "serve", "run_server"];
pub(super) const EOF_READ: [&str; 6] =
    ["read_on", "fill_buffer", "parse_line", "next_request", "converse", "run_client"];

/// How many of the six follow each other in a stack, callees first.
pub(super) fn right(stack: &Value, six: &[&str]) -> usize {
    let frames = stack.as_array().map(Vec::as_slice).unwrap_or_default();
    let symbols: Vec<_> = frames.iter().map(|frame| frame["symbol"].as_str().unwrap_or_default()).collect();
    // A C name is as it is; a Rust name has a path before it and perhaps types after it.
    let is = |symbol: &str, name: &str| {
        symbol.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
    };
    let first = symbols.iter().position(|symbol| is(symbol, six[0])).unwrap_or(symbols.len());
    symbols[first..].iter().zip(six).take_while(|(symbol, name)| is(symbol, name)).count()
}

#[test]
fn six_functions_without_frame_pointers_are_named() {
    let mut table = String::from("opener  EOF read   of 6 frames, in each of 3 sockets\n");
    let mut all_right = true;
    let mut seen = String::new();
    for program in ["deep_server", "rs_deep_server"] {
        let net = Netns::new();
        let workload = Workload { program, functions: &["leak_here", "main"], ..SERVER };
        let ended = workload.is_reported_by(Tool::trace(&net, &[]), &net);
        let (mut openers, mut eofs) = (Vec::new(), Vec::new());
        for report in ended.of_kind("stuck") {
            openers.push(right(&report["opener"]["stack"], &OPENER));
            eofs.push(right(&report["eof_read"]["stack"], &EOF_READ));
            let _ = writeln!(seen, "{} {}", report["opener"], report["eof_read"]);
        }
        all_right &= openers == [6; 3] && eofs == [6; 3];
        let _ = writeln!(table, "{openers:?}  {eofs:?}  {program}");
    }
    show(&table);
    assert!(all_right, "{table}{seen}");
}
