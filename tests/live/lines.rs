//! The lines a child process prints, with a deadline on each.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use super::waiting::Deadline;

/// Lines of one pipe, read by a thread of its own so that the child never blocks.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    /// Starts reading `pipe`.
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let (send, receive) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self(receive)
    }

    /// The next line; `None` when the child has closed the pipe.
    pub(crate) fn next(&self, deadline: Deadline) -> Option<String> {
        self.next_before(deadline).expect("a line before the deadline")
    }

    /// The same; an error when no line came before the deadline.
    pub(crate) fn next_before(&self, deadline: Deadline) -> Result<Option<String>, RecvTimeoutError> {
        match self.0.recv_timeout(deadline.left()) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(late) => Err(late),
        }
    }

    /// All that is left, up to the end of the pipe.
    pub(crate) fn rest(&self) -> Vec<String> {
        let deadline = Deadline::patient();
        std::iter::from_fn(|| self.next(deadline)).collect()
    }
}
