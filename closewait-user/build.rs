//! Chooses the BPF object to embed: the committed one, or the one that
//! `CLOSEWAIT_BPF_OBJECT` names (CI tests the object it has just built).

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=CLOSEWAIT_BPF_OBJECT");
    let prebuilt = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("prebuilt");
    let object =
        env::var_os("CLOSEWAIT_BPF_OBJECT").map_or_else(|| prebuilt.join("closewait.bpf.o"), PathBuf::from);
    assert!(
        object.is_absolute() && object.is_file(),
        "the BPF object {} is no file (CLOSEWAIT_BPF_OBJECT, if set, must be an absolute path; \
         `cargo xtask ebpf build` makes one)",
        object.display()
    );
    let provenance = object.with_file_name("provenance.json");
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rerun-if-changed={}", provenance.display());
    println!("cargo::rustc-env=CLOSEWAIT_BPF_OBJECT={}", object.display());
    println!("cargo::rustc-env=CLOSEWAIT_BPF_SHA256={}", sha256(&provenance));
}

/// The hash that the provenance beside the object records; "not recorded" without one.
fn sha256(provenance: &PathBuf) -> String {
    let text = fs::read_to_string(provenance).unwrap_or_default();
    let value = text.split_once("\"sha256\"").and_then(|(_, rest)| rest.split('"').nth(1));
    value.unwrap_or("not recorded").to_owned()
}
