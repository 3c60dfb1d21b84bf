//! Whether an event loop read the EOF: then the stack of that read ends in the runner of the
//! loop, which is innocent, and the handler that it read for is on no stack. Pure.

use super::{Frame, How};

/// A loop that reads for handlers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventLoop {
    /// Of Python.
    Asyncio,
    /// Of Node.js.
    Node,
}

impl EventLoop {
    /// The loop that made the innermost call of this stack; `None` when the program itself did.
    pub(super) fn of(stack: &[Frame]) -> Option<Self> {
        let python = stack.iter().find(|frame| frame.how == How::Python || is_mapped(frame));
        if python.is_some_and(is_asyncio) {
            return Some(Self::Asyncio);
        }
        let spins = stack.iter().position(|frame| symbol(frame).starts_with("node::SpinEventLoop"))?;
        let above = &stack[..spins];
        let reads = above.iter().any(|frame| symbol(frame).starts_with("uv__"));
        // A function of the program that reads by itself (fs.readSync) stands on the stack.
        let calls = above.iter().any(|frame| symbol(frame).starts_with("JS:"));
        (reads && !calls).then_some(Self::Node)
    }

    /// What to look at instead of the stack.
    pub(super) const fn look_at(self) -> &'static str {
        match self {
            Self::Asyncio => {
                "asyncio read the EOF for a handler that is on no stack: look at the handler of these connections, \
                 which has to close the writer where its reader got b\"\" (or the transport, in eof_received)"
            }
            Self::Node => {
                "Node's event loop read the EOF for a handler that is on no stack: look at the 'end' handler of \
                 these sockets and at allowHalfOpen (--perf-basic-prof names JavaScript functions)"
            }
        }
    }
}

fn symbol(frame: &Frame) -> &str {
    frame.symbol.as_deref().unwrap_or_default()
}

/// As `-X perf` names functions: `py::NAME:FILE`.
fn is_mapped(frame: &Frame) -> bool {
    symbol(frame).starts_with("py::")
}

fn is_asyncio(frame: &Frame) -> bool {
    const READS: &str = "/asyncio/selector_events.py";
    frame.file.as_deref().is_some_and(|file| file.ends_with(READS)) || symbol(frame).ends_with(READS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `symbol` or `symbol@file`, which makes it one of Python.
    fn stack(texts: &[&str]) -> Vec<Frame> {
        let frame = |text: &&str| {
            let (symbol, file) =
                text.split_once('@').map_or((*text, None), |(symbol, file)| (symbol, Some(file)));
            Frame {
                addr: 0x1000,
                symbol: Some(symbol.to_owned()),
                module: None,
                build_id: None,
                offset: 1,
                file: file.map(str::to_owned),
                line: None,
                inlined: false,
                how: if file.is_some() { How::Python } else { How::Dwarf },
            }
        };
        texts.iter().map(frame).collect()
    }

    #[test]
    fn a_loop_is_told_from_a_program_that_reads_by_itself() {
        let reads = "_read_ready__data_received@/usr/lib/python3.11/asyncio/selector_events.py";
        let runs = "run_forever@/usr/lib/python3.11/asyncio/base_events.py";
        let main = "<module>@/srv/aio.py";
        let spin = "node::SpinEventLoopInternal(node::Environment*)";
        let cases: [(&[&str], Option<EventLoop>); 8] = [
            (&["recv", "sock_recv", reads, runs, main], Some(EventLoop::Asyncio)),
            (
                &["recv", "py::_read_ready:/usr/lib/python3.12/asyncio/selector_events.py"],
                Some(EventLoop::Asyncio),
            ),
            // A handler that reads a socket itself.
            (&["recv", "handle@/srv/aio.py", runs, main], None),
            (&["recv", "handle@/srv/my_selector_events.py", runs], None),
            (&["read", "uv__read", "uv__stream_io", "uv_run", spin], Some(EventLoop::Node)),
            (&["read", "uv__fs_read", "JS:~readSync node:fs:1:1", spin], None),
            (&["read", "serve", "main"], None),
            (&[], None),
        ];
        for (texts, want) in cases {
            assert_eq!(EventLoop::of(&stack(texts)), want, "{texts:?}");
        }
    }
}
