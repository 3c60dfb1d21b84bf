//! Go's table of functions, in a file that is otherwise right: the table would hardly be
//! found in one that is changed at random.

use super::code::named;

/// Where the parts are in the file, and the addresses at which they are loaded.
const CODE: usize = 0x400;
const TABLE: usize = 0x1000;
const HEADER: usize = 64;

/// Two bytes say how many of the next are data beside the table; the table follows.
pub fn go_tables(data: &[u8]) {
    let Some((size, rest)) = data.split_first_chunk() else { return };
    let (beside, table) = rest.split_at(rest.len().min(u16::from_le_bytes(*size).into()));
    let frames = named(&file(table, beside), &[0x400, 0x420, 0x460, 0x4c0, 0x580, 0x800]);
    assert!(frames.len() <= 6 * 65, "{} frames", frames.len());
}

/// An ELF file with these two sections; code is from [`CODE`] to [`TABLE`], data after the table.
fn file(table: &[u8], beside: &[u8]) -> Vec<u8> {
    let names = b"\0.text\0.go.buildinfo\0.gopclntab\0.noptrdata\0.shstrtab\0";
    let beside_at = (TABLE + table.len()).next_multiple_of(16);
    let names_at = beside_at + beside.len();
    let headers_at = (names_at + names.len()).next_multiple_of(16);
    let mut file = vec![0; headers_at];
    file[TABLE..][..table.len()].copy_from_slice(table);
    file[beside_at..][..beside.len()].copy_from_slice(beside);
    file[names_at..][..names.len()].copy_from_slice(names);
    // elf(5): name, type, flags, address, offset, size.
    let sections = [
        (0, 0, 0, 0, 0, 0),
        (1, 1, 6, CODE, CODE, TABLE - CODE),
        (7, 1, 2, CODE, CODE, 16),
        (21, 1, 2, TABLE, TABLE, table.len()),
        (32, 1, 3, beside_at, beside_at, beside.len()),
        (43, 3, 0, 0, names_at, names.len()),
    ];
    for (name, kind, flags, address, offset, size) in sections {
        let mut header = [0; HEADER];
        header[0] = name;
        header[4] = kind;
        header[8] = flags;
        for (at, number) in [(16, address), (24, offset), (32, size)] {
            header[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        }
        file.extend_from_slice(&header);
    }
    let (all, count) = (file.len(), sections.len());
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    // Type, machine, version; where the headers are; how long and how many they are.
    put(16, &[2, 0, 62, 0, 1]);
    put(32, &64_u64.to_ne_bytes());
    put(40, &headers_at.to_ne_bytes());
    put(52, &[64, 0, 56, 0, 1, 0, 64, 0, count.to_ne_bytes()[0], 0, count.to_ne_bytes()[0] - 1]);
    // One segment with all: type and flags, offset, address, size in the file and in memory.
    put(64, &[1, 0, 0, 0, 7]);
    put(64 + 32, &all.to_ne_bytes());
    put(64 + 40, &all.to_ne_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seeds are tables of a real program with six of its functions, as Go 1.19 wrote it,
    /// and the same put as Go 1.20 and later put it.
    #[test]
    fn both_layouts_name_functions_and_what_was_inlined() {
        for seed in ["go118", "go120"] {
            let path = format!("{}/../tests/fuzz/corpus/go_tables/{seed}", env!("CARGO_MANIFEST_DIR"));
            let seed = std::fs::read(path).unwrap();
            let (size, rest) = seed.split_first_chunk().unwrap();
            let (beside, table) = rest.split_at(u16::from_le_bytes(*size).into());
            let file = file(table, beside);
            let offsets: Vec<u64> = (0x400..0x1400).collect();
            let frames = named(&file, &offsets);
            let named = |name: &str, inlined| {
                let is = |frame: &&crate::verdict::Frame| {
                    frame.symbol.as_deref() == Some(name) && frame.inlined == inlined && frame.line.is_some()
                };
                frames.iter().filter(is).count()
            };
            for name in ["syscall.Syscall6", "main.leak", "main.serve", "main.main"] {
                assert!(named(name, false) > 10, "{name}");
            }
            for name in ["internal/poll.(*FD).writeLock", "syscall.Write", "fmt.Println"] {
                assert!(named(name, true) > 0, "{name}");
            }
        }
    }
}
