//! Takes out of an object what no loader needs: DWARF, the relocations of BTF, and the source
//! lines in BTF.ext, which only the verifier quotes and which are a third of the object.
//!
//! BTF and the rest of BTF.ext stay: loaders need them. Done here and not by an llvm-strip so that the bytes do not
//! depend on which of them a machine has.

use anyhow::{Context, Result, ensure};
use object::build::{ByteString, elf};

/// The stripped object.
///
/// # Errors
/// When `unstripped` is no ELF object, or has no BTF.
pub(crate) fn strip(unstripped: &[u8]) -> Result<Vec<u8>> {
    let mut builder = elf::Builder::read(unstripped)?;
    for section in &mut builder.sections {
        section.delete = is_ballast(&section.name);
        if section.name == ByteString::from(".BTF.ext")
            && let elf::SectionData::Data(bytes) = &mut section.data
        {
            *bytes = without_lines(bytes)?.into();
        }
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

/// BTF.ext (Documentation/bpf/btf.rst) with no line in it.
fn without_lines(bytes: &[u8]) -> Result<Vec<u8>> {
    /// Where the header has its own length, and of each part the offset after it and the length.
    const HEADER_LEN: usize = 4;
    const LINES: usize = 16;
    const RELOCATIONS: usize = 24;
    let word = |at: usize| -> Result<usize> {
        let word = bytes.get(at..at + 4).context("BTF.ext ends in its header")?;
        Ok(u32::from_le_bytes(word.try_into()?) as usize)
    };
    let (start, len) = (word(HEADER_LEN)? + word(LINES)?, word(LINES + 4)?);
    let after = start + len;
    ensure!(after <= bytes.len(), "BTF.ext ends in its lines");
    let mut kept = [&bytes[..start], &bytes[after..]].concat();
    kept[LINES + 4..LINES + 8].fill(0);
    if word(HEADER_LEN)? >= RELOCATIONS + 8 && word(RELOCATIONS)? > word(LINES)? {
        let moved = u32::try_from(word(RELOCATIONS)? - len)?;
        kept[RELOCATIONS..RELOCATIONS + 4].copy_from_slice(&moved.to_le_bytes());
    }
    Ok(kept)
}

/// aya and libbpf take BTF's own offsets, which are right without relocation.
fn is_ballast(section: &[u8]) -> bool {
    [&b".debug_"[..], b".rel.debug_", b".rel.BTF"].iter().any(|prefix| section.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_and_what_is_around_them_stays() {
        let header = [0x0001_eb9f_u32, 32, 0, 4, 4, 8, 12, 4];
        let parts = [0xf, 0x11, 0x12, 0xc_u32];
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let whole = bytes(&[&header[..], &parts[..]].concat());
        let without = [0x0001_eb9f_u32, 32, 0, 4, 4, 0, 4, 4, 0xf, 0xc];
        assert_eq!(without_lines(&whole).unwrap(), bytes(&without));
        assert!(without_lines(&whole[..40]).is_err() && without_lines(&whole[..9]).is_err());
    }
}
