//! Stuck sockets by stack: what was reported in, folded stacks or an SVG flame graph out.
//!
//! A socket is counted once, under the process to blame, the stack that opened it, the
//! stack that read its EOF where one was seen, and its verdict. Written at the end of a
//! run. Names are the system's: made inert before anything else sees them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use inferno::flamegraph::{self, Options};

use super::escape::escape;
use super::ledger::{Cause, Ledger};
use super::model::{Report, owner};
use super::summary::Summary;
use super::{Moment, Sink};
use crate::stack::fold::of_program;
use crate::verdict::{Evidence, Frame, How};

/// How stacks are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A flame graph that a browser shows.
    Svg,
    /// One line per stack, outermost frame first, frames separated by `;`, and the number of
    /// sockets: what flame graph tools read.
    Folded,
}

impl Form {
    /// By the name of the file: `.folded` and `.txt` are text, everything else an image.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("folded" | "txt") => Self::Folded,
            _ => Self::Svg,
        }
    }
}

/// Writes the stacks of all that was reported when the run ends.
pub struct FlameSink {
    out: Box<dyn Write>,
    form: Form,
}

impl FlameSink {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write>, form: Form) -> Self {
        Self { out, form }
    }
}

impl Sink for FlameSink {
    fn report(&mut self, _: &Report, _: Moment<'_>) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Summary, at: Moment<'_>) -> io::Result<()> {
        let stacks = folded(at.ledger);
        match self.form {
            Form::Folded => stacks.iter().try_for_each(|(stack, n)| writeln!(self.out, "{stack} {n}"))?,
            Form::Svg => svg(&stacks, &mut self.out)?,
        }
        self.out.flush()
    }
}

/// Sockets by stack, outermost frame first.
fn folded(ledger: &Ledger) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    for cause in ledger.causes() {
        let path = path(&cause);
        for (n, end) in [(cause.now.total(), ""), (cause.gone.total(), ", ended since")] {
            if n > 0 {
                *stacks.entry(format!("{path}{end}")).or_default() += n;
            }
        }
    }
    for (code, sockets) in ledger.forgotten().0 {
        let stack = format!("[stacks no longer remembered];{code}, ended since");
        *stacks.entry(stack).or_default() += sockets.total();
    }
    stacks
}

/// A cause from the process over its stacks to the verdict.
fn path(cause: &Cause<'_>) -> String {
    let evidence = &cause.exemplar.evidence;
    let mut path = vec![blamed(evidence)];
    match evidence.opener.known().and_then(|opener| opener.stack.known()) {
        Some(frames) => path.extend(of_program(frames).rev().map(name)),
        None => path.push("[stack of the opener unknown]".into()),
    }
    let read = evidence.eof_read.known().and_then(Option::as_ref);
    if let Some(frames) = read.and_then(|read| read.stack.known()) {
        path.push("[EOF read]".into());
        path.extend(of_program(frames).rev().map(name));
    }
    // Last, so that no line ends in what a reader takes for a number.
    path.push(cause.exemplar.verdict.code.to_string());
    path.join(";")
}

fn blamed(evidence: &Evidence) -> String {
    match (owner(evidence).known(), evidence.opener.known()) {
        (Some(holder), _) => inert(&holder.comm),
        (None, Some(opener)) => inert(&opener.task.comm),
        (None, None) => "[owner unknown]".into(),
    }
}

fn name(frame: &Frame) -> String {
    let mut name = match (&frame.symbol, frame.module_name()) {
        (Some(symbol), _) => inert(symbol),
        (None, Some(module)) => format!("{}+{:#x}", inert(module), frame.offset),
        (None, None) => format!("{:#x}", frame.addr),
    };
    if frame.how == How::Scan {
        name.push('?');
    }
    name
}

/// A name that separates no frames, makes no line a comment, and has no character that
/// XML lacks.
fn inert(name: &str) -> String {
    match name.trim_start_matches(['#', ' ']).trim_end() {
        "" => "?".into(),
        name => escape(name).replace(';', ":").replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"),
    }
}

fn svg(stacks: &BTreeMap<String, u64>, out: &mut dyn Write) -> io::Result<()> {
    if stacks.is_empty() {
        return out.write_all(NOTHING.as_bytes());
    }
    draw(options(), stacks, out)
}

fn options() -> Options<'static> {
    let mut options = Options::default();
    options.title = "Sockets stuck in CLOSE_WAIT, by the stacks that opened them and read their EOF".into();
    options.count_name = "sockets".into();
    options.deterministic = true;
    options
}

fn draw(mut options: Options<'_>, stacks: &BTreeMap<String, u64>, out: &mut dyn Write) -> io::Result<()> {
    let lines: Vec<_> = stacks.iter().map(|(stack, n)| format!("{stack} {n}")).collect();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// Stacks that an image inside of a page shows.
const INLINE: usize = 200;

/// Writes an image into a page: without a script, and of a bounded size. Returns how many
/// stacks are drawn as one, because others have more sockets.
pub(super) fn inline(ledger: &Ledger, out: &mut dyn Write) -> io::Result<usize> {
    let mut stacks: Vec<_> = folded(ledger).into_iter().collect();
    stacks.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let others = stacks.split_off(stacks.len().min(INLINE));
    let mut stacks: BTreeMap<_, _> = stacks.into_iter().collect();
    if !others.is_empty() {
        let stack = format!("[{} other stacks]", others.len());
        stacks.insert(stack, others.iter().map(|(_, n)| n).sum());
    }
    let mut image = Vec::new();
    let mut options = options();
    options.no_javascript = true;
    options.min_width = 0.1;
    draw(options, &stacks, &mut image)?;
    let frames =
        frames(&String::from_utf8_lossy(&image)).unwrap_or_else(|| "<p>They could not be drawn.</p>".into());
    out.write_all(frames.as_bytes())?;
    Ok(others.len())
}

/// Of an image its frames alone: a page has a title, styles and a search of its own, and
/// nothing that runs when it is loaded. `None`: it is not made as it used to be.
fn frames(image: &str) -> Option<String> {
    const OPEN: &str = "<svg id=\"frames\"";
    // Above the frames is room for a title, below them for the name of one.
    const ABOVE: u32 = 30;
    const BELOW: u32 = 32;
    let height: u32 = image.split_once(" height=\"")?.1.split_once('"')?.0.parse().ok()?;
    let frames = image[image.find(OPEN)? + OPEN.len()..].trim_end().strip_suffix("</svg></svg>")?;
    let height = height.checked_sub(ABOVE + BELOW)?;
    let xmlns = "xmlns=\"http://www.w3.org/2000/svg\" xmlns:fg=\"http://github.com/jonhoo/inferno\"";
    Some(format!(
        "<svg viewBox=\"0 {ABOVE} 1200 {height}\" role=\"img\" {xmlns}><svg overflow=\"visible\"{frames}</svg></svg>\n"
    ))
}

/// A flame graph of nothing.
const NOTHING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="600" height="60">
<text x="20" y="35" font-family="monospace">No stuck socket was reported.</text>
</svg>
"#;
