//! `cargo xtask counts`: a regression check that does not time. What can be counted exactly
//! (instructions of the BPF programs, what the verifier makes of them, bytes of a record) is
//! compared with what is committed in tests/counts.json. The limits in that file, of
//! allocations and of wake-ups, are kept by tests that read it.

mod compare;

use crate::{build::Executables, command, ebpf, privilege, workspace};
use anyhow::{Context, Result, bail};
use closewait_ebpf as wire;
use compare::{Counted, compare};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write what is counted here into the file, instead of comparing
    #[arg(long)]
    update: bool,
}

/// The committed file.
#[derive(Serialize, Deserialize)]
struct File {
    /// BPF instructions of each program in the committed object
    instructions: Counted,
    /// Instructions that the verifier went through, which depends on the kernel
    verified: Verified,
    /// Bytes of each kind of record in the ring, without the ring's own header
    record_bytes: Counted,
    /// Set by hand; `tests/allocations.rs` and `tests/live/idle.rs` read them
    limits: Counted,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Verified {
    /// As in `6.18`
    kernel: String,
    programs: Counted,
}

/// Counts, and compares or writes.
///
/// # Errors
/// Names each figure that has grown, and how to accept it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let built = Executables::build(&["build", "--release", "--bin", "closewait-trace"], None)?;
    let tool = built.get("closewait-trace")?;
    if args.update { update(tool) } else { check(tool) }
}

/// Compares; `tool` is asked what the verifier says of its programs.
///
/// # Errors
/// Names each figure that has grown, and how to accept it.
pub(crate) fn check(tool: &Path) -> Result<()> {
    let committed = read()?;
    let mut moved = compare("instructions of", &committed.instructions, &instructions()?);
    moved.append(&mut compare("bytes of record", &committed.record_bytes, &record_bytes()));
    match verified(tool)? {
        Some(here) if here.kernel == committed.verified.kernel => {
            moved.append(&mut compare(
                "verified instructions of",
                &committed.verified.programs,
                &here.programs,
            ));
        }
        here => {
            let here = here.map_or_else(|| "one that does not tell".to_owned(), |here| here.kernel);
            let there = &committed.verified.kernel;
            println!("counts: verified instructions not compared: counted on {there}, this kernel is {here}");
        }
    }
    moved
        .smaller
        .iter()
        .for_each(|line| println!("counts: {line}: `cargo xtask counts --update` keeps that"));
    stacks()?;
    if !moved.failures.is_empty() {
        bail!(
            "counted otherwise than in {}:\n  {}\nif that is meant: `cargo xtask counts --update`, and commit it",
            file().display(),
            moved.failures.join("\n  ")
        );
    }
    println!("counts: as committed");
    Ok(())
}

fn update(tool: &Path) -> Result<()> {
    let committed =
        fs::read_to_string(file()).ok().map(|text| serde_json::from_str::<serde_json::Value>(&text));
    let limits =
        committed.transpose()?.and_then(|mut all| all.get_mut("limits").map(serde_json::Value::take));
    let limits = limits.with_context(|| format!("{} has no limits", file().display()))?;
    let verified = verified(tool)?.context("this kernel does not tell verified instructions")?;
    let counted = File {
        instructions: instructions()?,
        verified,
        record_bytes: record_bytes(),
        limits: serde_json::from_value(limits)?,
    };
    fs::write(file(), serde_json::to_string_pretty(&counted)? + "\n")?;
    println!("counts: wrote {}", file().display());
    Ok(())
}

fn file() -> PathBuf {
    workspace::root().join("tests/counts.json")
}

