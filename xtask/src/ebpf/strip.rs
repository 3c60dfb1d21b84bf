//! Takes out of an object what no loader reads: DWARF, and the relocations of BTF.
//!
//! BTF and BTF.ext stay: loaders need the first, the verifier quotes source lines
//! from the second. Done here and not by an llvm-strip so that the bytes do not
//! depend on which of them a machine has.

use anyhow::{Result, ensure};
use object::build::{ByteString, elf};

/// The stripped object.
///
/// # Errors
/// When `unstripped` is no ELF object, or has no BTF.
pub(crate) fn strip(unstripped: &[u8]) -> Result<Vec<u8>> {
    let mut builder = elf::Builder::read(unstripped)?;
    for section in &mut builder.sections {
        section.delete = is_ballast(&section.name);
    }
    builder.delete_orphans();
    builder.delete_orphan_symbols();
    let has = |name: &str| builder.sections.iter().any(|section| section.name == ByteString::from(name));
    ensure!(has(".BTF") && has(".BTF.ext"), "it has no BTF: bpf-linker needs -Cdebuginfo=2 and --btf");
    // LLVM keeps section names and symbol names in one table; the writer wants two.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = elf::SectionData::SectionString;

    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// aya and libbpf take BTF's own offsets, which are right without relocation.
fn is_ballast(section: &[u8]) -> bool {
    [&b".debug_"[..], b".rel.debug_", b".rel.BTF"].iter().any(|prefix| section.starts_with(prefix))
}
