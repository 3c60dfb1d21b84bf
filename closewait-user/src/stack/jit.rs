//! Perf maps: the file `/tmp/perf-PID.map` in which a JIT compiler names the code
//! it made. In: bytes, or a process; out: a table from address to name. Whoever
//! can write the file chooses the names, so only a regular file that belongs to
//! the process's user or to root, and that not everybody may write to, is believed,
//! and its size is bounded.

use std::sync::Arc;

use rustix::io::Errno;

use super::demangle;
use super::file::{FileId, HeldFile, Stamp, open_in_root};
use super::lru::Lru;
use super::maps::hex;
use crate::enrich::procfs;

/// Most bytes of a perf map that are read: 64 MiB is about 700,000 methods, ten
/// times what a large Java server compiles.
pub const MAX_BYTES: u64 = 64 << 20;

/// Perf maps kept parsed. Measured: 100,000 methods take 20 ms and 9 MB.
pub const MAX_TABLES: usize = 8;

/// Perf maps that were parsed, those used last.
#[derive(Debug)]
pub(super) struct Tables(Lru<FileId, (Stamp, Arc<Table>)>);

impl Default for Tables {
    fn default() -> Self {
        Self(Lru::new(MAX_TABLES))
    }
}

impl Tables {
    /// The table in a file, as it is now: a JIT adds to its map while we hold it.
    pub(super) fn of(&mut self, file: &HeldFile) -> Result<Arc<Table>, String> {
        let now = file.stamp_now();
        if let Some((stamp, table)) = self.0.get(&file.id)
            && *stamp == now
        {
            return Ok(Arc::clone(table));
        }
        let text = file.contents(MAX_BYTES).map_err(|err| format!("perf map: {err}"))?;
        let table = Arc::new(Table::parse(&text));
        self.0.insert(file.id, (now, Arc::clone(&table)));
        Ok(table)
    }

    /// Forgets them; they are read again when they are needed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Names of run-time generated code, sorted by address.
#[derive(Debug, Default)]
pub struct Table {
    /// Not overlapping, in order of address.
    entries: Vec<Entry>,
    /// The text that `Entry::name` points into.
    text: Box<[u8]>,
    /// Lines that do not read `ADDRESS SIZE NAME`.
    pub malformed: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    end: u64,
    /// Line number: code written later lies over code written earlier.
    age: u32,
    name: (u32, u32),
}

impl Table {
    /// Reads a perf map (Linux tools/perf/Documentation/jit-interface.txt):
    /// lines of address, size, both hexadecimal, and a name that may hold spaces.
    /// `0x` before a number is no part of the format, but JDK 17 writes it.
    ///
    /// Where entries overlap, the later line wins: its code was written over the
    /// other's, of which only what lies before it is kept.
    pub fn parse(text: &[u8]) -> Self {
        let text = &text[..text.len().min(u32::MAX as usize)];
        let (mut all, mut malformed, mut at) = (Vec::new(), 0, 0_usize);
        for (age, line) in text.split(|&byte| byte == b'\n').enumerate() {
            match parse_line(line) {
                Some((start, end, name)) => all.push(Entry {
                    start,
                    end,
                    age: u32::try_from(age).unwrap_or(u32::MAX),
                    name: (
                        u32::try_from(at + name).unwrap_or(0),
                        u32::try_from(at + line.len()).unwrap_or(0),
                    ),
                }),
                None => malformed += usize::from(!line.is_empty()),
            }
            at += line.len() + 1;
        }
        Self { entries: without_overlaps(all), text: text.into(), malformed }
    }

    /// The name of the code at `addr` and where that code starts.
    pub fn find(&self, addr: u64) -> Option<(String, u64)> {
        let after = self.entries.partition_point(|entry| entry.start <= addr);
        let entry = self.entries[..after].last().filter(|entry| addr < entry.end)?;
        let name = &self.text[entry.name.0 as usize..entry.name.1 as usize];
        // A line may be as long as the file.
        let name = &name[..name.len().min(2 * demangle::MOST)];
        Some((demangle::cut(String::from_utf8_lossy(name).into_owned()), entry.start))
    }

