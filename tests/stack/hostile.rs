//! Whatever a stack, a perf map or an ELF file holds: no panic, no frame that is not
//! code, bounded memory. Real ones with some of their bytes changed, at random but the
//! same in each run; `CLOSEWAIT_FUZZ_RUNS=1000000` (with `--release`) for more of them.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use closewait_trace::clock::Clock;
use closewait_trace::stack::capture::{Capture, Regs};
use closewait_trace::stack::file::HeldFile;
use closewait_trace::stack::jit::Table;
use closewait_trace::stack::places::{Place, Placed};
use closewait_trace::stack::symbolize::Symbols;
use closewait_trace::stack::unwind::{Code, JitFrames, JitFunction, MAX_FRAMES, Modules, Unwinder};
use closewait_trace::verdict::How;

use crate::deep::build;
use crate::random::Random;
use crate::waiting::show;

/// `CLOSEWAIT_FUZZ_RUNS`, or else so many.
pub(crate) fn runs(else_so_many: u64) -> u64 {
    let wanted = std::env::var("CLOSEWAIT_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok());
    wanted.unwrap_or(else_so_many)
}

/// Panics of the tests in here, those that the tool survives among them.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Runs `body` so often, and says what it cost.
fn all_are_survived(what: &str, runs: u64, mut body: impl FnMut(&mut Random)) {
    static COUNTED: std::sync::Once = std::sync::Once::new();
    COUNTED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("hostile::")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
    let (panics, peak, began) = (PANICS.load(Ordering::Relaxed), peak_memory(), Clock::mono_now());
    for run in 0..runs {
        body(&mut Random::of(run));
    }
    let took = Clock::mono_now().since(began);
    let more = peak_memory() - peak;
    show(&format!("{what}: {runs} runs in {took:.1?}, peak of memory {} MiB more", more >> 10));
    assert_eq!(PANICS.load(Ordering::Relaxed), panics, "panics");
    assert!(more < 512 << 10, "{more} KiB");
}

/// The most memory this process has had, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// An ELF file, and the parts of it that are worth changing.
struct Seed {
    bytes: Vec<u8>,
    parts: Vec<Range<usize>>,
}

impl Seed {
    fn of(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("six");
        build(&program, "gcc", "six.c", flags);
        let bytes = fs::read(program).unwrap();
        // elf(5): the section headers, in each its offset in the file and its size.
        let number = |at: usize, len: usize| {
            let mut word = [0; 8];
            word[..len].copy_from_slice(&bytes[at..at + len]);
            usize::try_from(u64::from_le_bytes(word)).unwrap()
        };
        let (headers, count) = (number(40, 8), number(60, 2));
        let section = |n: usize| {
            let header = headers + 64 * n;
            let (kind, offset, size) =
                (number(header + 4, 4), number(header + 24, 8), number(header + 32, 8));
            // Not NULL, not NOBITS.
            (kind != 0 && kind != 8 && size > 0).then(|| offset..offset + size)
        };
        let mut parts: Vec<_> = (0..count).filter_map(section).collect();
        parts.extend([0..64, headers..headers + 64 * count]);
        Self { bytes, parts }
    }

    /// With a few bytes changed, or its end cut off.
    fn changed(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for _ in 0..=random.below(8) {
            let part = &self.parts[random.below(self.parts.len())];
            let at = part.start + random.below(part.len());
            match random.below(4) {
                0 => bytes[at] = random.byte(),
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                _ => {
                    let len = (1 + random.below(16)).min(bytes.len() - at);
                    bytes[at..at + len].fill_with(|| random.byte());
                }
            }
        }
        if random.below(50) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        bytes
    }
}

const IMAGE: u64 = 0x5555_0000_0000;
const JIT: u64 = 0x7f00_0000_0000;
const OPAQUE: u64 = 0x7f11_0000_0000;
const STACK: u64 = 0x7ffc_0000_0000;
const SIZE: u64 = 0x4000;

/// A process with one file, code made at run time, and code that cannot be read.
struct Process {
    image: Bytes,
    jit: Vec<u8>,
}

impl Process {
    fn bytes(&self, addr: u64) -> Option<&[u8]> {
        let part = |start: u64, bytes| -> Option<&[u8]> {
            let bytes: &[u8] = bytes;
            bytes.get(usize::try_from(addr.checked_sub(start)?).ok()?..)
        };
        part(JIT, &self.jit).or_else(|| part(IMAGE, &self.image))
    }
}

impl Modules for Process {
    fn code(&mut self, addr: u64) -> Option<Code> {
        match addr {
            JIT.. if addr < JIT + self.jit.len() as u64 => Some(Code::Jit),
            OPAQUE.. if addr < OPAQUE + SIZE => Some(Code::Opaque),
            IMAGE.. if addr < IMAGE + self.image.len() as u64 => {
                Some(Code::Image(self.image.clone(), addr - IMAGE))
            }
            _ => None,
        }
    }

    fn read(&mut self, addr: u64, buf: &mut [u8]) -> bool {
        let Some(bytes) = self.bytes(addr).and_then(|bytes| bytes.get(..buf.len())) else { return false };
        buf.copy_from_slice(bytes);
        true
    }

    fn read_data(&mut self, addr: u64, buf: &mut [u8]) -> bool {
        self.read(addr, buf)
    }

    fn jit_function(&mut self, addr: u64) -> Option<JitFunction> {
        let kinds = [JitFrames::Linked, JitFrames::Interpreted, JitFrames::Unknown];
        let start = addr & !0xff;
        let kind = kinds.get(usize::try_from(start >> 8).unwrap() % 4)?;
        (JIT..JIT + SIZE).contains(&addr).then_some(JitFunction { start, frames: *kind })
    }

    fn bounds(&self) -> (u64, u64) {
        (IMAGE, OPAQUE + SIZE)
    }
}

/// A word such as stacks hold.
fn word(random: &mut Random, image: u64) -> u64 {
    match random.below(6) {
        0 => random.next(),
        1 => STACK + random.next() % (SIZE + 64),
        2 => JIT + random.next() % SIZE,
        3 => [OPAQUE, u64::MAX, 0, IMAGE, STACK][random.below(5)],
        _ => IMAGE + random.next() % image.max(1),
    }
}

fn unwound(seeds: &[Seed], random: &mut Random) {
    let image: Bytes = seeds[random.below(seeds.len())].changed(random).into();
    let len = image.len() as u64;
    let mut process =
        Process { image, jit: (0..SIZE).map(|_| [0xe8, 0x55, 0xc9, 0x90][random.below(4)]).collect() };
    let sp = [STACK, STACK + 8, STACK + 3, u64::MAX - 64][random.below(4)];
    let stack: Vec<u8> = (0..random.below(512)).flat_map(|_| word(random, len).to_le_bytes()).collect();
    let regs = Regs { ip: word(random, len), sp, fp: word(random, len), lr: None };
    let capture = Capture { regs, stack: stack.into(), truncated: random.below(2) == 0 };
    let frames = Unwinder::default().unwind(&mut process, &capture).frames;
    assert!(frames.len() <= MAX_FRAMES);
    // The innermost is what the kernel said.
    for frame in &frames[1..] {
        let code = process.code(frame.addr).or_else(|| process.code(frame.addr.wrapping_sub(1)));
        assert!(code.is_some(), "{:#x} is not code: {frames:x?}", frame.addr);
    }
}

#[test]
fn stacks_and_unwind_tables() {
    let seeds = [
        Seed::of(&["-O2"]),
        Seed::of(&["-O2", "-g", "-gz=zlib", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]),
        Seed::of(&["-O2", "-Wl,--no-eh-frame-hdr"]),
    ];
    all_are_survived("stacks and unwind tables", runs(2_000), |random| unwound(&seeds, random));
}

#[test]
fn perf_maps() {
    let line = |n: u64| format!("0x{:x} {:x} void Shop::cart{n}(int)", 0x1000 + n * 0x30, 0x20 + n % 32);
    let text = (0..200).map(line).collect::<Vec<_>>().join("\n");
    all_are_survived("perf maps", runs(2_000), |random| {
        let mut text = text.as_bytes().to_vec();
        for _ in 0..random.below(40) {
            let at = random.below(text.len());
            text[at] = *[b'\n', b' ', b'f', b'0', b'x', random.byte()].get(random.below(6)).unwrap();
        }
        let table = Table::parse(&text);
        assert!(table.len() <= 2 * 200 + 40);
        for _ in 0..8 {
            table.find(random.next() % 0x4000);
        }
    });
}

#[test]
fn symbols_and_debug_information() {
    let seeds = [Seed::of(&["-O2", "-g"]), Seed::of(&["-O2", "-g", "-gz=zlib"]), Seed::of(&["-O2"])];
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("program");
    all_are_survived("symbols and debug information", runs(300), |random| {
        let bytes = seeds[random.below(seeds.len())].changed(random);
        let _ = fs::remove_file(&path);
        fs::write(&path, &bytes).unwrap();
        let file = Arc::new(HeldFile::of_path(&path).unwrap());
        let place = |_| {
            let offset = random.next() % (bytes.len() as u64 + 1);
            let file = Some(Ok(Arc::clone(&file)));
            Place { addr: IMAGE + offset + 1, how: How::Dwarf, module: "six".into(), offset, file, jit: None }
        };
        // The functions begin where the headers and tables before them end.
        let places = (0..6).map(place).collect();
        let stack = Symbols::default().stack(&Placed { places, ..Placed::default() });
        assert!(stack.frames.len() >= 6);
    });
}

/// In the debug information of a real program a function, and in it a million calls that are inlined
/// into each other, a byte each: a parser that follows them by calling itself has no stack left.
#[test]
fn calls_inlined_into_each_other_without_end() {
    let mut bytes = Seed::of(&["-O2", "-g"]).bytes;
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let half =
        |bytes: &[u8], at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let headers = usize::try_from(number(&bytes, 40)).unwrap();
    let (count, names) = (half(&bytes, 60), headers + 64 * half(&bytes, 62));
    let names = usize::try_from(number(&bytes, names + 24)).unwrap();
    let header = |bytes: &[u8], name: &str| {
        let is_it = |at: &usize| {
            let from = names + half(bytes, *at);
            bytes[from..].split(|byte| *byte == 0).next() == Some(name.as_bytes())
        };
        (0..count).map(|n| headers + 64 * n).find(is_it).unwrap()
    };
    let text = header(&bytes, ".text");
    let (vaddr, offset, size) =
        (number(&bytes, text + 16), number(&bytes, text + 24), number(&bytes, text + 32));
    // DWARF 4: a unit with its lines and its code, a function with code and name, an inlined call.
    let abbrev = [
        &[1, 0x11, 1, 0x10, 0x17, 0x11, 1, 0x12, 7, 0, 0][..],
        &[2, 0x2e, 1, 0x11, 1, 0x12, 7, 3, 8, 0, 0],
        &[3, 0x1d, 1, 0, 0, 0],
    ]
    .concat();
    let code = [vaddr.to_le_bytes(), size.to_le_bytes()].concat();
    let deep = 1_000_000;
    let unit = [&[4, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0, 0][..], &code, &[2], &code, b"deep\0"].concat();
    let unit = [unit, vec![3; deep], vec![0; deep + 2]].concat();
    let info = [&u32::try_from(unit.len()).unwrap().to_le_bytes()[..], &unit].concat();
    for (name, part) in [(".debug_abbrev", abbrev), (".debug_info", info)] {
        let (at, len) = (bytes.len() as u64, part.len() as u64);
        let header = header(&bytes, name);
        bytes[header + 24..header + 32].copy_from_slice(&at.to_le_bytes());
        bytes[header + 32..header + 40].copy_from_slice(&len.to_le_bytes());
        bytes.extend(part);
    }
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("program");
    fs::write(&path, &bytes).unwrap();
    let file = Arc::new(HeldFile::of_path(&path).unwrap());
    let place = |offset| {
        let file = Some(Ok(Arc::clone(&file)));
        Place { addr: IMAGE + offset + 1, how: How::Dwarf, module: "six".into(), offset, file, jit: None }
    };
    let places = (0..size).step_by(16).map(|into| place(offset + into)).collect();
    let stack = Symbols::default().stack(&Placed { places, ..Placed::default() });
    // What the table of symbols tells is told.
    assert!(stack.frames.iter().any(|frame| frame.symbol.as_deref() == Some("main")), "{stack:?}");
}

/// The same quarter of a megabyte, of which each unpacked is more than is kept, as a thousand sections:
/// unpacking all of them takes minutes.
#[test]
fn what_is_packed_too_well_is_unpacked_once() {
    let mut bytes = Seed::of(&["-O2"]).bytes;
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let headers = usize::try_from(number(&bytes, 40)).unwrap();
    let count = usize::from(u16::from_le_bytes(bytes[60..62].try_into().unwrap()));
    let mut table = bytes[headers..headers + 64 * count].to_vec();
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..257 {
        packer.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let zeros = packer.finish().unwrap();
    // elf(5): `Elf64_Chdr` of zlib; then sections with SHF_COMPRESSED that are all there.
    let (at, size) = (bytes.len() as u64, zeros.len() as u64 + 24);
    bytes.extend([1_u64, 257 << 20, 1].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend(zeros);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    for _ in count..1000 {
        let header = [1 << 32, 1 << 11, 0, at, size, 0, 1, 0];
        table.extend(header.into_iter().flat_map(u64::to_le_bytes));
    }
    let (headers, count) = (bytes.len() as u64, u16::try_from(table.len() / 64).unwrap());
    bytes.extend(table);
    bytes[40..48].copy_from_slice(&headers.to_le_bytes());
    bytes[60..62].copy_from_slice(&count.to_le_bytes());

    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("program");
    fs::write(&path, &bytes).unwrap();
    let file = Some(Ok(Arc::new(HeldFile::of_path(&path).unwrap())));
    let place = Place { addr: IMAGE + 1, how: How::Dwarf, module: "six".into(), offset: 0, file, jit: None };
    let began = Clock::mono_now();
    Symbols::default().stack(&Placed { places: vec![place], ..Placed::default() });
    let took = Clock::mono_now().since(began);
    // Once takes 0.3 s, and ten times that without optimisation.
    assert!(took < std::time::Duration::from_secs(40), "{took:?}");
}
