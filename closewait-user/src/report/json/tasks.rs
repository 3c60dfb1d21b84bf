//! The tasks that opened a socket, read its EOF and closed it, with their stacks.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Clock;
use crate::fact::Fact;
use crate::report::model::Closer;
use crate::text::Text;
use crate::verdict::{self, How, OpenedVia};

use super::values::{split, timestamp};

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opener {
    pid: u32,
    tid: u32,
    comm: Text,
    via: OpenedVia,
    /// Innermost frame first.
    stack: Vec<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_unknown: Option<Text>,
    /// What is missing from the stack, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_note: Option<String>,
}

impl From<&verdict::Opener> for Opener {
    fn from(o: &verdict::Opener) -> Self {
        let (stack, stack_unknown) = frames(&o.stack);
        Self {
            pid: o.task.pid,
            tid: o.task.tid,
            comm: o.task.comm.clone(),
            via: o.via,
            stack,
            stack_unknown,
            stack_note: o.stack_note.clone(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EofRead {
    pid: u32,
    tid: u32,
    comm: Text,
    /// When, RFC 3339, UTC.
    ts: String,
    /// Innermost frame first.
    stack: Vec<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_unknown: Option<Text>,
    /// What is missing from the stack, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_note: Option<String>,
}

impl EofRead {
    pub(super) fn new(read: &verdict::EofRead, clock: &Clock) -> Self {
        let (stack, stack_unknown) = frames(&read.stack);
        Self {
            pid: read.task.pid,
            tid: read.task.tid,
            comm: read.task.comm.clone(),
            ts: timestamp(clock, read.at),
            stack,
            stack_unknown,
            stack_note: read.stack_note.clone(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloserLine {
    pid: u32,
    tid: u32,
    comm: Text,
    /// A garbage collector's finalizer closed it: the code path leaks.
    by_finalizer: bool,
    /// Innermost frame first.
    stack: Vec<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_unknown: Option<Text>,
}

impl From<&Closer> for CloserLine {
    fn from(c: &Closer) -> Self {
        let (stack, stack_unknown) = frames(&c.stack);
        Self {
            pid: c.task.pid,
            tid: c.task.tid,
            comm: c.task.comm.clone(),
            by_finalizer: c.by_finalizer,
            stack,
            stack_unknown,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame {
    /// Address in the process, hexadecimal.
    addr: String,
    symbol: Option<String>,
    module: Option<String>,
    /// The module's build id in hexadecimal, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    /// Into the function, or into the module when there is no symbol; hexadecimal.
    offset: String,
    file: Option<String>,
    line: Option<u32>,
    /// Inlined into the next frame.
    inlined: bool,
    how: How,
}

impl From<&verdict::Frame> for Frame {
    fn from(f: &verdict::Frame) -> Self {
        Self {
            addr: format!("{:#x}", f.addr),
            symbol: f.symbol.clone(),
            module: f.module.clone(),
            build_id: f.build_id.clone(),
            offset: format!("{:#x}", f.offset),
            file: f.file.clone(),
            line: f.line,
            inlined: f.inlined,
            how: f.how,
        }
    }
}

fn frames(stack: &Fact<Arc<Vec<verdict::Frame>>>) -> (Vec<Frame>, Option<Text>) {
    let (stack, unknown) = split(stack, |frames| frames.iter().map(Frame::from).collect());
    (stack.unwrap_or_default(), unknown)
}