fn read() -> Result<File> {
    let text = fs::read_to_string(file()).with_context(|| format!("cannot read {}", file().display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("cannot read {}: `cargo xtask counts --update`", file().display()))
}

/// Of the committed object: it is what users run, whichever compiler is here.
fn instructions() -> Result<Counted> {
    Ok(ebpf::sizes(&ebpf::programs(&object()?)?))
}

fn object() -> Result<Vec<u8>> {
    let path = workspace::prebuilt_dir().join(ebpf::OBJECT);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Whether each program has room for its stack where kernels are strict about it: these are old,
/// and the one at hand does not tell.
fn stacks() -> Result<()> {
    let depths = ebpf::depths(&object()?).context("cannot tell how deep stacks are")?;
    let too_deep: Vec<String> = depths
        .iter()
        .filter(|(_, depth)| depth.bytes > ebpf::MOST)
        .map(|(program, depth)| format!("{program} takes {} bytes of stack: {}", depth.bytes, depth.shown()))
        .collect();
    if !too_deep.is_empty() {
        bail!(
            "5.10 and 6.1 give a program {} bytes of stack with all that it calls:\n  {}",
            ebpf::MOST,
            too_deep.join("\n  ")
        );
    }
    if let Some((program, depth)) = depths.iter().max_by_key(|(_, depth)| depth.bytes) {
        println!(
            "counts: {program} takes most stack, {} of {} bytes: {}",
            depth.bytes,
            ebpf::MOST,
            depth.shown()
        );
    }
    Ok(())
}

fn record_bytes() -> Counted {
    let copied = wire::Copied::SIZE + wire::STACK_ROOM + wire::PYTHON_FRAMES * wire::PythonFrame::SIZE;
    [
        ("ENTER", wire::Edge::SIZE),
        ("LEAVE", wire::TaskEdge::SIZE),
        ("DESTROY", wire::Destroy::SIZE),
        ("PATH", wire::Path::SIZE),
        ("COPIED", copied),
        ("ENDED", wire::Ended::SIZE),
        ("in the map of sockets", wire::Remembered::SIZE),
    ]
    .map(|(kind, bytes)| (kind.to_owned(), bytes as u64))
    .into()
}

/// By loading the programs; `None` where the kernel does not tell (before 5.16).
fn verified(tool: &Path) -> Result<Option<Verified>> {
    let said = command::output(privilege::command(tool)?.arg("doctor"))?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let programs = verified_in(&said);
    Ok((!programs.is_empty()).then_some(Verified { kernel, programs }))
}

/// The lines below `verified instructions`, as doctor prints them.
fn verified_in(doctor: &str) -> Counted {
    let lines = doctor.lines().skip_while(|line| *line != "verified instructions").skip(1);
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    lines.take_while(|line| line.starts_with(' ')).filter_map(row).collect::<BTreeMap<_, _>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_file_is_of_the_committed_object() {
        let committed = read().unwrap();
        let moved = compare("instructions of", &committed.instructions, &instructions().unwrap());
        assert_eq!(moved.failures, Vec::<String>::new(), "run `cargo xtask counts --update`");
        let moved = compare("bytes of record", &committed.record_bytes, &record_bytes());
        assert_eq!(moved.failures, Vec::<String>::new(), "run `cargo xtask counts --update`");
    }

    #[test]
    fn every_program_has_room_for_its_stack() {
        stacks().unwrap();
        let depths = ebpf::depths(&object().unwrap()).unwrap();
        // Of this it is known: it copies stacks, by a function that calls another.
        let depth = &depths["eof_raw"];
        let calls: Vec<&str> = depth.chain.iter().map(|(name, _)| name.as_str()).collect();
        assert!(calls.contains(&"copied_stack"), "{}", depth.shown());
    }

    #[test]
    fn what_the_verifier_went_through_is_read_from_doctor() {
        let said =
            "kernel 6.18\n\nverified instructions\n  edge_raw       14531\n  error_raw      22\n\nmore 7\n";
        let counted = verified_in(said);
        assert_eq!(
            counted.into_iter().collect::<Vec<_>>(),
            [("edge_raw".into(), 14531), ("error_raw".into(), 22)]
        );
        assert!(verified_in("tracing cannot run here\n").is_empty());
    }
}
