//! Chooses the BPF object to embed: the committed one, or the one that
//! `CLOSEWAIT_BPF_OBJECT` names (CI tests the object it has just built).

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=CLOSEWAIT_BPF_OBJECT");
    let object = env::var_os("CLOSEWAIT_BPF_OBJECT").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("prebuilt/closewait.bpf.o")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=CLOSEWAIT_BPF_OBJECT={}", object.display());
}
