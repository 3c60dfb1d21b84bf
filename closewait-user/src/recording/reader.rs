//! Reading a recording, entry by entry, with no more than a frame in memory.

use std::io::{self, Read};

use super::entry::{Entry, Header, Line};
use super::frame::{Damage, Frame, Frames, Kind, NotReadable};
use crate::clock::Clock;
use crate::item::Item;

/// One entry of a recording.
#[derive(Clone, PartialEq, Debug)]
pub enum Reading {
    /// An item.
    Item(Item),
    /// Anything else, but headers.
    Line(Line),
}

/// An open recording.
pub struct Recording<R> {
    frames: Frames<R>,
    frame: Option<(Frame, usize)>,
    header: Option<(Header, Clock)>,
    /// Read while the header was looked for.
    first: Option<Reading>,
}

impl<R: Read> Recording<R> {
    /// Checks that `reader` is a recording.
    pub fn open(reader: R) -> Result<Self, NotReadable> {
        Ok(Self { frames: Frames::new(reader)?, frame: None, header: None, first: None })
    }

    /// Reads up to the first entry, before which the header is.
    pub fn read_header(&mut self) -> io::Result<()> {
        if self.first.is_none() {
            self.first = self.next_entry()?;
        }
        Ok(())
    }

    /// The header, if it could be read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref().map(|(header, _)| header)
    }

    /// The clock when the header was written.
    pub fn clock(&self) -> Option<Clock> {
        self.header.as_ref().map(|(_, clock)| *clock)
    }

    /// What has been left out so far because it could not be read.
    pub fn damage(&self) -> Damage {
        self.frames.damage()
    }

    /// The next entry; `None` at the end.
    pub fn next_entry(&mut self) -> io::Result<Option<Reading>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let Some((frame, read)) = &mut self.frame else {
                match self.frames.next_frame()? {
                    Some(frame) => self.frame = Some((frame, 0)),
                    None => return Ok(None),
                }
                continue;
            };
            let rest = frame.plain.get(*read..).unwrap_or_default();
            if rest.is_empty() {
                self.frame = None;
                continue;
            }
            match frame.kind {
                Kind::Items => {
                    if let Ok((item, after)) = postcard::take_from_bytes::<Item>(rest) {
                        *read = frame.plain.len() - after.len();
                        return Ok(Some(Reading::Item(item)));
                    }
                    // Where the next one begins nobody knows.
                    self.frame = None;
                    self.frames.unreadable();
                }
                Kind::Lines => {
                    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
                    *read += line.len() + 1;
                    match serde_json::from_slice::<Line>(line) {
                        Ok(Line { entry: Entry::Header(header), clock, .. }) => {
                            self.header = Some((header, clock.clock()));
                        }
                        Ok(line) => return Ok(Some(Reading::Line(line))),
                        Err(_) => self.frames.unreadable(),
                    }
                }
            }
        }
    }
}
