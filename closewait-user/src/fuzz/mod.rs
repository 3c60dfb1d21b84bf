//! What fuzzing calls (tests/fuzz), and what a test replays its corpus with: for each kind
//! of foreign bytes a function that reads them as the tool does. Whatever they are: no
//! panic, and what is found obeys what its reader promises. Not in a build of the tool. What
//! nobody looks at goes through `black_box`, or the compiler may leave out the reading.

mod code;
mod go;

pub use code::{forgive_parsers, perf_maps, stacks, symbols};
pub use go::go_tables;

use std::hint::black_box;
use std::io::{self, sink};
use std::net::{IpAddr, Ipv4Addr};

use crate::clock::MonoNs;
use crate::decode;
use crate::enrich::sock_diag::wire;
use crate::filter::Filter;
use crate::kernel::btf::Btf;
use crate::kernel::functions::{FUNCTIONS, Functions};
use crate::kernel::offsets::{Events, STRUCTS, offsets};
use crate::kernel::tracefs::Event;
use crate::recording::frame::{Frame, Kind, MAGIC};
use crate::recording::replay::{Replay, Wanted};
use crate::recording::{NotReadable, Recording};
use crate::report::{JsonSink, Reporter, Style, TextOptions, TextSink};
use crate::tcp::{Endpoint, Tuple};

/// What reads foreign bytes.
type Reader = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const TARGETS: [(&str, Reader); 11] = [
    ("records", records),
    ("tracepoint_formats", tracepoint_formats),
    ("btf", btf),
    ("netlink", netlink),
    ("proc_files", proc_files),
    ("recordings", recordings),
    ("suppressions", suppressions),
    ("perf_maps", perf_maps),
    ("stacks", stacks),
    ("symbols", symbols),
    ("go_tables", go_tables),
];

/// What the kernel side sends, and what it keeps of a socket.
pub fn records(data: &[u8]) {
    let _ = black_box(decode::decode(data));
    let port = |at: usize| u16::from(data.get(at).copied().unwrap_or_default());
    let end = |port| Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port };
    black_box(decode::memory(data, &Tuple { local: end(port(0)), remote: end(port(1)) }));
}

/// The `format` file of a tracepoint.
pub fn tracepoint_formats(data: &[u8]) {
    if let Some(event) = Event::parse(&String::from_utf8_lossy(data)) {
        black_box(event.offset("saddr"));
    }
}

/// `/sys/kernel/btf/vmlinux`, or what `--btf` names.
pub fn btf(data: &[u8]) {
    if let Ok(btf) = Btf::parse(data, STRUCTS, FUNCTIONS) {
        black_box(offsets(&btf, &Events::default()));
        let _ = black_box(Functions::of(&btf).as_btf());
    }
}

/// Answers of inet_diag.
pub fn netlink(data: &[u8]) {
    for message in wire::Messages(data).map_while(Result::ok) {
        let _ = black_box(message.errno());
        for mptcp in [false, true] {
            let _ = black_box(wire::socket(message.payload, mptcp));
        }
    }
    black_box(wire::tcp_info(data));
}

/// Files of /proc: maps, stat, status, limits, fdinfo, syscall, cgroup, mountinfo, net/tcp.
pub fn proc_files(data: &[u8]) {
    crate::enrich::proc_files(data);
}

/// A file of `--suppressions`.
pub fn suppressions(data: &[u8]) {
    crate::commands::run::suppressions(data);
}

/// Recordings, of which somebody else may have written any byte: as they are, or, since no
/// change survives a checksum, in pieces of which frames are made.
pub fn recordings(data: &[u8]) {
    let _ = replayed(data);
    let mut file = MAGIC.to_vec();
    for part in data.split(|&byte| byte == b'\0') {
        let (kind, plain) = match part.split_first() {
            Some((b'i', plain)) => (Kind::Items, plain),
            _ => (Kind::Lines, part),
        };
        // Bytes of zero would be the end of the piece.
        let plain = plain.iter().map(|&byte| if byte == 0xff { 0 } else { byte }).collect();
        file.extend(Frame { kind, at: MonoNs(0), plain }.pack());
    }
    let _ = replayed(&file);
}

/// Replays `file` as text and as JSON; how many entries there were.
pub(crate) fn replayed(file: &[u8]) -> Result<usize, NotReadable> {
    let mut recording = Recording::open(file)?;
    recording.read_header()?;
    let (Some(header), Some(clock)) = (recording.header().cloned(), recording.clock()) else { return Ok(0) };
    let threshold = header.threshold;
    let wanted = Wanted { threshold, filter: Filter::default(), from: MonoNs(0), to: MonoNs(u64::MAX) };
    let style = Style { color: false, width: 99 };
    let options = TextOptions { style, threshold, group: true, limit: 20, interval: None, once: false };
    let into = || Box::new(sink()) as Box<dyn io::Write>;
    let text = TextSink::new(into(), into(), options);
    let json = JsonSink::new(into(), false);
    let mut replay = Replay::new(wanted, header, clock, Reporter::new(vec![Box::new(text), Box::new(json)]));
    let mut entries = 0;
    while let Some(reading) = recording.next_entry()? {
        entries += 1;
        replay.take(reading)?;
    }
    replay.finish(Vec::new()).1?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_fuzzing_found_interesting_is_survived() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        for (name, read) in TARGETS {
            let files =
                std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut inputs = 0;
            for file in files {
                read(&std::fs::read(file.unwrap().path()).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has no corpus");
        }
    }
}
