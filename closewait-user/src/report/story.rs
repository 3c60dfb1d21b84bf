//! A cause in a few lines of plain text, for formats that have a place for no more.

use std::collections::BTreeMap;
use std::path::Path;

use super::cause::CauseId;
use super::counts::ByLeak;
use super::escape::escape;
use super::model::Finding;
use super::text::block::{leak_word, name, named};
use super::text::place::of_socket;
use super::text::totals::leaks;
use crate::stack::fold::{of_program, own_frames};
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
    /// The innermost place in the workspace's source code that opened it, or else read its
    /// EOF, by its path there; else in any source code.
    pub(super) place: Option<(String, u32)>,
}

/// The stories of all causes, most sockets first. `workspace` is where the source code is
/// that a reader can change.
pub(super) fn by_cause(findings: &[&Finding], workspace: Option<&Path>) -> Vec<Story> {
    let mut causes = BTreeMap::<CauseId, Vec<&Finding>>::new();
    for finding in findings {
        causes.entry(finding.cause).or_default().push(finding);
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, findings)| std::cmp::Reverse(findings.len()));
    causes.into_iter().map(|(cause, findings)| story(cause, &findings, workspace)).collect()
}

fn story(cause: CauseId, findings: &[&Finding], workspace: Option<&Path>) -> Story {
    let finding = findings[0];
    let (evidence, verdict, says) = (&finding.evidence, &finding.verdict, finding.says());
    let opener = evidence.opener.known();
    let who = match (finding.owner().known(), opener) {
        (Some(owner), _) => named(owner),
        (None, Some(opener)) => name(&opener.task.comm, opener.task.pid),
        (None, None) => "an unknown process".into(),
    };
    let sockets = if findings.len() == 1 { "1 socket".into() } else { format!("{} sockets", findings.len()) };
    let function = finding.opened_in().map(|function| format!(", opened in {}", escape(function)));
    let title = format!(
        "{sockets} of {who} stuck in CLOSE_WAIT: {}{}{}",
        verdict.code,
        judged(findings),
        function.unwrap_or_default()
    );
    let eg = if findings.len() > 1 { "e.g. " } else { "" };
    let mut lines = vec![format!("where: {eg}{}", of_socket(finding))];
    lines.push(format!("why: {}", says.evidence.join("; ")));
    if let Some(threads) = finding.threads().and_then(|threads| threads.known()) {
        lines.push(format!("doing: {threads}"));
    }
    lines.push(format!("next: {}", says.next));
    let eof = evidence.eof_read.known().and_then(Option::as_ref);
    let accepted = opener.and_then(|opener| opener.stack.known());
    let read = eof.and_then(|eof| eof.stack.known());
    for (label, stack) in [("opened by:", accepted), ("EOF read by:", read)] {
        if let Some(stack) = stack {
            lines.push(label.to_owned());
            // Without what is in every stack, be it the runtime's or the C library's.
            let own: Vec<_> = of_program(own_frames(stack)).collect();
            lines.extend(own.iter().take(FRAMES).map(|frame| format!("  {}", words(frame))));
            if own.len() > FRAMES {
                lines.push(format!("  … {} more", own.len() - FRAMES));
            }
        }
    }
    let frames = || [accepted, read].into_iter().flatten().flat_map(|stack| of_program(own_frames(stack)));
    let inside = frames().find_map(|frame| place_in(frame, workspace?));
    let place = inside.or_else(|| frames().find_map(place));
    let safe = |text: String| escape(&text).into_owned();
    Story { cause, code: verdict.code, title, lines: lines.into_iter().map(safe).collect(), place }
}

/// What they are where it is not a leak: ` (unclear)`, ` (2 leaked, 1 unclear)`.
fn judged(findings: &[&Finding]) -> String {
    let judged: ByLeak = findings.iter().map(|finding| finding.verdict.leak).collect();
    if judged.yes == judged.total() {
        return String::new();
    }
    let all = [(judged.yes, Some(true)), (judged.unclear, None), (judged.no, Some(false))];
    match all.into_iter().find(|(n, _)| *n == judged.total()) {
        Some((_, leak)) => format!(" ({})", leak_word(leak).0),
        None => format!(" ({})", leaks(judged)),
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

/// A place in the workspace. (What was compiled by a relative path was compiled there.)
fn place_in(frame: &Frame, workspace: &Path) -> Option<(String, u32)> {
    let (file, line) = place(frame)?;
    let file = Path::new(&file);
    let inside = if file.is_relative() { file } else { file.strip_prefix(workspace).ok()? };
    Some((inside.to_str()?.to_owned(), line))
}

fn place(frame: &Frame) -> Option<(String, u32)> {
    Some((frame.file.clone()?, frame.line?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::How;

    fn frame(file: &str) -> Frame {
        Frame {
            addr: 1,
            symbol: Some("f".into()),
            module: None,
            offset: 0,
            file: Some(file.into()),
            line: Some(7),
            inlined: false,
            how: How::Dwarf,
            build_id: None,
        }
    }

    #[test]
    fn a_place_is_told_by_its_path_in_the_workspace() {
        let workspace = Path::new("/home/me/app");
        for (file, place) in [
            ("/home/me/app/tests/a.rs", Some("tests/a.rs")),
            ("src/a.rs", Some("src/a.rs")),
            ("/usr/lib/go/src/io/io.go", None),
            ("/home/me/application/a.rs", None),
        ] {
            let found = place_in(&frame(file), workspace);
            assert_eq!(found, place.map(|place| (place.to_owned(), 7)), "{file}");
        }
    }
}
