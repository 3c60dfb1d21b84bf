//! Stacks of a program that runs, stopped wherever it happened to be, half of them with words
//! changed: each frame that is reported is code of the module it names, behind a call.
//! `CLOSEWAIT_FUZZ_RUNS=10000` for more than a few.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use closewait_trace::stack::places::Processes;

use crate::blocked::{Blocked, COPIED, Stopped, read_memory};
use crate::hostile::runs;
use crate::random::Random;
use crate::waiting::show;

/// Waits for one byte, and is then busy in many libraries until it is ended.
const BUSY: &str = "
import json, re, sys, zlib, hashlib, decimal
sys.stdin.buffer.raw.read(1)
def work(n):
    if n: return work(n - 1)
    text = json.dumps({str(i): [i] * 3 for i in range(9)})
    json.loads(text); re.findall('[0-9]+', text); zlib.compress(text.encode())
    hashlib.sha256(text.encode()).hexdigest(); decimal.Decimal(2).sqrt(); sorted(text, key=lambda c: -ord(c))
while True: work(7)
";

/// The executable mappings, read by other means than the tool's.
fn code_of(pid: u32) -> Vec<(u64, u64, String)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (start, end) = words[0].split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        words[1].contains('x').then(|| (start, end, words.get(5).unwrap_or(&"[anon]").to_string()))
    };
    maps.lines().filter_map(line).collect()
}

/// Whether the instruction that ends here can be a call: the opcode is where one would have it.
fn follows_a_call(pid: u32, addr: u64) -> bool {
    let before = read_memory(pid, addr - 8, 8);
    if before.len() < 8 {
        // The vsyscall page cannot be read.
        return true;
    }
    before[3] == 0xe8
        || (0..7).any(|at| before[at] == 0xff && before[at + 1] & 0x38 == 0x10)
        || before[7] == 0x90
}

#[test]
fn every_frame_is_code() {
    let captures = runs(500);
    let blocked = Blocked::spawn({
        let mut python = Command::new("python3");
        python.args(["-c", BUSY]);
        python
    });
    let task = blocked.task.clone();
    blocked.feed();
    let mut processes = Processes::default();
    let (mut frames, mut deepest, mut modules) = (0, 0, std::collections::BTreeMap::<PathBuf, u64>::new());
    for n in 0..captures {
        let random = &mut Random::of(n);
        let mut capture = {
            let stopped = Stopped::attach(task.tid);
            let regs = stopped.registers();
            let stack = read_memory(task.pid, regs.sp, COPIED);
            closewait_trace::stack::capture::Capture {
                regs,
                truncated: stack.len() == COPIED,
                stack: stack.into(),
            }
        };
        let code = code_of(task.pid);
        if n % 2 == 1 {
            let mut stack = capture.stack.to_vec();
            for _ in 0..=random.below(200) {
                let at = random.below(stack.len() / 8) * 8;
                let (start, end, _) = &code[random.below(code.len())];
                let word = match random.below(4) {
                    0 => random.next(),
                    1 => capture.regs.sp + random.next() % 0x4000,
                    _ => start + random.next() % (end - start),
                };
                stack[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            capture.stack = stack.into();
        }
        let placed = processes.unwind(&task, &capture).unwrap();
        assert!(!placed.places.is_empty(), "{n}");
        for (depth, place) in placed.places.iter().enumerate() {
            let found = code.iter().find(|(start, end, _)| (*start..*end).contains(&(place.addr - 1)));
            let Some((_, _, module)) = found else {
                panic!("{n}: frame {depth}, {:#x}, is not code: {placed:?}", place.addr);
            };
            assert_eq!(&place.module, module, "{n}: frame {depth}, {:#x}", place.addr);
            assert!(
                depth == 0 || follows_a_call(task.pid, place.addr),
                "{n}: frame {depth}, {:#x} of {module}: nothing returns there",
                place.addr
            );
            *modules.entry(module.into()).or_default() += 1;
        }
        frames += placed.places.len();
        deepest = deepest.max(placed.places.len());
    }
    show(&format!(
        "{captures} captures, {frames} frames in {} modules, the deepest stack {deepest}",
        modules.len()
    ));
    assert!(modules.len() >= 4 && frames as u64 > 3 * captures, "{modules:?}");
}
