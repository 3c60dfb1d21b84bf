//! The committed object against a fresh one from another compiler: bytes cannot
//! agree, but programs, maps and BTF types must, and sizes must be close.

use super::{
    btf,
    inspect::{self, Program},
};
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// How far, in percent, a program's instruction count may be from the committed
/// one under another compiler.
const TOLERANCE_PERCENT: u64 = 25;

/// Fails, with every difference named, unless the two do the same.
///
/// # Errors
/// The differences, one per line.
pub(crate) fn compare(committed: &[u8], fresh: &[u8]) -> Result<()> {
    let mut differences = Vec::new();
    let (old, new) = (sizes(&inspect::programs(committed)?), sizes(&inspect::programs(fresh)?));
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        match (old.get(key), new.get(key)) {
            (Some(&old), Some(&new)) => {
                println!("  {key}: {old} instructions committed, {new} here");
                if old.abs_diff(new) * 100 > old * TOLERANCE_PERCENT {
                    differences.push(format!("{key}: {old} instructions committed, {new} here"));
                }
            }
            (old, _) => differences.push(format!("program {key} is only {}", side(old.is_some()))),
        }
    }

    let (old, new) = (inspect::maps(committed)?, inspect::maps(fresh)?);
    differences
        .extend(old.iter().filter(|map| !new.contains(map)).map(|map| format!("only committed: {map:?}")));
    differences.extend(new.iter().filter(|map| !old.contains(map)).map(|map| format!("only here: {map:?}")));

    let (old, new) = (own_types(committed)?, own_types(fresh)?);
    for line in old.symmetric_difference(&new) {
        differences.push(format!("BTF type only {}: {line}", side(old.contains(line))));
    }

    if !differences.is_empty() {
        bail!(
            "the committed BPF object does not do what its source says:\n  {}\n\
             run `cargo xtask ebpf update` and commit the result",
            differences.join("\n  ")
        );
    }
    Ok(())
}

fn side(committed: bool) -> &'static str {
    if committed { "in the committed object" } else { "in the one built here" }
}

/// Instructions by program; the functions in `.text` count together, because
/// which of them exist is up to the inliner.
pub(crate) fn sizes(programs: &[Program]) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for program in programs {
        let key = if program.section == ".text" {
            "functions in .text".to_owned()
        } else {
            format!("{} ({})", program.name, program.section)
        };
        *sizes.entry(key).or_insert(0) += program.instructions;
    }
    sizes
}

/// BTF types without those of the compiler's `core` and of mangled functions,
/// which change between compilers.
fn own_types(object: &[u8]) -> Result<BTreeSet<String>> {
    let types = btf::types(inspect::section(object, ".BTF")?)?;
    let own: BTreeSet<String> = inspect::programs(object)?
        .into_iter()
        .filter(|program| program.section != ".text")
        .map(|program| format!("FUNC {}", program.name))
        .collect();
    Ok(types
        .into_iter()
        .filter(|line| line.starts_with("VAR ") || own.contains(line) || line.contains("closewait_ebpf"))
        .collect())
}
