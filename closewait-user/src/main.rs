//! The `closewait-trace` binary: parse, run, exit code.

fn main() {}
