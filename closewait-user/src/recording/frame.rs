//! Frames: the container of a recording. In: blocks of bytes with a kind; out: the same
//! from any reader, in order, with everything that is damaged left out and counted.
//! A frame is compressed and checked by itself, so that a file cut off or flipped at any
//! byte loses that frame only. Never more than one frame is in memory.

use std::io::{self, Read};

use crate::clock::MonoNs;

/// A recording begins with this line. The number is the version of everything after it.
pub const MAGIC: &[u8] = b"closewait-trace recording 1\n";
/// What all versions begin with.
const ANY_VERSION: &[u8] = b"closewait-trace recording ";

/// Every frame begins with this, by which the next one is found after damage.
const MARKER: [u8; 4] = [0xC7, 0x0F, b'c', b'w'];
/// Marker, kind, three bytes of zero, time, plain length, length, checksum.
const HEAD: usize = 4 + 4 + 8 + 4 + 4 + 4;
/// A frame holds no more than this, plain.
pub const MAX_PLAIN: usize = 4 << 20;
/// And no more than this, compressed: what does not compress grows a little.
const MAX_PACKED: usize = MAX_PLAIN + MAX_PLAIN / 64 + 64;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Items, one after the other, in postcard's format.
    Items,
    /// Lines of JSON.
    Lines,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Items => 1,
            Self::Lines => 2,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Items),
            2 => Some(Self::Lines),
            _ => None,
        }
    }
}

/// A block of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// The time of its first entry.
    pub at: MonoNs,
    /// Its content, at most [`MAX_PLAIN`] bytes.
    pub plain: Vec<u8>,
}

impl Frame {
    /// As it is written.
    pub fn pack(&self) -> Vec<u8> {
        let packed = lz4_flex::block::compress(&self.plain);
        let mut out = Vec::with_capacity(HEAD + packed.len());
        out.extend_from_slice(&MARKER);
        out.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&length(&self.plain).to_le_bytes());
        out.extend_from_slice(&length(&packed).to_le_bytes());
        let checksum = checksum(&out[MARKER.len()..], &packed);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&packed);
        out
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn checksum(head: &[u8], packed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(packed);
    hasher.finalize()
}

/// Why a file is no recording that can be read.
#[derive(thiserror::Error, Debug)]
pub enum NotReadable {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error(
        "this is no recording of closewait-trace: it does not begin with {:?}",
        String::from_utf8_lossy(ANY_VERSION)
    )]
    Foreign,
    /// Another version wrote it.
    #[error(
        "it is a recording of format {0}, and this closewait-trace reads format 1; replay it with the version that made it"
    )]
    Version(String),
}

/// What was left out of a recording because it could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Damage {
    /// Bytes that belong to no whole frame.
    pub bytes: u64,
    /// Places where such bytes began.
    pub places: u64,
    /// The file ends within a frame.
    pub cut_off: bool,
    /// Entries in whole frames that could not be read.
    pub entries: u64,
}

impl Damage {
    /// Whether anything is missing.
    pub fn is_any(&self) -> bool {
        self.places > 0 || self.cut_off || self.entries > 0
    }
}

/// The frames of a recording, in order.
pub struct Frames<R> {
    reader: R,
    /// Read and not consumed.
    ahead: Vec<u8>,
    ended: bool,
    lost: bool,
    damage: Damage,
}