    /// Entries that can be found.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Start, end, and where in the line the name begins.
fn parse_line(line: &[u8]) -> Option<(u64, u64, usize)> {
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let (start, size, name) = (fields.next()?, fields.next()?, fields.next()?);
    let number = |digits: &[u8]| hex(digits.strip_prefix(b"0x").unwrap_or(digits));
    let start = number(start)?;
    let end = start.checked_add(number(size)?)?;
    (start < end && !name.is_empty()).then_some((start, end, line.len() - name.len()))
}

fn without_overlaps(mut all: Vec<Entry>) -> Vec<Entry> {
    all.sort_by_key(|entry| (entry.start, entry.age));
    let mut kept: Vec<Entry> = Vec::with_capacity(all.len());
    for mut entry in all {
        while let Some(last) = kept.last_mut().filter(|last| last.end > entry.start) {
            if last.age > entry.age {
                entry.start = last.end;
                break;
            }
            last.end = entry.start;
            if last.start < last.end {
                break;
            }
            kept.pop();
        }
        if entry.start < entry.end {
            kept.push(entry);
        }
    }
    kept.shrink_to_fit();
    kept
}

/// Why a perf map is not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoMap {
    /// There is none, or no process.
    Absent(String),
    /// What is there is not to be believed.
    Refused(String),
}

impl NoMap {
    /// In words.
    pub fn why(self) -> String {
        match self {
            Self::Absent(why) | Self::Refused(why) => why,
        }
    }
}

/// Opens the perf map of process `pid`: in that process's root and under the id
/// that its own pid namespace gives it, which is the name its JIT used.
pub fn open(pid: u32) -> Result<HeldFile, NoMap> {
    let status = procfs::text(format!("/proc/{pid}/status"))
        .map_err(|_| NoMap::Absent(format!("process {pid} exited before its perf map could be opened")))?;
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let inner = line("NSpid:").and_then(|ids| ids.split_whitespace().last()).unwrap_or_default();
    let inner: u32 = inner.parse().unwrap_or(pid);
    let path = format!("/tmp/perf-{inner}.map");
    let (held, stat) = open_in_root(pid, path.as_ref()).map_err(|errno| match errno {
        Errno::NOENT => NoMap::Absent(format!("there is no {path}")),
        Errno::NOTSUP => NoMap::Refused(format!("{path} is not a regular file")),
        other => NoMap::Refused(format!("{path}: {other}")),
    })?;
    if stat.st_mode & 0o002 != 0 {
        return Err(NoMap::Refused(format!("{path} can be written to by everybody")));
    }
    let mut uids = line("Uid:").unwrap_or_default().split_whitespace();
    if stat.st_uid != 0 && !uids.any(|uid| uid.parse() == Ok(stat.st_uid)) {
        return Err(NoMap::Refused(format!(
            "{path} belongs to user {}, who is neither the process's nor root",
            stat.st_uid
        )));
    }
    if held.stamp.size > MAX_BYTES {
        return Err(NoMap::Refused(format!("{path} is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str, addrs: &[u64]) -> Vec<Option<(String, u64)>> {
        let table = Table::parse(text.as_bytes());
        addrs.iter().map(|&addr| table.find(addr)).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is what `find` returns")]
    fn named(name: &str, start: u64) -> Option<(String, u64)> {
        Some((name.to_owned(), start))
    }

    #[test]
    fn both_spellings_of_a_number_and_names_with_spaces_are_read() {
        let text = "7f00 10 void Server::accept(int)\n0x7f10 0x8 java.lang.String::indexOf\n";
        assert_eq!(
            names(text, &[0x7eff, 0x7f00, 0x7f0f, 0x7f10, 0x7f17, 0x7f18]),
            [
                None,
                named("void Server::accept(int)", 0x7f00),
                named("void Server::accept(int)", 0x7f00),
                named("java.lang.String::indexOf", 0x7f10),
                named("java.lang.String::indexOf", 0x7f10),
                None,
            ]
        );
    }

    #[test]
    fn the_later_line_wins_where_code_was_written_over() {
        // Each case: lines, an address, the name that is there now.
        let cases = [
            ("10 10 old\n10 10 new", 0x10, named("new", 0x10)),
            ("10 20 old\n18 8 new", 0x10, named("old", 0x10)),
            ("10 20 old\n18 8 new", 0x18, named("new", 0x18)),
            ("10 20 old\n18 8 new", 0x20, None),
            ("18 8 old\n10 20 new", 0x18, named("new", 0x10)),
            ("18 20 old\n10 10 new", 0x1f, named("new", 0x10)),
            ("18 20 old\n10 10 new", 0x20, named("old", 0x20)),
            ("10 8 a\n18 8 b\n10 20 new", 0x18, named("new", 0x10)),
        ];
        for (text, addr, want) in cases {
            assert_eq!(names(text, &[addr]), [want], "{text:?} at {addr:#x}");
        }
    }

    #[test]
    fn lines_of_another_form_are_counted_and_the_rest_is_read() {
        let text =
            "zz 10 a\n10\n10 zz b\n10 0 empty\nffffffffffffffff 2 c\n10 8 \n0x 8 d\n-1 8 e\n\n20 8 good";
        let table = Table::parse(text.as_bytes());
        assert_eq!((table.malformed, table.len()), (8, 1));
        assert_eq!(table.find(0x20), named("good", 0x20));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300), addr: u64) {
            Table::parse(&text).find(addr);
        }

        #[test]
        fn entries_never_overlap_and_the_newest_is_always_found(
            entries in proptest::collection::vec((0_u64..64, 1_u64..32), 1..40)
        ) {
            let lines: Vec<_> =
                entries.iter().enumerate().map(|(n, (start, size))| format!("{start:x} {size:x} {n}")).collect();
            let table = Table::parse(lines.join("\n").as_bytes());
            prop_assert!(table.entries.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let (newest, &(start, size)) = entries.iter().enumerate().next_back().unwrap();
            for addr in start..start + size {
                prop_assert_eq!(table.find(addr), Some((newest.to_string(), start)));
            }
            // Whatever is found covered that address when it was written.
            for addr in 0..100 {
                if let Some((name, _)) = table.find(addr) {
                    let (start, size) = entries[name.parse::<usize>().unwrap()];
                    prop_assert!((start..start + size).contains(&addr));
                }
            }
        }
    }
}
