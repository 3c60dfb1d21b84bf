//! What the chores need of a machine: one row each, as values.

use crate::{aarch64, command, ebpf};
use std::path::Path;

/// The version that the committed BPF object was linked with.
pub(super) const BPF_LINKER: &str = "0.13.0";

pub(super) struct Need {
    pub(super) what: &'static str,
    /// Which chore fails without it
    pub(super) why: &'static str,
    pub(super) present: fn() -> bool,
    /// Packages that bring it on Debian and Ubuntu
    pub(super) debian: &'static [&'static str],
    /// What to do where packages do not bring it
    pub(super) remedy: Remedy,
}

/// How a need is met beside packages.
#[derive(Clone, Copy)]
pub(super) enum Remedy {
    /// Not at all: by hand elsewhere
    Package,
    Rustup(&'static [&'static str]),
    BpfLinker,
    Aarch64,
}

/// A need met by a package that brings the programs.
macro_rules! program {
    ($package:literal, $why:literal, $($program:literal),+) => {
        Need {
            what: concat!($($program, " ",)+ "of ", $package),
            why: $why,
            present: || [$($program),+].into_iter().all(|program| command::find_system(program).is_some()),
            debian: &[$package],
            remedy: Remedy::Package,
        }
    };
}

/// All of them, in the order in which they are met.
pub(super) fn all() -> Vec<Need> {
    vec![
        Need {
            what: "C compiler and headers",
            why: "links every Rust program; compiles the scenario programs",
            present: || command::find("cc").is_some() && Path::new("/usr/include/stdio.h").exists(),
            debian: &["gcc", "libc6-dev"],
            remedy: Remedy::Package,
        },
        Need {
            what: "rustfmt",
            why: "`cargo xtask test` checks the format",
            present: || {
                command::cargo().args(["fmt", "--version"]).output().is_ok_and(|it| it.status.success())
            },
            debian: &[],
            remedy: Remedy::Rustup(&["component", "add", "rustfmt"]),
        },
        Need {
            what: "clippy",
            why: "`cargo xtask test` lints",
            present: || {
                command::cargo().args(["clippy", "--version"]).output().is_ok_and(|it| it.status.success())
            },
            debian: &[],
            remedy: Remedy::Rustup(&["component", "add", "clippy"]),
        },
        Need {
            what: "a Rust compiler for BPF",
            why: "`cargo xtask ebpf` builds the BPF object from source",
            present: ebpf::has_compiler,
            debian: &["rustc-web", "libstd-rust-web-dev-bpf"],
            remedy: Remedy::Rustup(&[
                "toolchain",
                "install",
                "nightly",
                "--profile",
                "minimal",
                "-c",
                "rust-src",
            ]),
        },
        Need {
            what: "bpf-linker",
            why: "`cargo xtask ebpf` links the BPF object",
            present: || command::find("bpf-linker").is_some(),
            debian: &["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev", "libxml2-dev"],
            remedy: Remedy::BpfLinker,
        },
        Need {
            what: "a standard library for aarch64",
            why: "`cargo xtask aarch64` compiles the tool for that machine too",
            present: aarch64::has_library,
            debian: &["rustc-web"],
            remedy: Remedy::Aarch64,
        },
        program!("golang-go", "compiles the scenario programs", "go"),
        program!("g++", "compiles a program whose stack the tests unwind", "g++"),
        program!(
            "binutils",
            "a test strips programs and asks for their symbols",
            "strip",
            "readelf",
            "addr2line"
        ),
        program!("openjdk-17-jdk-headless", "the tests unwind Java's stacks", "java", "javac", "jcmd"),
        program!("nodejs", "the tests unwind JavaScript's stacks", "node"),
        program!("python3", "the tests unwind Python's stacks", "python3"),
        program!("iproute2", "the live tests make network namespaces", "ip", "ss"),
        program!("tmux", "a live test looks at `top` in a terminal", "tmux"),
        program!("jq", "one live test asks it", "jq"),
        program!("util-linux", "the live tests and the demo enter namespaces", "nsenter", "unshare"),
        program!("qemu-system-x86", "`cargo xtask vm` emulates machines", "qemu-system-x86_64"),
        program!("busybox-static", "the userland of `cargo xtask vm`", "busybox"),
        program!("kmod", "`cargo xtask vm` orders the kernel's modules", "depmod"),
        program!("xz-utils", "`cargo xtask vm` unpacks modules", "xz"),
        program!("zstd", "`cargo xtask vm` unpacks modules", "zstd"),
        program!("rpm", "`cargo xtask dist` makes an .rpm", "rpmbuild", "rpm2cpio"),
        program!("mmdebstrap", "`cargo xtask dist --try` installs in a bare Debian", "mmdebstrap"),
        program!("cpio", "a test of `cargo xtask vm` reads its archive", "cpio"),
    ]
}