impl<R: Read> Frames<R> {
    /// Checks that this is a recording that this version can read.
    pub fn new(reader: R) -> Result<Self, NotReadable> {
        let mut frames =
            Self { reader, ahead: Vec::new(), ended: false, lost: false, damage: Damage::default() };
        frames.fill(MAGIC.len())?;
        let start = &frames.ahead[..frames.ahead.len().min(MAGIC.len())];
        if start.is_empty() {
            return Err(NotReadable::Empty);
        }
        if start == MAGIC {
            frames.consume(MAGIC.len());
            return Ok(frames);
        }
        if start.len() < MAGIC.len() && MAGIC.starts_with(start) {
            // Cut off within its first line.
            frames.damage.cut_off = true;
            frames.consume(start.len());
            return Ok(frames);
        }
        match start.strip_prefix(ANY_VERSION) {
            Some(version) if !version.is_empty() => {
                let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).copied().collect();
                Err(NotReadable::Version(String::from_utf8(digits).unwrap_or_default()))
            }
            _ => Err(NotReadable::Foreign),
        }
    }

    /// The next whole frame; `None` at the end. What cannot be read is skipped and counted.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            self.fill(HEAD)?;
            if self.ahead.len() < HEAD {
                return Ok(self.end());
            }
            let Some((kind, at, plain_len, packed_len, sum)) = self.head() else {
                self.skip();
                continue;
            };
            self.fill(HEAD + packed_len)?;
            if self.ahead.len() < HEAD + packed_len {
                if self.has_marker_ahead() {
                    self.skip();
                    continue;
                }
                return Ok(self.end());
            }
            let packed = &self.ahead[HEAD..HEAD + packed_len];
            if checksum(&self.ahead[MARKER.len()..HEAD - 4], packed) != sum {
                self.skip();
                continue;
            }
            let Ok(plain) = lz4_flex::block::decompress(packed, plain_len) else {
                self.skip();
                continue;
            };
            self.consume(HEAD + packed_len);
            self.lost = false;
            // A kind of a later minor version: whole, and none of our business.
            if let Some(kind) = Kind::of(kind) {
                return Ok(Some(Frame { kind, at, plain }));
            }
            self.damage.entries += 1;
        }
    }

    /// What has been left out so far.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Counts an entry of a whole frame that could not be read.
    pub(super) fn unreadable(&mut self) {
        self.damage.entries += 1;
    }

    /// Kind, time, plain length, length and checksum, if a sane frame begins here.
    fn head(&self) -> Option<(u8, MonoNs, usize, usize, u32)> {
        let head = self.ahead.get(..HEAD)?;
        if head[..4] != MARKER || head[5..8] != [0; 3] {
            return None;
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let time = u64::from(word(8)) | u64::from(word(12)) << 32;
        let (plain, packed) = (usize::try_from(word(16)).ok()?, usize::try_from(word(20)).ok()?);
        (plain <= MAX_PLAIN && packed <= MAX_PACKED).then_some((
            head[4],
            MonoNs(time),
            plain,
            packed,
            word(24),
        ))
    }

    /// The end of the file: what is left of it is no whole frame.
    fn end(&mut self) -> Option<Frame> {
        if !self.ahead.is_empty() {
            self.damage.cut_off = true;
            self.damage.bytes += self.ahead.len() as u64;
            self.ahead.clear();
        }
        None
    }

    fn has_marker_ahead(&self) -> bool {
        self.ahead[1..].windows(MARKER.len()).any(|bytes| bytes == MARKER)
    }

    /// Goes on to the next place that looks like a frame.
    fn skip(&mut self) {
        if !self.lost {
            self.damage.places += 1;
            self.lost = true;
        }
        let next = self.ahead[1..].windows(MARKER.len()).position(|bytes| bytes == MARKER);
        // Without one, a marker may still begin in the last bytes.
        let skipped = next.map_or(self.ahead.len() - (MARKER.len() - 1), |at| at + 1);
        self.damage.bytes += skipped as u64;
        self.consume(skipped);
    }

    fn consume(&mut self, bytes: usize) {
        self.ahead.drain(..bytes);
    }

    /// Reads until `wanted` bytes are there, or the end of the file.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.ahead.len() < wanted && !self.ended {
            let missing = wanted - self.ahead.len();
            let read =
                self.reader.by_ref().take(missing.max(64 << 10) as u64).read_to_end(&mut self.ahead)?;
            self.ended = read == 0;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
