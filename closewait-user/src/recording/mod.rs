//! Recordings: what the tracker and the verdict were given, in a file that can be sent.
//!
//! In: items, evidence and endings, from the driver. Out: a file of checked, compressed
//! [`frame`]s, and the same entries again from such a file. Replay runs today's tracker
//! and rules on them, so nothing that can be worked out is recorded: no verdict, no cause.
//! Stacks are recorded with their names, which need the machine they were taken on.
//!
//! Items are many and small: postcard, in frames of their own. Everything else is rare:
//! one JSON object per line, in which a later version may add what it likes.

pub mod entry;
pub mod frame;
mod reader;
mod redact;
pub mod replay;
mod writer;

pub use entry::{Entry, Header, Line, Looked};
pub use frame::{Damage, NotReadable};
pub use reader::{Reading, Recording};
pub use writer::{Opened, Recorder, Settings, Written, has_recording, predecessor};

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
