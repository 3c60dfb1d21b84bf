//! A cause in a few lines of plain text, for formats that have a place for no more.

use std::collections::BTreeMap;

use super::cause::CauseId;
use super::escape::escape;
use super::model::Finding;
use crate::verdict::{Code, Frame};

/// So many frames of a stack are told.
const FRAMES: usize = 12;

/// What is told of a cause.
pub(super) struct Story {
    /// Which.
    pub(super) cause: CauseId,
    /// Its verdict.
    pub(super) code: Code,
    /// How many sockets of whom, in one line.
    pub(super) title: String,
    /// Why, what to do, and where it was opened.
    pub(super) lines: Vec<String>,
    /// The innermost place in source code that opened it, or else read its EOF.
    pub(super) place: Option<(String, u32)>,
}

/// The stories of all causes, most sockets first.
pub(super) fn by_cause(findings: &[&Finding]) -> Vec<Story> {
    let mut causes = BTreeMap::<CauseId, Vec<&Finding>>::new();
    for finding in findings {
        causes.entry(finding.cause).or_default().push(finding);
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, findings)| std::cmp::Reverse(findings.len()));
    causes.into_iter().map(|(cause, findings)| story(cause, &findings)).collect()
}

fn story(cause: CauseId, findings: &[&Finding]) -> Story {
    let finding = findings[0];
    let (evidence, verdict) = (&finding.evidence, &finding.verdict);
    let opener = evidence.opener.known();
    let who = match (finding.owner().known(), opener) {
        (Some(owner), _) => format!("{}[{}]", owner.comm, owner.pid),
        (None, Some(opener)) => format!("{}[{}]", opener.task.comm, opener.task.pid),
        (None, None) => "an unknown process".into(),
    };
    let sockets = if findings.len() == 1 { "1 socket".into() } else { format!("{} sockets", findings.len()) };
    let title = format!("{sockets} of {who} stuck in CLOSE_WAIT: {}", verdict.code);
    let mut lines = vec![format!("where: {}", finding.suspect.tuple)];
    lines.push(format!("why: {}", verdict.evidence.join("; ")));
    if let Some(threads) = finding.threads().and_then(|threads| threads.known()) {
        lines.push(format!("doing: {threads}"));
    }
    lines.push(format!("next: {}", verdict.next));
    let eof = evidence.eof_read.known().and_then(Option::as_ref);
    let accepted = opener.and_then(|opener| opener.stack.known());
    let read = eof.and_then(|eof| eof.stack.known());
    for (label, stack) in [("opened by:", accepted), ("EOF read by:", read)] {
        if let Some(stack) = stack {
            lines.push(label.to_owned());
            lines.extend(stack.iter().take(FRAMES).map(|frame| format!("  {}", words(frame))));
        }
    }
    let place = [accepted, read].into_iter().flatten().flatten().find_map(place);
    let safe = |text: String| escape(&text).into_owned();
    Story {
        cause,
        code: verdict.code,
        title: safe(title),
        lines: lines.into_iter().map(safe).collect(),
        place,
    }
}

fn words(frame: &Frame) -> String {
    let symbol = frame.symbol.clone().unwrap_or_else(|| {
        let module = frame.module.as_deref().unwrap_or("?");
        format!("{module}+{:#x}", frame.offset)
    });
    match place(frame) {
        Some((file, line)) => format!("{symbol} ({file}:{line})"),
        None => symbol,
    }
}

fn place(frame: &Frame) -> Option<(String, u32)> {
    Some((frame.file.clone()?, frame.line?))
}
