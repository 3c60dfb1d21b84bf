//! The causes: the worst with all that is known of them, the others in one line each.

use std::io::{self, Write};

use super::markup::text;
use crate::report::Moment;
use crate::report::counts::ByLeak;
use crate::report::ledger::Cause;
use crate::report::summary::Summary;
use crate::report::text::block::{self, leak_word};
use crate::report::text::stack;
use crate::report::text::style::{Style, count, plural};
use crate::report::text::totals;

/// Causes told whole.
const WHOLE_CAUSES: usize = 100;
/// Causes with a line; the rest is counted.
const LINES: usize = 1_000;

/// Whether the page tells of the cause in this place, so that there is something to link to.
pub(super) const fn is_told(place: usize) -> bool {
    place < WHOLE_CAUSES + LINES
}

/// Lines that are as long as they come.
pub(super) const WHOLE: Style = Style { color: false, width: 100_000 };

pub(super) fn write(
    out: &mut dyn Write,
    causes: &[Cause<'_>],
    summary: &Summary,
    at: Moment<'_>,
) -> io::Result<()> {
    writeln!(out, "<h2>Causes</h2>")?;
    if causes.is_empty() {
        return writeln!(out, "<p>None: no stuck socket was reported.</p>");
    }
    let (whole, others) = causes.split_at(causes.len().min(WHOLE_CAUSES));
    if !others.is_empty() {
        writeln!(
            out,
            "<p class=\"left-out\">The {} worst of {} are told whole here; <a href=\"#others\">the others</a> \
             follow.</p>",
            whole.len(),
            plural(causes.len() as u64, "cause")
        )?;
    }
    for cause in whole {
        one(out, cause, at)?;
    }
    // As many as the style shows in print.
    writeln!(out, "<p class=\"print causes\">Print shows the first twenty.</p>")?;
    if !others.is_empty() {
        lines(out, others)?;
    }
    if summary.causes_forgotten > 0 {
        let forgotten = plural(summary.causes_forgotten, "cause");
        writeln!(out, "<p class=\"left-out\">{forgotten} ended and were forgotten: too many to keep.</p>")?;
    }
    Ok(())
}

fn class(leak: Option<bool>) -> &'static str {
    leak_word(leak).0
}

fn one(out: &mut dyn Write, cause: &Cause<'_>, at: Moment<'_>) -> io::Result<()> {
    let owner = block::owner_lines(&[cause], &WHOLE).concat();
    let lines = block::cause_lines(cause, 0, at.now, &WHOLE);
    let (head, facts) = lines.split_first().map_or(("", &[][..]), |(head, facts)| (head.trim(), facts));
    writeln!(out, "<section class=\"cause {}\" id=\"cause-{}\">", class(cause.leak()), cause.id)?;
    writeln!(out, "<h3>{}</h3>\n<p>{}</p>", parts(&owner), parts(head))?;
    writeln!(out, "<table class=\"facts\"><tbody>")?;
    for (label, words) in block::facts(facts) {
        let next = if label == "next:" { " class=\"next\"" } else { "" };
        writeln!(out, "<tr{next}><th>{}</th><td>{}</td></tr>", text(label), text(words))?;
    }
    writeln!(out, "</tbody></table>\n<details><summary>Whole stacks</summary>")?;
    for (title, frames) in stack::all(cause.exemplar, at.now) {
        writeln!(out, "<h4>{}</h4>\n<pre>{}</pre>", text(&title), text(&frames.join("\n")))?;
    }
    writeln!(out, "</details></section>")
}

/// What two blanks divide, so that a line does not break within a part.
fn parts(line: &str) -> String {
    let parts: Vec<_> =
        line.split("  ").map(|part| format!("<span class=\"part\">{}</span>", text(part))).collect();
    parts.join("  ")
}

fn lines(out: &mut dyn Write, others: &[Cause<'_>]) -> io::Result<()> {
    writeln!(
        out,
        "<h3 id=\"others\">The others</h3>\n<div class=\"wide\"><table class=\"list\"><thead><tr>"
    )?;
    for head in ["Sockets", "Ended", "Verdict", "Leak", "Owner", "Where", "Cause"] {
        write!(out, "<th>{head}</th>")?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    let (shown, rest) = others.split_at(others.len().min(LINES));
    for cause in shown {
        let owner = block::owner_lines(&[cause], &WHOLE).concat();
        let place = crate::report::text::place::of_cause(cause);
        writeln!(
            out,
            "<tr id=\"cause-{id}\"><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{id}</td></tr>",
            count(cause.now.total()),
            count(cause.gone.total()),
            cause.exemplar.verdict.code,
            class(cause.leak()),
            text(&owner),
            text(&place),
            id = cause.id,
        )?;
    }
    writeln!(out, "</tbody></table></div>\n<p class=\"print\">Print shows the first hundred.</p>")?;
    if !rest.is_empty() {
        let mut sockets = ByLeak::default();
        for cause in rest {
            sockets.add(cause.now);
        }
        let (more, of) = (plural(rest.len() as u64, "more cause"), plural(sockets.total(), "socket"));
        let leaks = totals::leaks(sockets);
        writeln!(out, "<p class=\"left-out\">Left out: {more} with {of}: {leaks}. JSON has them all.</p>")?;
    }
    Ok(())
}
