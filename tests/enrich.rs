//! `enrich` against a running kernel: sockets, processes and network namespaces
//! that the tests make. They need root, `ip` and `ss`
//! (to leave them out: `cargo test -- --skip enrich::`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "a test binary exports nothing")]

mod enrich {
    mod batches;
    mod counts;
    mod destroy;
    mod elsewhere;
    mod iterated;
    mod kinds;
    mod namespaces;
    mod net;
    mod surroundings;
    mod suspects;
    mod unaccepted;
}
