//! Whether an event loop read the EOF: then the stack of that read ends in the runner of the
//! loop, which is innocent, and the handler that it read for is on no stack. Pure.

use super::{Frame, How};
use crate::stack::fold::is_plumbing_module;

/// A loop that reads for handlers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventLoop {
    /// Of Python.
    Asyncio,
    /// Of Python, too, in C.
    Uvloop,
    /// Of Node.js.
    Node,
    /// Of C, with buffers that it fills itself.
    Libevent,
}

impl EventLoop {
    /// The loop that made the innermost call of this stack; `None` when the program itself did.
    pub(super) fn of(stack: &[Frame]) -> Option<Self> {
        let python = stack.iter().find(|frame| frame.how == How::Python || is_mapped(frame));
        if python.is_some_and(is_asyncio) {
            return Some(Self::Asyncio);
        }
        if is_uvloop(stack) {
            return Some(Self::Uvloop);
        }
        if is_libevent(stack) {
            return Some(Self::Libevent);
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
            Self::Uvloop => {
                "uvloop read the EOF for a handler that is on no stack: look at the handler of these connections, \
                 which has to close the writer where its reader got b\"\" (or the transport, in eof_received)"
            }
            Self::Libevent => {
                "libevent read the EOF for a callback that is on no stack: look at the event callback of these \
                 bufferevents, which has to free them at BEV_EVENT_EOF (with BEV_OPT_CLOSE_ON_FREE)"
            }
            Self::Node => {
                "Node's event loop read the EOF for a handler that is on no stack: look at the 'end' handler of \
                 these sockets and at allowHalfOpen (--perf-basic-prof names JavaScript functions)"
            }
        }
    }
}

/// Of the library that wraps system calls, or of a loop.
fn is_plumbing(frame: &Frame) -> bool {
    frame.module.as_deref().is_some_and(is_plumbing_module)
}

/// Whether uvloop itself read.
fn is_uvloop(stack: &[Frame]) -> bool {
    let reader = stack.iter().find(|frame| !is_plumbing(frame));
    reader.and_then(|frame| frame.module.as_deref()).is_some_and(|module| module.contains("/uvloop/loop."))
}

/// Whether a bufferevent read: between the read and the loop is nothing but the library, or OpenSSL
/// on its behalf.
fn is_libevent(stack: &[Frame]) -> bool {
    let is_openssl = |frame: &Frame| {
        let file = frame.module_name().unwrap_or_default();
        file.starts_with("libssl.") || file.starts_with("libcrypto.")
    };
    let mut reads = stack.iter().take_while(|frame| is_plumbing(frame) || is_openssl(frame));
    reads.any(|frame| symbol(frame) == "event_base_loop")
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

    /// `symbol` or `symbol@file`, which makes it one of Python, or `symbol!module`.
    fn stack(texts: &[&'static str]) -> Vec<Frame> {
        let frame = |text: &&'static str| {
            let split = |text: &'static str, at| {
                text.split_once(at).map_or((text, None), |(text, rest)| (text, Some(rest)))
            };
            let (symbol, file) = split(text, '@');
            let (symbol, module) = split(symbol, '!');
            Frame {
                addr: 0x1000,
                symbol: (!symbol.is_empty()).then(|| symbol.to_owned()),
                module: module.map(str::to_owned),
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
        const UVLOOP: &str =
            "!/srv/venv/lib/python3.11/site-packages/uvloop/loop.cpython-311-x86_64-linux-gnu.so";
        const INSIDE: &str = "!/lib/libevent-2.1.so.7";
        const TURNS: &str = "event_base_loop!/lib/libevent-2.1.so.7";
        let reads = "_read_ready__data_received@/usr/lib/python3.11/asyncio/selector_events.py";
        let runs = "run_forever@/usr/lib/python3.11/asyncio/base_events.py";
        let main = "<module>@/srv/aio.py";
        let spin = "node::SpinEventLoopInternal(node::Environment*)";
        let cases: [(&[&'static str], Option<EventLoop>); 14] = [
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
            (
                &["read!/lib/libc.so.6", UVLOOP, "run@/usr/lib/python3.11/asyncio/runners.py"],
                Some(EventLoop::Uvloop),
            ),
            // A coroutine that reads a socket itself.
            (&["recv!/lib/libc.so.6", "sock_recv!/usr/bin/python3.11", "take@/srv/aio.py", UVLOOP], None),
            (
                &[
                    "readv!/lib/libc.so.6",
                    "evbuffer_read!/lib/libevent-2.1.so.7",
                    INSIDE,
                    TURNS,
                    "main!/srv/orders",
                ],
                Some(EventLoop::Libevent),
            ),
            (
                &[
                    "read!/lib/libc.so.6",
                    "SSL_read!/lib/libssl.so.3",
                    "!/lib/libevent_openssl-2.1.so.7",
                    TURNS,
                ],
                Some(EventLoop::Libevent),
            ),
            // A callback that reads by itself, or has the library read.
            (&["read!/lib/libc.so.6", "on_read!/srv/orders", INSIDE, TURNS, "main!/srv/orders"], None),
            (
                &[
                    "readv!/lib/libc.so.6",
                    "evbuffer_read!/lib/libevent-2.1.so.7",
                    "on_read!/srv/orders",
                    TURNS,
                ],
                None,
            ),
            (&[], None),
        ];
        for (texts, want) in cases {
            assert_eq!(EventLoop::of(&stack(texts)), want, "{texts:?}");
        }
    }
}
