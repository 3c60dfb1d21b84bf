//! The named types of a `.BTF` section, as lines to compare: `STRUCT Opened 48`.
//!
//! Only what two compilers must agree on is kept: kind, name and size. The
//! layout is the kernel's (Documentation/bpf/btf.rst).

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

/// Kinds by their number, each with the number of bytes behind the 12-byte head
/// that do not depend on `vlen`, and the bytes per member.
const KINDS: [(&str, usize, usize); 20] = [
    ("VOID", 0, 0),
    ("INT", 4, 0),
    ("PTR", 0, 0),
    ("ARRAY", 12, 0),
    ("STRUCT", 0, 12),
    ("UNION", 0, 12),
    ("ENUM", 0, 8),
    ("FWD", 0, 0),
    ("TYPEDEF", 0, 0),
    ("VOLATILE", 0, 0),
    ("CONST", 0, 0),
    ("RESTRICT", 0, 0),
    ("FUNC", 0, 0),
    ("FUNC_PROTO", 0, 8),
    ("VAR", 4, 0),
    ("DATASEC", 0, 12),
    ("FLOAT", 0, 0),
    ("DECL_TAG", 4, 0),
    ("TYPE_TAG", 0, 0),
    ("ENUM64", 0, 12),
];

/// One line per named struct, function and variable.
///
/// # Errors
/// When the section is cut short or has a kind this reader does not know.
pub(crate) fn types(btf: &[u8]) -> Result<BTreeSet<String>> {
    let word = |at: usize| -> Result<u32> {
        let bytes = btf.get(at..at + 4).context("BTF is cut short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    let size = |at: usize| -> Result<usize> { Ok(usize::try_from(word(at)?)?) };
    let (header, types_at, types_len, strings_at) = (size(4)?, size(8)?, size(12)?, size(16)?);
    let name = |offset: usize| -> Result<String> {
        let tail = btf.get(header + strings_at + offset..).context("a BTF name is out of range")?;
        let end = tail.iter().position(|&byte| byte == 0).context("a BTF name has no end")?;
        Ok(String::from_utf8_lossy(&tail[..end]).into_owned())
    };

    let mut lines = BTreeSet::new();
    let mut at = header + types_at;
    while at < header + types_at + types_len {
        let info = size(at + 4)?;
        let (kind, members) = (info >> 24 & 0x1f, info & 0xffff);
        let Some(&(kind_name, fixed, per_member)) = KINDS.get(kind) else { bail!("unknown BTF kind {kind}") };
        let type_name = name(size(at)?)?;
        match kind_name {
            "STRUCT" if !type_name.is_empty() => {
                lines.insert(format!("STRUCT {type_name} {}", size(at + 8)?));
            }
            "FUNC" | "VAR" => {
                lines.insert(format!("{kind_name} {type_name}"));
            }
            _ => {}
        }
        at += 12 + fixed + per_member * members;
    }
    Ok(lines)
}
