//! What `--version` says.

/// The version alone.
pub const fn short() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The version and the identity of the embedded BPF object.
pub const fn long() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), "\nBPF object sha256 ", env!("CLOSEWAIT_BPF_SHA256"))
}
