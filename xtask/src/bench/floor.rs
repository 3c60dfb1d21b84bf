//! The least that a tracer of `inet_sock_set_state` can cost: a program of two
//! instructions on it. In the table it is what no tracer can be better than; and what the
//! kernel's statistics say of it is what the statistics themselves cost.

use anyhow::{Context, Result};
use aya::{Ebpf, programs::RawTracePoint};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

/// Its name, which the kernel shows.
const NAME: &str = "bench_floor";
/// `r0 = 0; exit` (Documentation/bpf/standardization/instruction-set.rst).
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Attached until it is dropped.
pub(super) struct Floor {
    pub(super) id: u32,
    _loaded: Ebpf,
}

impl Floor {
    /// Attaches it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn attach() -> Result<Self> {
        let mut loaded = Ebpf::load(&object()?).context("cannot load the empty program")?;
        let program = loaded.program_mut(NAME).context("the object has no program")?;
        let program: &mut RawTracePoint = program.try_into()?;
        program.load().context("cannot load the empty program")?;
        program.attach("inet_sock_set_state").context("cannot attach the empty program")?;
        Ok(Self { id: program.info()?.id(), _loaded: loaded })
    }
}

/// An object as a compiler for BPF would make it.
fn object() -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let add = |object: &mut Object<'_>, name: &str, kind, bytes: &[u8]| {
        let section = object.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        object.append_section_data(section, bytes, 8);
        section
    };
    let text = add(&mut object, "raw_tp/inet_sock_set_state", SectionKind::Text, &NOTHING);
    add(&mut object, "license", SectionKind::Data, b"Dual MIT/GPL\0");
    object.add_symbol(Symbol {
        name: NAME.into(),
        value: 0,
        size: NOTHING.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    object.write().context("cannot write the empty program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_one_program_of_two_instructions() {
        let object = object().unwrap();
        let loaded = aya_obj::Object::parse(&object).unwrap();
        assert_eq!(loaded.programs.keys().collect::<Vec<_>>(), [NAME]);
        let function = loaded.functions.values().next().unwrap();
        assert_eq!(function.instructions.len(), 2);
    }
}
