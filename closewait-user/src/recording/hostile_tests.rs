//! Recordings that are cut off, flipped, or written by somebody who means harm: a clear
//! message or a report, never a panic. The seeds are the recordings under tests/recordings.

use std::path::Path;

use proptest::prelude::*;

use super::frame::{Frame, Frames, Kind, MAGIC};
use crate::clock::MonoNs;
use crate::fuzz::replayed;

fn seed() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/linux-6.18.recording");
    std::fs::read(path).unwrap()
}

fn frames(file: &[u8]) -> Vec<Frame> {
    let mut frames = Frames::new(file).unwrap();
    std::iter::from_fn(|| frames.next_frame().unwrap()).collect()
}

#[test]
fn cut_at_every_byte_less_is_replayed_and_never_something_else() {
    let whole = seed();
    let all = replayed(&whole).unwrap();
    assert!(all > 20, "{all} entries");
    let mut before = 0;
    // Every byte of a recording costs minutes; a prime step meets all kinds of places.
    for cut in (1..whole.len()).step_by(17) {
        let entries = replayed(&whole[..cut]).unwrap();
        assert!(entries >= before && entries <= all, "cut at {cut}: {entries} after {before}");
        before = entries;
    }
}

/// A byte of a frame's content is replaced, and its checksum made to fit.
fn altered(file: &[u8], changes: &[(usize, usize, u8)]) -> Vec<u8> {
    let mut frames = frames(file);
    for (frame, at, byte) in changes {
        let count = frames.len();
        let plain = &mut frames[frame % count].plain;
        let length = plain.len();
        plain[at % length] = *byte;
    }
    whole(&frames)
}

fn whole(frames: &[Frame]) -> Vec<u8> {
    let packed = frames.iter().flat_map(Frame::pack);
    MAGIC.iter().copied().chain(packed).collect()
}

/// Numbers in lines are replaced by others that a line may have.
fn renumbered(file: &[u8], seed: u64) -> Vec<u8> {
    let numbers = ["0", "1", "18446744073709551615", "4294967295", "9223372036854775807", "-1", "65535"];
    let mut state = seed | 1;
    let mut next = move || {
        // xorshift: any sequence will do
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let mut frames = frames(file);
    for frame in frames.iter_mut().filter(|frame| frame.kind == Kind::Lines) {
        let text = String::from_utf8(std::mem::take(&mut frame.plain)).unwrap();
        let mut rest = text.as_str();
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let number = &rest[start..];
            let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            let other = if next() % 8 == 0 { numbers[next() % numbers.len()] } else { &number[..end] };
            frame.plain.extend_from_slice(&rest.as_bytes()[..start]);
            frame.plain.extend_from_slice(other.as_bytes());
            rest = &number[end..];
        }
        frame.plain.extend_from_slice(rest.as_bytes());
    }
    whole(&frames)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_flipped_end_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9)
    ) {
        let mut file = seed();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = replayed(&file);
    }

    #[test]
    fn content_that_lies_ends_nothing(
        changes in prop::collection::vec((0..99_usize, any::<usize>(), any::<u8>()), 1..9)
    ) {
        replayed(&altered(&seed(), &changes)).unwrap();
    }

    #[test]
    fn numbers_that_lie_end_nothing(seed_of_numbers in any::<u64>()) {
        replayed(&renumbered(&seed(), seed_of_numbers)).unwrap();
    }

    #[test]
    fn noise_ends_nothing(noise in prop::collection::vec(any::<u8>(), 0..2000), items: bool) {
        let kind = if items { Kind::Items } else { Kind::Lines };
        let mut all = frames(&seed());
        all.insert(1, Frame { kind, at: MonoNs(1), plain: noise });
        replayed(&whole(&all)).unwrap();
    }
}
