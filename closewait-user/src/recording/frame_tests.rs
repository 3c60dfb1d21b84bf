use super::*;

fn frames(count: u64) -> Vec<Frame> {
    let text = |n: u64| format!("entry {n} ").repeat(usize::try_from(n).unwrap() * 7 + 1).into_bytes();
    (0..count)
        .map(|n| Frame {
            kind: if n % 2 == 0 { Kind::Items } else { Kind::Lines },
            at: MonoNs(n),
            plain: text(n),
        })
        .collect()
}

fn file(frames: &[Frame]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for frame in frames {
        file.extend(frame.pack());
    }
    file
}

fn read(file: &[u8]) -> Result<(Vec<Frame>, Damage), NotReadable> {
    let mut reader = Frames::new(file)?;
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        all.push(frame);
    }
    Ok((all, reader.damage()))
}

#[test]
fn what_is_written_is_read() {
    let frames = frames(11);
    let (all, damage) = read(&file(&frames)).unwrap();
    assert_eq!(all, frames);
    assert!(!damage.is_any());
}

#[test]
fn cut_at_every_byte_the_whole_frames_are_left() {
    let frames = frames(5);
    let whole = file(&frames);
    let ends: Vec<_> = (0..=frames.len()).map(|n| file(&frames[..n]).len()).collect();
    for cut in 1..whole.len() {
        let (all, damage) = read(&whole[..cut]).unwrap();
        let want = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
        assert_eq!(all, frames[..want], "cut at {cut}");
        assert_eq!(damage.cut_off, !ends.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_loses_one_frame_and_is_told() {
    let frames = frames(5);
    let whole = file(&frames);
    for at in MAGIC.len()..whole.len() {
        for bit in [0, 3, 7] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let (all, damage) = read(&flipped).unwrap();
            assert!(all.len() >= frames.len() - 1, "bit {bit} of byte {at}: {} frames", all.len());
            assert!(all.iter().all(|frame| frames.contains(frame)), "bit {bit} of byte {at}");
            assert!(damage.is_any(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn other_files_are_refused_by_name() {
    assert!(matches!(read(b""), Err(NotReadable::Empty)));
    assert!(matches!(read(b"#!/bin/sh\n"), Err(NotReadable::Foreign)));
    assert!(matches!(read(b"{\"schema\":1}"), Err(NotReadable::Foreign)));
    let later = read(b"closewait-trace recording 27\n....").unwrap_err();
    assert!(later.to_string().contains("format 27"), "{later}");
}

#[test]
fn lengths_that_lie_cost_no_memory() {
    let mut lie = frames(1)[0].pack();
    lie[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut file = MAGIC.to_vec();
    file.extend(&lie);
    file.extend(frames(2)[1].pack());
    let (all, damage) = read(&file).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(damage.places, 1);
}
